/** Presses of buttons under messages: one at a time under each, and each counts once. */

import { $, icon, make } from "./dom.js";
import { toast } from "./notices.js";
import { say } from "./page.js";
import { server } from "./server.js";
import { freshNonce, patiently, pause } from "./transport.js";

const pressing = new Map(); // message id → {data} of the press under way
const chosen = new Map(); // message id → data of the button pressed last: it keeps a tick, since a press leaves no bubble
const nonces = new Map(); // "id data" → nonce of a press that has not been answered yet
let hasPressed = false;

/** Press a button: the same act keeps its nonce through every retry. */
export async function press(id, data) {
  if (pressing.has(id)) return;
  const act = `${id} ${data}`;
  const nonce = nonces.get(act) ?? freshNonce();
  const pressed = { data };
  nonces.set(act, nonce);
  pressing.set(id, pressed);
  hasPressed = true;
  paintPresses(id);
  try {
    await patiently(() => server.post("press", { message_id: id, data, nonce }));
    nonces.delete(act);
    chosen.set(id, data);
    await pause(4000); // normally a toast or an edit comes first
    if (pressing.get(id) === pressed) release(id);
  } catch (problem) {
    if (!problem.mayRetry) nonces.delete(act);
    toast(problem.status === 0 ? say("press_failed") : problem.text);
    release(id);
  }
}

export const isPressing = (id) => pressing.has(id);

/** Whether anything was pressed since this was asked last. */
export function takePressed() {
  const had = hasPressed;
  hasPressed = false;
  return had;
}

export function release(id) {
  pressing.delete(id);
  paintPresses(id);
}

export function releaseAll() {
  for (const id of [...pressing.keys()]) release(id);
}

/** Show in a message's row what is being pressed there, and what was. */
export function paintPresses(id, row = $("log").querySelector(`.row[data-id="${id}"]`)) {
  for (const node of row?.querySelectorAll("button.inline-button") ?? []) paint(node, pressing.get(id)?.data, chosen.get(id));
}

/** aria-disabled rather than disabled: the button keeps the keyboard's focus while it works. */
function paint(node, pressed, last) {
  const { data } = node.dataset;
  node.querySelector(".spinner, .icon")?.remove();
  node.removeAttribute("aria-busy");
  node.removeAttribute("aria-disabled");
  if (pressed === undefined) {
    if (last === data) node.prepend(icon("check"));
    return;
  }
  node.setAttribute("aria-disabled", "true");
  if (data !== pressed) return;
  node.setAttribute("aria-busy", "true");
  node.prepend(make("span", { className: "spinner", "aria-hidden": "true" }));
}
