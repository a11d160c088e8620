"""Frozen dataclasses as JSON and back: only what is exactly of a shape is read."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import pytest

from conversations.shapes import read, read_known, written
from tests.conftest import NOW


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Wheel:
    size: float
    colour: Colour | None = None


@dataclass(frozen=True, slots=True)
class Bike:
    name: str
    at: datetime
    wheels: tuple[Wheel, ...] = ()
    sold: bool = False
    owner: int | None = None


BIKE = Bike("Xe đạp “Thống Nhất” 🚲", NOW, (Wheel(26.5, Colour.RED), Wheel(24.0)), owner=7)


def _stored(value: object) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(json.dumps(written(value), ensure_ascii=False))
    return stored


def test_what_was_written_is_read_back_through_json():
    assert read(Bike, _stored(BIKE)) == BIKE
    assert read(Bike, _stored(Bike("", NOW))) == Bike("", NOW)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda body: {**body, "bell": True}, id="a field more"),
        pytest.param(lambda body: {name: body[name] for name in body if name != "name"}, id="one less"),
        pytest.param(lambda body: {name: body[name] for name in body if name != "sold"}, id="one less with a default"),
        pytest.param(lambda body: {**body, "owner": "7"}, id="another type"),
        pytest.param(lambda body: {**body, "wheels": [{**body["wheels"][0], "spokes": 3}]}, id="a field more inside"),
        pytest.param(lambda body: {**body, "wheels": [{"size": 1.0, "colour": "pink"}]}, id="a value not known"),
        pytest.param(lambda body: None, id="nothing"),
        pytest.param(lambda body: [body], id="a list"),
        pytest.param(lambda body: "x", id="a word"),
    ],
)
def test_what_another_version_wrote_is_not_guessed_at(change):
    assert read(Bike, change(_stored(BIKE))) is None


def test_what_is_known_may_be_read_of_more_and_of_less():
    body = {**_stored(BIKE), "bell": True}
    del body["sold"]
    assert read_known(Bike, body) == BIKE
    assert read_known(Bike, {"name": "x"}) is None


def test_answers_are_not_changed_by_being_written():
    before = replace(BIKE)
    written(BIKE)["wheels"].clear()
    assert before == BIKE
