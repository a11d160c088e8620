"""Names and types every table shares."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

import structlog
from sqlalchemy import BigInteger, DateTime, Dialect, Enum, Integer, MetaData
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

log = structlog.get_logger(__name__)

#: What is read where an instant is damaged: it has passed, whatever it was.
LONG_PAST = datetime(1970, 1, 1, tzinfo=UTC)
#: Later than any instant: what stands behind it in an index of a damaged table is none.
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)
_Reader = Callable[[Any], Any]
#: Damaged values that were said already, by their references; a table that is damaged all over is said this often.
_said: set[str] = set()
_MOST_SAID = 1000


def _say_damaged(kind: str, value: object) -> None:
    """Log a stored value that cannot be read, once; `reference` is the SHA-256 of it, for whoever looks for it."""
    reference = hashlib.sha256(str(value).encode(errors="replace")).hexdigest()[:8].upper()
    if reference not in _said and len(_said) < _MOST_SAID:
        _said.add(reference)
        log.error("stored_value_unreadable", kind=kind, reference=reference)


class Instant(TypeDecorator[datetime]):
    """An aware instant, always UTC in and out; a naive value is refused. One that is damaged is read as LONG_PAST: a
    row that cannot be loaded would stop all that are loaded with it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> _Reader | None:
        return _reader(super().result_processor(dialect, coltype), "instant", lambda _value: LONG_PAST)


#: SQLite only counts up a primary key that is declared INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")


def _reader(read: _Reader | None, kind: str, instead: _Reader) -> _Reader | None:
    """`read`, but that it never raises: `instead` says what a damaged value is read as."""
    if read is None:
        return None

    def reads(value: Any) -> Any:
        try:
            return read(value)
        except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
            _say_damaged(kind, value)
            return instead(value)

    return reads


class _Choice(TypeDecorator[Any]):
    """A member of `states`. What is none is read as plain text, which equals no member."""

    impl = Enum
    cache_ok = True

    def __init__(self, states: type[enum.StrEnum]) -> None:
        self.states = states
        super().__init__(states, native_enum=False, length=24, values_callable=lambda e: [one.value for one in e])

    def result_processor(self, dialect: Dialect, coltype: object) -> _Reader | None:
        return _reader(super().result_processor(dialect, coltype), "choice", str)


def choice(states: type[enum.StrEnum]) -> _Choice:
    """A column that holds one member of `states`, stored as its value."""
    return _Choice(states)


class Base(DeclarativeBase):
    """Every mapped table; constraint names are the same on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: Instant()}
