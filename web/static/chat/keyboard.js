/** The bot's keyboard above the box, and the way to the newest buttons without a mouse. */

import { findPlace } from "./attachments.js";
import { conversation } from "./conversation.js";
import { $, icon, make } from "./dom.js";
import { speakAloud, toast } from "./notices.js";
import { say } from "./page.js";
import { outbox, sendPlace, sendText } from "./sending.js";

let drawn = "[]";

/** Show the newest keyboard, as long as nothing has been sent since. One that is there already keeps the focus. */
export function refreshKeyboard() {
  const keyboard = outbox.waiting.length ? [] : conversation.keyboard();
  const wanted = JSON.stringify(keyboard);
  if (wanted === drawn) return;
  drawn = wanted;
  $("keyboard").hidden = !keyboard.length;
  $("keyboard").replaceChildren(...keyboard.map((row) => make("div", { className: "button-row" }, ...row.map(keyNode))));
}

function keyNode(key) {
  const { label, asks } = typeof key === "string" ? { label: key } : key;
  const acts = { location: () => findPlace(sendPlace), contact: askForPhone };
  return make("button", { type: "button", onclick: acts[asks] ?? (() => sendText(label)) },
    asks ? icon(asks === "location" ? "pin" : "phone") : null, label);
}

function askForPhone() {
  const box = $("box");
  box.inputMode = "tel";
  box.focus();
  toast(say("type_phone"));
  box.addEventListener("blur", () => { box.inputMode = "text"; }, { once: true });
}

/** Put the focus on the first button of the newest message that has any, or `step` such messages further up or down. */
export function focusButtons(step = 0) {
  const sets = [...document.querySelectorAll(".row .buttons, .keyboard:not([hidden])")];
  if (!sets.length) return speakAloud(say("no_buttons"));
  const present = sets.findIndex((set) => set.contains(document.activeElement));
  const target = present < 0 ? sets.length - 1 : present + step;
  if (target >= sets.length) return $("box").focus();
  return sets[Math.max(0, target)].querySelector("button, a")?.focus();
}
