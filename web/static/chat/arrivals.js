/** What comes from the server, by whatever way: messages, new or changed, and the settings beside them. */

import { conversation } from "./conversation.js";
import { $ } from "./dom.js";
import { refreshKeyboard } from "./keyboard.js";
import { show } from "./log.js";
import { showIdle, showTyping, speakAloud } from "./notices.js";
import { language, nameUnit, speak } from "./page.js";
import { isPressing, release, takePressed } from "./presses.js";
import { noticeNews, tellUnread } from "./reading.js";
import { outbox } from "./sending.js";
import { server } from "./server.js";

/** Take a message in; older states of one we know are ignored. `isHistory`: it belongs to what the page opens with. */
export function receive(message, { isHistory = false } = {}) {
  const taken = conversation.take(message);
  if (!taken) return;
  const isNew = !taken.known && !isHistory;
  if (message.from === "me" && isNew) outbox.recognise(message);
  const row = show(message, { isFresh: isNew });
  if (message.from === "bot" && !isHistory) noticeBot(message, row, isNew);
  refreshKeyboard();
  $("welcome").hidden = true;
}

function noticeBot(message, row, isNew) {
  showTyping(false);
  if (!message.deleted && isPressing(message.id)) {
    speakAloud(message.text);
    release(message.id);
  }
  if (!isNew || message.deleted) return;
  if (takePressed()) readSettings();
  noticeNews(row);
}

// ── Settings ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What the server says beside the messages: the menu, the language, how the unit is called. */
export function takeSettings(answer) {
  if (conversation.learn(answer.commands ?? conversation.menu)) makePressable();
  nameUnit(answer.unit);
  $("menu").hidden = !conversation.menu.length;
  if (answer.language && answer.language !== language) {
    speak(answer.language);
    showIdle();
  }
  tellUnread();
}

/** Ask for them anew; what cannot be had now comes another time. */
export function readSettings() {
  server.read({ after: conversation.lastSeq, limit: 1 }).then(takeSettings).catch(() => {});
}

/** Commands new to the menu become pressable in what has been said already. */
function makePressable() {
  for (const message of conversation.said()) if (message.text.includes("/")) show(message);
}
