/** The demo page: four phones, a clock that can be pushed, and a way back to the beginning. */

const page = document.documentElement;
const phones = [...document.querySelectorAll(".phone")];
const tabs = [...document.querySelectorAll("[data-tab]")];
const isWide = matchMedia("(min-width: 71rem)");
let present = phones[0].dataset.role;

const frameOf = (phone) => phone.querySelector("iframe");

let saidTimer = 0;
/** Say something for a moment at the foot of the page. */
function say(text) {
  const node = document.getElementById("said");
  node.textContent = text;
  node.classList.add("shown");
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => node.classList.remove("shown"), 3500);
}

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, { credentials: "same-origin", ...options });
  if (!response.ok) throw new Error(String(response.status));
  return response.json();
}

// ── Phones and tabs ────────────────────────────────────────────────────────────────────────────────────────────────

/** Show one person's phone: the only one on a narrow screen, the marked one on a wide screen. */
function show(role) {
  present = role;
  for (const tab of tabs) {
    const isChosen = tab.dataset.tab === role;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
  }
  arrange();
}

function arrange() {
  for (const phone of phones) {
    const isSeen = isWide.matches || phone.dataset.role === present;
    phone.classList.toggle("away", !isSeen);
    phone.inert = !isSeen;
    if (isWide.matches) phone.removeAttribute("role");
    else phone.setAttribute("role", "tabpanel");
    tellActive(phone);
  }
}

/** A chat page counts as read only what its reader can see: tell it whether its phone is in view. */
function tellActive(phone) {
  frameOf(phone).contentWindow?.postMessage({ type: "active", active: !phone.inert }, location.origin);
}

function point(role) {
  show(role);
  const phone = phones.find((one) => one.dataset.role === role);
  phone.classList.add("shown");
  setTimeout(() => phone.classList.remove("shown"), 1600);
  phone.scrollIntoView({ block: "nearest", behavior: "smooth" });
  frameOf(phone).focus({ preventScroll: true });
}

function onTabKey(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = tabs[(tabs.indexOf(event.currentTarget) + step + tabs.length) % tabs.length];
  show(next.dataset.tab);
  next.focus();
}

function onFrameMessage(event) {
  if (event.origin !== location.origin || event.data?.type !== "unread") return;
  const phone = phones.find((one) => frameOf(one).contentWindow === event.source);
  if (phone) markUnread(phone, Number(event.data.count) || 0);
}

function markUnread(phone, count) {
  const badge = phone.querySelector(".count");
  badge.hidden = !count;
  badge.textContent = String(count);
  const tab = tabs.find((one) => one.dataset.tab === phone.dataset.role);
  tab.querySelector(".dot").hidden = !count;
  if (count) tab.setAttribute("aria-description", page.dataset.news);
  else tab.removeAttribute("aria-description");
}

// ── Clock and reset ────────────────────────────────────────────────────────────────────────────────────────────────

async function readClock() {
  try {
    const { said } = await ask(`/demo/clock?lang=${page.lang}`);
    document.getElementById("now").textContent = said;
  } catch { /* asked again soon */ }
}

async function pushClock(button) {
  if (button.getAttribute("aria-disabled")) return;
  const spinner = document.createElement("span");
  spinner.className = "spinner";
  button.setAttribute("aria-disabled", "true");
  button.prepend(spinner);
  try {
    const { said } = await ask(`/demo/clock?lang=${page.lang}`, JSON.parse(button.dataset.clock));
    document.getElementById("now").textContent = said; // an <output> is read aloud when it changes
  } catch {
    say(page.dataset.failed);
  } finally {
    spinner.remove();
    button.removeAttribute("aria-disabled");
  }
}

async function startAgain() {
  try {
    await ask("/demo/reset", {});
    for (const store of [localStorage, sessionStorage]) {
      for (const name of Object.keys(store)) if (name.startsWith("by:/demo/")) store.removeItem(name);
    }
    location.reload();
  } catch {
    say(page.dataset.failed);
  }
}

// ── Start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

for (const tab of tabs) {
  tab.addEventListener("click", () => show(tab.dataset.tab));
  tab.addEventListener("keydown", onTabKey);
}
for (const chip of document.querySelectorAll("[data-show]")) chip.addEventListener("click", () => point(chip.dataset.show));
for (const button of document.querySelectorAll("[data-clock]")) button.addEventListener("click", () => pushClock(button));
for (const phone of phones) frameOf(phone).addEventListener("load", () => tellActive(phone));

const dialog = document.getElementById("ask");
document.getElementById("reset").addEventListener("click", () => {
  dialog.returnValue = "";
  dialog.showModal();
});
dialog.addEventListener("close", () => dialog.returnValue === "yes" && startAgain());

window.addEventListener("message", onFrameMessage);
isWide.addEventListener("change", arrange);
if (!isWide.matches) document.getElementById("guide").open = false;
show(present);
readClock();
setInterval(readClock, 20_000);
