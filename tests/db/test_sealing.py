"""The key ring: what is sealed opens again, and only where it belongs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.sealing import CannotUnseal, KeyRing, new_master_key

OLD, NEW = b"o" * 32, b"n" * 32
RING = KeyRing([OLD])


@given(st.binary(), st.text())
def test_what_is_sealed_opens_again(plain, bound_to):
    assert RING.unseal("p", RING.seal("p", plain, bound_to=bound_to), bound_to=bound_to) == plain


def test_the_same_words_are_sealed_differently_each_time():
    assert RING.seal("p", b"x", bound_to="1") != RING.seal("p", b"x", bound_to="1")


@pytest.mark.parametrize(("purpose", "bound_to"), [("q", "1"), ("p", "2")])
def test_it_does_not_open_for_another_purpose_or_row(purpose, bound_to):
    sealed = RING.seal("p", b"secret", bound_to="1")
    with pytest.raises(CannotUnseal):
        RING.unseal(purpose, sealed, bound_to=bound_to)


@given(st.integers(min_value=0, max_value=38), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_noticed(position, flip):
    sealed = bytearray(RING.seal("p", b"secret", bound_to="1"))
    sealed[position] ^= flip
    with pytest.raises(CannotUnseal):
        RING.unseal("p", bytes(sealed), bound_to="1")


@pytest.mark.parametrize("rubbish", [b"", b"\x01", b"x" * 40])
def test_rubbish_does_not_open(rubbish):
    with pytest.raises(CannotUnseal):
        RING.unseal("p", rubbish, bound_to="1")


def test_a_new_first_key_writes_and_the_old_one_still_opens():
    ring = KeyRing([NEW, OLD])
    assert ring.unseal("p", RING.seal("p", b"old", bound_to="1"), bound_to="1") == b"old"
    sealed = ring.seal("p", b"new", bound_to="1")
    assert KeyRing([NEW]).unseal("p", sealed, bound_to="1") == b"new"
    with pytest.raises(CannotUnseal):
        RING.unseal("p", sealed, bound_to="1")


def test_fingerprints_stay_the_same_when_a_key_is_added():
    assert KeyRing([NEW, OLD]).fingerprint("chat", "lan") == RING.fingerprint("chat", "lan")


def test_fingerprints_differ_by_purpose_parts_and_key():
    prints = {
        RING.fingerprint("a", "x"),
        RING.fingerprint("b", "x"),
        RING.fingerprint("a", "x", ""),
        RING.fingerprint("a", "", "x"),
        KeyRing([NEW]).fingerprint("a", "x"),
    }
    assert len(prints) == 5


def test_text_survives_as_url_safe_text():
    sealed = RING.seal_text("p", "Lan ở hẻm 5", bound_to="1")
    assert RING.unseal_text("p", sealed, bound_to="1") == "Lan ở hẻm 5"
    assert sealed.isascii()


def test_a_ring_is_parsed_from_base64_keys():
    first, second = new_master_key(), new_master_key()
    sealed = KeyRing.parse(second).seal("p", b"x", bound_to="1")
    assert KeyRing.parse(f"{first}, {second}").unseal("p", sealed, bound_to="1") == b"x"


@pytest.mark.parametrize("bad", ["", "abc", "YWJj", "not base64!", "A" * 43 + "=,"])
def test_a_bad_key_is_refused(bad):
    with pytest.raises(ValueError):
        KeyRing.parse(bad)
