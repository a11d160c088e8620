/**
 * The server's events, as the page understands them. What it does not understand is passed over: a server that is newer
 * than the page may say more.
 */

const READERS = {
  hello: ({ last_seq: newest }) => (Number.isInteger(newest) ? { newest } : null),
  message: (message) => (Number.isInteger(message.id) && Number.isInteger(message.seq) ? message : null),
  typing: ({ typing }) => ({ isTyping: typing !== false }),
  toast: ({ text, alert }) => ({ text: text ?? "", isAlert: Boolean(alert) }),
  commands: () => ({}),
  bye: () => ({}),
};

/** What an event says; null where there is nothing to be understood. */
export function readEvent(name, data) {
  if (!Object.hasOwn(READERS, name)) return null;
  try {
    const said = JSON.parse(data || "{}");
    return said !== null && typeof said === "object" ? READERS[name](said) : null;
  } catch {
    return null;
  }
}

/** Have `acts[name](what it says)` called for the events of `source`. */
export function hear(source, acts) {
  for (const [name, act] of Object.entries(acts)) {
    source.addEventListener(name, (event) => {
      const said = readEvent(name, event.data);
      if (said) act(said);
    });
  }
}
