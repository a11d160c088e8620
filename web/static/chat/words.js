/** What the page itself says: language → key → text, from the catalogues; the server puts it into the page. */

export const WORDS = JSON.parse(document.getElementById("words").textContent);
