/** What is said to the reader beside the conversation, and how things stand. */

import { $ } from "./dom.js";
import { say } from "./page.js";

let toastTimer = 0;
let typingTimer = 0;
let offlineTimer = 0;

/** A passing remark at the foot of the page. */
export function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(hideToast, 2500 + 50 * text.length);
}

export function hideToast() {
  $("toast").classList.remove("shown");
}

/** What has to be closed by hand. */
export function alertBox(text) {
  $("alert-text").textContent = text;
  if (!$("alert").open) $("alert").showModal();
}

/** What is wrong with what is being written; "" takes it away. */
export function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

/** For listeners only. */
export function speakAloud(text) {
  $("spoken").textContent = text;
}

/** Somebody types, or does not; said for five seconds at most. */
export function showTyping(isTyping) {
  clearTimeout(typingTimer);
  $("typing").hidden = !isTyping;
  $("status").classList.toggle("busy", isTyping);
  if (!isTyping) return showIdle();
  $("status").textContent = say("typing");
  typingTimer = setTimeout(() => showTyping(false), 5000);
  return undefined;
}

export function showIdle() {
  if ($("typing").hidden) $("status").textContent = $("status").dataset.idle || say("idle");
}

/** The bar appears only when the loss lasts: a blink of the network is nobody's business. */
export function showOffline(isOffline) {
  clearTimeout(offlineTimer);
  if (!isOffline) $("offline").hidden = true;
  else if ($("offline").hidden) offlineTimer = setTimeout(() => { $("offline").hidden = false; }, 1500);
}
