from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from texts.refusal import Refusal
from texts.times import say_date, say_number, say_time, say_when
from texts.when import parse_when

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
# A Wednesday.
NOW = datetime(2026, 11, 25, 10, 15, 30, tzinfo=ZONE)


def read(text: str, now: datetime = NOW) -> str:
    return f"{parse_when(text, now=now, zone=ZONE).astimezone(ZONE):%Y-%m-%d %H:%M}"


UNDERSTOOD = {
    # a time alone: the next such time
    "8 giờ": "2026-11-26 08:00",
    "14h30": "2026-11-25 14:30",
    "14g30": "2026-11-25 14:30",
    "17:05": "2026-11-25 17:05",
    "lúc 11h": "2026-11-25 11:00",
    "8 giờ rưỡi tối": "2026-11-25 20:30",
    "8h tối": "2026-11-25 20:00",
    "tám giờ tối": "2026-11-25 20:00",
    "bảy giờ tối": "2026-11-25 19:00",
    "8giờ sáng": "2026-11-26 08:00",
    "thư bay 8 giơ tôi": "2026-11-28 20:00",
    "sáu giờ chiều": "2026-11-25 18:00",
    "9 giờ kém 15 tối": "2026-11-25 20:45",
    "3 rưỡi chiều": "2026-11-25 15:30",
    "1 giờ trưa": "2026-11-25 13:00",
    "12 giờ trưa": "2026-11-25 12:00",
    "12 giờ đêm": "2026-11-26 00:00",
    "24h": "2026-11-26 00:00",
    "0h": "2026-11-26 00:00",
    "7 giờ 5 phút sáng": "2026-11-26 07:05",
    "8pm": "2026-11-25 20:00",
    "12 am": "2026-11-26 00:00",
    "12:30 p.m.": "2026-11-25 12:30",
    # today, tomorrow, the day after
    "8 giờ sáng mai": "2026-11-26 08:00",
    "8 gio sang mai": "2026-11-26 08:00",
    "8 SÁNG MAI": "2026-11-26 08:00",
    "sáng mai": "2026-11-26 08:00",
    "trưa mai": "2026-11-26 12:00",
    "mai": "2026-11-26 08:00",
    "22h30 tối nay": "2026-11-25 22:30",
    "tối nay 8h": "2026-11-25 20:00",
    "toi nay luc 8h": "2026-11-25 20:00",
    "12 giờ đêm nay": "2026-11-26 00:00",
    "hôm nay 17:30": "2026-11-25 17:30",
    "chiều nay lúc 3 giờ": "2026-11-25 15:00",
    "ngày mai lúc 5h chiều": "2026-11-26 17:00",
    "mốt 9h": "2026-11-27 09:00",
    "mot 9h": "2026-11-27 09:00",
    "9 giờ ngày kia": "2026-11-27 09:00",
    "tomorrow 8am": "2026-11-26 08:00",
    "tomorrow at 8 in the morning": "2026-11-26 08:00",
    "today 17:30": "2026-11-25 17:30",
    "tonight 9pm": "2026-11-25 21:00",
    "9 o'clock tonight": "2026-11-25 21:00",
    "the day after tomorrow 10:00": "2026-11-27 10:00",
    # weekdays
    "thứ hai": "2026-11-30 08:00",
    "thứ 2 lúc 14h30": "2026-11-30 14:30",
    "t2 14h": "2026-11-30 14:00",
    "thứ tư 9h": "2026-12-02 09:00",
    "thứ tư 11h": "2026-11-25 11:00",
    "thứ tư tới 11h": "2026-12-02 11:00",
    "thứ sáu này 8h": "2026-11-27 08:00",
    "thu sau 8h": "2026-11-27 08:00",
    "thứ năm năm giờ chiều": "2026-11-26 17:00",
    "sáng thứ bảy": "2026-11-28 08:00",
    "7h tối T7": "2026-11-28 19:00",
    "tối chủ nhật 7h": "2026-11-29 19:00",
    "CN 7h": "2026-11-29 07:00",
    "thứ hai tuần sau lúc 14h30": "2026-11-30 14:30",
    "tuần sau thứ sáu 8h": "2026-12-04 08:00",
    "8h thứ 6 tuần tới": "2026-12-04 08:00",
    "8h thu 6 tuan toi": "2026-12-04 08:00",
    "thứ năm tuần này": "2026-11-26 08:00",
    "next monday 14:30": "2026-11-30 14:30",
    "monday next week at 8:00": "2026-11-30 08:00",
    "this friday 9am": "2026-11-27 09:00",
    "Sunday 9am": "2026-11-29 09:00",
    # dates
    "25/12": "2026-12-25 08:00",
    "25/12 lúc 9h": "2026-12-25 09:00",
    "05/01": "2027-01-05 08:00",
    "8h 25/12/2026": "2026-12-25 08:00",
    "8h 5/12": "2026-12-05 08:00",
    "25/12/26 8h": "2026-12-25 08:00",
    "25-12-2026 17:00": "2026-12-25 17:00",
    "25.12.2026 17:00": "2026-12-25 17:00",
    "2026-12-25 08:00": "2026-12-25 08:00",
    "25/12/2026 - 08:00": "2026-12-25 08:00",
    "ngày 5 tháng 12": "2026-12-05 08:00",
    "8h ngày 5 tháng 12 năm 2026": "2026-12-05 08:00",
    "8 giờ 5 tháng 12": "2026-12-05 08:00",
    "8 giờ 25 tháng 12": "2026-12-25 08:00",
    "5 tháng năm 2027": "2027-05-05 08:00",
    "5 tháng năm năm 2027 7h": "2027-05-05 07:00",
    "ngày 30 tháng này": "2026-11-30 08:00",
    "8h ngày 5 tháng sau": "2026-12-05 08:00",
    "ngày 5 tháng tư": "2027-04-05 08:00",
    "5 thang bay 2027": "2027-07-05 08:00",
    "mùng 5 tháng 12 dương lịch": "2026-12-05 08:00",
    "thứ sáu 25/12 lúc 8h": "2026-12-25 08:00",
    "29/02/2028 8h": "2028-02-29 08:00",
    "5 December 2026, 9am": "2026-12-05 09:00",
    "Dec 5th 17:00": "2026-12-05 17:00",
    "25/12/2026 08:00": "2026-12-25 08:00",
    # spans: rounded up to a minute
    "sau 30 phút": "2026-11-25 10:46",
    "30p nữa": "2026-11-25 10:46",
    "2 tiếng nữa": "2026-11-25 12:16",
    "2 tieng nua": "2026-11-25 12:16",
    "một tiếng rưỡi nữa": "2026-11-25 11:46",
    "1 tiếng 30 phút nữa": "2026-11-25 11:46",
    "nửa tiếng nữa": "2026-11-25 10:46",
    "sau 2 giờ nữa": "2026-11-25 12:16",
    "trong 3 ngày nữa": "2026-11-28 10:16",
    "3 ngày nữa lúc 8h": "2026-11-28 08:00",
    "sau 1 tuần": "2026-12-02 10:16",
    "in 2 hours": "2026-11-25 12:16",
    "in half an hour": "2026-11-25 10:46",
    "in an hour": "2026-11-25 11:16",
    "2 days from now": "2026-11-27 10:16",
}


