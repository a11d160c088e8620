"""What free words mean, by themselves."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.understanding import has_marks, is_going_on, is_stop, may_mean_stop, reads_as_answer, tells_who

ANY_TEXT = st.text(max_size=60)


@pytest.mark.parametrize("text", ["dừng", "DỪNG", " Dừng. ", "dừng!!!", "«dừng»", "Dừng liên lạc", "d\u200bừng"])
def test_the_word_with_its_mark_is_an_end(text):
    assert is_stop(text) and is_stop(unicodedata.normalize("NFD", text))


@pytest.mark.parametrize(
    "text", ["dung", "Dung", "đúng", "đừng", "dùng", "dũng", "Dũng", "stop", "dừng lại đi anh", "xe dừng", "", "!"]
)
def test_no_other_word_is(text):
    assert not is_stop(text)


@pytest.mark.parametrize("text", ["dung", "DUNG", "stop", "Stop!", "dung lien lac"])
def test_without_marks_it_may_be(text):
    assert may_mean_stop(text)


@pytest.mark.parametrize("text", ["đúng", "Đúng", "dùng", "dũng", "dúng", "đung", "don't stop", "dung roi"])
def test_another_mark_is_another_word(text):
    assert not may_mean_stop(text)


def test_where_an_answer_is_awaited_only_the_english_word_may_be():
    assert not may_mean_stop("dung", as_answer=True)
    assert may_mean_stop("stop", as_answer=True)


def test_going_on_needs_its_mark():
    assert is_going_on("Không dừng")
    assert not is_going_on("không đúng") and not is_going_on("khong dung")


@pytest.mark.parametrize(("text", "has"), [("dung", False), ("đung", True), ("dừng", True), ("A B", False)])
def test_marks_are_seen(text, has):
    assert has_marks(text) is has


@given(ANY_TEXT)
def test_a_telephone_number_never_hides_among_words(words):
    assert tells_who(f"{words} 0912 345 678")
    assert not reads_as_answer(f"{words} 0912 345 678")


@given(
    ANY_TEXT.filter(lambda text: "ừ" not in unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).lower()))
)
def test_nothing_without_the_marked_letter_is_an_end(text):
    assert not is_stop(text)


@given(ANY_TEXT)
def test_whatever_is_written_means_something(text):
    for rule in (is_stop, may_mean_stop, is_going_on, tells_who, reads_as_answer, has_marks):
        assert rule(text) in (True, False)
