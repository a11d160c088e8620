/** Recording: until Done or Cancel; what is done lies in the tray, to be sent or thrown away. */

import { isEmpty, lay } from "./attachments.js";
import { noticeDraft } from "./composer.js";
import { $ } from "./dom.js";
import { complain } from "./notices.js";
import { say } from "./page.js";
import { closePanels } from "./panels.js";
import { sayDuration } from "./speech.js";

const FORMATS = [["audio/ogg;codecs=opus", "ogg"], ["audio/webm;codecs=opus", "webm"], ["audio/mp4", "m4a"]];
let recorder = null;
let isWanted = false;

export async function record() {
  closePanels();
  complain("");
  let sound;
  try {
    sound = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    return complain(say("no_mic"));
  }
  return listen(sound);
}

function listen(sound) {
  const [mime, ending] = FORMATS.find(([type]) => MediaRecorder.isTypeSupported(type)) ?? ["", "webm"];
  const startedAt = performance.now();
  const seconds = () => (performance.now() - startedAt) / 1000;
  const ticking = setInterval(() => { $("record-time").textContent = sayDuration(seconds()); }, 250);
  const parts = [];
  isWanted = false;
  recorder = new MediaRecorder(sound, mime ? { mimeType: mime } : {});
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.onstop = () => {
    clearInterval(ticking);
    for (const track of sound.getTracks()) track.stop();
    if (isWanted) layVoice(new Blob(parts, { type: mime.split(";")[0] || "audio/webm" }), ending, seconds());
    showRecorder(false);
  };
  recorder.start(1000);
  showRecorder(true);
}

function layVoice(sound, ending, seconds) {
  lay({ kind: "voice", file: sound, name: `ghi-am.${ending}`, label: say("voice_of", { n: sayDuration(seconds) }), preview: null });
}

export function stopRecording(keepIt) {
  isWanted = keepIt;
  recorder.stop();
}

function showRecorder(isOn) {
  $("recorder").hidden = !isOn;
  $("composer").hidden = isOn;
  $("record-time").textContent = "0:00";
  noticeDraft();
  if (isOn) $("record-done").focus();
  else ($("send").hidden || isEmpty() ? $("box") : $("send")).focus();
}
