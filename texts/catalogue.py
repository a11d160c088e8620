"""The wording in both languages, read once at start: look up, fill, escape."""

from __future__ import annotations

import gettext
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Self

from babel.messages.catalog import Message
from babel.messages.pofile import read_po

from texts.times import say_number

#: What is spoken to whoever has chosen nothing.
DEFAULT_LANGUAGE = "vi"
LANGUAGES = (DEFAULT_LANGUAGE, "en")
_FOLDER = Path(__file__).parent


class Html(str):
    """Text that is already safe markup: it is filled in as it is."""


@dataclass(frozen=True, slots=True)
class _Text:
    """One catalogue entry: a form for each plural of its language (just one when it has no plural)."""

    forms: tuple[str, ...]
    placeholders: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Language:
    texts: Mapping[str, _Text]
    which_form: Callable[[int], int]


class Catalogue:
    """Every text by its dotted key, in Telegram-HTML with `{named}` places.

    A literal brace is written twice: `{{ten_co_so}}`. A text with plurals takes its form from the parameter `n`.
    """

    def __init__(self, languages: Mapping[str, _Language]) -> None:
        self._languages = languages

    @classmethod
    def load(cls, folder: Path = _FOLDER) -> Self:
        """Read `vi.po` and `en.po` from `folder`.

        Raises:
            ValueError: a file is malformed, or a text is empty or has a place that is more than a plain name.
        """
        return cls({language: _read(folder / f"{language}.po") for language in LANGUAGES})

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages there are, the default first."""
        return tuple(self._languages)

    def has(self, key: str) -> bool:
        """Whether there is a text under `key` (all languages have the same keys)."""
        return all(key in language.texts for language in self._languages.values())

    def keys(self, language: str) -> frozenset[str]:
        """All keys of a language."""
        return frozenset(self._languages[language].texts)

    def placeholders(self, language: str, key: str) -> frozenset[str]:
        """The names of the places to fill in a text."""
        return self._languages[language].texts[key].placeholders

    def forms(self, language: str, key: str) -> tuple[str, ...]:
        """A text as it is written in the catalogue, one for each plural form."""
        return self._languages[language].texts[key].forms

    def text(self, language: str, key: str, /, **params: str | int) -> str:
        """The text, filled in, as Telegram-HTML.

        Args:
            params: A `str` is escaped, an `Html` is not; an `int` gets thousands separators, so a year or a code
                is given as `str`. Parameters the text does not name are ignored.

        Raises:
            KeyError: no such language or text.
            ValueError: a parameter is missing.
            TypeError: a parameter is neither `str` nor `int`; dates are written with `texts.times` first.
        """
        chosen = self._languages[language]
        entry = chosen.texts[key]
        missing = entry.placeholders - params.keys()
        if missing:
            raise ValueError(f"text {key!r} needs {', '.join(sorted(missing))}")
        form = entry.forms[chosen.which_form(_count(params))] if len(entry.forms) > 1 else entry.forms[0]
        return form.format_map({name: _shown(params[name], language) for name in entry.placeholders})


def _count(params: Mapping[str, str | int]) -> int:
    n = params.get("n")
    if not isinstance(n, int):
        raise ValueError("a text with plurals needs the number n")
    return abs(n)


def _shown(value: str | int, language: str) -> str:
    match value:
        case Html():
            return str(value)
        case str():
            return html.escape(value, quote=False)
        case int() if not isinstance(value, bool):
            return say_number(value, language)
    raise TypeError(f"a text takes str and int, not {type(value).__name__}")


def _read(path: Path) -> _Language:
    with path.open("rb") as file:
        catalog = read_po(file, abort_invalid=True)
    return _Language(
        texts={_key(message): _entry(message) for message in catalog if message.id},
        which_form=gettext.c2py(catalog.plural_expr),
    )


def _key(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def _entry(message: Message) -> _Text:
    forms = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
    if not forms or not all(forms):
        raise ValueError(f"text {_key(message)!r} is empty")
    return _Text(forms, frozenset(name for form in forms for name in _placeholders(form)) | _plural_place(message))


def _plural_place(message: Message) -> frozenset[str]:
    return frozenset() if isinstance(message.id, str) else frozenset({"n"})


def _placeholders(form: str) -> set[str]:
    names = set()
    for _, name, spec, conversion in Formatter().parse(form):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"not a plain place: {{{name}}} in {form!r}")
        names.add(name)
    return names
