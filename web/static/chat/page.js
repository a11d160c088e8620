/** What the server wrote into this page, how the page speaks, and what it keeps. */

import { Keep } from "./keep.js";
import { Calendar, fill, languageOf, saySize } from "./speech.js";
import { WORDS } from "./words.js";

const root = document.documentElement;
const calendar = new Calendar(root.dataset.timezone);

/** Where this chat lives: "" or "/demo/lan". */
export const base = root.dataset.base;
export let unit = root.dataset.unit;
export let language = languageOf(root.lang);

/** Kept as long as the tab is open, and for the next visit too. */
export const inTab = new Keep(() => window.sessionStorage, base);
export const inBrowser = new Keep(() => window.localStorage, base);

/** The page's own wording for `key`, with {placeholders} filled. */
export const say = (key, values = {}) => fill(WORDS[language][key], values, root.dataset);
export const timeOf = (instant) => calendar.timeOf(instant);
export const dayOf = (instant) => calendar.dayOf(instant);
export const sizeOf = (bytes) => saySize(bytes, language);
/** The day in words. The newest message also tells the time: a demo's clock runs ahead. */
export const sayDay = (day, newestAt) => calendar.sayDay(day, Math.max(Date.now(), newestAt), say);

/** Put every fixed text of the page into `newLanguage`. */
export function speak(newLanguage) {
  language = languageOf(newLanguage);
  root.lang = language;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = say(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]")) {
    node.setAttribute("aria-label", say(node.dataset.tLabel));
    if (node.matches("button")) node.title = say(node.dataset.tLabel);
  }
  for (const node of document.querySelectorAll("[data-t-placeholder]")) node.placeholder = say(node.dataset.tPlaceholder);
}

export function nameUnit(name) {
  unit = name || unit;
}

/** What a deep link asked to start with, once. */
export function takeStart() {
  const payload = root.dataset.start;
  root.dataset.start = "";
  return payload;
}
