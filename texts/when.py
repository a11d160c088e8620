"""Reads the times that people write: in Vietnamese, with marks or without, and in English."""

from __future__ import annotations

import calendar
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from texts.folding import fold
from texts.refusal import Refusal
from texts.times import say_date, say_time


def parse_when(text: str, *, now: datetime, zone: ZoneInfo) -> datetime:
    """The instant meant by what a person wrote in Vietnamese (diacritics or not) or English.

    - A time alone is the next such time; "8 giờ" without a part of the day is 08:00.
    - A date alone is 08:00 on that day; without a year it is the nearest such date.
    - "thứ hai" is the coming one, "thứ hai tới" one after today, "thứ hai tuần sau" the one in next week,
      Monday to Sunday, as is "next monday".
    - "3 ngày nữa" is this time of day in three days, "3 ngày nữa lúc 8h" at eight.
    - "12 giờ đêm" and "24h" are the midnight that ends the day.

    Args:
        now: Aware.

    Returns:
        Aware UTC, later than `now`, a whole minute.

    Raises:
        Refusal: "when.not_understood" unless every word is understood and fits the others; "when.lunar" for
            dates of the lunar calendar; "when.past" with `at`.
    """
    here = now.astimezone(zone)
    if len(text) > _MAX_PHRASE:
        raise Refusal("when.not_understood")
    phrase = _plain(text)
    if _LUNAR.search(phrase) and "duong lich" not in phrase:
        raise Refusal("when.lunar")
    try:
        at = _read(phrase).resolve(here)
    except (ValueError, OverflowError):
        raise Refusal("when.not_understood") from None
    if at <= here:
        raise Refusal("when.past", at=f"{say_time(at, zone)} {say_date(at, zone)}")
    return at.astimezone(UTC)


