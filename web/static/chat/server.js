/** This page's server. */

import { base, inTab, say } from "./page.js";
import { Server } from "./transport.js";

export const server = new Server(base, { say, gone: reloadOnce });

/** The cookie is gone or unknown, or the chat has begun anew: a reload brings a fresh page. Once a minute at most, so nothing spins. */
export function reloadOnce() {
  const last = inTab.read("reloaded") ?? 0;
  if (Date.now() - last < 60_000) return;
  inTab.write("reloaded", Date.now());
  location.reload();
}
