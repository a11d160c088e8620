/** Browser storage that may be full, refused or absent: then nothing is kept, and nothing breaks. */

export class Keep {
  #storage;
  #base;

  /** `storage` gives the browser's own: even asking for it may be refused. */
  constructor(storage, base) {
    this.#storage = storage;
    this.#base = base;
  }

  /** What was written under `name` by this chat's page, else null. */
  read(name) {
    try {
      return JSON.parse(this.#storage().getItem(`by:${this.#base}:${name}`));
    } catch {
      return null;
    }
  }

  write(name, value) {
    try {
      this.#storage().setItem(`by:${this.#base}:${name}`, JSON.stringify(value));
    } catch {
      // kept in memory only
    }
  }
}
