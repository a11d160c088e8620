/**
 * The chat page: shows the conversation, sends what is typed, pressed, recorded or picked, and catches up by itself.
 *
 * Order of the file: words · small tools · server · conversation · bubbles · outbox · composer · attachments · connection · start.
 * The server's answers are data, never markup: everything is built from DOM nodes, nothing goes through innerHTML.
 */

// ── Words ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const WORDS = JSON.parse(document.getElementById("words").textContent); // language → key → text, from the catalogues
const DAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

const page = document.documentElement;
const base = page.dataset.base;
const timeZone = page.dataset.timezone;
let unit = page.dataset.unit;
let language = page.lang === "en" ? "en" : "vi";

const TEXT_LIMIT = 4000; // UTF-16 units a message, as the server counts
const CAPTION_LIMIT = 1024;
const FILE_LIMIT = 20 * 1024 * 1024;

/** The page's own wording for `key`, with {placeholders} filled. */
function say(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? page.dataset[name]);
}

/** Put every fixed text of the page into the present language. */
function speak(newLanguage) {
  language = newLanguage === "en" ? "en" : "vi";
  page.lang = language;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = say(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]")) {
    node.setAttribute("aria-label", say(node.dataset.tLabel));
    if (node.matches("button")) node.title = say(node.dataset.tLabel);
  }
  for (const node of document.querySelectorAll("[data-t-placeholder]")) node.placeholder = say(node.dataset.tPlaceholder);
  showIdle();
}

// ── Small tools ────────────────────────────────────────────────────────────────────────────────────────────────────

const $ = (id) => document.getElementById(id);
const scroller = $("scroller"), log = $("log"), outboxList = $("outbox"), box = $("box"), composer = $("composer");
const pause = (milliseconds) => new Promise((resume) => setTimeout(resume, milliseconds));
const isTouch = matchMedia("(pointer: coarse)").matches;

/** A DOM element: known properties are set, the rest become attributes; children are nodes or plain strings. */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function icon(name) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `/static/icons.svg#${name}`);
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(use);
  return drawing;
}

/** A UUID, also on plain-http addresses of a local network, where crypto.randomUUID is missing. */
function freshNonce() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Browser storage that may be full, refused or absent: then nothing is kept, and nothing breaks. */
const keep = {
  read(store, name) {
    try { return JSON.parse(window[store].getItem(`by:${base}:${name}`)); } catch { return null; }
  },
  write(store, name, value) {
    try { window[store].setItem(`by:${base}:${name}`, JSON.stringify(value)); } catch { /* kept in memory only */ }
  },
};

const clockFormat = new Intl.DateTimeFormat("en-GB", { timeZone, hour: "2-digit", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-CA", { timeZone, year: "numeric", month: "2-digit", day: "2-digit" });
const timeOf = (iso) => clockFormat.format(new Date(iso));
const dayOf = (instant) => dayFormat.format(instant); // "2026-11-23"

/** "Hôm nay", "Hôm qua" or "Thứ Hai 23/11/2026". The newest message also tells the time: a demo's clock runs ahead. */
function sayDay(day) {
  const now = Math.max(Date.now(), newestAt);
  if (day === dayOf(now)) return say("today");
  if (day === dayOf(now - 86_400_000)) return say("yesterday");
  const [year, month, date] = day.split("-");
  return `${say(DAYS[new Date(`${day}T00:00:00Z`).getUTCDay()])} ${date}/${month}/${year}`;
}

function saySize(bytes) {
  const [value, unitName] = bytes < 1_000_000 ? [Math.max(1, Math.round(bytes / 1024)), "KB"] : [(bytes / 1_048_576).toFixed(1), "MB"];
  return `${language === "vi" ? String(value).replace(".", ",") : value} ${unitName}`;
}

const sayDuration = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

let toastTimer = 0;
/** A passing remark at the foot of the page, also read aloud. */
function toast(text) {
  const node = $("toast");
  node.textContent = text;
  node.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => node.classList.remove("shown"), 2500 + 50 * text.length);
}

function alertBox(text) {
  $("alert-text").textContent = text;
  if (!$("alert").open) $("alert").showModal();
}

function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

// ── Server ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What the server (or the lack of one) answered. `text` may be shown as it is; `mayRetry` says whether trying again makes sense. */
class Problem extends Error {
  constructor({ status = 0, code = "", text = "", retryAfter = 0 }) {
    super(code || String(status));
    Object.assign(this, { status, code, text, retryAfter, mayRetry: status === 0 || status === 429 || status >= 500 });
  }
}

function problemFrom(status, body, retryAfter) {
  const text = body?.error || say(status ? "outage" : "no_network");
  return new Problem({ status, code: body?.code, text, retryAfter: Number(retryAfter) || 0 });
}

/** POST JSON; the answer's body, or a Problem. */
async function post(path, body) {
  let response;
  try {
    response = await fetch(`${base}/api/${path}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), credentials: "same-origin",
    });
  } catch {
    throw problemFrom(0);
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer?.ok) return answer;
  if (response.status === 401) reloadOnce();
  throw problemFrom(response.status, answer, response.headers.get("Retry-After"));
}

/** POST one file, telling `onProgress` how far it is (0 to 1); the answer's body, or a Problem. */
function postFile(entry, onProgress) {
  const form = new FormData();
  form.append("kind", entry.kind);
  form.append("caption", entry.text);
  form.append("nonce", entry.nonce);
  form.append("file", entry.file, entry.name); // last, so the server knows the rest before the bytes come
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${base}/api/file`);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = request.ontimeout = () => reject(problemFrom(0));
    request.onload = () => {
      if (request.status === 200 && request.response?.ok) return resolve(request.response);
      if (request.status === 401) reloadOnce();
      return reject(problemFrom(request.status, request.response, request.getResponseHeader("Retry-After")));
    };
    request.send(form);
  });
}

