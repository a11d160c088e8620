"""What owners and officers are told of an establishment, in the language of whoever reads it."""

from __future__ import annotations

from channels.port import Outgoing
from channels.wording import button, from_html, html, message, plain
from establishments.facts import Decision, PlaceCard, PlaceFacts, Withdrawn
from texts.phones import say_phone


def card_words(card: PlaceCard, language: str) -> dict[str, str]:
    """An establishment as the texts that show it want it."""
    place = card.place
    return {
        "name": place.name,
        "code": place.code,
        "kind": plain(language, f"kind.{place.kind}"),
        "address": place.address,
        "phone": say_phone(place.phone) if place.phone else "–",
        "area": card.area or "–",
    }


def request_shown(card: PlaceCard, language: str) -> Outgoing:
    """What an officer is shown of an application, with the buttons that decide it."""
    decide_it = (
        button(language, "button.approve", "place.approve", card.place.id),
        button(language, "button.reject", "place.reject", card.place.id, once=False),
    )
    return from_html(html(language, "approval.request", **card_words(card, language)), language, buttons=(decide_it,))


def request_closed(card: PlaceCard, what: Decision | Withdrawn, language: str) -> Outgoing:
    """What the card says from now on; where it cannot be rewritten, only what became of the application."""
    line = _outcome(card.place, what, language)
    markup = f"{html(language, 'approval.request_closed', **card_words(card, language))}\n\n{line}"
    return from_html(markup, language, brief=from_html(line, language).text)


def _outcome(place: PlaceFacts, what: Decision | Withdrawn, language: str) -> str:
    if isinstance(what, Withdrawn):
        return html(language, "approval.withdrawn", code=place.code)
    if what.approved:
        return html(language, "approval.approved", name=what.name, code=place.code)
    return html(language, "approval.rejected_by", name=what.name, code=place.code, reason=what.reason)


def decision_told(place: PlaceFacts, what: Decision, language: str) -> Outgoing:
    """To whoever speaks for the establishment: they are connected now, or why not."""
    if what.approved:
        return message(language, "enrol.approved", name=place.name, code=place.code)
    return message(language, "enrol.rejected", name=place.name, code=place.code, reason=what.reason)


def group_named(key: str, name: str | None, language: str) -> str:
    """What a group is called: by its own `name`, or in words when it exists by itself (see GroupChoice)."""
    if name is not None:
        return name
    what, _, which = key.partition(":")
    return plain(language, f"kind.{which}") if what == "kind" else plain(language, "group.all")
