"""What others may know of establishments and groups: frozen, and without a word in any language."""

from __future__ import annotations

from dataclasses import dataclass

from db.tables.establishments import EstablishmentState as EstablishmentState
from db.tables.establishments import Kind as Kind


@dataclass(frozen=True, slots=True)
class Application:
    """What an owner tells about a place."""

    kind: Kind
    name: str
    address: str
    phone: str | None
    area_id: int | None


@dataclass(frozen=True, slots=True)
class PlaceFacts:
    """An establishment as it stood when it was read; `code` is what people call it: `CS-0042`."""

    id: int
    code: str
    kind: Kind
    name: str
    address: str
    phone: str | None
    area_id: int | None
    state: EstablishmentState


@dataclass(frozen=True, slots=True)
class PlaceCard:
    """All that is shown of an establishment, with the name of its part of the ward."""

    place: PlaceFacts
    area: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of an application: approved or, with a reason, rejected by an officer of that `name`."""

    name: str
    approved: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Its owner took an application back before anybody decided."""


@dataclass(frozen=True, slots=True)
class GroupChoice:
    """A group an officer may choose. `key` is `all`, `kind:<kind>`, `area:<id>` or `group:<id>`; `name` is what people
    have called it, None for all and for a kind."""

    key: str
    name: str | None
    size: int


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A group picked by hand."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """An establishment a notice is for; `connected` says whether any chat speaks for it."""

    establishment_id: int
    name: str
    address: str
    connected: bool


@dataclass(frozen=True, slots=True)
class AudienceSize:
    """How many establishments a notice is for, and for how many of them any chat speaks."""

    places: int
    connected: int
