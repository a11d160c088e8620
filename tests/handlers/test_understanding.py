"""What free words mean, by themselves."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.understanding import has_marks, is_going_on, is_small_talk, is_stop, may_mean_stop, tells_who

ANY_TEXT = st.text(max_size=60)
#: Each says who wrote it, or how to reach them.
TELLING = [
    "0912 345 678",
    "Xe màu đỏ, gọi 0912.345.678 nhé",
    "０９１２３４５６７８",
    "0️⃣9️⃣1️⃣2️⃣3️⃣4️⃣5️⃣6️⃣7️⃣8️⃣",
    "09\u200b12\u200b345\u200b678",
    "22:00 23/11/2026 0912345678",
    "09.12.2026.345",
    "số của em là không chín một hai ba bốn năm",
    "Chị Lan nhà nghỉ Hoa Sen đây",
    "chi lan nha nghi hoa sen day a",
    "Lan đây ạ",
    "Lan day a",
    "em Lan nè",
    "Xe màu đỏ. Lan đây",
    "Tôi là Lan",
    "TOI TEN LAN",
    "tên Lan",
    "Tên: Lan",
    "Họ và tên: Trần Thị Lan",
    "họ tên Trần Thị Lan",
    "mình là lễ tân ở đó",
    "Em là Lan ạ, xe màu đỏ",
    "Tên mình là Lan",
    "em ở phòng 302 nhà nghỉ Hoa Mai",
    "tìm em ở lan.tuyet@gmail.com",
    "lan tuyet a còng gmail",
    "lan(at)gmail chấm com",
    "zalo của em",
    "za lo em nhé",
    "IG: lan.nguyen",
    "căn cước 079 203 004 512",
    "My name is Tom",
    "I'm the receptionist",
    "this is Lan from Hoa Sen",
]
#: Answers that tell nothing of who gave them.
TELLING_NOBODY = [
    "Xe màu đỏ",
    "23/11/2026",
    "22:00 đến 23:30",
    "từ 22:00 đến 23:30 ngày 23/11/2026",
    "22h00-23h30 23/11/2026",
    "2 người, đi xe 51F-123.45",
    "Anh ta đứng ở đây, gần chợ",
    "biển số đây, chụp lúc nãy",
    "ảnh đây ạ",
    "Có hai tên, đi xe đỏ",
    "Tên đó chạy rồi",
    "à công an ơi",
    "Huy",
    "Dũng",
]


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


@pytest.mark.parametrize("text", TELLING)
def test_ways_to_say_who_one_is_are_known(text):
    assert tells_who(text)


@pytest.mark.parametrize("text", TELLING_NOBODY)
def test_a_date_an_hour_or_another_person_tells_nothing_of_the_writer(text):
    assert not tells_who(text)


@pytest.mark.parametrize("text", ["ok cảm ơn", "Cảm ơn anh chị nhiều ạ", "Chào em", "alo", "🙏", "thanks", "tạm biệt"])
def test_thanks_and_greetings_are_small_talk(text):
    assert is_small_talk(text)


@pytest.mark.parametrize("text", ["vâng", "Có ạ", "đúng", "dung", "không", "Huy", "2", "Chào hàng đa cấp"])
def test_a_short_answer_is_none(text):
    assert not is_small_talk(text)


@given(ANY_TEXT)
def test_a_telephone_number_never_hides_among_words(words):
    assert tells_who(f"{words} 0912 345 678")


@given(
    ANY_TEXT.filter(lambda text: "ừ" not in unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).lower()))
)
def test_nothing_without_the_marked_letter_is_an_end(text):
    assert not is_stop(text)


@given(ANY_TEXT)
def test_whatever_is_written_means_something(text):
    for rule in (is_stop, may_mean_stop, is_going_on, tells_who, is_small_talk, has_marks):
        assert rule(text) in (True, False)
