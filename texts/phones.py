"""Reads and writes phone numbers."""

from __future__ import annotations

import re

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat

from texts.refusal import Refusal

HOME = "VN"
_HOME_CODE = 84
_MAX_TEXT = 100
# Words, the number with the usual signs between its digits, a note.
_NUMBER_AND_NOTE = re.compile(r"[^\d+]*+(\+?\d[\d\s().-]*+)(.*)", re.ASCII | re.DOTALL)
_MAX_DIGITS_IN_NOTE = 3


def parse_phone(text: str) -> str:
    """The number in E.164 ("+84912345678"); one without a country code is Vietnamese.

    Words before it and a note after it are left out: "ĐT: 0912 345 678 (chị Lan)".

    Raises:
        Refusal: "phone.not_understood" when nobody can have this number, some of it is not digits, or there
            are two; also for short numbers such as 113.
    """
    match = _NUMBER_AND_NOTE.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None or not _is_note(match[2], after=match[1]):
        raise Refusal("phone.not_understood")
    try:
        number = phonenumbers.parse(match[1], HOME)
    except NumberParseException:
        raise Refusal("phone.not_understood") from None
    if not phonenumbers.is_valid_number(number):
        raise Refusal("phone.not_understood")
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def _is_note(rest: str, *, after: str) -> bool:
    """Whether `rest` is set apart from the number and holds no second one."""
    apart = not rest[:1].isalnum() or not after[-1].isdigit()
    return apart and sum(letter.isdigit() for letter in rest) <= _MAX_DIGITS_IN_NOTE


def say_phone(e164: str) -> str:
    """The number as it is dialled here: "0912 345 678"; a foreign one with its country code."""
    number = phonenumbers.parse(e164)
    at_home = number.country_code == _HOME_CODE
    style = PhoneNumberFormat.NATIONAL if at_home else PhoneNumberFormat.INTERNATIONAL
    return phonenumbers.format_number(number, style)