async function readMessages(query) {
  const response = await fetch(`${base}/api/messages?${new URLSearchParams(query)}`, { credentials: "same-origin" });
  const answer = await response.json().catch(() => null);
  if (response.ok && answer?.ok) return answer;
  if (response.status === 401) reloadOnce();
  throw problemFrom(response.status, answer);
}

/** The cookie is gone or unknown: a reload brings a new one. Once a minute at most, so nothing spins. */
function reloadOnce() {
  const last = keep.read("sessionStorage", "reloaded") ?? 0;
  if (Date.now() - last < 60_000) return;
  keep.write("sessionStorage", "reloaded", Date.now());
  location.reload();
}

// ── Conversation ───────────────────────────────────────────────────────────────────────────────────────────────────

const messages = new Map(); // id → message, the newest state we know
const rows = new Map(); // id → its row in the log
let lastSeq = 0; // everything up to here has reached us on the stream
let newestAt = 0;
let seenSeq = keep.read("localStorage", "seen") ?? 0;
let unread = 0;
let atEnd = true; // the reader is at the newest message, so new ones may scroll into view
let active = true; // false while the demo page shows another person's phone
let loaded = false;

const isWatched = () => active && atEnd && document.visibilityState === "visible";

/** Take a message in, new or changed; older states of one we know are ignored. */
function receive(message, { history = false } = {}) {
  const known = messages.get(message.id);
  if (known && known.seq >= message.seq) return;
  messages.set(message.id, message);
  newestAt = Math.max(newestAt, Date.parse(message.at));
  if (message.from === "me") settleTwin(message);
  const row = place(message, known, history);
  if (!history) noticeArrival(message, known, row);
  refreshKeyboard();
  $("welcome").hidden = true;
}

function noticeArrival(message, known, row) {
  if (message.from === "bot") showTyping(false);
  if (message.from === "bot" && !message.deleted && pressing.has(message.id)) {
    $("spoken").textContent = message.text;
    release(message.id);
  }
  if (known || message.from === "me" || message.deleted) return;
  readSettingsAfterAct();
  if (!isWatched()) {
    if (!unread) markNew(row);
    unread += 1;
  }
  followEnd();
  tellUnread();
}

/** Put the message's row where its id belongs, replacing an older state in place; returns the row, if it still has one. */
function place(message, known, history) {
  const former = rows.get(message.id);
  if (message.deleted && (message.from === "me" || !message.id)) {
    const following = former?.nextElementSibling;
    former?.remove();
    rows.delete(message.id);
    markDay(following);
    return null;
  }
  const row = make("div", { className: "row" }, bubbleOf(message));
  row.dataset.from = message.from;
  row.dataset.id = message.id;
  row.dataset.day = dayOf(new Date(message.at));
  if (former) {
    const news = former.querySelector(".news");
    if (news) row.prepend(news);
    row.setAttribute("aria-live", "off"); // progress messages change every few seconds: not read out each time
    keepFocus(former, row, () => former.replaceWith(row));
  } else {
    if (!history && !known) row.classList.add("fresh");
    log.insertBefore(row, rowAfter(message.id));
  }
  rows.set(message.id, row);
  markDay(row);
  markDay(row.nextElementSibling);
  return row;
}

function rowAfter(id) {
  let following = null;
  for (let row = log.lastElementChild; row && Number(row.dataset.id) > id; row = row.previousElementSibling) following = row;
  return following;
}

/** A changed bubble keeps the reader's place: focus goes to the same button, or to the bubble when that is gone. */
function keepFocus(former, row, change) {
  const held = former.contains(document.activeElement) ? [...former.querySelectorAll("button, a")].indexOf(document.activeElement) : null;
  change();
  if (held === null) return;
  const target = [...row.querySelectorAll("button, a")][held] ?? row.querySelector(".message");
  target.focus({ preventScroll: true });
}

function markDay(row) {
  if (!row) return;
  row.querySelector(".day")?.remove();
  const opens = row.previousElementSibling?.dataset.day !== row.dataset.day;
  row.classList.toggle("opens-day", opens);
  if (opens) row.prepend(make("div", { className: "day" }, make("span", {}, sayDay(row.dataset.day))));
}

function markNew(row) {
  log.querySelector(".news")?.remove();
  row?.querySelector(".message").before(make("div", { className: "news" }, make("span", {}, say("new_here"))));
}

