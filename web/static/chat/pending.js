/** The outbox on the page: what is on its way, and what could not be sent with ways on. */

import { card, textNode } from "./bubbles.js";
import { takeBack } from "./composer.js";
import { $, icon, make } from "./dom.js";
import { say, sizeOf, timeOf } from "./page.js";
import { followEnd } from "./reading.js";
import { outbox } from "./sending.js";

export function drawPending() {
  $("outbox").replaceChildren(...outbox.waiting.map(pendingNode));
  followEnd();
}

function pendingNode(entry) {
  const bubble = bubbleOf(entry);
  const article = make("article", { className: `message pending ${entry.state}`, "aria-label": `${say("me")}, ${timeOf(entry.at)}` }, bubble);
  Object.assign(article.dataset, { testid: "message", from: "me", pending: entry.state });
  if (entry.state === "failed") offerAgain(entry, bubble, article);
  return make("div", { className: "row", "data-from": "me" }, article);
}

function bubbleOf(entry) {
  const bubble = make("div", { className: "bubble" });
  if (entry.type === "file") bubble.append(fileOf(entry));
  if (entry.type === "place") bubble.append(card("div", {}, "pin", make("b", {}, say("place"))));
  if (entry.text) bubble.append(textNode(entry.text));
  bubble.append(make("div", { className: "meta" }, make("span", {}, sayState(entry)), icon(entry.state === "failed" ? "warn" : "clock")));
  return bubble;
}

function sayState({ state, seconds }) {
  if (state === "failed") return say("not_sent");
  return state === "waiting" ? say("waiting", { n: seconds }) : say("sending");
}

function offerAgain(entry, bubble, article) {
  const button = (label, act) => make("button", { type: "button", onclick: act }, label);
  const again = () => outbox.send(entry);
  bubble.onclick = again;
  bubble.append(make("div", { className: "meta" }, entry.problem));
  article.append(make("div", { className: "again" }, button(say("retry"), again),
    button(say(entry.type === "text" ? "take_back" : "drop"), () => change(entry))));
}

function change(entry) {
  outbox.drop(entry);
  takeBack(entry.type === "text" ? entry.text : "");
}

function fileOf(entry) {
  const holder = make("div", {});
  if (entry.preview) holder.append(make("span", { className: "picture" }, entry.preview));
  else holder.append(card("div", {}, entry.kind === "voice" ? "mic" : "file",
    make("b", { dir: "auto" }, entry.label ?? entry.name), make("small", {}, sizeOf(entry.file.size))));
  if (entry.state === "sending") {
    entry.bar = make("progress", { max: 1, value: entry.share ?? 0, "aria-label": say("sending") });
    holder.append(entry.bar);
  }
  return holder;
}