NOT_UNDERSTOOD = [
    *("", "   ", "lúc", "abc", "mấy giờ cũng được", "8", "12", "nay mai", "hôm qua", "tuần sau", "chiều mai", "-8h"),
    *(
        "bây giờ",
        "bay gio",
        "từ giờ",
        "dừng 8h mai",
        "nằm giờ chiều",
        "8h sáng nếu trời không mưa",
        "8h mãi",
        "sáng tuần chủ nhật",
    ),
    *("25h", "24h30", "8h75", "8:5", "13 giờ sáng", "9 giờ trưa", "2 giờ đêm", "13pm", "0am", "9am tối nay"),
    *("8h hoặc 9h", "8h-9h", "8h 9h", "8h sáng chiều", "mai mốt", "8h mai 25/12", "mai 8h mai", "8h tuần sau"),
    *("31/11", "30/02/2027", "29/02/2027", "0/5", "5/13", "32/12/2026", "12/25/2026", "ngày 5", "ngày 5 sáng"),
    *("tháng 12", "5 tháng a", "thứ 8", "thứ 1", "thứ hai thứ ba", "thứ hai 25/12/2026", "thu hai toi"),
    *("thứ hai tuần trước", "thứ hai hôm nay", "khoảng 8h mai", "trước 8h mai", "mỗi ngày 8h", "tomorrow 8", "soon"),
    *("sau 2 giờ", "sau 8h tối", "2 tiếng", "2 tiếng nữa lúc 8h", "1,5 tiếng nữa", "3 ngày 8 nữa", "3 ngày nữa mai"),
    *("in 2", "8h" * 60, "8h" + " " * 99 + "mai", "٨ giờ", "8ж", "9999 tuần nữa", "999 tuần nữa thứ hai"),
    *("31/12/9999 24h", "0000-01-01 08:00", "8h\x00mai"),
]


@pytest.mark.parametrize(("text", "expected"), UNDERSTOOD.items())
def test_a_phrase_is_understood(text: str, expected: str) -> None:
    assert read(text) == expected


