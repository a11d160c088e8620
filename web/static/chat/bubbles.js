/** The look of one message: what it says, when, and the buttons under it. Presses are heard elsewhere, by `data-…`. */

import { conversation } from "./conversation.js";
import { $, icon, make } from "./dom.js";
import { say, sizeOf, timeOf, unit } from "./page.js";
import { piecesOf, safeAddress } from "./richtext.js";
import { server } from "./server.js";

const ELSEWHERE = { target: "_blank", rel: "noopener noreferrer" };

export function bubbleOf(message) {
  const sender = message.from === "me" ? say("me") : unit;
  const article = make("article", { className: "message", tabIndex: -1, "aria-label": `${sender}, ${timeOf(message.at)}` }, contentOf(message));
  Object.assign(article.dataset, { testid: "message", from: message.from, id: message.id });
  if (message.buttons?.length) {
    article.classList.add("has-buttons");
    article.append(make("div", { className: "buttons" }, ...message.buttons.map(buttonRow)));
  }
  return article;
}

/** Text that is on its way or has arrived. */
export const textNode = (...children) => make("div", { className: "text", dir: "auto" }, ...children);

/** A badge with something to read beside it, inside a box or a link. */
export function card(tag, properties, name, ...lines) {
  return make(tag, { className: "document", ...properties },
    make("span", { className: "badge" }, icon(name)), make("span", {}, ...lines));
}

function contentOf(message) {
  const bubble = make("div", { className: "bubble" });
  if (message.deleted) bubble.append(make("p", { className: "withdrawn" }, say("withdrawn")));
  for (const file of message.files ?? []) bubble.append(fileNode(file));
  if (message.location) bubble.append(placeNode(message.location));
  if (message.text) bubble.append(textNode(...piecesOf(message, (command) => conversation.isPressable(command)).map(drawn)));
  bubble.append(metaOf(message));
  return bubble;
}

function metaOf(message) {
  const parts = [make("time", { dateTime: message.at }, timeOf(message.at))];
  if (message.edited && !message.deleted) parts.unshift(make("span", {}, say("edited")));
  if (message.from === "me") parts.push(icon("check"), make("span", { className: "unseen" }, say("sent")));
  return make("div", { className: "meta" }, ...parts);
}

// ── Text ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function drawn(piece) {
  switch (piece.kind) {
    case "format":
      return make(piece.tag, {}, ...piece.inner.map(drawn));
    case "spoiler":
      return spoiler(piece.text);
    case "command":
      return make("button", { type: "button", className: "command", "data-command": piece.text }, piece.text);
    case "call":
      return make("a", { href: piece.href }, ...piece.inner.map(drawn));
    case "link":
      return linked(piece);
    default:
      return piece;
  }
}

function linked({ href, inner, shown }) {
  const link = make("a", { href, ...ELSEWHERE }, ...inner.map(drawn));
  if (!shown) return link;
  const both = document.createDocumentFragment();
  both.append(link, make("span", { className: "address" }, shown));
  return both;
}

function spoiler(text) {
  const covered = make("span", { "aria-hidden": "true" }, text);
  const hint = make("span", { className: "unseen" }, say("say_spoiler"));
  const node = make("button", { type: "button", className: "spoiler", "aria-expanded": "false" }, covered, hint);
  node.onclick = () => {
    node.setAttribute("aria-expanded", "true");
    covered.removeAttribute("aria-hidden");
    hint.remove();
  };
  return node;
}

// ── Buttons ────────────────────────────────────────────────────────────────────────────────────────────────────────

function buttonRow(row) {
  return make("div", { className: "button-row" }, ...row.map((button) => (button.url ? linkButton(button) : pressButton(button))));
}

function pressButton({ label, data }) {
  return make("button", { type: "button", className: "inline-button", "data-data": data }, make("span", { dir: "auto" }, label));
}

function linkButton({ label, url }) {
  const href = safeAddress(url, ["https:", "http:", "tel:"]);
  if (!href) return make("span", { className: "inline-button" }, label);
  if (href.startsWith("tel:")) return make("a", { className: "inline-button", href }, icon("phone"), label);
  return make("a", { className: "inline-button", href, ...ELSEWHERE }, label, icon("out"), make("span", { className: "unseen" }, say("new_tab")));
}

// ── Files and places ───────────────────────────────────────────────────────────────────────────────────────────────

function fileNode(file) {
  const address = server.fileAddress(file.id);
  const name = file.name || say(file.kind === "document" ? "file" : file.kind);
  switch (file.kind) {
    case "photo": {
      const image = make("img", { src: address, alt: say("photo_of", { name }), decoding: "async" });
      return make("button", { type: "button", className: "picture", onclick: () => openViewer(address, image.alt) }, image);
    }
    case "video":
      return make("video", { src: address, controls: true, preload: "metadata", playsInline: true, "aria-label": name });
    case "voice":
      return make("audio", { src: address, controls: true, preload: "metadata", "aria-label": say("voice") });
    default:
      return card("a", { href: address, download: name }, "file", make("b", { dir: "auto" }, name), make("small", {}, sizeOf(file.size)));
  }
}

function placeNode({ latitude, longitude }) {
  const point = `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`;
  const href = `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=17/${latitude}/${longitude}`;
  return card("a", { href, ...ELSEWHERE }, "pin", make("b", {}, point), make("small", {}, say("open_map")));
}

function openViewer(address, description) {
  Object.assign($("viewer-image"), { src: address, alt: description });
  $("viewer").showModal();
}
