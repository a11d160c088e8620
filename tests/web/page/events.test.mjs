// The server's events: what is understood is acted on, what is not harms nothing.

import assert from "node:assert/strict";
import { test } from "node:test";

import { hear, readEvent } from "../../../web/static/chat/events.js";

const message = { id: 4, seq: 7, from: "bot", text: "Xin chào" };

test("every event of the server is read", () => {
  assert.deepEqual(readEvent("hello", '{"last_seq": 0}'), { newest: 0 });
  assert.deepEqual(readEvent("message", JSON.stringify(message)), message);
  assert.deepEqual(readEvent("typing", '{"typing": true}'), { isTyping: true });
  assert.deepEqual(readEvent("typing", '{"typing": false}'), { isTyping: false });
  assert.deepEqual(readEvent("typing", ""), { isTyping: true });
  assert.deepEqual(readEvent("toast", '{"text": "Đã nhận", "alert": true}'), { text: "Đã nhận", isAlert: true });
  assert.deepEqual(readEvent("toast", '{"text": null}'), { text: "", isAlert: false });
  assert.deepEqual(readEvent("commands", "{}"), {});
  assert.deepEqual(readEvent("bye", "{}"), {});
});

test("what is no event of ours, no JSON or no message is passed over", () => {
  for (const [name, data] of [
    ["ping", "{}"], ["constructor", "{}"], ["__proto__", "{}"], ["message", "{"], ["message", "null"], ["message", "7"],
    ["message", '"text"'], ["message", "{}"], ["message", '{"id": "4", "seq": 7}'], ["message", '{"id": 4}'],
    ["message", "[]"], ["hello", "{}"], ["hello", '{"last_seq": "9"}'], ["toast", "null"],
  ]) assert.equal(readEvent(name, data), null, `${name} ${data}`);
});

test("acts are called with what their events say, in order, and never for broken ones", () => {
  const source = new EventTarget();
  const heard = [];
  hear(source, { message: ({ id }) => heard.push(id), typing: ({ isTyping }) => heard.push(isTyping) });
  for (const [name, data] of [["message", JSON.stringify(message)], ["message", "{"], ["typing", "{}"], ["bye", "{}"]]) {
    source.dispatchEvent(new MessageEvent(name, { data }));
  }
  assert.deepEqual(heard, [4, true]);
});
