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
        "ok cam on",
        "ok",
        "oke",
        "okay",
        "thank",
        "thanks",
        "ok thank",
        "ok thanks",
        "tks",
        "chao",
        "xin chao",
        "tam biet",
        "hello",
        "hi",
        "hey",
        "bye",
        "bye bye",
        "alo",
        "good morning",
        "good evening",
        "test",
        "test test",
    }
)
#: A full date, and an hour with its minutes: digits that are no number of anybody's.
_DATE_OR_HOUR = re.compile(
    r"(?<!\d)(?:(?:0?[1-9]|[12]\d|3[01])([/.-])(?:0?[1-9]|1[0-2])\1(?:19|20)\d\d|(?:[01]?\d|2[0-4])[:h][0-5]\d)(?![./-]?\d)"
)
#: Any run of digits as long as a telephone number, an identity card or a bank account.
_LONG_NUMBER = re.compile(r"\d(?:[\s.,()_/-]*\d){6,}")
_DIGIT = "khong|mot|hai|ba|bon|tu|nam|lam|sau|bay|tam|chin|linh|zero|one|two|three|four|five|six|seven|eight|nine"
_SPELLED_NUMBER = re.compile(rf"(?:\b(?:{_DIGIT})\b[\s.,-]*){{7,}}")
_SELF = "toi|minh|em|chau|tui|tao"
_WAY_TO_REACH = re.compile(
    r"@|\ba cong\b(?! an\b)|[(\[]at[)\]]|https?:|\bwww\.|\bt\.me\b"
    r"|\b(?:za ?lo|facebook|face|fb|ig|insta(?:gram)?|tik ?tok|viber|whats ?app|we ?chat|messenger|tele(?:gram)?)\b"
    r"|\b[eg]?mail\b"
    rf"|\b(?:goi|nhan tin|nhan|lien he|lien lac) (?:lai |voi |cho |qua )*(?:{_SELF})\b"
    rf"|\b(?:so|sdt|dien thoai) (?:\w+ ){{0,3}}(?:{_SELF})\b|\b(?:call|text|contact|reach) me\b"
    r"|\b(?:can cuoc|cccd|cmnd|chung minh thu|ho chieu|passport)\b"
)
_NAMES_SELF = re.compile(
    rf"\b(?:{_SELF}) (?:la|ten)\b|\bten (?:cua )?(?:{_SELF})\b|\bla (?:{_SELF}) day\b"
    rf"|\b(?:{_SELF}) (?:dang )?(?:o|tro|lam) (?:tro )?(?:phong|so|nha|khach san|quan)\b"
    r"|\bho (?:va |, ?)?ten\b|\bten ?[:=]|\bten (?:day du|that)\b"
    r"|(?:^|[,.;!] ?)ten (?!(?:do|nay|kia|ay|trom|cuop|gian)\b)"
    r"|\bday la (?:so|nha|quan|chu|quan ly|khach san)\b|\bmy name\b|\bi am\b|\bi ?['’]? ?m\b|\bthis is\b"
)
#: "Chị Lan nhà nghỉ Hoa Sen đây", "Lan đây ạ", "em Lan nè": how people announce themselves; but not "anh ta đứng ở
#: đây", nor "biển số đây".
_HERE = {True: {"đây", "nè", "nek"}, False: {"day", "ne", "nek"}}
_KIN = _words("toi minh em chau tui tao anh chi co chu bac ong ba nha")
_BEFORE_HERE = _words("o tai den gan quanh qua vao ra lai ngay tu cho ve toi len xuong the vay nay no kia sau truoc")
_THINGS = _words("so ảnh hinh video clip file xe bien vi tri link")
_A_NAME = 3


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
    """Whether words may say who wrote them or how to reach them: a name of one's own, a number, an account.

    A warning, and no more: people have more ways to say who they are than these rows have words.
    """
    plain = _plain(text)
    told = any(found.search(plain) for found in (_SPELLED_NUMBER, _WAY_TO_REACH, _NAMES_SELF))
    return told or _LONG_NUMBER.search(_DATE_OR_HOUR.sub(" ; ", plain)) is not None or _announces_self(text)


def is_small_talk(text: str) -> bool:
    """Whether words only greet, thank or take leave."""
    words = re.sub(r"[^\w\s]", " ", _plain(text)).split()
    return " ".join(word for word in words if word not in _POLITE) in _SMALL_TALK


def _announces_self(text: str) -> bool:
    here = _HERE[has_marks(text)]
    return any(_is_name_here(_bare(clause).split(), here) for clause in re.split(r"[,.;:!?\n]", text))


def _is_name_here(words: list[str], here: set[str]) -> bool:
    place = next((place for place, word in enumerate(words) if word in here), 0)
    if not place or fold(words[place - 1]) in _BEFORE_HERE:
        return False
    if fold(words[0]) in _KIN and place > 1:
        return True
    ends = all(fold(word) in _POLITE for word in words[place + 1 :])
    return ends and place <= _A_NAME and not {words[0], fold(words[0])} & _THINGS


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
