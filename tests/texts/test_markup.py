import html

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from texts.markup import Entity, clean, is_blank, parse, split, utf16_len


def covered(text: str, entity: Entity) -> str:
    """The characters an entity lies over, found the way a Bot API client does."""
    units = text.encode("utf-16-le")
    return units[2 * entity["offset"] : 2 * (entity["offset"] + entity["length"])].decode("utf-16-le")


@settings(deadline=None)
@given(st.text())
def test_escaped_text_comes_back_as_it_was(text: str) -> None:
    assert parse(html.escape(text, quote=False)) == (text, ())


def test_every_tag_becomes_its_entity() -> None:
    text, entities = parse(
        "<b>b</b><i>i</i><u>u</u><s>s</s><code>c</code><pre>p</pre><blockquote>q</blockquote><tg-spoiler>x</tg-spoiler>"
        '<a href="https://example.vn/?a=1&amp;b=2">l</a>'
    )

    assert text == "biuscpqxl"
    assert [entity["type"] for entity in entities] == [
        *("bold", "italic", "underline", "strikethrough", "code", "pre", "blockquote", "spoiler", "text_link")
    ]
    assert entities[-1] == {"type": "text_link", "offset": 8, "length": 1, "url": "https://example.vn/?a=1&b=2"}


def test_offsets_count_utf16_units() -> None:
    text, entities = parse("✅ 🏨 <b>Hoa 🌸 Sen</b>")

    assert entities == ({"type": "bold", "offset": 5, "length": 10},)
    assert covered(text, entities[0]) == "Hoa 🌸 Sen"


def test_outer_entities_come_before_inner_ones() -> None:
    _, entities = parse("<b>a<i>b</i></b>")

    assert [entity["type"] for entity in entities] == ["bold", "italic"]


def test_an_entity_over_nothing_is_left_out() -> None:
    assert parse("<b></b>a") == ("a", ())


@pytest.mark.parametrize(
    "malformed",
    [
        *("<b>", "</b>", "<b><i></b></i>", "a < b", "a & b", "&nbsp;", "&#39;", "<B>x</B>", "<script>x</script>"),
        *("<a>x</a>", '<b href="x">x</b>', '<a href="">x</a>', "<a href='x'>x</a>", "<b >x</b>", "<br>", "<br/>"),
        *("<code><b>x</b></code>", "<pre>a<i>x</i></pre>", '<a href="x" onclick="y">x</a>', "<!-- x -->"),
    ],
)
def test_malformed_markup_is_not_guessed_at(malformed: str) -> None:
    with pytest.raises(ValueError):
        parse(malformed)


def test_short_text_stays_whole() -> None:
    assert split("a\n\nb", [], 10) == [("a\n\nb", ())]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("một hai\nba\n\nbốn năm", ["một hai\nba", "bốn năm"]),
        ("một hai ba\nbốn năm", ["một hai ba", "bốn năm"]),
        ("một hai ba bốn", ["một hai ba", "bốn"]),
        ("một-hai-ba-bốn-năm", ["một-hai-ba-b", "ốn-năm"]),
    ],
)
def test_text_is_cut_between_paragraphs_then_lines_then_words(text: str, parts: list[str]) -> None:
    assert [part for part, _ in split(text, [], 12)] == parts


def test_a_surrogate_pair_is_never_split() -> None:
    assert [part for part, _ in split("a🌸🌸", [], 2)] == ["a", "🌸", "🌸"]


@settings(deadline=None)
@given(
    st.text(st.sampled_from("ab🌸 \n"), max_size=80),
    st.lists(st.tuples(st.integers(0, 80), st.integers(1, 80))),
    st.integers(2, 30),
)
def test_parts_fit_and_keep_every_character_under_its_entities(
    text: str, places: list[tuple[int, int]], limit: int
) -> None:
    entities = [
        {"type": "bold", "offset": utf16_len(text[:start]), "length": utf16_len(text[start : start + length])}
        for start, length in places
        if start < len(text)
    ]

    parts = split(text, entities, limit)

    def bare(written: str) -> str:
        return "".join(written.split())

    assert all(utf16_len(part) <= limit for part, _ in parts)
    assert bare("".join(part for part, _ in parts)) == bare(text)
    under_before = sorted("".join(bare(covered(text, entity)) for entity in entities))
    under_after = sorted("".join(bare(covered(part, entity)) for part, cut in parts for entity in cut))
    assert under_after == under_before


def test_a_link_goes_on_in_the_next_part() -> None:
    text, entities = parse('<a href="https://example.vn">mot hai</a> ba')

    assert split(text, entities, 5) == [
        ("mot", ({"type": "text_link", "offset": 0, "length": 3, "url": "https://example.vn"},)),
        ("hai", ({"type": "text_link", "offset": 0, "length": 3, "url": "https://example.vn"},)),
        ("ba", ()),
    ]


def test_cleaning_removes_controls_and_direction_marks() -> None:
    assert clean("a\x00b\x07\u202ec\u2066d\ud800\te") == "abcd\te"


def test_cleaning_composes_letters_and_mends_line_ends() -> None:
    assert clean("Pho\u0302\u0301\r\nmột\rhai\u2028ba") == "Phố\nmột\nhai\nba"


def test_cleaning_keeps_joined_emoji() -> None:
    assert clean("👩\u200d👧 ❤\ufe0f") == "👩\u200d👧 ❤\ufe0f"


@settings(deadline=None)
@given(st.text())
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize("blank", ["", " \n\t", "\u200b\ufeff", "\u3164\u2800", "\u00a0\u2060"])
def test_invisible_text_is_blank(blank: str) -> None:
    assert is_blank(blank)


@pytest.mark.parametrize("visible", ["a", " . ", "👩\u200d👧", "\u200b1"])
def test_visible_text_is_not_blank(visible: str) -> None:
    assert not is_blank(visible)
