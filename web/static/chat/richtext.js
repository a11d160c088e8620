/**
 * A message's text with its entities, as pieces: plain strings, which are shown as they are, and
 * {kind: "format", tag, inner} · {kind: "spoiler", text} · {kind: "command", text} · {kind: "call", href, inner} ·
 * {kind: "link", href, inner, shown}. Nothing else ever comes out, and no address but http(s) and tel.
 *
 * Source: Bot API, MessageEntity (read 2026-11). Offsets are UTF-16, which is how JavaScript counts too.
 */

const TAGS = {
  bold: "strong", italic: "em", underline: "u", strikethrough: "s", code: "code", pre: "pre",
  blockquote: "blockquote", expandable_blockquote: "blockquote",
};
/** Inside these nothing is made a link. */
const CLOSED = new Set(["text_link", "url", "bot_command", "phone_number", "code", "pre", "spoiler"]);
const FOUND = /https?:\/\/[^\s<>"“”]+|(?<![\w/])\/[a-z][a-z0-9_]{1,31}(?![\w/])/g;

/** `isPressable(command)`: whether a command that has no entity may become a button; none in what is not the bot's. */
export function piecesOf({ text, entities = [], from }, isPressable = () => false) {
  const sorted = entities
    .filter(({ offset, length }) => Number.isInteger(offset) && length > 0 && offset >= 0 && offset < text.length)
    .sort((left, right) => left.offset - right.offset || right.length - left.length);
  const isBot = from === "bot";
  return new Reading(text, { isBot, isPressable: (command) => isBot && isPressable(command) }).between(sorted, 0, text.length);
}

class Reading {
  #text;
  #isBot;
  #isPressable;

  constructor(text, { isBot, isPressable }) {
    this.#text = text;
    this.#isBot = isBot;
    this.#isPressable = isPressable;
  }

  /** The pieces of text[start, end); `entities` are sorted, those that overlap a neighbour are cut at its end. */
  between(entities, start, end, isClosed = false) {
    const pieces = [];
    let at = start;
    for (let index = 0; index < entities.length; ) {
      const entity = entities[index];
      const opens = Math.max(entity.offset, at);
      const closes = Math.min(entity.offset + entity.length, end);
      let next = index + 1;
      while (next < entities.length && entities[next].offset < closes) next += 1;
      if (opens < closes) {
        pieces.push(...this.#plain(at, opens, isClosed));
        const inner = this.between(entities.slice(index + 1, next), opens, closes, isClosed || CLOSED.has(entity.type));
        pieces.push(...this.#formed(entity, this.#text.slice(opens, closes), inner, isClosed));
        at = closes;
      }
      index = next;
    }
    return [...pieces, ...this.#plain(at, end, isClosed)];
  }

  #formed(entity, text, inner, isClosed) {
    if (Object.hasOwn(TAGS, entity.type)) return [{ kind: "format", tag: TAGS[entity.type], inner }];
    if (entity.type === "spoiler") return [{ kind: "spoiler", text }];
    if (isClosed) return inner;
    switch (entity.type) {
      case "bot_command":
        return this.#isBot ? [{ kind: "command", text }] : inner;
      case "phone_number":
        return [{ kind: "call", href: `tel:${text.replace(/[^\d+]/g, "")}`, inner }];
      case "url":
        return link(/^[a-z][a-z0-9+.-]*:/i.test(text) ? text : `https://${text}`, inner);
      case "text_link":
        return link(entity.url, inner, text);
      default:
        return inner;
    }
  }

  /** Plain text, with http(s) addresses made links and, in the bot's messages, commands of the menu made pressable. */
  #plain(start, end, isClosed) {
    const text = this.#text.slice(start, end);
    if (isClosed) return text ? [text] : [];
    const pieces = [];
    let at = 0;
    for (const match of text.matchAll(FOUND)) {
      const isCommand = match[0].startsWith("/");
      const found = isCommand ? match[0] : match[0].replace(/[.,;:!?)\]'’]+$/, "");
      if (isCommand && !this.#isPressable(found)) continue;
      pieces.push(text.slice(at, match.index), ...(isCommand ? [{ kind: "command", text: found }] : link(found, [found])));
      at = match.index + found.length;
    }
    return [...pieces, text.slice(at)].filter((piece) => piece !== "");
  }
}

/** A link that shows where it goes: the address follows whenever the words do not say it. */
function link(address, inner, words = null) {
  const href = safeAddress(address);
  if (!href) return inner;
  const saysIt = words === null || safeAddress(words) === href;
  return [{ kind: "link", href, inner, shown: saysIt ? null : ` (${href})` }];
}

/** `address` as a link target if its scheme is one of `schemes`, else null. */
export function safeAddress(address, schemes = ["https:", "http:"]) {
  try {
    const parsed = new URL(address);
    return schemes.includes(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}