/** Scroll along with the newest message, if that is where the reader is. */
function followEnd() {
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

function goToEnd() {
  atEnd = true;
  followEnd();
  noticeReading();
}

function noticeReading() {
  if (isWatched()) {
    unread = 0;
    rememberSeen();
  }
  tellUnread();
}

let seenTimer = 0;
function rememberSeen() {
  if (!loaded || lastSeq <= seenSeq) return;
  seenSeq = lastSeq;
  keep.write("localStorage", "seen", seenSeq);
  clearTimeout(seenTimer);
  seenTimer = setTimeout(() => post("seen", { seq: seenSeq }).catch(() => {}), 400);
}

/** Show how much is unread: on the pill, in the page's title, and to the demo page around us. */
function tellUnread() {
  const pill = $("pill");
  pill.hidden = atEnd;
  pill.classList.toggle("has-news", unread > 0);
  $("pill-text").textContent = unread ? say(unread === 1 ? "new_one" : "new_many", { n: unread }) : "";
  if (unread) pill.removeAttribute("aria-label");
  else pill.setAttribute("aria-label", say("to_end"));
  document.title = `${unread ? `(${unread}) ` : ""}${unit} · Bình Yên`;
  if (window.parent !== window) window.parent.postMessage({ type: "unread", count: unread }, location.origin);
}

let typingTimer = 0;
function showTyping(isTyping) {
  clearTimeout(typingTimer);
  $("typing").hidden = !isTyping;
  $("status").classList.toggle("busy", isTyping);
  if (isTyping) {
    $("status").textContent = say("typing");
    typingTimer = setTimeout(() => showTyping(false), 5000);
    followEnd();
  } else {
    showIdle();
  }
}

function showIdle() {
  if ($("typing").hidden) $("status").textContent = $("status").dataset.idle || say("idle");
}

// ── Bubbles ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The whole look of one message: what it says, when, and the buttons under it. */
function bubbleOf(message) {
  const sender = message.from === "me" ? say("me") : unit;
  const bubble = make("div", { className: "bubble" });
  if (message.deleted) bubble.append(make("p", { className: "withdrawn" }, say("withdrawn")));
  for (const file of message.files ?? []) bubble.append(fileNode(file));
  if (message.location) bubble.append(placeNode(message.location));
  if (message.text) bubble.append(make("div", { className: "text", dir: "auto" }, ...richText(message.text, message.entities ?? [], message.from)));
  bubble.append(metaOf(message));
  const article = make("article", { className: "message", tabIndex: -1, "aria-label": `${sender}, ${timeOf(message.at)}` }, bubble);
  Object.assign(article.dataset, { testid: "message", from: message.from, id: message.id });
  if (message.buttons?.length) {
    article.classList.add("has-buttons");
    article.append(make("div", { className: "buttons" }, ...message.buttons.map((row) => buttonRow(message, row))));
  }
  return article;
}

function metaOf(message) {
  const parts = [make("time", { dateTime: message.at }, timeOf(message.at))];
  if (message.edited && !message.deleted) parts.unshift(make("span", {}, say("edited")));
  if (message.from === "me") parts.push(icon("check"), make("span", { className: "unseen" }, say("sent")));
  return make("div", { className: "meta" }, ...parts);
}

function buttonRow(message, row) {
  return make("div", { className: "button-row" }, ...row.map((button) => (button.url ? linkButton(button) : pressButton(message, button))));
}

function pressButton(message, button) {
  const node = make("button", { type: "button", className: "inline-button", onclick: () => press(message, button) }, make("span", { dir: "auto" }, button.label));
  node.dataset.data = button.data;
  showPressed(node, pressing.get(message.id)?.data);
  return node;
}

function linkButton({ label, url }) {
  const href = safeAddress(url, ["https:", "http:", "tel:"]);
  if (!href) return make("span", { className: "inline-button" }, label);
  if (href.startsWith("tel:")) return make("a", { className: "inline-button", href }, icon("phone"), label);
  return make("a", { className: "inline-button", href, target: "_blank", rel: "noopener noreferrer" }, label, icon("out"), make("span", { className: "unseen" }, say("new_tab")));
}

function fileNode(file) {
  const address = `${base}/api/files/${encodeURIComponent(file.id)}`;
  const name = file.name || say(file.kind === "document" ? "file" : file.kind);
  switch (file.kind) {
    case "photo": {
      const image = make("img", { src: address, alt: say("photo_of", { name }), decoding: "async" });
      return make("button", { type: "button", className: "picture", onclick: () => openViewer(address, image.alt) }, image);
    }
    case "video":
      return make("video", { src: address, controls: true, preload: "metadata", playsInline: true, "aria-label": name });
    case "voice":
      return make("audio", { src: address, controls: true, preload: "metadata", "aria-label": say("voice") });
    default:
      return make("a", { className: "document", href: address, download: name },
        make("span", { className: "badge" }, icon("file")), make("span", {}, make("b", { dir: "auto" }, name), make("small", {}, saySize(file.size))));
  }
}

function placeNode({ latitude, longitude }) {
  const point = `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`;
  const href = `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=17/${latitude}/${longitude}`;
  return make("a", { className: "document", href, target: "_blank", rel: "noopener noreferrer" },
    make("span", { className: "badge" }, icon("pin")), make("span", {}, make("b", {}, point), make("small", {}, say("open_map"))));
}

function openViewer(address, description) {
  Object.assign($("viewer-image"), { src: address, alt: description });
  $("viewer").showModal();
}

/** `address` as a link target if its scheme is one of `schemes`, else null. */
function safeAddress(address, schemes = ["https:", "http:"]) {
  try {
    const parsed = new URL(address);
    return schemes.includes(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}

/** Text with Bot API entities as DOM nodes. Offsets are UTF-16, which is how JavaScript counts too. */
function richText(text, entities, from) {
  const sorted = entities
    .filter(({ offset, length }) => Number.isInteger(offset) && length > 0 && offset >= 0 && offset < text.length)
    .sort((left, right) => left.offset - right.offset || right.length - left.length);
  return nodesBetween(text, sorted, 0, text.length, from);
}

/** The nodes for text[start, end); `entities` are sorted, those that overlap a neighbour are cut at its end. */
function nodesBetween(text, entities, start, end, from, linked = false) {
  const nodes = [];
  let at = start;
  for (let index = 0; index < entities.length; ) {
    const entity = entities[index];
    const opens = Math.max(entity.offset, at);
    const closes = Math.min(entity.offset + entity.length, end);
    let next = index + 1;
    while (next < entities.length && entities[next].offset < closes) next += 1;
    if (opens < closes) {
      nodes.push(...plainNodes(text.slice(at, opens), from, linked));
      const isLink = linked || LINKING.has(entity.type);
      const inner = nodesBetween(text, entities.slice(index + 1, next), opens, closes, from, isLink);
      nodes.push(...entityNodes(entity, text.slice(opens, closes), inner, from, linked));
      at = closes;
    }
    index = next;
  }
  nodes.push(...plainNodes(text.slice(at, end), from, linked));
  return nodes;
}

const TAGS = { bold: "strong", italic: "em", underline: "u", strikethrough: "s", code: "code", pre: "pre", blockquote: "blockquote", expandable_blockquote: "blockquote" };
const LINKING = new Set(["text_link", "url", "bot_command", "phone_number", "code", "pre", "spoiler"]);

function entityNodes(entity, text, inner, from, linked) {
  if (TAGS[entity.type]) return [make(TAGS[entity.type], {}, ...inner)];
  if (entity.type === "spoiler") return [spoiler(text)];
  if (linked) return inner;
  switch (entity.type) {
    case "bot_command":
      return from === "bot" ? [commandLink(text)] : inner;
    case "phone_number":
      return [make("a", { href: `tel:${text.replace(/[^\d+]/g, "")}` }, ...inner)];
    case "url":
      return webLink(/^[a-z][a-z0-9+.-]*:/i.test(text) ? text : `https://${text}`, inner);
    case "text_link":
      return webLink(entity.url, inner, text);
    default:
      return inner;
  }
}

/** A link that shows where it goes: the address follows whenever the words do not say it. */
function webLink(address, inner, words = null) {
  const href = safeAddress(address);
  if (!href) return inner;
  const link = make("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...inner);
  const isPlain = words === null || safeAddress(words) === href;
  return isPlain ? [link] : [link, make("span", { className: "address" }, ` (${href})`)];
}

function commandLink(text) {
  return make("button", { type: "button", className: "command", onclick: () => sendText(text) }, text);
}

function spoiler(text) {
  const covered = make("span", { "aria-hidden": "true" }, text);
  const hint = make("span", { className: "unseen" }, say("say_spoiler"));
  const node = make("button", { type: "button", className: "spoiler", "aria-expanded": "false" }, covered, hint);
  node.onclick = () => {
    node.setAttribute("aria-expanded", "true");
    covered.removeAttribute("aria-hidden");
    hint.remove();
  };
  return node;
}

/** Plain text, with http(s) addresses made links and, in the bot's messages, commands of the menu made pressable. */
function plainNodes(text, from, linked) {
  if (!text) return [];
  if (linked) return [text];
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(/https?:\/\/[^\s<>"“”]+|(?<![\w/])\/[a-z][a-z0-9_]{1,31}(?![\w/])/g)) {
    const found = match[0].startsWith("/") ? match[0] : match[0].replace(/[.,;:!?)\]'’]+$/, "");
    const isCommand = found.startsWith("/");
    if (isCommand && !(from === "bot" && pressable.has(found))) continue;
    nodes.push(text.slice(at, match.index), ...(isCommand ? [commandLink(found)] : webLink(found, [found])));
    at = match.index + found.length;
  }
  return [...nodes, text.slice(at)].filter((node) => node !== "");
}

// Presses

const pressing = new Map(); // message id → {data}: one press at a time under each message
const chosen = new Map(); // message id → data of the button pressed last: it keeps a tick, since a press leaves no bubble
const pressNonces = new Map(); // "id data" → nonce of a press that has not been answered yet

/** Press a button: the same act keeps its nonce through every retry, so it counts once. */
async function press(message, button) {
  if (pressing.has(message.id)) return;
  const act = `${message.id} ${button.data}`;
  const nonce = pressNonces.get(act) ?? freshNonce();
  pressNonces.set(act, nonce);
  const pressed = { data: button.data };
  pressing.set(message.id, pressed);
  settingsMayChange = true;
  paintPresses(message.id);
  try {
    await patiently(() => post("press", { message_id: message.id, data: button.data, nonce }));
    pressNonces.delete(act);
    chosen.set(message.id, button.data);
    setTimeout(() => pressing.get(message.id) === pressed && release(message.id), 4000); // normally a toast or an edit comes first
  } catch (problem) {
    if (!problem.mayRetry) pressNonces.delete(act);
    toast(problem.mayRetry && problem.status === 0 ? say("press_failed") : problem.text);
    release(message.id);
  }
}

/** Try, and try again where that makes sense: after 1 s and 3 s, or when the server says. */
async function patiently(act) {
  for (const wait of [1000, 3000, null]) {
    try {
      return await act();
    } catch (problem) {
      if (!problem.mayRetry || wait === null) throw problem;
      await pause(problem.retryAfter ? problem.retryAfter * 1000 : wait);
    }
  }
}

function release(id) {
  pressing.delete(id);
  paintPresses(id);
}

function paintPresses(id) {
  const pressed = pressing.get(id);
  for (const node of rows.get(id)?.querySelectorAll("button.inline-button") ?? []) showPressed(node, pressed?.data);
}

/** aria-disabled rather than disabled: the button keeps the keyboard's focus while it works. */
function showPressed(node, pressedData) {
  node.querySelector(".spinner, .icon")?.remove();
  if (pressedData === undefined && chosen.get(Number(node.closest(".message")?.dataset.id)) === node.dataset.data) node.prepend(icon("check"));
  if (pressedData === undefined) {
    node.removeAttribute("aria-disabled");
    node.removeAttribute("aria-busy");
    return;
  }
  node.setAttribute("aria-disabled", "true");
  if (node.dataset.data === pressedData) {
    node.setAttribute("aria-busy", "true");
    node.prepend(make("span", { className: "spinner", "aria-hidden": "true" }));
  }
}

/** Put the focus on the first button of the newest message that has any, or `step` such messages further up or down. */
function focusButtons(step = 0) {
  const sets = [...document.querySelectorAll(".row .buttons, .keyboard:not([hidden])")];
  if (!sets.length) {
    $("spoken").textContent = say("no_buttons");
    return;
  }
  const present = sets.findIndex((set) => set.contains(document.activeElement));
  const target = present < 0 ? sets.length - 1 : present + step;
  if (target >= sets.length) box.focus();
  else sets[Math.max(0, target)].querySelector("button, a")?.focus();
}

// ── Outbox ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * What is on its way: {nonce, type: "text" | "place" | "file", text, at, state: "sending" | "waiting" | "failed", …}.
 * Sent one after the other, so the order stays; texts and places survive a reload with their nonces.
 */
let outbox = [];
let line = Promise.resolve();

function enqueue(entry) {
  const full = { nonce: freshNonce(), text: "", at: new Date().toISOString(), state: "sending", ...entry };
  outbox.push(full);
  log.querySelector(".news")?.remove();
  $("welcome").hidden = true;
  drawOutbox();
  refreshKeyboard();
  goToEnd();
  send(full);
}

function send(entry) {
  entry.state = "sending";
  entry.problem = "";
  drawOutbox();
  line = line.then(() => deliver(entry));
}

async function deliver(entry) {
  if (!outbox.includes(entry)) return;
  try {
    const answer = await transmit(entry);
    settle(entry);
    if (answer.message) receive(answer.message);
    expectOnStream(answer.message?.seq ?? 0);
  } catch (problem) {
    await handleFailure(entry, problem);
  }
}

function transmit(entry) {
  if (entry.type === "file") return postFile(entry, (share) => showProgress(entry, share));
  if (entry.type === "place") return post("location", { latitude: entry.latitude, longitude: entry.longitude, nonce: entry.nonce });
  return post("text", { text: entry.text, nonce: entry.nonce });
}

async function handleFailure(entry, problem) {
  if (problem.code === "too_fast" && outbox.includes(entry)) {
    const seconds = problem.retryAfter || 2;
    entry.state = "waiting";
    entry.problem = say("waiting", { n: seconds });
    drawOutbox();
    await pause(seconds * 1000);
    return send(entry);
  }
  entry.state = "failed";
  entry.problem = problem.text;
  entry.isNetwork = problem.status === 0;
  drawOutbox();
}

function settle(entry) {
  outbox = outbox.filter((other) => other !== entry);
  drawOutbox();
}

/** Our own message may come on the stream before the answer does: then its waiting twin is done. */
function settleTwin(message) {
  const twin = outbox.find((entry) => entry.state === "sending" && (
    (entry.type === "text" && !message.files?.length && !message.location && entry.text.trim() === message.text.trim()) ||
    (entry.type === "place" && message.location) ||
    (entry.type === "file" && message.files?.some((file) => file.size === entry.file.size))));
  if (twin) settle(twin);
}

/** The network is back: what failed only for want of it goes out again, with its nonce. */
function retryUnsent() {
  for (const entry of outbox) if (entry.state === "failed" && entry.isNetwork) send(entry);
}

function drawOutbox() {
  keep.write("sessionStorage", "outbox", outbox.filter((entry) => entry.type !== "file"));
  outboxList.replaceChildren(...outbox.map(pendingNode));
  followEnd();
}

function pendingNode(entry) {
  const bubble = make("div", { className: "bubble" });
  if (entry.type === "file") bubble.append(pendingFile(entry));
  if (entry.type === "place") bubble.append(make("div", { className: "document" }, make("span", { className: "badge" }, icon("pin")), make("b", {}, say("place"))));
  if (entry.text) bubble.append(make("div", { className: "text", dir: "auto" }, entry.text));
  const isFailed = entry.state === "failed";
  const status = isFailed ? say("not_sent") : entry.state === "waiting" ? entry.problem : say("sending");
  bubble.append(make("div", { className: "meta" }, make("span", {}, status), icon(isFailed ? "warn" : "clock")));
  const article = make("article", { className: `message pending ${entry.state}`, "aria-label": `${say("me")}, ${timeOf(entry.at)}` }, bubble);
  Object.assign(article.dataset, { testid: "message", from: "me", pending: entry.state });
  if (isFailed) {
    bubble.onclick = () => send(entry);
    bubble.append(make("div", { className: "meta" }, entry.problem));
    article.append(make("div", { className: "again" }, make("button", { type: "button", onclick: () => send(entry) }, say("retry")),
      make("button", { type: "button", onclick: () => takeBack(entry) }, say(entry.type === "text" ? "take_back" : "drop"))));
  }
  return make("div", { className: "row", "data-from": "me" }, article);
}

function pendingFile(entry) {
  const holder = make("div", {});
  if (entry.preview) holder.append(make("span", { className: "picture" }, entry.preview));
  else holder.append(make("div", { className: "document" }, make("span", { className: "badge" }, icon(entry.kind === "voice" ? "mic" : "file")),
    make("span", {}, make("b", { dir: "auto" }, entry.label ?? entry.name), make("small", {}, saySize(entry.file.size)))));
  if (entry.state === "sending") {
    entry.bar = make("progress", { max: 1, value: entry.share ?? 0, "aria-label": say("sending") });
    holder.append(entry.bar);
  }
  return holder;
}

function showProgress(entry, share) {
  entry.share = share;
  if (entry.bar) entry.bar.value = share;
}

/** Take an unsent message back into the box to change it. */
function takeBack(entry) {
  settle(entry);
  if (entry.type === "text") {
    box.value = [entry.text, box.value].filter(Boolean).join("\n");
    noticeDraft();
  }
  box.focus();
}

// ── Composer ───────────────────────────────────────────────────────────────────────────────────────────────────────

let commands = [];
const pressable = new Set(); // every command any menu has named here, in whichever language
let tray = []; // what will go with the next message: {kind, file, name, label, preview} or {place}

function sendText(text) {
  enqueue({ type: "text", text });
}

function submit() {
  const text = box.value.trim();
  if (!text && !tray.length) return box.focus();
  if (text.length > TEXT_LIMIT) return complain(say("too_long", { n: TEXT_LIMIT.toLocaleString(language === "vi" ? "vi-VN" : "en-GB") }));
  closePanels();
  const files = tray.filter((item) => item.file);
  const caption = files.length && text.length <= CAPTION_LIMIT ? text : "";
  files.forEach((item, index) => enqueue({ ...item, type: "file", text: index === 0 ? caption : "" }));
  for (const { place: spot } of tray) if (spot) enqueue({ type: "place", ...spot });
  if (text && !caption) sendText(text);
  tray = [];
  box.value = "";
  drawTray();
  noticeDraft();
  box.focus();
}

/** The draft is kept over reloads, the box grows with it, and the send button follows. */
function noticeDraft() {
  keep.write("sessionStorage", "draft", box.value);
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
  const hasContent = Boolean(box.value.trim() || tray.length);
  const offersVoice = canRecord && !hasContent;
  $("mic").hidden = !offersVoice;
  $("send").hidden = offersVoice;
  $("send").setAttribute("aria-disabled", String(!hasContent));
  if (box.value.length <= TEXT_LIMIT) complain("");
  if (box.value.startsWith("/") && !/\s/.test(box.value)) openCommands(box.value.slice(1));
  else if (!$("commands").hidden && $("commands").dataset.typed) closePanels();
}

function onBoxKey(event) {
  if (event.isComposing) return;
  if (event.key === "Enter" && !event.shiftKey && (!isTouch || event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    submit();
  } else if (event.key === "ArrowUp" && !event.altKey && !$("commands").hidden) {
    event.preventDefault();
    [...$("commands").querySelectorAll("button")].at(-1)?.focus();
  }
}

function onPageKey(event) {
  if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    event.preventDefault();
    focusButtons(event.key === "ArrowUp" ? -1 : 1);
  } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    const opener = document.querySelector('.composer [aria-expanded="true"]');
    closePanels();
    (opener ?? box).focus();
  }
}

// Panels

function togglePanel(panel, button, fill = () => {}) {
  const opens = panel.hidden;
  closePanels();
  if (!opens) return;
  fill();
  panel.hidden = false;
  button.setAttribute("aria-expanded", "true");
  panel.querySelector("button")?.focus();
}

function closePanels() {
  for (const panel of document.querySelectorAll(".panel")) panel.hidden = true;
  for (const button of [$("menu"), $("attach")]) button.setAttribute("aria-expanded", "false");
}

function fillCommands(prefix = "") {
  const fitting = commands.filter(({ command }) => command.startsWith(prefix));
  const choose = (command) => {
    closePanels();
    if (box.value.startsWith("/")) box.value = "";
    noticeDraft();
    sendText(`/${command}`);
    box.focus();
  };
  $("commands").replaceChildren(...fitting.map(({ command, description }) =>
    make("button", { type: "button", onclick: () => choose(command) }, make("b", {}, `/${command}`), make("span", {}, description))));
  if (!fitting.length) $("commands").append(make("p", { className: "none" }, say("no_commands")));
  return fitting.length;
}

/** While a command is being typed, the fitting ones are offered; the focus stays in the box. */
function openCommands(prefix) {
  const found = fillCommands(prefix);
  $("attachments").hidden = true;
  $("commands").hidden = found === 0;
  $("commands").dataset.typed = "yes";
  $("menu").setAttribute("aria-expanded", String(found > 0));
}

function onPanelKey(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (!step || event.altKey) return;
  event.preventDefault();
  buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length]?.focus();
}

// The bot's keyboard above the box

function refreshKeyboard() {
  const keyboard = presentKeyboard();
  $("keyboard").hidden = !keyboard.length;
  $("keyboard").replaceChildren(...keyboard.map((row) => make("div", { className: "button-row" }, ...row.map(keyboardButton))));
}

/** The newest keyboard the bot has offered, as long as nothing has been sent since. */
function presentKeyboard() {
  if (outbox.length) return [];
  for (let row = log.lastElementChild; row; row = row.previousElementSibling) {
    const message = messages.get(Number(row.dataset.id));
    if (message.from === "me") return [];
    if (message.keyboard && !message.deleted) return message.keyboard;
  }
  return [];
}

function keyboardButton(key) {
  const { label, asks } = typeof key === "string" ? { label: key } : key;
  const acts = { location: () => findPlace((spot) => enqueue({ type: "place", ...spot })), contact: askForPhone };
  return make("button", { type: "button", onclick: acts[asks] ?? (() => sendText(label)) }, asks ? icon(asks === "location" ? "pin" : "phone") : null, label);
}

function askForPhone() {
  box.inputMode = "tel";
  box.focus();
  toast(say("type_phone"));
  box.addEventListener("blur", () => { box.inputMode = "text"; }, { once: true });
}

// ── Attachments ────────────────────────────────────────────────────────────────────────────────────────────────────

const canRecord = Boolean(window.MediaRecorder && navigator.mediaDevices?.getUserMedia);
const RECORDINGS = [["audio/ogg;codecs=opus", "ogg"], ["audio/webm;codecs=opus", "webm"], ["audio/mp4", "m4a"]];

/** Lay files beside the next message; what cannot be sent is said at once. */
async function addFiles(files, asDocuments = false) {
  closePanels();
  for (const file of files) {
    if (file.size > FILE_LIMIT) complain(say("too_large", { name: file.name }));
    else if (!file.size) complain(say("empty_file", { name: file.name }));
    else tray.push({ kind: asDocuments ? "document" : kindOf(file), file, name: file.name || "tep", preview: await previewOf(file) });
  }
  drawTray();
  noticeDraft();
  box.focus();
}

function kindOf(file) {
  if (/^image\/(jpeg|png|webp)$/.test(file.type)) return "photo";
  return file.type.startsWith("video/") ? "video" : "document";
}

/** A small picture of a picture, drawn here; null for anything else. */
async function previewOf(file) {
  if (!file.type.startsWith("image/")) return null;
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, 640 / Math.max(bitmap.width, bitmap.height));
    const canvas = make("canvas", { width: Math.max(1, bitmap.width * scale), height: Math.max(1, bitmap.height * scale), role: "img", "aria-label": file.name });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return canvas;
  } catch {
    return null;
  }
}

function drawTray() {
  $("tray").hidden = !tray.length;
  $("tray").replaceChildren(...tray.map((item) => {
    const name = item.label ?? item.name;
    const remove = () => {
      tray = tray.filter((other) => other !== item);
      drawTray();
      noticeDraft();
      box.focus();
    };
    return make("li", {}, item.preview ?? icon(item.place ? "pin" : item.kind === "voice" ? "mic" : "file"),
      make("span", { dir: "auto" }, name), item.file ? make("small", {}, saySize(item.file.size)) : null,
      make("button", { type: "button", "aria-label": say("remove", { name }), onclick: remove }, icon("close")));
  }));
}

function addPlace() {
  closePanels();
  findPlace((spot) => {
    tray = [...tray.filter((item) => !item.place), { place: spot, label: say("place_here", { n: Math.round(spot.accuracy) }) }];
    drawTray();
    noticeDraft();
    box.focus();
  });
}

function findPlace(use) {
  if (!navigator.geolocation) return complain(say("no_place"));
  toast(say("finding_place"));
  navigator.geolocation.getCurrentPosition(
    ({ coords }) => {
      toast("");
      $("toast").classList.remove("shown");
      use({ latitude: coords.latitude, longitude: coords.longitude, accuracy: coords.accuracy });
    },
    () => complain(say("no_place")), { enableHighAccuracy: true, timeout: 15_000, maximumAge: 30_000 });
}

let recorder = null;

/** Record until Done or Cancel; a finished recording lies in the tray, to be sent or thrown away. */
async function record() {
  closePanels();
  complain("");
  let sound;
  try {
    sound = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    return complain(say("no_mic"));
  }
  const [mime, ending] = RECORDINGS.find(([type]) => MediaRecorder.isTypeSupported(type)) ?? ["", "webm"];
  recorder = new MediaRecorder(sound, mime ? { mimeType: mime } : {});
  const parts = [];
  const startedAt = performance.now();
  const seconds = () => (performance.now() - startedAt) / 1000;
  const ticking = setInterval(() => { $("record-time").textContent = sayDuration(seconds()); }, 250);
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.onstop = () => {
    clearInterval(ticking);
    for (const track of sound.getTracks()) track.stop();
    if (recorder.isWanted) addVoice(new Blob(parts, { type: mime.split(";")[0] || "audio/webm" }), ending, seconds());
    showRecorder(false);
  };
  recorder.start(1000);
  showRecorder(true);
  return undefined;
}

function addVoice(sound, ending, seconds) {
  tray.push({ kind: "voice", file: sound, name: `ghi-am.${ending}`, label: say("voice_of", { n: sayDuration(seconds) }), preview: null });
  drawTray();
}

function stopRecording(isWanted) {
  recorder.isWanted = isWanted;
  recorder.stop();
}

function showRecorder(isOn) {
  $("recorder").hidden = !isOn;
  composer.hidden = isOn;
  $("record-time").textContent = "0:00";
  noticeDraft();
  if (isOn) $("record-done").focus();
  else ($("send").hidden || !tray.length ? box : $("send")).focus();
}

// ── Connection ─────────────────────────────────────────────────────────────────────────────────────────────────────

let stream = null;
let failures = 0;
let reconnectTimer = 0;
let offlineTimer = 0;

const waitBefore = (attempt) => Math.min(30_000, 1000 * 2 ** Math.min(attempt, 5)) * (0.75 + Math.random() / 2);

/** The bar appears only when the loss lasts: a blink of the network is nobody's business. */
function showOffline(isOffline) {
  clearTimeout(offlineTimer);
  if (!isOffline) $("offline").hidden = true;
  else if ($("offline").hidden) offlineTimer = setTimeout(() => { $("offline").hidden = false; }, 1500);
}

function reconnect(wait = waitBefore(failures++)) {
  stream?.close();
  stream = null;
  showOffline(true);
  clearTimeout(reconnectTimer);
  reconnectTimer = setTimeout(connect, wait);
}

async function connect() {
  clearTimeout(reconnectTimer);
  stream?.close();
  if (document.visibilityState === "hidden" && loaded) return;
  try {
    if (!loaded) await loadNewest();
    else if (failures) await probe();
    listen();
  } catch {
    reconnect();
  }
}

/** An event stream hides why it was refused: ask first. A chat that has gone or begun anew needs a fresh page. */
async function probe() {
  const { last_seq: newest } = await readMessages({ after: lastSeq, limit: 1 });
  if (newest < lastSeq) reloadOnce();
}

function listen() {
  stream = new EventSource(`${base}/api/events?after=${lastSeq}`);
  const on = (name, act) => stream.addEventListener(name, (event) => act(JSON.parse(event.data || "{}")));
  on("hello", ({ last_seq: newest }) => {
    if (newest < lastSeq) reloadOnce();
    failures = 0;
    showOffline(false);
    retryUnsent();
  });
  on("message", (message) => {
    lastSeq = Math.max(lastSeq, message.seq);
    receive(message);
    noticeReading();
  });
  on("typing", ({ typing }) => showTyping(typing !== false));
  on("toast", ({ text, alert: isAlert }) => {
    for (const id of [...pressing.keys()]) release(id);
    if (text) (isAlert ? alertBox : toast)(text);
  });
  on("commands", () => readMessages({ after: lastSeq, limit: 1 }).then(takeSettings).catch(() => {}));
  on("bye", () => reconnect(5000));
  stream.onerror = () => reconnect();
}

/** After an accepted message the stream must bring at least that much; if it stays silent, it is dead: open it anew. */
function expectOnStream(seq) {
  setTimeout(() => {
    if (seq > lastSeq && stream?.readyState === EventSource.OPEN) connect();
  }, 6000);
}

async function loadNewest() {
  const answer = await readMessages({ after: 0 });
  takeSettings(answer);
  log.setAttribute("aria-busy", "true");
  log.setAttribute("aria-live", "off"); // the past is not read aloud
  for (const message of answer.messages) receive(message, { history: true });
  lastSeq = answer.last_seq;
  if (seenSeq > lastSeq) seenSeq = 0; // another chat than last time, as after a demo's restart
  $("older").hidden = !answer.more;
  markFirstUnseen(answer.messages);
  showTyping(Boolean(answer.typing));
  loaded = true;
  begin(answer.messages.length === 0);
  goToEnd();
  setTimeout(() => {
    log.setAttribute("aria-busy", "false");
    log.setAttribute("aria-live", "polite");
  }, 500);
}

/** Where reading stopped last time; a first visit has no such place. */
function markFirstUnseen(found) {
  if (!seenSeq) return;
  const first = found.find((message) => message.from === "bot" && message.seq > seenSeq && !message.edited && !message.deleted);
  if (first) markNew(rows.get(first.id));
}

async function loadOlder() {
  const height = scroller.scrollHeight;
  const oldest = Math.min(...messages.keys());
  try {
    const answer = await readMessages({ before: oldest });
    log.setAttribute("aria-live", "off");
    for (const message of answer.messages) receive(message, { history: true });
    $("older").hidden = !answer.more;
    scroller.scrollTop += scroller.scrollHeight - height;
    setTimeout(() => log.setAttribute("aria-live", "polite"), 500);
  } catch (problem) {
    toast(problem.text ?? say("no_network"));
  }
}

function takeSettings(answer) {
  commands = answer.commands ?? commands;
  learnCommands();
  unit = answer.unit || unit;
  $("menu").hidden = !commands.length;
  if (answer.language && answer.language !== language) speak(answer.language);
  tellUnread();
}

/** Commands new to the menu become pressable in what has been said already. */
function learnCommands() {
  const known = pressable.size;
  for (const { command } of commands) pressable.add(`/${command}`);
  if (pressable.size === known) return;
  for (const message of messages.values()) if (message.from === "bot" && message.text.includes("/")) place(message, message, true);
}

let settingsMayChange = false; // the reader has just done something, perhaps chosen another language
function readSettingsAfterAct() {
  if (!settingsMayChange) return;
  settingsMayChange = false;
  readMessages({ after: lastSeq, limit: 1 }).then(takeSettings).catch(() => {});
}

/** First words: a deep link starts by itself in an empty chat, and asks with a button in one that has a history. */
function begin(isEmpty) {
  const payload = page.dataset.start;
  if (location.search) history.replaceState(null, "", location.pathname);
  if (outbox.length) return undefined;
  if (payload && isEmpty) return sendText(`/start ${payload}`);
  if (!payload && !isEmpty) return undefined;
  $("welcome").hidden = false;
  $("start").onclick = () => {
    page.dataset.start = "";
    sendText(payload ? `/start ${payload}` : "/start");
    box.focus();
  };
  if (!isEmpty) log.after($("welcome"));
  return undefined;
}

/** A hidden page gives its stream back (browsers allow six a site) and asks now and then instead. */
let hiddenTimer = 0;
function onVisibility() {
  clearTimeout(hiddenTimer);
  if (document.visibilityState === "visible") {
    if (!stream || stream.readyState === EventSource.CLOSED) connect();
    noticeReading();
    return;
  }
  const rest = () => {
    stream?.close();
    stream = null;
    readMessages({ after: lastSeq }).then((answer) => {
      for (const message of answer.messages) receive(message);
      lastSeq = Math.max(lastSeq, answer.last_seq);
    }).catch(() => {});
    hiddenTimer = setTimeout(rest, 30_000);
  };
  hiddenTimer = setTimeout(rest, 20_000);
}

// ── Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function listenToReader() {
  composer.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  box.addEventListener("keydown", onBoxKey);
  box.addEventListener("input", noticeDraft);
  box.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    addFiles(files);
  });
  document.addEventListener("keydown", onPageKey);
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => { event.preventDefault(); addFiles([...event.dataTransfer.files]); });
  $("menu").onclick = () => {
    delete $("commands").dataset.typed;
    togglePanel($("commands"), $("menu"), () => fillCommands());
  };
  $("attach").onclick = () => togglePanel($("attachments"), $("attach"));
  for (const panel of document.querySelectorAll(".panel")) panel.addEventListener("keydown", onPanelKey);
  $("skip-buttons").onclick = (event) => { event.preventDefault(); focusButtons(); };
  $("skip-box").onclick = (event) => { event.preventDefault(); box.focus(); };
  $("pill").onclick = () => { goToEnd(); box.focus({ preventScroll: true }); };
  $("older").onclick = loadOlder;
  $("viewer").onclick = () => $("viewer").close();
  scroller.addEventListener("pointerdown", closePanels);
}

