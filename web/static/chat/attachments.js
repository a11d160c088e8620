/** What goes with the next message: {kind, file, name, label, preview} or {place, label}; how it gets there. */

import { $, icon, make } from "./dom.js";
import { complain, hideToast, toast } from "./notices.js";
import { say, sizeOf } from "./page.js";
import { closePanels } from "./panels.js";

const FILE_LIMIT = 20 * 1024 * 1024;
const PREVIEW = 640; // pixels of its longer side
let items = [];

/** Called after every change. */
export const tray = { onChange: () => {} };

export const laid = () => items;
export const isEmpty = () => !items.length;

export function lay(item) {
  change([...items, item]);
}

/** A place replaces the one that lies there. */
export function layPlace(place, label) {
  change([...items.filter((item) => !item.place), { place, label }]);
}

export function empty() {
  change([]);
}

function change(newItems) {
  items = newItems;
  $("tray").hidden = !items.length;
  $("tray").replaceChildren(...items.map(itemNode));
  tray.onChange();
}

function itemNode(item) {
  const name = item.label ?? item.name;
  const remove = () => {
    change(items.filter((other) => other !== item));
    $("box").focus();
  };
  return make("li", {}, item.preview ?? icon(item.place ? "pin" : item.kind === "voice" ? "mic" : "file"),
    make("span", { dir: "auto" }, name), item.file ? make("small", {}, sizeOf(item.file.size)) : null,
    make("button", { type: "button", "aria-label": say("remove", { name }), onclick: remove }, icon("close")));
}

// ── Files and places ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Lay files beside the next message; what cannot be sent is said at once. */
export async function addFiles(files, asDocuments = false) {
  closePanels();
  const refused = [];
  for (const file of files) {
    if (file.size > FILE_LIMIT) refused.push(say("too_large", { name: file.name }));
    else if (!file.size) refused.push(say("empty_file", { name: file.name }));
    else lay({ kind: asDocuments ? "document" : kindOf(file), file, name: file.name || "tep", preview: await previewOf(file) });
  }
  if (refused.length) complain(refused.join(" ")); // last, since laying something takes complaints away
  $("box").focus();
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
    const scale = Math.min(1, PREVIEW / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, side * scale));
    const canvas = make("canvas", { width, height, role: "img", "aria-label": file.name });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return canvas;
  } catch {
    return null;
  }
}

export function addPlace() {
  closePanels();
  findPlace((spot) => {
    layPlace(spot, say("place_here", { n: Math.round(spot.accuracy) }));
    $("box").focus();
  });
}

/** Ask the device where it is; `use` gets {latitude, longitude, accuracy}. */
export function findPlace(use) {
  if (!navigator.geolocation) return complain(say("no_place"));
  toast(say("finding_place"));
  return navigator.geolocation.getCurrentPosition(
    ({ coords: { latitude, longitude, accuracy } }) => {
      toast("");
      hideToast();
      use({ latitude, longitude, accuracy });
    },
    () => complain(say("no_place")), { enableHighAccuracy: true, timeout: 15_000, maximumAge: 30_000 });
}
