"""Writes times and numbers the way people here do."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from babel.dates import format_date
from babel.numbers import format_decimal


def say_when(at: datetime, zone: ZoneInfo, language: str) -> str:
    """The instant in full: "Thứ Hai 23/11/2026, 08:00" or "Monday 23/11/2026, 08:00"; `parse_when` reads it back."""
    weekday = format_date(at.astimezone(zone), "EEEE", locale=language)
    return f"{weekday} {say_date(at, zone)}, {say_time(at, zone)}"


def say_time(at: datetime, zone: ZoneInfo) -> str:
    """The time of day, 24 hours: "22:14"."""
    return f"{at.astimezone(zone):%H:%M}"


def say_date(at: datetime, zone: ZoneInfo) -> str:
    """The date, day first: "23/11/2026"."""
    return f"{at.astimezone(zone):%d/%m/%Y}"


def say_number(number: int, language: str) -> str:
    """With the language's thousands separator: "1.250" or "1,250"."""
    return format_decimal(number, locale=language)
