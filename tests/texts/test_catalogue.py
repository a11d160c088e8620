import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import texts
from texts.catalogue import LANGUAGES, Catalogue, Html
from texts.markup import parse, utf16_len

FOLDER = Path(texts.__file__).parent
CATALOGUE = Catalogue.load()
EVERY_TEXT = [(language, key) for language in LANGUAGES for key in sorted(CATALOGUE.keys(language))]
HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n'
SMALL = {
    "vi": 'msgid "hello"\nmsgstr "Chào <b>{name}</b> {{x}}"\n\n'
    'msgid "count"\nmsgid_plural "count"\nmsgstr[0] "{n} cơ sở"\n',
    "en": 'msgid "hello"\nmsgstr "Hello <b>{name}</b> {{x}}"\n\n'
    'msgid "count"\nmsgid_plural "count"\nmsgstr[0] "one place"\nmsgstr[1] "{n} places"\n',
}
PLURALS = {"vi": "nplurals=1; plural=0;", "en": "nplurals=2; plural=(n != 1);"}


def written(folder: Path, entries: dict[str, str]) -> Catalogue:
    for language, body in entries.items():
        head = f'{HEADER}"Language: {language}\\n"\n"Plural-Forms: {PLURALS[language]}\\n"\n\n'
        (folder / f"{language}.po").write_text(head + body, encoding="utf-8")
    return Catalogue.load(folder)


@pytest.fixture
def small(tmp_path: Path) -> Catalogue:
    return written(tmp_path, SMALL)


def test_parameters_are_escaped(small: Catalogue) -> None:
    assert small.text("vi", "hello", name="A & <b>") == "Chào <b>A &amp; &lt;b&gt;</b> {x}"


def test_safe_markup_is_filled_in_as_it_is(small: Catalogue) -> None:
    assert small.text("en", "hello", name=Html("<i>An</i>")) == "Hello <b><i>An</i></b> {x}"


def test_a_parameter_is_only_a_value(small: Catalogue) -> None:
    assert small.text("en", "hello", name="{name.__class__}") == "Hello <b>{name.__class__}</b> {x}"


def test_numbers_get_the_separator_of_the_language(small: Catalogue) -> None:
    assert small.text("vi", "count", n=1250) == "1.250 cơ sở"
    assert small.text("en", "count", n=1250) == "1,250 places"


def test_the_plural_follows_n(small: Catalogue) -> None:
    assert [small.text("en", "count", n=n) for n in (0, 1, 2)] == ["0 places", "one place", "2 places"]


@pytest.mark.parametrize("key", ["hello", "count"])
def test_a_missing_parameter_is_named(small: Catalogue, key: str) -> None:
    with pytest.raises(ValueError, match=f"'{key}' needs"):
        small.text("vi", key)


@pytest.mark.parametrize("value", [datetime(2026, 11, 23, tzinfo=UTC), None, 1.5, True])
def test_only_text_and_whole_numbers_are_taken(small: Catalogue, value: Any) -> None:
    with pytest.raises(TypeError):
        small.text("vi", "hello", name=value)


def test_an_unknown_key_or_language_is_a_key_error(small: Catalogue) -> None:
    assert small.has("hello") and not small.has("nothing")
    with pytest.raises(KeyError):
        small.text("vi", "nothing")
    with pytest.raises(KeyError):
        small.text("fr", "hello", name="x")


@pytest.mark.parametrize("form", ["", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{}", "{0}", "{a"])
def test_a_text_with_more_than_plain_places_is_not_loaded(tmp_path: Path, form: str) -> None:
    with pytest.raises(ValueError):
        written(tmp_path, dict.fromkeys(LANGUAGES, f'msgid "x"\nmsgstr "{form}"\n'))


def test_both_languages_have_the_same_keys() -> None:
    assert CATALOGUE.languages == LANGUAGES
    assert CATALOGUE.keys("vi") ^ CATALOGUE.keys("en") == set()


@pytest.mark.parametrize("key", sorted(CATALOGUE.keys("vi") & CATALOGUE.keys("en")))
def test_both_languages_have_the_same_places(key: str) -> None:
    assert CATALOGUE.placeholders("vi", key) == CATALOGUE.placeholders("en", key)


@pytest.mark.parametrize(("language", "key"), EVERY_TEXT)
def test_every_text_is_well_formed(language: str, key: str) -> None:
    for form in CATALOGUE.forms(language, key):
        plain, _ = parse(form.format_map(dict.fromkeys(CATALOGUE.placeholders(language, key), "1")))
        assert plain.strip() == plain
        assert utf16_len(plain) <= 3000
        assert unicodedata.is_normalized("NFC", form)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_key_is_written_twice(language: str) -> None:
    keys = re.findall(r'^msgid "(.+)"$', (FOLDER / f"{language}.po").read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(keys) == sorted(set(keys))
