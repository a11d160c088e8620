// What people read: the language, the time of the ward whatever the device thinks, days, sizes, and words in both languages.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Keep } from "../../../web/static/chat/keep.js";
import { Calendar, fill, languageOf, sayDuration, sayNumber, saySize } from "../../../web/static/chat/speech.js";

const here = new Calendar("Asia/Ho_Chi_Minh");
const say = (key) => `<${key}>`;

test("it is Vietnamese unless it is English", () => {
  const tags = ["vi", "en", "", undefined, null, "fr", "EN", "en-GB"];
  assert.deepEqual(tags.map(languageOf), ["vi", "en", "vi", "vi", "vi", "vi", "vi", "vi"]);
});

test("places are filled from the first that has them, once, and nothing in a value is filled again", () => {
  assert.equal(fill("Gọi {police}: {n} tin", { n: 0 }, { police: "0263 113" }), "Gọi 0263 113: 0 tin");
  assert.equal(fill("“{name}” {n}", { name: "{n} $& $1.pdf", n: 2 }), "“{n} $& $1.pdf” 2");
  assert.equal(fill("{unknown}", {}), "{unknown}");
});

test("times and days are those of the ward's zone, at midnight too", () => {
  assert.equal(here.timeOf("2026-11-23T16:59:59+00:00"), "23:59");
  assert.equal(here.timeOf("2026-11-23T17:00:00+00:00"), "00:00");
  assert.deepEqual(["2026-11-23T16:59:59Z", "2026-11-23T17:00:00Z"].map((at) => here.dayOf(at)), ["2026-11-23", "2026-11-24"]);
  assert.equal(new Calendar("Europe/Berlin").timeOf("2026-11-23T16:59:59Z"), "17:59");
});

test("days are today, yesterday, or weekday and date", () => {
  const now = Date.parse("2026-11-23T18:00:00Z"); // the 24th there
  assert.equal(here.sayDay("2026-11-24", now, say), "<today>");
  assert.equal(here.sayDay("2026-11-23", now, say), "<yesterday>");
  assert.equal(here.sayDay("2026-11-22", now, say), "<sunday> 22/11/2026");
  assert.equal(here.sayDay("2026-11-25", now, say), "<wednesday> 25/11/2026");
});

test("sizes, durations and numbers are said as in the language", () => {
  assert.deepEqual([0, 1, 999_999, 1_500_000].map((bytes) => saySize(bytes, "vi")), ["1 KB", "1 KB", "977 KB", "1,4 MB"]);
  assert.equal(saySize(20 * 1_048_576, "en"), "20.0 MB");
  assert.deepEqual([0, 9.9, 65, 3600].map(sayDuration), ["0:00", "0:09", "1:05", "60:00"]);
  assert.deepEqual([sayNumber(4000, "vi"), sayNumber(4000, "en")], ["4.000", "4,000"]);
});

test("what is kept belongs to one chat, and a storage that refuses breaks nothing", () => {
  const stored = new Map();
  const storage = () => ({ getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => stored.set(key, value) });
  const [lan, duty] = [new Keep(storage, "/demo/lan"), new Keep(storage, "/demo/duty")];
  lan.write("draft", "Một câu viết dở");
  assert.deepEqual([lan.read("draft"), duty.read("draft"), lan.read("other")], ["Một câu viết dở", null, null]);
  stored.set("by:/demo/lan:draft", "{broken");
  assert.equal(lan.read("draft"), null);
  const refusing = new Keep(() => { throw new Error("SecurityError"); }, "");
  refusing.write("draft", "x");
  assert.equal(refusing.read("draft"), null);
});
