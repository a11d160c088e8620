/** This page's outbox: texts and places survive a reload with their nonces. */

import { $ } from "./dom.js";
import { unmarkNew } from "./log.js";
import { Outbox } from "./outbox.js";
import { inTab } from "./page.js";
import { goToEnd } from "./reading.js";
import { server } from "./server.js";

export const outbox = new Outbox({ transmit });

export function enqueue(what) {
  unmarkNew();
  $("welcome").hidden = true;
  outbox.add(what);
  goToEnd();
}

export const sendText = (text) => enqueue({ type: "text", text });
export const sendPlace = ({ latitude, longitude }) => enqueue({ type: "place", latitude, longitude });

export const keepUnsent = () => inTab.write("outbox", outbox.lasting);
export const restoreUnsent = () => outbox.restore(inTab.read("outbox") ?? []);

function transmit(entry) {
  const { type, nonce, text, latitude, longitude } = entry;
  if (type === "file") return server.sendFile(entry, (share) => showProgress(entry, share));
  if (type === "place") return server.post("location", { latitude, longitude, nonce });
  return server.post("text", { text, nonce });
}

function showProgress(entry, share) {
  entry.share = share;
  if (entry.bar) entry.bar.value = share;
}
