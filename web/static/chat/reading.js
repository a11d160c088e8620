/** Where the reader is: at the newest message or above it, what is unread, and what was seen the last time. */

import { conversation, firstUnseen } from "./conversation.js";
import { $, isFramed } from "./dom.js";
import { markNew, rowOf } from "./log.js";
import { inBrowser, say, unit } from "./page.js";
import { server } from "./server.js";

const scroller = $("scroller");
let isAtEnd = true; // new messages may scroll into view
let isShown = true; // false while the demo page shows another person's phone
let unread = 0;
let seen = inBrowser.read("seen") ?? 0;
let telling = 0;

const isWatched = () => isShown && isAtEnd && document.visibilityState === "visible";

/** Scroll along with the newest message, if that is where the reader is. */
export function followEnd() {
  if (isAtEnd) scroller.scrollTop = scroller.scrollHeight;
}

export function goToEnd() {
  isAtEnd = true;
  followEnd();
  noticeReading();
}

/** Something new stands in this row. */
export function noticeNews(row) {
  if (!isWatched()) {
    if (!unread) markNew(row);
    unread += 1;
  }
  followEnd();
  tellUnread();
}

export function noticeReading() {
  if (isWatched()) {
    unread = 0;
    rememberSeen();
  }
  tellUnread();
}

/** Where reading stopped last time; a first visit has no such place. */
export function markFirstUnseen(messages) {
  if (seen > conversation.lastSeq) seen = 0; // another chat than last time, as after a demo's restart
  const first = seen ? firstUnseen(messages, seen) : undefined;
  if (first) markNew(rowOf(first.id));
}

/** Show how much is unread: on the pill, in the page's title, and to the demo page around us. */
export function tellUnread() {
  const pill = $("pill");
  pill.hidden = isAtEnd;
  pill.classList.toggle("has-news", unread > 0);
  $("pill-text").textContent = unread ? say(unread === 1 ? "new_one" : "new_many", { n: unread }) : "";
  if (unread) pill.removeAttribute("aria-label");
  else pill.setAttribute("aria-label", say("to_end"));
  document.title = `${unread ? `(${unread}) ` : ""}${unit} · Bình Yên`;
  if (isFramed) window.parent.postMessage({ type: "unread", count: unread }, location.origin);
}

function rememberSeen() {
  if (!conversation.isLoaded || conversation.lastSeq <= seen) return;
  seen = conversation.lastSeq;
  inBrowser.write("seen", seen);
  clearTimeout(telling);
  telling = setTimeout(() => server.post("seen", { seq: seen }).catch(() => {}), 400);
}

export function watchReader() {
  let size = "";
  const measure = () => `${scroller.clientHeight} ${scroller.scrollHeight}`;
  scroller.addEventListener("scroll", () => {
    const isNear = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
    if (!isNear && measure() !== size) return; // the page changed its size, the reader has not moved
    isAtEnd = isNear;
    noticeReading();
  }, { passive: true });
  const watcher = new ResizeObserver(() => {
    followEnd();
    size = measure();
  });
  watcher.observe($("stream"));
  watcher.observe(scroller);
  window.addEventListener("message", (event) => {
    if (event.origin !== location.origin || event.source !== window.parent || event.data?.type !== "active") return;
    isShown = Boolean(event.data.active);
    noticeReading();
  });
}