_MAX_PHRASE = 100
_DEFAULT_TIME = 8 * 60
# Marks may be missing but not wrong: "bây giờ" (now) is not "bảy giờ", "dừng" is not "đúng".
_SPELLED = (
    *("giờ", "phút", "tiếng", "ngày", "tuần", "tháng", "rưỡi", "kém", "nửa", "nữa", "lúc", "vào", "đúng", "buổi"),
    *("sáng", "trưa", "chiều", "tối", "tới", "đêm", "hôm", "bữa", "mốt", "này", "thứ", "chủ", "chúa", "nhật"),
    *("một", "bốn", "tư", "năm", "sáu", "sau", "bảy", "bây", "tám", "chín", "mười"),
    *("dương", "lịch", "âm", "âl", "mùng", "mồng", "rằm", "tết", "giêng", "chạp", "thừa"),
)
# Of those that are alike without marks, what is meant when the marks tell; else the word stays open.
_TOLD_APART = {"tới": "@next", "tối": "evening", "sáu": "6", "một": "1", "bảy": "7"}
_LUNAR = re.compile(r"\b(?:am lich|al|mung|mong|ram|tet|thang gieng|thang chap|giao thua|lunar)\b")
# Not "bay": without its mark it may be "bây giờ". "tư" is said of months and weekdays only.
_NUMBERS = {
    "mot": 1,
    "hai": 2,
    "ba": 3,
    "bon": 4,
    "nam": 5,
    "tam": 8,
    "chin": 9,
    "muoi": 10,
    "muoi mot": 11,
    "muoi 1": 11,
    "muoi hai": 12,
}
_WEEKDAYS = [
    *(("thu 2", "thu hai", "t2", "monday", "mon"), ("thu 3", "thu ba", "t3", "tuesday", "tues", "tue")),
    *(("thu 4", "thu tu", "t4", "wednesday", "wed"), ("thu 5", "thu nam", "t5", "thursday", "thurs", "thur")),
    *(("thu 6", "thu sau", "t6", "friday", "fri"), ("thu 7", "thu bay", "t7", "saturday", "sat")),
    ("chu nhat", "chua nhat", "cn", "sunday", "sun"),
]
_WEEKDAY_OF = {name: weekday for weekday, names in enumerate(_WEEKDAYS) for name in names}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_OF = _NUMBERS | {"tu": 4, "bay": 7} | {name: number for number, name in enumerate(_MONTHS, 1)}
_ENGLISH_PARTS = {"morning": "sang", "noon": "trua", "afternoon": "chieu", "evening": "toi", "night": "dem"}
_PART_OF = {part: part for part in ("sang", "trua", "chieu", "toi", "dem")} | _ENGLISH_PARTS
# The hours people say with each part of the day; an hour not listed is not guessed at.
_HOURS: dict[str | None, dict[int, int]] = {
    None: {hour: hour for hour in range(25)},
    "sang": {hour: hour for hour in range(12)},
    "trua": {10: 10, 11: 11, 12: 12, 13: 13, 14: 14, 1: 13, 2: 14},
    "chieu": {hour: hour for hour in range(13, 20)} | {hour - 12: hour for hour in range(13, 20)},
    "toi": {hour: hour for hour in range(17, 24)} | {hour - 12: hour for hour in range(17, 25)},
    "dem": {hour: hour for hour in range(20, 24)} | {hour - 12: hour for hour in range(20, 25)},
    "am": {12: 0} | {hour: hour for hour in range(1, 12)},
    "pm": {12: 12} | {hour - 12: hour for hour in range(13, 24)},
}
# A part of the day alone: only these two mean one time.
_PART_ALONE = {"sang": 8 * 60, "trua": 12 * 60}


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a phrase says, each thing at most once."""

    hour: int | None = None
    minute: int = 0
    half_day: str | None = None  # am or pm
    part: str | None = None
    days: int | None = None  # from today
    weekday: int | None = None  # Monday is 0
    after_today: bool = False  # of the weekday
    week: int | None = None  # from this one
    day: int | None = None
    month: int | None = None
    year: int | None = None
    months: int | None = None  # from this one
    span: timedelta | None = None

    def resolve(self, here: datetime) -> datetime:
        """The first time that fits, ahead of `here` if any is. Raises ValueError when the parts do not fit."""
        if self.span is not None:
            return self._after_span(here)
        at_minute = self._minute_of_day()
        candidates = [_instant(day, at_minute, here) for day in self._days(here.date())]
        return next((at for at in candidates if at > here), candidates[-1])

    def _after_span(self, here: datetime) -> datetime:
        assert self.span is not None  # noqa: S101 - the caller asked
        if self == _Reading(span=self.span):
            return _next_minute(here, self.span)
        timed = _Reading(self.hour, self.minute, self.half_day, self.part, span=self.span)
        if self != timed or self.span % timedelta(days=1):
            raise ValueError("a span with something that does not go with it")
        return _instant(here.date() + self.span, self._minute_of_day(), here)

    def _minute_of_day(self) -> int:
        if self.hour is None:
            return _PART_ALONE[self.part] if self.part in _PART_ALONE else self._default_time()
        hour = _HOURS[self.half_day].get(self.hour, -1)
        if self.half_day is None:
            hour = _HOURS[self.part].get(hour, -1)
        elif self.part and hour not in _HOURS[self.part].values():
            raise ValueError("am and pm against the part of the day")
        minute_of_day = hour * 60 + self.minute
        if not 0 <= minute_of_day <= 24 * 60:
            raise ValueError("no such time of day")
        return minute_of_day

    def _default_time(self) -> int:
        if self.part is not None:
            raise ValueError("a part of the day without an hour")
        return _DEFAULT_TIME

    def _days(self, today: date) -> list[date]:
        """The days it may be, in order of preference."""
        named = [*self._from_date(today), *self._from_offset(today)]
        if len(named) > 1 or (named and self.week is not None):
            raise ValueError("two dates")
        if self.weekday is None:
            return named or self._any_day(today)
        if not named:
            return self._coming_weekday(today)
        if named[0].weekday() != self.weekday:
            raise ValueError("the weekday is not that of the date")
        return named

    def _from_date(self, today: date) -> Iterator[date]:
        if self.day is None:
            return
        if self.months is not None:
            month = today.month - 1 + self.months
            yield date(today.year + month // 12, month % 12 + 1, self.day)
        elif self.month is not None:
            yield _nearest(self.day, self.month, today) if self.year is None else date(self.year, self.month, self.day)

    def _from_offset(self, today: date) -> Iterator[date]:
        if self.days is not None:
            yield today + timedelta(days=self.days)

    def _any_day(self, today: date) -> list[date]:
        if self.week is not None or (self.hour is None and self.part is None):
            raise ValueError("no day")
        return [today, today + timedelta(days=1)]

    def _coming_weekday(self, today: date) -> list[date]:
        assert self.weekday is not None  # noqa: S101 - the caller asked
        if self.week is not None:
            return [today + timedelta(weeks=self.week, days=self.weekday - today.weekday())]
        first = today + timedelta(days=(self.weekday - today.weekday()) % 7)
        days = [first, first + timedelta(weeks=1)]
        return days[1:] if self.after_today and first == today else days


def _instant(day: date, minute_of_day: int, here: datetime) -> datetime:
    days, minute = divmod(minute_of_day, 24 * 60)
    return datetime.combine(day + timedelta(days=days), time(minute // 60, minute % 60), here.tzinfo)


def _next_minute(here: datetime, span: timedelta) -> datetime:
    """`here` plus `span`, whole days by the clock on the wall, rounded up to a minute."""
    days = here + timedelta(days=span.days)
    at = (days.astimezone(UTC) + (span - timedelta(days=span.days))).astimezone(here.tzinfo)
    whole = at.replace(second=0, microsecond=0)
    return whole if whole == at else whole + timedelta(minutes=1)


def _nearest(day: int, month: int, today: date) -> date:
    """The date nearest to today with this day and month, past or ahead."""
    years = [year for year in (today.year - 1, today.year, today.year + 1) if day <= _days_in(year, month)]
    return min((date(year, month, day) for year in years), key=lambda other: abs(other - today))


def _days_in(year: int, month: int) -> int:
    if not 1 <= month <= 12:
        raise ValueError("no such month")
    return calendar.monthrange(year, month)[1]


def _plain(text: str) -> str:
    """The phrase without diacritics and punctuation; a word with marks that are not ours becomes "?"."""
    lower = unicodedata.normalize("NFC", text).casefold()
    told_apart = re.sub(r"[^\W\d_]+", lambda word: _told_apart(word[0]), lower)
    return fold(re.sub(r",|\s[-–]\s|[.!]\s*$", " ", told_apart))


def _told_apart(word: str) -> str:
    meant = {_TOLD_APART.get(spelled, fold(spelled)) for spelled in _SPELLED if _may_be(word, spelled)}
    if len(meant) == 1:
        return meant.pop()
    return fold(word) if meant or word.isascii() else "?"


def _may_be(word: str, spelled: str) -> bool:
    """Whether `word` is `spelled`, perhaps without some of its marks."""
    letters, right = _letters(word), _letters(spelled)
    return len(letters) == len(right) and all(map(set.issubset, letters, right))


def _letters(word: str) -> list[set[str]]:
    """Each letter as the set of itself and its marks (of đ, the stroke)."""
    letters: list[set[str]] = []
    for character in unicodedata.normalize("NFD", word.replace("đ", "d\u0335")):
        if unicodedata.combining(character) and letters:
            letters[-1].add(character)
        else:
            letters.append({character})
    return letters


def _read(phrase: str) -> _Reading:
    """Every word of `phrase`, understood; raises ValueError."""
    fields: dict[str, Any] = {}
    position = 0
    while position < len(phrase):
        end, found = _rule_at(phrase, position)
        if fields.keys() & found.keys():
            raise ValueError("said twice")
        fields |= found
        position = end
    return _Reading(**fields)


def _rule_at(phrase: str, position: int) -> tuple[int, dict[str, Any]]:
    for pattern, read in _RULES:
        match = pattern.match(phrase, position)
        if match:
            return match.end(), read(match)
    raise ValueError("not a word of ours")


_Read = Callable[[re.Match[str]], dict[str, Any]]
_END = r"(?![a-z0-9/:'@-]|\.\d)"


def _rule(pattern: str, read: _Read) -> tuple[re.Pattern[str], _Read]:
    return re.compile(rf"(?:{pattern}){_END} *", re.ASCII), read


def _any_of(names: Any) -> str:
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True))


def _number(word: str) -> int:
    return _NUMBERS[word] if word in _NUMBERS else int(word)


def _clock(match: re.Match[str]) -> dict[str, Any]:
    """Hour and minute; "kém" counts back from the hour."""
    found = match.groupdict()
    minute = 30 if found.get("half") else int(found.get("minute") or 0)
    back = int(found.get("back") or 0)
    if minute >= 60 or back >= 60:
        raise ValueError("no such minute")
    clock = {"hour": _number(found["hour"]), "minute": minute - back}
    return clock | ({"half_day": found["half_day"].replace(".", "")} if found.get("half_day") else {})


def _date(match: re.Match[str]) -> dict[str, Any]:
    month, year = match["month"], match["year"]
    named = {"day": int(match["day"]), "month": _month(month)}
    return named | ({"year": int(year) + (2000 if len(year) == 2 else 0)} if year else {})


def _month(word: str) -> int:
    return _MONTH_OF.get(word) or _MONTH_OF.get(word[:3]) or int(word)


def _span(match: re.Match[str]) -> dict[str, Any]:
    amount, unit = match["amount"], match["unit"]
    one = next(length for units, length in _UNITS.items() if unit in units.split("|"))
    half = one / 2 if match["half"] else timedelta(0)
    if match["minutes"] and one != timedelta(hours=1):
        raise ValueError("minutes go with hours")
    return {"span": one * _amount(amount) + half + timedelta(minutes=int(match["minutes"] or 0))}


def _amount(word: str) -> float:
    return {"nua": 0.5, "half an": 0.5, "an": 1, "a": 1}.get(word) or _number(word)


def _length(units: str) -> str:
    return (
        rf"(?P<amount>{_NUMBER}|nua|half an|an?) ?(?P<unit>{units})"
        rf"(?: (?P<half>ruoi)| ?(?P<minutes>\d{{1,2}})(?:{_MINUTES})?)?"
    )


_UNITS = {
    "phut|p|'|minute|minutes|min|mins": timedelta(minutes=1),
    "tieng|gio|h|hour|hours": timedelta(hours=1),
    "ngay|day|days": timedelta(days=1),
    "tuan|week|weeks": timedelta(weeks=1),
}
_NUMBER = rf"\d{{1,3}}|{_any_of(_NUMBERS)}"
_MONTH_NAME = rf"(?:{'|'.join(_MONTHS)})[a-z]*"
_NOT_A_DAY = rf"(?! ?thang| (?:of )?{_MONTH_NAME}{_END})"
_MINUTES = r" ?(?:phut|p|'|minutes?|mins?)"
_WEEKDAY = _any_of(_WEEKDAY_OF)
_PART = _any_of(_PART_OF)
_TH = "(?:st|nd|rd|th)?"
# Tried in this order at each place of the phrase.
_RULES = [
    # 2 tiếng nữa, trong 3 ngày nữa, sau 30 phút, in 2 hours
    _rule(rf"(?:(?:sau|trong) )?{_length('|'.join(_UNITS))} (?:nua|from now)", _span),
    # without "nữa", "sau 2 giờ" may be a time of day
    _rule(rf"sau {_length('phut|tieng|ngay|tuan')}", _span),
    _rule(rf"in {_length('minutes?|mins?|hours?|days?|weeks?')}", _span),
    # 25/12, 25/12/2026, 25-12-2026, 2026-12-25
    _rule(r"(?:ngay )?(?P<day>\d{1,2})/(?P<month>\d{1,2})(?:/(?P<year>\d{4}|\d{2}))?", _date),
    _rule(r"(?:ngay )?(?P<day>\d{1,2})(?P<dash>[-.])(?P<month>\d{1,2})(?P=dash)(?P<year>\d{4})", _date),
    _rule(r"(?:ngay )?(?P<year>\d{4})(?P<dash>[-/])(?P<month>\d{1,2})(?P=dash)(?P<day>\d{1,2})", _date),
    # ngày 5 tháng 12 năm 2026, ngày 5 tháng sau, 5 December 2026, December 5th
    _rule(
        rf"(?:(?:ngay|mung|mong) )?(?P<day>\d{{1,2}}) ?thang (?P<month>{_NUMBER}|tu|bay)"
        r"(?:(?: nam)? (?P<year>\d{4}))?",
        _date,
    ),
    _rule(r"(?:ngay )?(\d{1,2}) thang nay", lambda match: {"day": int(match[1]), "months": 0}),
    _rule(r"(?:ngay )?(\d{1,2}) thang (?:sau|toi|@next)", lambda match: {"day": int(match[1]), "months": 1}),
    _rule(rf"(?P<day>\d{{1,2}}){_TH} (?:of )?(?P<month>{_MONTH_NAME})(?: (?P<year>\d{{4}}))?", _date),
    _rule(rf"(?P<month>{_MONTH_NAME}) (?P<day>\d{{1,2}}){_TH}(?: (?P<year>\d{{4}}))?", _date),
    # 8am, 08:00, 14h30, 8 giờ rưỡi, 9 giờ kém 15, 8 sáng
    _rule(r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2}))? ?(?P<half_day>am|pm|a\.m|p\.m)\.?", _clock),
    _rule(r"(?P<hour>\d{1,2}):(?P<minute>\d{2})", _clock),
    _rule(
        rf"(?P<hour>{_NUMBER}) ?(?:gio|h|g|o'clock)"
        rf"(?: ?(?P<half>ruoi)| kem (?P<back>\d{{1,2}})(?:{_MINUTES})?"
        rf"| ?(?P<minute>\d{{1,2}})(?:{_MINUTES})?{_NOT_A_DAY})?",
        _clock,
    ),
    _rule(r"(?P<hour>\d{1,2}) (?P<half>ruoi)", _clock),
    _rule(rf"(?P<hour>\d{{1,2}})(?= (?:buoi |in the |at )?(?:{_PART}){_END})", _clock),
    # thứ hai tới, thứ hai này, next monday; "thu hai toi" may be tới or tối
    _rule(rf"next ({_WEEKDAY})", lambda match: {"weekday": _WEEKDAY_OF[match[1]], "week": 1}),
    _rule(rf"({_WEEKDAY}) @next", lambda match: {"weekday": _WEEKDAY_OF[match[1]], "after_today": True}),
    _rule(rf"(?:this )?({_WEEKDAY})(?: nay)?(?! toi\b)", lambda match: {"weekday": _WEEKDAY_OF[match[1]]}),
    _rule(r"tuan nay|this week", lambda _: {"week": 0}),
    _rule(r"tuan (?:sau|toi|@next)|next week", lambda _: {"week": 1}),
    # hôm nay, mai, mốt, ngày kia
    _rule(r"tonight", lambda _: {"days": 0, "part": "toi"}),
    _rule(r"(?:(?:hom|bua|ngay) )?nay|today", lambda _: {"days": 0}),
    _rule(r"(?:(?:hom|bua|ngay) )?mai|tomorrow", lambda _: {"days": 1}),
    _rule(r"(?:(?:bua|ngay) )?mot|ngay kia|(?:the )?day after tomorrow", lambda _: {"days": 2}),
    _rule(rf"(?:buoi |in the |at )?({_PART})", lambda match: {"part": _PART_OF[match[1]]}),
    _rule(r"luc|vao|dung|duong lich|at|on|ngay(?! \d)", lambda _: {}),
]
