// The messages of a chat: whatever the order they come in, each is there once, in its newest state, in its place.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation, firstUnseen, leavesNothing } from "../../../web/static/chat/conversation.js";

const message = (id, more = {}) => ({ id, seq: id, from: "bot", at: "2026-11-23T01:00:00+00:00", text: `m${id}`, ...more });

/** The ids from the top to the bottom, found as the log finds them. */
function order(chat, ids) {
  const first = ids.find((id) => !ids.some((other) => chat.below(other) === id));
  const found = [];
  for (let id = first; id !== undefined; id = chat.below(id)) found.push(id);
  return found;
}

function* orders(items) {
  if (items.length < 2) yield items;
  for (const [index, item] of items.entries()) {
    for (const rest of orders(items.toSpliced(index, 1))) yield [item, ...rest];
  }
}

test("in every order of arrival the messages stand by their numbers", () => {
  for (const ids of orders([1, 2, 3, 7, 9])) {
    const chat = new Conversation();
    for (const id of ids) chat.take(message(id));
    assert.deepEqual(order(chat, ids), [1, 2, 3, 7, 9]);
  }
});

test("the newest state wins, whether the older one comes before it, after it or twice", () => {
  const states = [message(4, { seq: 4, text: "first" }), message(4, { seq: 6, text: "edited" }), message(4, { seq: 5, text: "between" })];
  for (const arrival of orders([...states, states[0]])) {
    const chat = new Conversation();
    for (const state of arrival) chat.take(state);
    assert.equal(chat.get(4).text, "edited");
    assert.deepEqual(order(chat, [4]), [4]);
  }
});

test("a state that is not newer is told apart from a new message and from a change", () => {
  const chat = new Conversation();
  assert.deepEqual(chat.take(message(4)), { known: undefined });
  assert.equal(chat.take(message(4)), null);
  assert.equal(chat.take(message(4, { seq: 3 })), null);
  assert.deepEqual(chat.take(message(4, { seq: 5 })), { known: message(4) });
});

test("one's own withdrawn message leaves no place, the bot's leaves one that says so", () => {
  const chat = new Conversation();
  for (const id of [1, 2, 3, 4]) chat.take(message(id, { from: id % 2 ? "me" : "bot" }));
  chat.take(message(3, { seq: 5, from: "me", deleted: true, text: "" }));
  chat.take(message(4, { seq: 6, deleted: true, text: "" }));
  assert.deepEqual(order(chat, [1, 2, 4]), [1, 2, 4]);
  assert.equal(chat.below(3), 4);
  assert.ok(leavesNothing(chat.get(3)) && !leavesNothing(chat.get(4)));
});

test("a message that was withdrawn before it came gets no place, and its older states bring none back", () => {
  const chat = new Conversation();
  chat.take(message(1));
  chat.take(message(2, { seq: 9, from: "me", deleted: true }));
  assert.equal(chat.take(message(2, { from: "me" })), null);
  assert.equal(chat.below(1), undefined);
});

test("older messages come above, and the oldest number says where to ask on", () => {
  const chat = new Conversation();
  for (const id of [50, 51, 20, 21]) chat.take(message(id));
  assert.equal(chat.below(21), 50);
  assert.equal(chat.oldest(), 20);
});

test("the stream's place only goes forward", () => {
  const chat = new Conversation();
  for (const seq of [3, 9, 5]) chat.reach(seq);
  assert.equal(chat.lastSeq, 9);
});

test("the newest message tells the time, also when it comes first", () => {
  const chat = new Conversation();
  chat.take(message(2, { at: "2026-11-24T00:00:00+00:00" }));
  chat.take(message(1));
  assert.equal(chat.newestAt, Date.parse("2026-11-24T00:00:00Z"));
});

test("the bot's newest keyboard counts until something is sent", () => {
  const chat = new Conversation();
  assert.deepEqual(chat.keyboard(), []);
  chat.take(message(1, { keyboard: [["old"]] }));
  chat.take(message(2, { keyboard: [["Có", "Không"]] }));
  chat.take(message(3));
  assert.deepEqual(chat.keyboard(), [["Có", "Không"]]);
  chat.take(message(4, { from: "me" }));
  assert.deepEqual(chat.keyboard(), []);
});

test("a withdrawn message offers no keyboard", () => {
  const chat = new Conversation();
  chat.take(message(1, { keyboard: [["Có"]] }));
  chat.take(message(2, { seq: 3, keyboard: [["Không"]], deleted: true }));
  assert.deepEqual(chat.keyboard(), [["Có"]]);
});

test("commands of every menu there has been stay pressable", () => {
  const chat = new Conversation();
  assert.equal(chat.learn([{ command: "baotin" }]), true);
  assert.equal(chat.learn([{ command: "report" }]), true);
  assert.equal(chat.learn([{ command: "baotin" }]), false);
  assert.deepEqual(["/baotin", "/report", "/other"].map((command) => chat.isPressable(command)), [true, true, false]);
});

test("what is new since the last visit begins with the bot's first fresh message", () => {
  const found = [
    message(1), message(2, { seq: 12, edited: true }), message(3, { seq: 13, deleted: true }),
    message(4, { seq: 14, from: "me" }), message(5, { seq: 15 }), message(6, { seq: 16 }),
  ];
  assert.equal(firstUnseen(found, 11).id, 5);
  assert.equal(firstUnseen(found, 16), undefined);
});
