/** The rows of the conversation on the page: each message where its number belongs, days between them. */

import { bubbleOf } from "./bubbles.js";
import { conversation, leavesNothing } from "./conversation.js";
import { $, make } from "./dom.js";
import { dayOf, say, sayDay } from "./page.js";
import { paintPresses } from "./presses.js";

const log = $("log");
const rows = new Map(); // id → its row

export const rowOf = (id) => rows.get(id);

/** Draw a message, in place of its older state if it has one; its row, unless it has none any more. */
export function show(message, { isFresh = false } = {}) {
  if (leavesNothing(message)) return remove(message.id);
  const former = rows.get(message.id);
  const row = make("div", { className: "row" }, bubbleOf(message));
  Object.assign(row.dataset, { from: message.from, id: message.id, day: dayOf(message.at) });
  paintPresses(message.id, row);
  if (former) replace(former, row);
  else log.insertBefore(row, rows.get(conversation.below(message.id)) ?? null);
  row.classList.toggle("fresh", isFresh && !former);
  rows.set(message.id, row);
  markDay(row);
  markDay(row.nextElementSibling);
  return row;
}

function remove(id) {
  const row = rows.get(id);
  const following = row?.nextElementSibling;
  row?.remove();
  rows.delete(id);
  markDay(following);
  return null;
}

function replace(former, row) {
  const news = former.querySelector(".news");
  if (news) row.prepend(news);
  row.setAttribute("aria-live", "off"); // progress messages change every few seconds: not read out each time
  keepFocus(former, row, () => former.replaceWith(row));
}

/** A changed bubble keeps the reader's place: focus goes to the same button, or to the bubble when that is gone. */
function keepFocus(former, row, change) {
  const held = former.contains(document.activeElement) ? [...former.querySelectorAll("button, a")].indexOf(document.activeElement) : null;
  change();
  if (held === null) return;
  const target = [...row.querySelectorAll("button, a")][held] ?? row.querySelector(".message");
  target.focus({ preventScroll: true });
}

function markDay(row) {
  if (!row) return;
  row.querySelector(".day")?.remove();
  const { day } = row.dataset;
  const opens = row.previousElementSibling?.dataset.day !== day;
  row.classList.toggle("opens-day", opens);
  if (opens) row.prepend(make("div", { className: "day" }, make("span", {}, sayDay(day, conversation.newestAt))));
}

/** Say above this row that what follows is new. */
export function markNew(row) {
  unmarkNew();
  row?.querySelector(".message").before(make("div", { className: "news" }, make("span", {}, say("new_here"))));
}

export function unmarkNew() {
  log.querySelector(".news")?.remove();
}

/** Draw the past, which is not read aloud. */
export function quietly(draw) {
  log.setAttribute("aria-live", "off");
  draw();
  setTimeout(() => log.setAttribute("aria-live", "polite"), 500);
}
