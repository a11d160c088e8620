/** The connection to the server: opened, watched, opened anew when it breaks, and given back by a hidden page. */

import { readSettings, receive } from "./arrivals.js";
import { conversation } from "./conversation.js";
import { hear } from "./events.js";
import { loadNewest } from "./history.js";
import { alertBox, showOffline, showTyping, toast } from "./notices.js";
import { releaseAll } from "./presses.js";
import { noticeReading } from "./reading.js";
import { outbox } from "./sending.js";
import { reloadOnce, server } from "./server.js";
import { waitBefore } from "./transport.js";

let stream = null;
let failures = 0;
let reconnecting = 0;
let resting = 0;

const isHidden = () => document.visibilityState === "hidden";

export async function connect() {
  clearTimeout(reconnecting);
  stream?.close();
  if (isHidden() && conversation.isLoaded) return;
  try {
    if (!conversation.isLoaded) await loadNewest();
    else if (failures) await probe();
    listen();
  } catch {
    reconnect();
  }
}

function reconnect(wait = waitBefore(failures++)) {
  leave();
  showOffline(true);
  clearTimeout(reconnecting);
  reconnecting = setTimeout(connect, wait);
}

export function leave() {
  stream?.close();
  stream = null;
}

/** An event stream hides why it was refused: ask first. */
async function probe() {
  const { last_seq: newest } = await server.read({ after: conversation.lastSeq, limit: 1 });
  checkAge(newest);
}

/** A chat that has gone or begun anew needs a fresh page. */
function checkAge(newest) {
  if (newest < conversation.lastSeq) reloadOnce();
}

function listen() {
  stream = new EventSource(server.eventsAddress(conversation.lastSeq));
  hear(stream, {
    hello: ({ newest }) => {
      checkAge(newest);
      failures = 0;
      showOffline(false);
      outbox.retryUnsent();
    },
    message: (message) => {
      conversation.reach(message.seq);
      receive(message);
      noticeReading();
    },
    typing: ({ isTyping }) => showTyping(isTyping),
    toast: ({ text, isAlert }) => {
      releaseAll();
      if (text) (isAlert ? alertBox : toast)(text);
    },
    commands: readSettings,
    bye: () => reconnect(5000),
  });
  stream.onerror = () => reconnect();
}

/** After an accepted message the stream must bring at least that much; if it stays silent, it is dead: open it anew. */
export function expectOnStream(seq) {
  setTimeout(() => {
    if (seq > conversation.lastSeq && stream?.readyState === EventSource.OPEN) connect();
  }, 6000);
}

/** A hidden page gives its stream back (browsers allow six a site) and asks now and then instead. */
function onVisibility() {
  clearTimeout(resting);
  if (isHidden()) {
    resting = setTimeout(rest, 20_000);
    return;
  }
  if (!stream || stream.readyState === EventSource.CLOSED) connect();
  noticeReading();
}

function rest() {
  leave();
  server.read({ after: conversation.lastSeq }).then((answer) => {
    for (const message of answer.messages) receive(message);
    conversation.reach(answer.last_seq);
  }).catch(() => {});
  resting = setTimeout(rest, 30_000);
}

export function watchConnection() {
  document.addEventListener("visibilitychange", onVisibility);
  window.addEventListener("online", () => {
    failures = 0;
    connect();
  });
  window.addEventListener("offline", () => showOffline(true));
  window.addEventListener("pagehide", () => stream?.close());
  window.addEventListener("pageshow", (event) => event.persisted && connect());
}
