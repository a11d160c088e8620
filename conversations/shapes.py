"""Frozen dataclasses as JSON and back: what conversations and expectations keep of a chat."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

_T = TypeVar("_T")


def written(value: object) -> dict[str, Any]:
    """A dataclass as JSON-ready values, by the names of its fields."""
    values: dict[str, Any] = _adapter(type(value)).dump_python(value, mode="json")
    return values


def read(shape: type[_T], values: object) -> _T | None:
    """Back from `written`; None unless the values are exactly of that shape. Another version of ours wrote what has
    more fields or fewer, and what it meant by them is not to be guessed."""
    value = read_known(shape, values)
    return value if value is not None and written(value) == values else None


def read_known(shape: type[_T], values: object) -> _T | None:
    """Back from `written`, as far as the shape has fields for it and they have values for the shape; None when that
    is not enough."""
    try:
        value: _T = _adapter(shape).validate_python(values)
    except ValidationError:
        return None
    return value


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
