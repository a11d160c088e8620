/** Asking the server, and asking again: every answer, or the lack of one, is a body or a Problem. */

/** What went wrong. `text` may be shown as it is; `mayRetry` says whether trying again makes sense. */
export class Problem extends Error {
  constructor({ status = 0, code = "", text = "", retryAfter = 0 }) {
    super(code || String(status));
    const mayRetry = status === 0 || status === 429 || status >= 500;
    Object.assign(this, { status, code, text, retryAfter, mayRetry });
  }
}

/** The HTTP API of the chat page at one base path. */
export class Server {
  #api;
  #say;
  #gone;
  #fetch;
  #request;

  /**
   * `say(key)` words what the server did not; `gone()` is called when it does not know the visitor any more.
   * `ask` and `request` stand for fetch and XMLHttpRequest, which alone tells how far an upload is.
   */
  constructor(base, { say, gone, ask = (...what) => fetch(...what), request = () => new XMLHttpRequest() }) {
    this.#api = `${base}/api`;
    this.#say = say;
    this.#gone = gone;
    this.#fetch = ask;
    this.#request = request;
  }

  /** POST JSON. */
  post(path, body) {
    return this.#ask(`${this.#api}/${path}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  }

  /** Messages and settings: the newest, or those after or before a number. */
  read(query) {
    return this.#ask(`${this.#api}/messages?${new URLSearchParams(query)}`);
  }

  /** POST one file, telling `onProgress` how far it is (0 to 1). */
  sendFile({ kind, text, nonce, file, name }, onProgress) {
    const form = new FormData();
    form.append("kind", kind);
    form.append("caption", text);
    form.append("nonce", nonce);
    form.append("file", file, name); // last, so the server knows the rest before the bytes come
    return new Promise((resolve, reject) => {
      const request = this.#request();
      request.open("POST", `${this.#api}/file`);
      request.responseType = "json";
      request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
      request.onerror = request.ontimeout = () => reject(this.#problem(0));
      request.onload = () => {
        const { status, response } = request;
        if (status === 200 && response?.ok) resolve(response);
        else reject(this.#problem(status, response, request.getResponseHeader("Retry-After")));
      };
      request.send(form);
    });
  }

  fileAddress(id) {
    return `${this.#api}/files/${encodeURIComponent(id)}`;
  }

  eventsAddress(after) {
    return `${this.#api}/events?after=${after}`;
  }

  async #ask(address, options = {}) {
    let response;
    try {
      response = await this.#fetch(address, { credentials: "same-origin", ...options });
    } catch {
      throw this.#problem(0);
    }
    const answer = await response.json().catch(() => null);
    if (response.ok && answer?.ok) return answer;
    throw this.#problem(response.status, answer, response.headers.get("Retry-After"));
  }

  #problem(status, body = null, retryAfter = 0) {
    if (status === 401) this.#gone();
    const text = body?.error || this.#say(status ? "outage" : "no_network");
    return new Problem({ status, code: body?.code, text, retryAfter: Number(retryAfter) || 0 });
  }
}

// ── Trying again ──────────────────────────────────────────────────────────────────────────────────────────────────────

export const pause = (milliseconds) => new Promise((resume) => setTimeout(resume, milliseconds));

/** How long a connection rests before try number `attempt` (from 0): 1 s, doubling to 30 s, a quarter more or less. */
export const waitBefore = (attempt, chance = Math.random()) =>
  Math.min(30_000, 1000 * 2 ** Math.min(attempt, 5)) * (0.75 + chance / 2);

/** Try, and try again where that makes sense: after 1 s and 3 s, or when the server says. */
export async function patiently(act, { rest = pause } = {}) {
  for (const wait of [1000, 3000]) {
    try {
      return await act();
    } catch (problem) {
      if (!problem.mayRetry) throw problem;
      await rest(problem.retryAfter ? problem.retryAfter * 1000 : wait);
    }
  }
  return act();
}

/** What makes any number of tries count once: a UUID, also on plain-http addresses of a local network, where crypto.randomUUID is missing. */
export function freshNonce(source = crypto) {
  if (source.randomUUID) return source.randomUUID();
  const bytes = source.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
