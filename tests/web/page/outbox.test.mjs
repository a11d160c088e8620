// The outbox: whatever the network does, nothing is lost, nothing counts twice, and the order stays.

import assert from "node:assert/strict";
import { test } from "node:test";

import { areTwins, Outbox } from "../../../web/static/chat/outbox.js";
import { freshNonce, patiently, Problem, waitBefore } from "../../../web/static/chat/transport.js";

const away = () => new Problem({ status: 0, text: "no network" });
const broken = () => new Problem({ status: 500, text: "outage" });
const refused = () => new Problem({ status: 400, code: "too_long", text: "too long" });
const tooFast = (retryAfter) => new Problem({ status: 429, code: "too_fast", retryAfter });
const text = (words) => ({ type: "text", text: words });
const settled = () => new Promise(setImmediate);

/** A server that keeps one message for each nonce, and fails as `fate(entry, try)` says: before or after keeping. */
class FakeServer {
  kept = new Map();
  tries = [];
  rests = [];
  fate = () => null;

  outbox() {
    let count = 0;
    const rest = async (milliseconds) => void this.rests.push(milliseconds);
    const outbox = new Outbox({ transmit: (entry) => this.#take(entry), rest, nonce: () => `nonce-${(count += 1)}` });
    this.delivered = [];
    outbox.onDelivered = ({ message }) => this.delivered.push(message.text);
    return outbox;
  }

  get texts() {
    return [...this.kept.values()].map(({ text: words }) => words);
  }

  async #take(entry) {
    this.tries.push(entry.text);
    const { before, after } = (await this.fate(entry, this.tries.filter((words) => words === entry.text).length)) ?? {};
    if (before) throw before;
    if (!this.kept.has(entry.nonce)) this.kept.set(entry.nonce, { id: this.kept.size + 1, from: "me", text: entry.text });
    if (after) throw after;
    return { ok: true, message: this.kept.get(entry.nonce) };
  }
}

test("what is sent goes out in order, one after the other, and is forgotten when the server has it", async () => {
  const server = new FakeServer();
  const outbox = server.outbox();
  let under = 0;
  server.fate = async () => {
    assert.equal((under += 1), 1);
    await settled();
    under -= 1;
  };
  for (const words of ["a", "b", "c"]) outbox.add(text(words));
  assert.deepEqual(outbox.waiting.map(({ state }) => state), ["sending", "sending", "sending"]);
  for (let turn = 0; turn < 6; turn += 1) await settled();
  assert.deepEqual(server.texts, ["a", "b", "c"]);
  assert.deepEqual(server.delivered, ["a", "b", "c"]);
  assert.deepEqual(outbox.waiting, []);
});

test("without a network all of it waits, and goes out once and in order when the network is back", async () => {
  const server = new FakeServer();
  const outbox = server.outbox();
  server.fate = () => ({ before: away() });
  for (const words of ["a", "b"]) outbox.add(text(words));
  await settled();
  assert.deepEqual(outbox.waiting.map(({ state, problem }) => [state, problem]), [["failed", "no network"], ["failed", "no network"]]);
  server.fate = () => null;
  outbox.retryUnsent();
  outbox.retryUnsent();
  await settled();
  assert.deepEqual(server.texts, ["a", "b"]);
  assert.deepEqual(server.tries, ["a", "b", "a", "b"]);
});

test("an answer that got lost on the way does not make a second message", async () => {
  const server = new FakeServer();
  const outbox = server.outbox();
  server.fate = (entry, time) => (time === 1 ? { after: away() } : null);
  outbox.add(text("a"));
  await settled();
  assert.equal(outbox.waiting[0].state, "failed");
  outbox.retryUnsent();
  await settled();
  assert.deepEqual(server.texts, ["a"]);
  assert.deepEqual(outbox.waiting, []);
});

test("what the server refuses stays until the reader decides, and is not sent again by itself", async () => {
  for (const problem of [refused, broken]) {
    const server = new FakeServer();
    const outbox = server.outbox();
    server.fate = () => ({ before: problem() });
    outbox.add(text("a"));
    outbox.add(text("b"));
    await settled();
    outbox.retryUnsent();
    await settled();
    assert.deepEqual(server.tries, ["a", "b"]);
    assert.equal(outbox.waiting.length, 2);
    server.fate = () => null;
    outbox.send(outbox.waiting[0]);
    outbox.drop(outbox.waiting[1]);
    await settled();
    assert.deepEqual(server.texts, ["a"]);
    assert.deepEqual(outbox.waiting, []);
  }
});

test("tapping twice sends once, and what is dropped while it stands in line is not sent", async () => {
  const server = new FakeServer();
  const outbox = server.outbox();
  server.fate = () => ({ before: away() });
  for (const words of ["a", "b"]) outbox.add(text(words));
  await settled();
  server.fate = () => null;
  const [first, second] = outbox.waiting;
  outbox.send(first);
  outbox.send(first);
  outbox.send(second);
  outbox.drop(second);
  await settled();
  assert.deepEqual(server.tries, ["a", "b", "a"]);
  assert.deepEqual(server.texts, ["a"]);
});

test("who writes too fast waits as long as the server says, and nobody overtakes", async () => {
  const server = new FakeServer();
  const outbox = server.outbox();
  const states = [];
  outbox.onChange = () => states.push(outbox.waiting[0]?.state);
  server.fate = (entry, time) => (entry.text === "a" && time < 3 ? { before: tooFast(time === 1 ? 7 : 0) } : null);
  outbox.add(text("a"));
  outbox.add(text("b"));
  for (let turn = 0; turn < 4; turn += 1) await settled();
  assert.deepEqual(server.rests, [7000, 2000]);
  assert.deepEqual(server.texts, ["a", "b"]);
  assert.ok(states.includes("waiting"));
});

test("what breaks while one is drawn or taken in does not hold up those behind it", async (context) => {
  const server = new FakeServer();
  const outbox = server.outbox();
  const complaints = context.mock.method(console, "error", () => {});
  outbox.onDelivered = ({ message }) => {
    if (message.text === "a") throw new Error("cannot be drawn");
  };
  outbox.add(text("a"));
  outbox.add(text("b"));
  await settled();
  assert.deepEqual(server.texts, ["a", "b"]);
  assert.deepEqual(outbox.waiting, []);
  assert.equal(complaints.mock.callCount(), 1);
});

test("texts and places survive a reload with their nonces, files do not", async () => {
  const server = new FakeServer();
  const before = server.outbox();
  server.fate = (entry) => (entry.text === "a" ? { after: away() } : { before: away() });
  before.add(text("a"));
  before.add({ type: "place", latitude: 1, longitude: 2 });
  before.add({ type: "file", file: { size: 3 } });
  await settled();
  const kept = JSON.parse(JSON.stringify(before.lasting));
  assert.deepEqual(kept.map(({ type }) => type), ["text", "place"]);

  const after = server.outbox();
  server.fate = () => null;
  after.restore(kept);
  await settled();
  assert.deepEqual([...server.kept.keys()], ["nonce-1", "nonce-2"]);
  assert.deepEqual(after.waiting, []);
});

test("one's own message on the stream hides the one that is under way, and only the answer settles it", async () => {
  const server = new FakeServer();
  const outbox = server.outbox();
  let answer;
  server.fate = () => new Promise((resolve) => { answer = resolve; });
  outbox.add(text(" a "));
  await settled();
  outbox.recognise({ from: "me", text: "a" });
  assert.deepEqual(outbox.waiting, []);
  assert.equal(outbox.lasting.length, 1);
  answer(null);
  await settled();
  assert.deepEqual(server.texts, [" a "]);
  assert.equal(outbox.lasting.length, 0);
});

test("a message that only reads the same makes nothing lost: what failed goes again with its nonce", async () => {
  const server = new FakeServer();
  const outbox = server.outbox();
  let answer;
  server.fate = () => new Promise((resolve) => { answer = resolve; });
  outbox.add(text("a"));
  outbox.add(text("a"));
  await settled();
  outbox.recognise({ from: "me", text: "a" }); // from another tab
  assert.equal(outbox.waiting.length, 1); // the second, which is not under way yet
  answer({ before: away() });
  await settled();
  answer(null);
  await settled();
  assert.deepEqual(server.texts, ["a"]);
  server.fate = () => null;
  outbox.retryUnsent();
  await settled();
  assert.deepEqual(server.texts, ["a", "a"]);
});

test("what was seen on the stream and then refused is shown again", async () => {
  const server = new FakeServer();
  const outbox = server.outbox();
  let answer;
  server.fate = () => new Promise((resolve) => { answer = resolve; });
  outbox.add(text("a"));
  await settled();
  outbox.recognise({ from: "me", text: "a" });
  answer({ before: refused() });
  await settled();
  assert.deepEqual(outbox.waiting.map(({ problem }) => problem), ["too long"]);
});

test("twins are told by what they hold", () => {
  const file = { type: "file", text: "", file: { size: 5 } };
  assert.ok(areTwins(text("a"), { text: "a" }));
  assert.ok(!areTwins(text("a"), { text: "b" }));
  assert.ok(!areTwins(text("a"), { text: "a", files: [{ size: 1 }] }));
  assert.ok(areTwins({ type: "place" }, { text: "", location: {} }));
  assert.ok(!areTwins({ type: "place" }, { text: "" }));
  assert.ok(areTwins(file, { text: "", files: [{ size: 5 }] }));
  assert.ok(!areTwins(file, { text: "", files: [{ size: 6 }] }));
});

test("nothing lost and nothing doubled, whatever happens to whichever of three", async () => {
  const fates = { fine: null, unsent: { before: away() }, unheard: { after: away() }, hurried: { before: tooFast(1) } };
  const names = Object.keys(fates);
  for (let number = 0; number < names.length ** 3; number += 1) {
    const lot = { a: names[number % 4], b: names[Math.floor(number / 4) % 4], c: names[Math.floor(number / 16)] };
    const server = new FakeServer();
    const outbox = server.outbox();
    server.fate = (entry, time) => (time === 1 ? fates[lot[entry.text]] : null);
    for (const words of ["a", "b", "c"]) outbox.add(text(words));
    for (let turn = 0; turn < 3; turn += 1) {
      await settled();
      outbox.retryUnsent();
    }
    await settled();
    assert.deepEqual(server.texts.toSorted(), ["a", "b", "c"], JSON.stringify(lot));
    assert.deepEqual(outbox.waiting, [], JSON.stringify(lot));
  }
});

test("a press is tried three times, after 1 s and 3 s or when the server says, and not where that is no use", async () => {
  const run = async (...problems) => {
    const rests = [];
    const act = async () => {
      const problem = problems.shift();
      if (problem) throw problem;
      return "done";
    };
    const result = await patiently(act, { rest: async (time) => void rests.push(time) }).catch((problem) => problem.text);
    return [result, rests];
  };
  assert.deepEqual(await run(), ["done", []]);
  assert.deepEqual(await run(away(), broken()), ["done", [1000, 3000]]);
  assert.deepEqual(await run(tooFast(9)), ["done", [9000]]);
  assert.deepEqual(await run(away(), away(), away()), ["no network", [1000, 3000]]);
  assert.deepEqual(await run(refused()), ["too long", []]);
});

test("a lost connection rests 1 s at first, twice as long each time, half a minute or so at most", () => {
  const middle = [0, 1, 2, 3, 4, 5, 6, 99].map((attempt) => waitBefore(attempt, 0.5));
  assert.deepEqual(middle, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assert.deepEqual([waitBefore(0, 0), waitBefore(9, 1)], [750, 37_500]);
});

test("nonces are UUIDs and differ, also where the browser has none to give", () => {
  const bare = { getRandomValues: (bytes) => crypto.getRandomValues(bytes) };
  const found = Array.from({ length: 50 }, (_, index) => freshNonce(index % 2 ? bare : crypto));
  for (const nonce of found) assert.match(nonce, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(new Set(found).size, found.length);
});