function listenToAttachments() {
  const picks = { media: () => $("pick-media").click(), camera: () => $("pick-camera").click(), file: () => $("pick-file").click(), voice: record, place: addPlace };
  const isThere = { camera: isTouch, voice: canRecord, place: Boolean(navigator.geolocation && isSecureContext) };
  for (const button of document.querySelectorAll("[data-pick]")) {
    button.onclick = picks[button.dataset.pick];
    button.hidden = isThere[button.dataset.pick] === false;
  }
  for (const picker of [$("pick-media"), $("pick-camera"), $("pick-file")]) {
    picker.onchange = () => {
      addFiles([...picker.files], picker.id === "pick-file");
      picker.value = "";
    };
  }
  $("mic").onclick = record;
  $("record-cancel").onclick = () => stopRecording(false);
  $("record-done").onclick = () => stopRecording(true);
}

function listenToPage() {
  let size = "";
  const measure = () => `${scroller.clientHeight} ${scroller.scrollHeight}`;
  scroller.addEventListener("scroll", () => {
    const isNear = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
    if (!isNear && measure() !== size) return; // the page changed its size, the reader has not moved
    atEnd = isNear;
    noticeReading();
  }, { passive: true });
  const watcher = new ResizeObserver(() => {
    followEnd();
    size = measure();
  });
  watcher.observe($("stream"));
  watcher.observe(scroller);
  document.addEventListener("visibilitychange", onVisibility);
  window.addEventListener("online", () => { failures = 0; connect(); });
  window.addEventListener("offline", () => showOffline(true));
  window.addEventListener("pagehide", () => stream?.close());
  window.addEventListener("pageshow", (event) => event.persisted && connect());
  window.addEventListener("message", (event) => {
    if (event.origin !== location.origin || event.source !== window.parent || event.data?.type !== "active") return;
    active = Boolean(event.data.active);
    noticeReading();
  });
}

function restore() {
  box.value = keep.read("sessionStorage", "draft") ?? "";
  outbox = keep.read("sessionStorage", "outbox") ?? [];
  for (const entry of outbox) send(entry);
  noticeDraft();
}

speak(language);
listenToReader();
listenToAttachments();
listenToPage();
restore();
connect();
if (!isTouch && window.parent === window) box.focus();
