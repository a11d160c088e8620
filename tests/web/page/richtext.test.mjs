// Text with entities: what is said stays what is said, whoever wrote it and whatever the entities claim.

import assert from "node:assert/strict";
import { test } from "node:test";

import { piecesOf, safeAddress } from "../../../web/static/chat/richtext.js";

const entity = (type, offset, length, more = {}) => ({ type, offset, length, ...more });
const read = (text, entities = [], from = "bot") => piecesOf({ text, entities, from }, (command) => command === "/baotin");

/** All that would be read, without the addresses shown behind links. */
const wordsOf = (pieces) => pieces.map((piece) => (typeof piece === "string" ? piece : (piece.text ?? wordsOf(piece.inner)))).join("");
const addressesOf = (pieces) => pieces.flatMap((piece) => [piece.href, ...addressesOf(piece.inner ?? [])]).filter(Boolean);
const all = (pieces) => pieces.flatMap((piece) => [piece, ...all(piece.inner ?? [])]);

const HOSTILE = [
  "<b>đậm</b> &amp; <img src=x onerror=alert(1)> </div><script>alert(1)</script>",
  "javascript:alert(1) data:text/html,x vbscript:x file:///etc/passwd tel:113",
  "שלום \u202eevil\u202c 👩‍👩‍👧‍👦🇻🇳 e\u0301 \u0000",
  '"><svg onload=alert(1)> https://x.example/"onmouseover="alert(1) `${x}`',
];

test("hostile text is one string, or strings and links to where the words say", () => {
  for (const text of HOSTILE) {
    for (const from of ["me", "bot"]) {
      const pieces = read(text, [], from);
      assert.equal(wordsOf(pieces), text);
      for (const piece of pieces) if (typeof piece !== "string") assert.equal(piece.kind, "link");
      for (const address of addressesOf(pieces)) assert.match(address, /^https:\/\/x\.example\/$/);
    }
  }
});

test("no entity, wherever it begins and ends, changes a letter or leads anywhere but to http(s) and tel", () => {
  const types = ["bold", "code", "pre", "spoiler", "url", "text_link", "bot_command", "phone_number", "blockquote", "script", "__proto__", ""];
  for (const text of HOSTILE) {
    for (const [index, type] of types.entries()) {
      for (const [offset, length] of [[0, text.length], [3, 5], [1, 9999], [text.length - 1, 1], [2, 4]]) {
        const second = entity(types[(index + 5) % types.length], 2, 6, { url: "https://x.example" });
        const pieces = read(text, [entity(type, offset, length, { url: "javascript:alert(1)" }), second]);
        assert.equal(wordsOf(pieces), text);
        for (const address of addressesOf(pieces)) assert.match(address, /^(https?|tel):/);
        for (const piece of all(pieces)) {
          assert.ok(typeof piece === "string" || ["format", "spoiler", "command", "call", "link"].includes(piece.kind));
        }
      }
    }
  }
});

test("only the known formats become tags", () => {
  const tags = new Set();
  for (const type of ["bold", "italic", "underline", "strikethrough", "code", "pre", "blockquote", "expandable_blockquote"]) {
    const [piece] = read("word", [entity(type, 0, 4)]);
    assert.deepEqual([piece.kind, piece.inner], ["format", ["word"]]);
    tags.add(piece.tag);
  }
  assert.deepEqual([...tags].sort(), ["blockquote", "code", "em", "pre", "s", "strong", "u"]);
  for (const type of ["script", "constructor", "toString", "__proto__"]) assert.deepEqual(read("word", [entity(type, 0, 4)]), ["word"]);
});

test("offsets are UTF-16, and entities nest and are cut where they overlap", () => {
  assert.deepEqual(read("🇻🇳 Gấp", [entity("bold", 5, 3)]), ["🇻🇳 ", { kind: "format", tag: "strong", inner: ["Gấp"] }]);
  assert.deepEqual(read("abc", [entity("italic", 1, 1), entity("bold", 0, 3)]), [
    { kind: "format", tag: "strong", inner: ["a", { kind: "format", tag: "em", inner: ["b"] }, "c"] },
  ]);
  assert.deepEqual(read("abcd", [entity("bold", 0, 2), entity("italic", 1, 2)]), [
    { kind: "format", tag: "strong", inner: ["a", { kind: "format", tag: "em", inner: ["b"] }] }, "cd",
  ]);
});

test("entities that cannot be are passed over", () => {
  const wrong = [entity("bold", -1, 2), entity("bold", 9, 2), entity("bold", 0, 0), entity("bold", "0", 2), entity("bold", 0.5, 2), entity("bold")];
  assert.deepEqual(read("abc", wrong), ["abc"]);
});

test("a link whose words are another address shows where it goes", () => {
  const link = (words, url) => read(words, [entity("text_link", 0, words.length, { url })])[0];
  assert.equal(link("bấm đây", "https://evil.example/x").shown, " (https://evil.example/x)");
  assert.equal(link("https://good.example", "https://evil.example").shown, " (https://evil.example/)");
  assert.equal(link("https://good.example", "https://good.example").shown, null);
  assert.equal(link("bấm đây", "javascript:alert(1)"), "bấm đây");
  assert.equal(link("bấm đây", undefined), "bấm đây");
});

test("addresses are found in plain text, without the signs after them", () => {
  const [before, link, after] = read("Xem (https://a.example/x?y=1), rồi báo.");
  assert.deepEqual([before, link.href, after], ["Xem (", "https://a.example/x?y=1", "), rồi báo."]);
  assert.equal(read("a.example", [entity("url", 0, 9)])[0].href, "https://a.example/");
  assert.deepEqual(read("javascript:alert(1)", [entity("url", 0, 19)]), ["javascript:alert(1)"]);
});

test("commands of the menu can be pressed where the bot names them, and nowhere else", () => {
  const command = { kind: "command", text: "/baotin" };
  assert.deepEqual(read("Gõ /baotin nhé"), ["Gõ ", command, " nhé"]);
  assert.deepEqual(read("Gõ /baotin nhé", [], "me"), ["Gõ /baotin nhé"]);
  assert.deepEqual(read("/khac a/baotin /baotin/x /baotinx"), ["/khac a/baotin /baotin/x /baotinx"]);
  assert.deepEqual(read("/khac", [entity("bot_command", 0, 5)]), [{ kind: "command", text: "/khac" }]);
  assert.deepEqual(read("/khac", [entity("bot_command", 0, 5)], "me"), ["/khac"]);
});

test("in code, links and hidden text nothing is made a link", () => {
  assert.deepEqual(read("https://a.example /baotin", [entity("code", 0, 25)]), [
    { kind: "format", tag: "code", inner: ["https://a.example /baotin"] },
  ]);
  assert.deepEqual(read("https://a.example", [entity("spoiler", 0, 17)]), [{ kind: "spoiler", text: "https://a.example" }]);
});

test("a phone number calls its digits", () => {
  assert.equal(read("+84 912-345 678", [entity("phone_number", 0, 15)])[0].href, "tel:+84912345678");
  assert.equal(read('1"onclick="x', [entity("phone_number", 0, 12)])[0].href, "tel:1");
});

test("only addresses of the schemes that are asked for are targets", () => {
  for (const address of ["javascript:alert(1)", " javascript:x", "JAVASCRIPT:x", "data:text/html,x", "//a.example", "/x", "", null, undefined]) {
    assert.equal(safeAddress(address), null);
  }
  assert.equal(safeAddress("tel:0263"), null);
  assert.equal(safeAddress("tel:0263", ["tel:"]), "tel:0263");
});
