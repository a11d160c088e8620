/** The box: what is typed in it, kept over reloads until it is sent. */

import { empty, isEmpty, laid } from "./attachments.js";
import { $, canRecord, isTouch } from "./dom.js";
import { complain } from "./notices.js";
import { inTab, language, say } from "./page.js";
import { closePanels, offerCommands, stopOffering } from "./panels.js";
import { enqueue, sendPlace, sendText } from "./sending.js";
import { sayNumber } from "./speech.js";

const TEXT_LIMIT = 4000; // UTF-16 units a message, as the server counts
const CAPTION_LIMIT = 1024;
const box = $("box");

export function submit() {
  const text = box.value.trim();
  if (!text && isEmpty()) return box.focus();
  if (text.length > TEXT_LIMIT) return complain(say("too_long", { n: sayNumber(TEXT_LIMIT, language) }));
  closePanels();
  sendTogether(laid(), text);
  box.value = "";
  empty();
  return box.focus();
}

/** Files first; a text short enough goes with the first of them. */
function sendTogether(items, text) {
  const files = items.filter((item) => item.file);
  const caption = files.length && text.length <= CAPTION_LIMIT ? text : "";
  files.forEach((item, index) => enqueue({ ...item, type: "file", text: index === 0 ? caption : "" }));
  for (const { place } of items) if (place) sendPlace(place);
  if (text && !caption) sendText(text);
}

/** The draft is kept, the box grows with it, and the send button follows. */
export function noticeDraft() {
  inTab.write("draft", box.value);
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
  const hasContent = Boolean(box.value.trim() || !isEmpty());
  const offersVoice = canRecord && !hasContent;
  $("mic").hidden = !offersVoice;
  $("send").hidden = offersVoice;
  $("send").setAttribute("aria-disabled", String(!hasContent));
  if (box.value.length <= TEXT_LIMIT) complain("");
  if (box.value.startsWith("/") && !/\s/.test(box.value)) offerCommands(box.value.slice(1));
  else stopOffering();
}

export function restoreDraft() {
  box.value = inTab.read("draft") ?? "";
}

/** Take the text of an unsent message back, to change it. */
export function takeBack(text) {
  if (text) {
    box.value = [text, box.value].filter(Boolean).join("\n");
    noticeDraft();
  }
  box.focus();
}

/** Send a command of the menu; what was typed of it is done with. */
export function chooseCommand(command) {
  closePanels();
  if (box.value.startsWith("/")) box.value = "";
  noticeDraft();
  sendText(command);
  box.focus();
}

export function onBoxKey(event) {
  if (event.isComposing) return;
  if (event.key === "Enter" && !event.shiftKey && (!isTouch || event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    submit();
  } else if (event.key === "ArrowUp" && !event.altKey && !$("commands").hidden) {
    event.preventDefault();
    [...$("commands").querySelectorAll("button")].at(-1)?.focus();
  }
}
