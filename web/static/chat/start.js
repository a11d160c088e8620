/**
 * The chat page: shows the conversation, sends what is typed, pressed, recorded or picked, and catches up by itself.
 * Here the parts are put together; each of the others is about one thing and knows only those it imports.
 */

import { receive } from "./arrivals.js";
import { addFiles, addPlace, tray } from "./attachments.js";
import { chooseCommand, noticeDraft, onBoxKey, restoreDraft, submit } from "./composer.js";
import { connect, expectOnStream, watchConnection } from "./connection.js";
import { $, canFindPlace, canRecord, isFramed, isTouch } from "./dom.js";
import { loadOlder } from "./history.js";
import { focusButtons, refreshKeyboard } from "./keyboard.js";
import { showIdle } from "./notices.js";
import { language, speak } from "./page.js";
import { closePanels, closeWithOpener, onPanelKey, toggleMenu, togglePanel } from "./panels.js";
import { drawPending } from "./pending.js";
import { press } from "./presses.js";
import { goToEnd, watchReader } from "./reading.js";
import { record, stopRecording } from "./recorder.js";
import { keepUnsent, outbox, restoreUnsent, sendText } from "./sending.js";

const box = $("box");

function connectParts() {
  tray.onChange = noticeDraft;
  outbox.onChange = () => {
    keepUnsent();
    drawPending();
    refreshKeyboard();
  };
  outbox.onDelivered = ({ message }) => {
    if (message) receive(message);
    expectOnStream(message?.seq ?? 0);
  };
}

function listenToLog() {
  $("log").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button?.matches(".command")) sendText(button.dataset.command);
    if (button?.matches(".inline-button")) press(Number(button.closest(".message").dataset.id), button.dataset.data);
  });
  $("older").onclick = loadOlder;
  $("pill").onclick = () => {
    goToEnd();
    box.focus({ preventScroll: true });
  };
  $("viewer").onclick = () => $("viewer").close();
  $("scroller").addEventListener("pointerdown", closePanels);
}

function listenToComposer() {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  box.addEventListener("keydown", onBoxKey);
  box.addEventListener("input", noticeDraft);
  box.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    addFiles(files);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    addFiles([...event.dataTransfer.files]);
  });
}

function listenToPanels() {
  $("menu").onclick = toggleMenu;
  $("attach").onclick = () => togglePanel($("attachments"), $("attach"));
  $("commands").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) chooseCommand(button.dataset.command);
  });
  for (const panel of document.querySelectorAll(".panel")) panel.addEventListener("keydown", onPanelKey);
}

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      focusButtons(event.key === "ArrowUp" ? -1 : 1);
    } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
      (closeWithOpener() ?? box).focus();
    }
  });
  $("skip-buttons").onclick = (event) => {
    event.preventDefault();
    focusButtons();
  };
  $("skip-box").onclick = (event) => {
    event.preventDefault();
    box.focus();
  };
}

function listenToAttachments() {
  const opens = (id) => () => $(id).click();
  const picks = { media: opens("pick-media"), camera: opens("pick-camera"), file: opens("pick-file"), voice: record, place: addPlace };
  const isThere = { camera: isTouch, voice: canRecord, place: canFindPlace };
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

speak(language);
showIdle();
connectParts();
listenToLog();
listenToComposer();
listenToPanels();
listenToKeys();
listenToAttachments();
watchReader();
watchConnection();
restoreDraft();
restoreUnsent();
noticeDraft();
connect();
if (!isTouch && !isFramed) box.focus();
