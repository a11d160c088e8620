/** The messages of this chat, the newest state of each, in order, whatever the order they came in; and its commands. */

export class Conversation {
  /** Everything up to here has reached us. */
  lastSeq = 0;
  /** When the newest message was written, milliseconds. */
  newestAt = 0;
  isLoaded = false;
  /** The commands of the bot's menu: {command, description}. */
  menu = [];
  #messages = new Map();
  #pressable = new Set(); // every command any menu has named here, in whichever language
  #shown = []; // ids of the messages that have a place in the log, oldest first

  /** Take a message in, new or changed: its former state or undefined; null for a state that is not newer than ours. */
  take(message) {
    const known = this.#messages.get(message.id);
    if (known && known.seq >= message.seq) return null;
    this.#messages.set(message.id, message);
    this.newestAt = Math.max(this.newestAt, Date.parse(message.at));
    this.#arrange(message);
    return { known };
  }

  get(id) {
    return this.#messages.get(id);
  }

  /** The stream has come this far. */
  reach(seq) {
    this.lastSeq = Math.max(this.lastSeq, seq);
  }

  /** The id of the message below this one, or undefined. */
  below(id) {
    return this.#shown[this.#firstAbove(id)];
  }

  /** The lowest id there is: what is older has not been asked for. */
  oldest() {
    return Math.min(...this.#messages.keys());
  }

  /** What the bot has said, in order. */
  said() {
    return this.#shown.map((id) => this.#messages.get(id)).filter((message) => message.from === "bot");
  }

  /** The newest keyboard the bot has offered, as long as nothing has been sent since; else no rows. */
  keyboard() {
    for (let at = this.#shown.length - 1; at >= 0; at -= 1) {
      const message = this.#messages.get(this.#shown[at]);
      if (message.from === "me") return [];
      if (message.keyboard && !message.deleted) return message.keyboard;
    }
    return [];
  }

  /** Take the menu as it is now; whether it names commands we did not know. */
  learn(menu) {
    const known = this.#pressable.size;
    this.menu = menu;
    for (const { command } of menu) this.#pressable.add(`/${command}`);
    return this.#pressable.size > known;
  }

  isPressable(command) {
    return this.#pressable.has(command);
  }

  #arrange(message) {
    const at = this.#firstAbove(message.id);
    const isThere = this.#shown[at - 1] === message.id;
    if (leavesNothing(message)) {
      if (isThere) this.#shown.splice(at - 1, 1);
    } else if (!isThere) {
      this.#shown.splice(at, 0, message.id);
    }
  }

  /** Where ids above this one begin; from the end, since what comes is mostly the newest. */
  #firstAbove(id) {
    let at = this.#shown.length;
    while (at > 0 && this.#shown[at - 1] > id) at -= 1;
    return at;
  }
}

/** Whether the message has no place in the log: one's own that was taken away. The bot's leave a line that says so. */
export const leavesNothing = (message) => Boolean(message.deleted && (message.from === "me" || !message.id));

/** The first of these messages that the reader, who had seen everything up to `seen`, does not know. */
export function firstUnseen(messages, seen) {
  return messages.find((message) => message.from === "bot" && message.seq > seen && !message.edited && !message.deleted);
}

export const conversation = new Conversation();
