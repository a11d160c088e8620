/** What was said before: the newest of it when the page opens, older messages when they are asked for. */

import { receive, takeSettings } from "./arrivals.js";
import { conversation } from "./conversation.js";
import { $ } from "./dom.js";
import { quietly } from "./log.js";
import { showTyping, toast } from "./notices.js";
import { takeStart } from "./page.js";
import { goToEnd, markFirstUnseen } from "./reading.js";
import { outbox, sendText } from "./sending.js";
import { server } from "./server.js";

const scroller = $("scroller");

export async function loadNewest() {
  const answer = await server.read({ after: 0 });
  takeSettings(answer);
  $("log").setAttribute("aria-busy", "true");
  quietly(() => drawNewest(answer));
  begin(answer.messages.length === 0);
  goToEnd();
  setTimeout(() => $("log").setAttribute("aria-busy", "false"), 500);
}

function drawNewest(answer) {
  drawPast(answer);
  conversation.lastSeq = answer.last_seq;
  markFirstUnseen(answer.messages);
  showTyping(Boolean(answer.typing));
  conversation.isLoaded = true;
}

export async function loadOlder() {
  const height = scroller.scrollHeight;
  try {
    const answer = await server.read({ before: conversation.oldest() });
    quietly(() => drawPast(answer));
    scroller.scrollTop += scroller.scrollHeight - height;
  } catch (problem) {
    toast(problem.text);
  }
}

function drawPast({ messages, more }) {
  for (const message of messages) receive(message, { isHistory: true });
  $("older").hidden = !more;
}

/** First words: a deep link starts by itself in an empty chat, and asks with a button in one that has a history. */
function begin(isEmpty) {
  const payload = takeStart();
  if (location.search) history.replaceState(null, "", location.pathname);
  if (outbox.waiting.length) return;
  if (payload && isEmpty) sendText(`/start ${payload}`);
  else if (payload || isEmpty) offerStart(payload, isEmpty);
}

function offerStart(payload, isEmpty) {
  $("welcome").hidden = false;
  $("start").onclick = () => {
    sendText(payload ? `/start ${payload}` : "/start");
    $("box").focus();
  };
  if (!isEmpty) $("log").after($("welcome"));
}
