/** What the reader has sent and the server has not confirmed: nothing of it is lost, and nothing of it counts twice. */

import { freshNonce, pause } from "./transport.js";

/**
 * The entries are {nonce, type: "text" | "place" | "file", text, at, state: "sending" | "waiting" | "failed", …}. They
 * go one after the other, so the order stays, and each keeps its nonce through every try.
 */
export class Outbox {
  /** Called after every change. */
  onChange = () => {};
  /** Called with the server's answer to an entry. */
  onDelivered = () => {};
  #entries = [];
  #line = Promise.resolve();
  #underWay = null;
  #transmit;
  #rest;
  #nonce;

  /** `transmit(entry)` gives the server's answer, or throws a Problem. */
  constructor({ transmit, rest = pause, nonce = freshNonce }) {
    this.#transmit = transmit;
    this.#rest = rest;
    this.#nonce = nonce;
  }

  /** What the reader waits for, oldest first. */
  get waiting() {
    return this.#entries.filter((entry) => !entry.isSeen);
  }

  /** What a reload can bring back: all but files, which only the tab that picked them may read. */
  get lasting() {
    return this.#entries.filter((entry) => entry.type !== "file");
  }

  /** Send something new. */
  add(what) {
    const entry = { nonce: this.#nonce(), text: "", at: new Date().toISOString(), ...what };
    this.#entries.push(entry);
    this.send(entry);
  }

  /** Send again what was `lasting` before a reload, with the nonces of then. */
  restore(entries) {
    this.#entries = entries.map((entry) => ({ ...entry, isSeen: false }));
    for (const entry of this.#entries) this.send(entry);
  }

  /** Put it at the end of the line. */
  send(entry) {
    this.#mark(entry, { state: "sending", problem: "" });
    const sent = this.#line.then(() => this.#deliver(entry));
    this.#line = sent.catch((error) => console.error(error)); // whatever breaks on the way, those behind still go
  }

  /** Forget an entry, unsent or sent. */
  drop(entry) {
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.onChange();
  }

  /** The network is back: what failed only for want of it goes out again. */
  retryUnsent() {
    for (const entry of this.#entries) if (entry.state === "failed" && entry.isNetwork) this.send(entry);
  }

  /**
   * Our own message may come on the stream before the answer does: then its twin here need not be shown any more. Only
   * the answer settles it, since another message may read the same.
   */
  recognise(message) {
    const entry = this.#underWay;
    if (entry && areTwins(entry, message)) this.#mark(entry, { isSeen: true });
  }

  async #deliver(entry) {
    if (!this.#entries.includes(entry)) return;
    this.#underWay = entry;
    const answer = await this.#answerTo(entry);
    this.#underWay = null;
    if (!answer) return;
    this.drop(entry);
    this.onDelivered(answer);
  }

  /** The server's answer, waiting as long as it finds us too fast; null when it failed. */
  async #answerTo(entry) {
    for (;;) {
      try {
        return await this.#transmit(entry);
      } catch (problem) {
        if (problem.code !== "too_fast") return this.#fail(entry, problem);
        const seconds = problem.retryAfter || 2;
        this.#mark(entry, { state: "waiting", seconds });
        await this.#rest(seconds * 1000);
        this.#mark(entry, { state: "sending" });
      }
    }
  }

  /** One that was seen on the stream goes again by itself when the connection is back; anything else waits for the reader. */
  #fail(entry, problem) {
    const isNetwork = problem.status === 0;
    this.#mark(entry, { state: "failed", problem: problem.text, isNetwork, isSeen: Boolean(entry.isSeen && isNetwork) });
    return null;
  }

  #mark(entry, news) {
    Object.assign(entry, news);
    this.onChange();
  }
}

/** Whether the message is what the entry would become. */
export function areTwins(entry, message) {
  switch (entry.type) {
    case "text":
      return !message.files?.length && !message.location && entry.text.trim() === message.text.trim();
    case "place":
      return Boolean(message.location);
    default:
      return Boolean(message.files?.some((file) => file.size === entry.file.size));
  }
}
