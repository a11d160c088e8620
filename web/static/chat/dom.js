/** Nodes of the page, and what this device can do. What the server says is data, never markup: everything is built here, nothing goes through innerHTML. */

export const $ = (id) => document.getElementById(id);

/** A DOM element: known properties are set, the rest become attributes; children are nodes or plain strings. */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function icon(name) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `/static/icons.svg#${name}`);
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(use);
  return drawing;
}

export const isTouch = matchMedia("(pointer: coarse)").matches;
export const canRecord = Boolean(window.MediaRecorder && navigator.mediaDevices?.getUserMedia);
export const canFindPlace = Boolean(navigator.geolocation && isSecureContext);
/** Whether the page is one of the demo's phones. */
export const isFramed = window.parent !== window;
