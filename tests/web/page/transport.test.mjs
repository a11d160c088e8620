// What the server answers, or does not, is a body or a Problem that may be shown as it is.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Server } from "../../../web/static/chat/transport.js";

const FILE = { kind: "photo", text: "caption", nonce: "n", file: new Blob(["x"]), name: "anh.jpg" };

function answering(status, body, headers = {}) {
  const asked = [];
  let gone = 0;
  const ask = async (address, options) => {
    asked.push([address, options]);
    if (status === 0) throw new TypeError("Failed to fetch");
    return new Response(body, { status, headers });
  };
  const server = new Server("/demo/lan", { say: (key) => `said ${key}`, gone: () => { gone += 1; }, ask });
  return { server, asked, gone: () => gone };
}

const problemOf = (promise) => promise.then(() => assert.fail("no problem"), (problem) => problem);

test("a good answer is its body, and cookies go along", async () => {
  const { server, asked } = answering(200, '{"ok": true, "last_seq": 4}');
  assert.equal((await server.read({ after: 3, limit: 1 })).last_seq, 4);
  await server.post("text", { text: "Xin chào" });
  const [[reading], [posting, options]] = asked;
  assert.deepEqual([reading, posting], ["/demo/lan/api/messages?after=3&limit=1", "/demo/lan/api/text"]);
  assert.deepEqual([options.method, options.body, options.credentials], ["POST", '{"text":"Xin chào"}', "same-origin"]);
});

test("no network, an outage, and what is no JSON are said in the page's words and may be tried again", async () => {
  for (const [status, body, said] of [[0, null, "no_network"], [502, "<html>", "outage"], [500, '{"error": ""}', "outage"]]) {
    const problem = await problemOf(answering(status, body).server.post("text", {}));
    assert.deepEqual([problem.status, problem.text, problem.mayRetry], [status, `said ${said}`, true]);
  }
});

test("a refusal is said in the server's words, with when to come back", async () => {
  const hurried = answering(429, '{"error": "Chậm lại", "code": "too_fast"}', { "Retry-After": "7" });
  const problem = await problemOf(hurried.server.read({ after: 0 }));
  assert.deepEqual([problem.text, problem.code, problem.retryAfter, problem.mayRetry], ["Chậm lại", "too_fast", 7, true]);
  const refusal = await problemOf(answering(400, '{"error": "Dài quá", "code": "too_long"}').server.post("text", {}));
  assert.deepEqual([refusal.text, refusal.mayRetry, refusal.retryAfter], ["Dài quá", false, 0]);
});

test("an answer that does not say it is fine is none", async () => {
  assert.equal((await problemOf(answering(200, "{}").server.read({}))).text, "said outage");
});

test("who is not known any more is told so, others are not", async () => {
  const lost = answering(401, '{"error": "Tải lại", "code": "no_chat"}');
  await problemOf(lost.server.read({}));
  const fine = answering(403, "{}");
  await problemOf(fine.server.read({}));
  assert.deepEqual([lost.gone(), fine.gone()], [1, 0]);
});

test("a file goes with the rest before it, and tells how far it is", async () => {
  const shares = [];
  const request = upload((it) => {
    it.upload.onprogress({ lengthComputable: true, loaded: 1, total: 4 });
    it.upload.onprogress({ lengthComputable: false });
    Object.assign(it, { status: 200, response: { ok: true, message: { id: 1 } } });
    it.onload();
  });
  const server = new Server("", { say: String, gone: assert.fail, request: () => request });
  const answer = await server.sendFile(FILE, (share) => shares.push(share));
  assert.deepEqual([answer.message, shares], [{ id: 1 }, [0.25]]);
  assert.deepEqual([...request.form.keys()], ["kind", "caption", "nonce", "file"]);
  assert.equal(request.form.get("file").name, "anh.jpg");
});

test("a file that does not arrive is a Problem like any other", async () => {
  const cut = upload((it) => it.onerror());
  const tooLarge = upload((it) => {
    Object.assign(it, { status: 413, response: { error: "Tệp lớn quá", code: "too_large" } });
    it.onload();
  });
  const send = (request) => problemOf(new Server("", { say: String, gone: assert.fail, request: () => request }).sendFile(FILE, () => {}));
  assert.deepEqual([(await send(cut)).text, (await send(cut)).mayRetry], ["no_network", true]);
  assert.deepEqual([(await send(tooLarge)).text, (await send(tooLarge)).mayRetry], ["Tệp lớn quá", false]);
});

/** As much of XMLHttpRequest as is used. */
function upload(act) {
  return {
    upload: {},
    open() {},
    getResponseHeader: () => null,
    send(form) {
      this.form = form;
      act(this);
    },
  };
}
