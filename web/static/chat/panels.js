/** What opens above the box: the menu of commands and the ways to attach something. */

import { conversation } from "./conversation.js";
import { $, make } from "./dom.js";
import { say } from "./page.js";

export function togglePanel(panel, button, fill = () => {}) {
  const opens = panel.hidden;
  closePanels();
  if (!opens) return;
  fill();
  panel.hidden = false;
  button.setAttribute("aria-expanded", "true");
  panel.querySelector("button")?.focus();
}

export function closePanels() {
  for (const panel of document.querySelectorAll(".panel")) panel.hidden = true;
  for (const button of [$("menu"), $("attach")]) button.setAttribute("aria-expanded", "false");
}

/** Close what is open; the button that opened it, if any was. */
export function closeWithOpener() {
  const opener = document.querySelector('.composer [aria-expanded="true"]');
  closePanels();
  return opener;
}

export function toggleMenu() {
  delete $("commands").dataset.typed;
  togglePanel($("commands"), $("menu"), () => fillMenu());
}

/** While a command is being typed, the fitting ones are offered; the focus stays in the box. */
export function offerCommands(prefix) {
  const found = fillMenu(prefix);
  $("attachments").hidden = true;
  $("commands").hidden = found === 0;
  $("commands").dataset.typed = "yes";
  $("menu").setAttribute("aria-expanded", String(found > 0));
}

export function stopOffering() {
  if (!$("commands").hidden && $("commands").dataset.typed) closePanels();
}

function fillMenu(prefix = "") {
  const fitting = conversation.menu.filter(({ command }) => command.startsWith(prefix));
  $("commands").replaceChildren(...fitting.map(({ command, description }) =>
    make("button", { type: "button", "data-command": `/${command}` }, make("b", {}, `/${command}`), make("span", {}, description))));
  if (!fitting.length) $("commands").append(make("p", { className: "none" }, say("no_commands")));
  return fitting.length;
}

/** Arrow keys go from button to button. */
export function onPanelKey(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (!step || event.altKey) return;
  event.preventDefault();
  buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length]?.focus();
}