@pytest.mark.parametrize("text", NOT_UNDERSTOOD)
def test_a_phrase_half_understood_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match=r"^when\.not_understood$"):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        *("mùng 5 tháng 1 âm lịch", "mồng 3 Tết", "8h rằm tháng 8", "5/1 ÂL", "ngày 5 tháng giêng", "23 tháng chạp"),
        "8h am lich 5/1",
    ],
)
def test_lunar_dates_are_refused_as_such(text: str) -> None:
    with pytest.raises(Refusal, match=r"^when\.lunar$"):
        read(text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("hôm nay 8h", "08:00 25/11/2026"),
        ("sáng nay", "08:00 25/11/2026"),
        ("25/11 10:15", "10:15 25/11/2026"),
        ("24/11", "08:00 24/11/2026"),
        ("1/1/2020 8h", "08:00 01/01/2020"),
        ("thứ hai tuần này 8h", "08:00 23/11/2026"),
        ("ngày 3 tháng này", "08:00 03/11/2026"),
    ],
)
def test_a_time_that_has_passed_is_refused_and_said(text: str, at: str) -> None:
    with pytest.raises(Refusal, match=r"^when\.past$") as refused:
        read(text)

    assert refused.value.params == {"at": at}


def test_a_time_alone_means_tomorrow_when_it_is_this_very_minute() -> None:
    assert read("10:15") == "2026-11-26 10:15"


def test_a_weekday_means_today_only_while_its_time_is_ahead() -> None:
    assert read("thứ tư 10:16") == "2026-11-25 10:16"
    assert read("thứ tư 10:15") == "2026-12-02 10:15"


def test_next_month_after_december_is_in_the_next_year() -> None:
    assert read("8h ngày 5 tháng sau", datetime(2026, 12, 20, 9, tzinfo=ZONE)) == "2027-01-05 08:00"


def test_a_date_without_a_year_may_fall_on_a_leap_day() -> None:
    assert read("29/2 8h", datetime(2028, 1, 20, 9, tzinfo=ZONE)) == "2028-02-29 08:00"


def test_decomposed_letters_are_understood() -> None:
    assert read("8 giơ\u0300 tô\u0301i mai") == "2026-11-26 20:00"


def test_the_answer_is_in_utc_whatever_zone_now_is_in() -> None:
    at = parse_when("8 giờ sáng mai", now=NOW.astimezone(UTC), zone=ZONE)

    assert at == datetime(2026, 11, 26, 1, tzinfo=UTC)
    assert at.tzinfo is UTC


@pytest.mark.parametrize("language", ["vi", "en"])
@settings(deadline=None)
@given(minutes=st.integers(1, 5_000_000))
def test_what_is_read_back_means_the_same_minute(language: str, minutes: int) -> None:
    at = NOW.replace(second=0).astimezone(UTC) + timedelta(minutes=minutes)

    assert parse_when(say_when(at, ZONE, language), now=NOW, zone=ZONE) == at


@settings(deadline=None)
@given(st.text(max_size=120))
def test_whatever_is_typed_is_understood_or_refused(text: str) -> None:
    try:
        assert parse_when(text, now=NOW, zone=ZONE) > NOW
    except Refusal as refusal:
        assert refusal.key in {"when.not_understood", "when.past", "when.lunar"}


WORDS = (
    *(
        "8",
        "giờ",
        "h",
        ":",
        "30",
        "sáng",
        "tối",
        "mai",
        "nay",
        "thứ",
        "hai",
        "sau",
        "tuần",
        "tới",
        "ngày",
        "5",
        "tháng",
    ),
    *("12", "/", "2026", "nữa", "tiếng", "rưỡi", "in", "at", "pm", "monday", "kém", "đêm", "next"),
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=7), st.sampled_from(["", " "]))
def test_its_own_words_in_any_order_are_understood_or_refused(words: list[str], between: str) -> None:
    try:
        assert parse_when(between.join(words), now=NOW, zone=ZONE) > NOW
    except Refusal as refusal:
        assert refusal.key in {"when.not_understood", "when.past", "when.lunar"}


def test_times_dates_and_numbers_are_said_the_way_people_here_do() -> None:
    at = datetime(2026, 11, 23, 1, 5, tzinfo=UTC)

    assert say_when(at, ZONE, "vi") == "Thứ Hai 23/11/2026, 08:05"
    assert say_when(at, ZONE, "en") == "Monday 23/11/2026, 08:05"
    assert say_when(at - timedelta(days=1), ZONE, "vi").startswith("Chủ Nhật 22/11/2026")
    assert (say_time(at, ZONE), say_date(at, ZONE)) == ("08:05", "23/11/2026")
    assert (say_number(1250, "vi"), say_number(1250, "en")) == ("1.250", "1,250")
