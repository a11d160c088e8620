"""What free words mean. Pure rules over one message: they are rows of words, and no flow is asked.

Marks decide where they are written ("dừng" ends contact, "đúng" is an answer, "dung" may be either); capitals,
punctuation, polite words and invisible characters never do.
"""

from __future__ import annotations

import re
import unicodedata

from texts.folding import fold


def _words(row: str) -> frozenset[str]:
    return frozenset(row.split())


#: Ends contact, with its mark: the word itself, and what the button says.
_STOP = frozenset({"dừng", "dừng liên lạc"})
#: May mean the same, written without marks or in English: asked once more.
_MAYBE_STOP = frozenset({"dung", "dung lien lac", "stop", "stop contact"})
_ENGLISH_STOP = frozenset({"stop", "stop contact"})
_GO_ON = frozenset({"không dừng", "keep in touch"})

#: Around what is said, and never what is said.
_POLITE = _words(
    "a ah nhe nha nghe oi em anh chi ban can bo cong an dong nhieu lam rat please sir madam officer very much so you"
)
_SMALL_TALK = frozenset(
    {
        "",
        "cam on",
        "cam on da",
        "da cam on",
        "cam ta",
        "thank",
        "thanks",
        "tks",
        "chao",
        "xin chao",
        "hello",
        "hi",
        "hey",
        "alo",
        "good morning",
        "good evening",
        "test",
        "test test",
    }
)
#: Any run of digits as long as a telephone number, an identity card or a bank account; dates and hours are shorter.
_LONG_NUMBER = re.compile(r"\d(?:[\s.,()_/-]*\d){6,}")
_DIGIT = "khong|mot|hai|ba|bon|tu|nam|lam|sau|bay|tam|chin|linh|zero|one|two|three|four|five|six|seven|eight|nine"
_SPELLED_NUMBER = re.compile(rf"(?:\b(?:{_DIGIT})\b[\s.,-]*){{7,}}")
_SELF = "toi|minh|em|chau|tui|tao"
_WAY_TO_REACH = re.compile(
    r"@|https?:|\bwww\.|\b(?:zalo|facebook|fb|viber|telegram|gmail|email)\b|\bt\.me\b"
    rf"|\b(?:goi|nhan tin|nhan|lien he|lien lac) (?:lai |voi |cho |qua )*(?:{_SELF})\b"
    rf"|\b(?:so|sdt|dien thoai) (?:\w+ ){{0,3}}(?:{_SELF})\b|\b(?:call|text|contact|reach) me\b"
    r"|\b(?:can cuoc|cccd|cmnd|chung minh thu|ho chieu|passport)\b"
)
_NAMES_SELF = re.compile(
    rf"\b(?:{_SELF}) (?:la|ten)\b|\bten (?:cua )?(?:{_SELF})\b|\bla (?:{_SELF}) day\b"
    r"|\bday la (?:so|nha|quan|chu|quan ly|khach san)\b|\bmy name\b|\bi am\b|\bi ?['’]? ?m\b|\bthis is\b"
)
#: "Chị Lan nhà nghỉ Hoa Sen đây": how people announce themselves; but not "anh ta đứng ở đây".
_KIN = _words("toi minh em chau tui tao anh chi co chu bac ong ba nha")
_BEFORE_HERE = _words("o tai den gan quanh qua vao ra lai ngay tu cho ve toi len xuong")
_ASKS_US = re.compile(
    r"\?|\b(?:cho|xin)(?: \w+)? hoi\b|\bhoi (?:chut|them|ve)\b"
    r"|^(?:bao gio|khi nao|lam sao|tai sao|vi sao|ai (?:day|vay|the))\b|\b(?:the nao|den dau) roi\b"
    r"|^(?:can|could|may|do|does|did|will|would|how|what|when|why|who|where|is|are) (?:i|you|it|my|we|much|the|to)\b"
)
_NOTICE_NUMBER = re.compile(r"\btb[ -]?[0-9a-z]{4,5}\b")


def is_stop(text: str) -> bool:
    """Whether somebody ends contact: "dừng", with its mark, and nothing else."""
    return _bare(text) in _STOP


def may_mean_stop(text: str, *, as_answer: bool = False) -> bool:
    """Whether it may be meant so and must be asked. Where an answer is awaited, "dung" is one: marks are left out."""
    return _bare(text) in (_ENGLISH_STOP if as_answer else _MAYBE_STOP)


def is_going_on(text: str) -> bool:
    """Whether somebody who was asked about ending contact says no."""
    return _bare(text) in _GO_ON


def has_marks(text: str) -> bool:
    """Whether any letter carries a mark, đ among them: then the word is meant as it stands."""
    return fold(text) != " ".join(text.casefold().split())


def tells_who(text: str) -> bool:
    """Whether words may say who wrote them or how to reach them: a name of one's own, a number, an account."""
    plain = _plain(text)
    told = any(found.search(plain) for found in (_LONG_NUMBER, _SPELLED_NUMBER, _WAY_TO_REACH, _NAMES_SELF))
    return told or _announces_self(text)


def reads_as_answer(text: str) -> bool:
    """Whether words look like the answer to a question just asked: no thanks or greeting by itself, no question to us,
    no number of ours, and nothing that tells who wrote them. Where in doubt the answer is no: then we ask."""
    plain = _plain(text)
    if tells_who(text) or _ASKS_US.search(plain) or _NOTICE_NUMBER.search(plain):
        return False
    words = re.sub(r"[^\w\s]", " ", plain).split()
    return " ".join(word for word in words if word not in _POLITE) not in _SMALL_TALK


def _announces_self(text: str) -> bool:
    here = "đây" if has_marks(text) else "day"
    words = _bare(text).split()
    if here not in words or fold(words[0]) not in _KIN:
        return False
    before = words[: words.index(here)]
    return len(before) > 1 and fold(before[-1]) not in _BEFORE_HERE


def _bare(text: str) -> str:
    """Lower case, one form of every letter, without what stands around the words."""
    seen = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in seen if _is_seen(letter))
    return " ".join(kept.split())


def _plain(text: str) -> str:
    """Folded, compatibility forms of digits and letters made plain, invisible characters gone."""
    return fold("".join(letter for letter in unicodedata.normalize("NFKC", text) if _is_seen(letter)))


def _is_seen(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cf", "Me")
