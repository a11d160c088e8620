"""Frozen dataclasses as JSON and back: what conversations and expectations keep of a chat."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

_T = TypeVar("_T")


def written(value: object) -> dict[str, Any]:
    """A dataclass as JSON-ready values, by the names of its fields."""
    shape: Any = type(value)
    values: dict[str, Any] = _adapter(shape).dump_python(value, mode="json")
    return values


def read(shape: type[_T], values: object) -> _T | None:
    """Back from `written`; None unless the values are exactly of that shape. Another version of ours wrote what has
    more fields or fewer, and what it meant by them is not to be guessed."""
    value = read_known(shape, values)
    return value if value is not None and written(value) == values else None


def read_known(shape: type[_T], values: object) -> _T | None:
    """Back from `written`, where fields the shape does not have are left out, and those that are missing have their
    default; None when a field without one is missing, or of another type."""
    known: Any = shape
    try:
        value: _T = _adapter(known).validate_python(values)
    except ValidationError:
        return None
    return value


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
