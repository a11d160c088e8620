import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from texts.phones import parse_phone, say_phone
from texts.refusal import Refusal


@pytest.mark.parametrize(
    "text",
    [
        *("0912345678", "0912 345 678", " 0912.345.678 ", "0912-345-678", "(0912) 345 678", "+84 912 345 678"),
        *("84912345678", "0084 912 345 678", "+84 (0)912 345 678", "(+84) 912345678"),
        *(
            "0912 345 678 (chị Lan)",
            "0912345678 anh Tư",
            "0912 345 678 - ca đêm",
            "0912345678, phòng 12",
            "ĐT: 0912345678",
        ),
    ],
)
def test_a_mobile_number_is_understood_however_it_is_written(text: str) -> None:
    assert parse_phone(text) == "+84912345678"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0263 3822 345", "+842633822345"),
        ("1900 1006", "+8419001006"),
        ("+1 (650) 253-0000", "+16502530000"),
        ("+82 10-2345-6789 (Mr Kim)", "+821023456789"),
    ],
)
def test_landlines_and_foreign_numbers_are_understood(text: str, number: str) -> None:
    assert parse_phone(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "chị Lan", "0263 3 822 xxx", "0912 345 67", "0912 345 678 9", "0912345678xx", "091234567O", "113", "+"),
        *(
            "0912345678 / 0987654321",
            "0912345678, 0987654321",
            "0912345678 0987654321",
            "0168 123 4567",
            "+999 123 456",
        ),
        *("0912 345 678" + " " * 100, "٠٩١٢٣٤٥٦٧٨", "++84912345678", "0912 345 +678"),
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match=r"^phone\.not_understood$"):
        parse_phone(text)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("+84912345678", "0912 345 678"),
        ("+842633822345", "0263 3822 345"),
        ("+8419001006", "1900 1006"),
        ("+16502530000", "+1 650-253-0000"),
    ],
)
def test_a_number_is_said_as_it_is_dialled_here(number: str, said: str) -> None:
    assert say_phone(number) == said
    assert parse_phone(said) == number


@settings(deadline=None)
@given(st.text("0123456789+-(). xlă", max_size=110))
def test_whatever_is_typed_is_a_number_or_refused(text: str) -> None:
    try:
        assert parse_phone(say_phone(parse_phone(text))) == parse_phone(text)
    except Refusal as refusal:
        assert refusal.key == "phone.not_understood"
