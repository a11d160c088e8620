from hypothesis import given, settings
from hypothesis import strategies as st

from texts.folding import fold


def test_diacritics_case_and_spaces_do_not_matter() -> None:
    assert fold("  Nhà nghỉ\tĐƯỜNG  Hoa\u00a0Sen ") == "nha nghi duong hoa sen"


def test_composed_and_decomposed_letters_fold_alike() -> None:
    assert fold("Phố") == fold("Pho\u0302\u0301") == "pho"


def test_digits_are_kept_apart() -> None:
    assert fold("Hoa Sen 1") != fold("Hoa Sen 2")


@settings(deadline=None)
@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)
