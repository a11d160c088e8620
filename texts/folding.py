"""One plain form for what people type, so that "Hoa Sen", "HOA SEN" and "hoá sèn" can be found alike."""

from __future__ import annotations

import unicodedata


def fold(text: str) -> str:
    """`text` in lower case, without diacritics, words parted by single spaces; đ becomes d."""
    decomposed = unicodedata.normalize("NFD", text.casefold())
    bare = "".join(letter for letter in decomposed if unicodedata.category(letter) != "Mn")
    return " ".join(bare.replace("đ", "d").split())
