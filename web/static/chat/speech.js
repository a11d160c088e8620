/** What people read: which language, words with their places filled, times, days, sizes and durations. */

const DAY = 86_400_000;
const WEEK = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/** Vietnamese, unless it is English that is asked for. */
export const languageOf = (tag) => (tag === "en" ? "en" : "vi");

/** The text with every {name} replaced by the first of `sources` that has it; a place nobody fills stays as it is. */
export function fill(text, ...sources) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => sources.find((source) => source[name] !== undefined)?.[name] ?? whole);
}

/** Clock and calendar of one time zone, whatever the reader's device thinks. */
export class Calendar {
  #clock;
  #days;

  constructor(timeZone) {
    this.#clock = new Intl.DateTimeFormat("en-GB", { timeZone, hour: "2-digit", minute: "2-digit" });
    this.#days = new Intl.DateTimeFormat("en-CA", { timeZone, year: "numeric", month: "2-digit", day: "2-digit" });
  }

  /** "07:05". */
  timeOf(instant) {
    return this.#clock.format(new Date(instant));
  }

  /** "2026-11-23". */
  dayOf(instant) {
    return this.#days.format(new Date(instant));
  }

  /** "Hôm nay", "Hôm qua" or "Thứ Hai 23/11/2026", in the words that `say` gives for its keys. */
  sayDay(day, now, say) {
    if (day === this.dayOf(now)) return say("today");
    if (day === this.dayOf(now - DAY)) return say("yesterday");
    const [year, month, date] = day.split("-");
    return `${say(WEEK[new Date(`${day}T00:00:00Z`).getUTCDay()])} ${date}/${month}/${year}`;
  }
}

/** "12 KB" or "1,5 MB". */
export function saySize(bytes, language) {
  if (bytes < 1_000_000) return `${Math.max(1, Math.round(bytes / 1024))} KB`;
  const megabytes = (bytes / 1_048_576).toFixed(1);
  return `${language === "vi" ? megabytes.replace(".", ",") : megabytes} MB`;
}

/** "1:05". */
export const sayDuration = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

/** "4.000" or "4,000". */
export const sayNumber = (number, language) => number.toLocaleString(language === "vi" ? "vi-VN" : "en-GB");
