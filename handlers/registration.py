"""The register: an officer's yes or no to who applied; `/coso`, `/danhba`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from telegram import Update

from channels.port import Button, Outgoing
from channels.wording import button, from_html, rows
from establishments.facts import EstablishmentState, PlaceFacts
from establishments.messages import card_words
from establishments.registration import (
    REASON_LIMIT,
    count_pending,
    count_places,
    decide,
    find_places,
    invite_place,
    leave,
    pending_places,
    place_for,
    places_of,
    short_text,
)
from establishments.requests import card_of, show_request
from handlers import conversation, paging
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.flows import Answer, Choice, Done, Flow, Question, Step, add_flow
from handlers.links import link_lines
from handlers.words import Words
from officers.permissions import Permission, require
from texts.refusal import Refusal

#: How many cards are shown at once; more become a list.
_CARDS = 5
#: How much of what was typed is looked for: no name is longer.
_MOST_TYPED = 200


@on("place.approve")
async def approve(turn: Turn, establishment_id: str) -> None:
    """An officer says yes."""
    place = await decide(
        turn.session, turn.actor, int(establishment_id), approve=True, pressed=turn.delivery_id, now=turn.now
    )
    await turn.add_line(turn.html("approval.approved", name=turn.actor.name, code=place.code))


@dataclass(frozen=True, slots=True)
class RejectAnswers:
    """Which application it is about."""

    place_id: int


@on("place.reject")
async def start_rejection(turn: Turn, establishment_id: str) -> None:
    """An officer says no, and is asked why."""
    require(turn.actor, Permission.DECIDE_PLACES)
    await conversation.begin(turn, REJECT, RejectAnswers(int(establishment_id)))


def _ask_reason(words: Words, _answers: RejectAnswers, _seen: None) -> Question:
    reasons = ("duplicate", "not_here", "wrong_facts")
    choices = tuple(Choice(reason, words.plain(f"reject.{reason}")) for reason in reasons)
    return Question(words.html("approval.ask_reason"), choices)


async def _take_reason(turn: Turn, answers: RejectAnswers, answer: Answer) -> Done:
    reason = turn.plain(f"reject.{answer.choice}") if answer.choice else answer.text
    reason = short_text(reason, limit=REASON_LIMIT)
    place = await decide(turn.session, turn.actor, answers.place_id, approve=False, reason=reason, now=turn.now)
    await turn.say("approval.rejected", code=place.code, name=place.name, reason=reason)
    return Done()


REJECT = add_flow(
    Flow(
        "reject",
        "reason",
        {"reason": Step(_ask_reason, _take_reason)},
        RejectAnswers,
        cancelled_key="approval.still_open",
        permission=Permission.DECIDE_PLACES,
    )
)


async def on_place(update: Update, context: Context) -> None:
    """`/coso`: my establishments, each on a card of its own; who speaks for many chooses from a list."""
    async with context.begin(update) as turn:
        places = await places_of(turn.session, turn.chat)
        if not places:
            await turn.say(
                "place.none", buttons=rows(button(turn.language, "button.register", "enrol.start", once=False))
            )
        elif len(places) > _CARDS:
            await turn.send(_mine_page(turn, places, 0))
        else:
            for place in places:
                await _show_mine(turn, place)


@on("place.mine_page")
async def turn_mine(turn: Turn, number: str) -> None:
    """Another page of my establishments."""
    await turn.rewrite(_mine_page(turn, await places_of(turn.session, turn.chat), int(number)))


def _mine_page(turn: Turn, places: list[PlaceFacts], number: int) -> Outgoing:
    page = paging.page_at(number, len(places))
    shown = places[page.start : page.stop]
    markup = turn.html("place.mine", places=_listed(turn, shown)) + paging.foot(turn, page)
    opening = tuple((_labelled(turn, "button.open", "place.mine", place),) for place in shown)
    return from_html(markup, turn.language, buttons=(*opening, *paging.turners(turn, page, "place.mine_page")))


@on("place.mine")
async def show_one_of_mine(turn: Turn, establishment_id: str) -> None:
    """One of my establishments."""
    places = await places_of(turn.session, turn.chat)
    mine = [place for place in places if place.id == int(establishment_id)]
    if not mine:
        raise Refusal("place.unknown")
    await _show_mine(turn, mine[0])


async def _show_mine(turn: Turn, place: PlaceFacts) -> None:
    words = card_words(await card_of(turn.session, place), turn.language)
    markup = turn.html("place.shown", **words, state=turn.state("place_state", place.state))
    leaving = rows(button(turn.language, "button.leave", "place.leave_ask", place.id, once=False))
    await turn.send(from_html(markup, turn.language, buttons=leaving))


@on("place.leave_ask")
async def ask_to_leave(turn: Turn, establishment_id: str) -> None:
    """Leaving asks once more."""
    await turn.say(
        "place.leave_sure",
        buttons=rows(
            button(turn.language, "button.stay", "place.stay"),
            button(turn.language, "button.leave_yes", "place.leave", establishment_id),
        ),
    )


@on("place.stay")
async def stay(turn: Turn) -> None:
    """Nothing changes."""
    await turn.add_line(turn.html("place.stays"))


@on("place.leave")
async def leave_place(turn: Turn, establishment_id: str) -> None:
    """This chat no longer speaks for the establishment."""
    place = await leave(turn.session, turn.chat, int(establishment_id), now=turn.now)
    await turn.add_line(turn.html("place.left", name=place.name, code=place.code))


async def on_approvals(update: Update, context: Context) -> None:
    """`/duyet`: what waits for my yes."""
    async with context.begin(update) as turn:
        if not await _show_waiting(turn, after=0):
            await turn.say("approvals.none")


@on("place.waiting")
async def show_waiting(turn: Turn, after: str) -> None:
    """The next ones that wait."""
    if not await _show_waiting(turn, after=int(after)):
        await turn.say("approvals.none")


async def _show_waiting(turn: Turn, *, after: int) -> bool:
    """Show a few that wait, and how many more there are; returns whether there were any."""
    waiting = await pending_places(turn.session, turn.actor, after=after, limit=_CARDS)
    for place in waiting:
        await show_request(turn.session, place, turn.chat, language=turn.language, now=turn.now)
    if waiting and (more := await count_pending(turn.session, turn.actor, after=waiting[-1].id)):
        buttons = rows(button(turn.language, "button.page_after", "place.waiting", waiting[-1].id, once=False))
        await turn.say("approvals.more", n=more, buttons=buttons)
    return bool(waiting)


async def on_directory(update: Update, context: Context) -> None:
    """`/danhba`, with or without words to look for."""
    async with context.begin(update) as turn:
        await turn.send(await _directory_page(turn, " ".join(context.args or [])[:_MOST_TYPED], 0))


@on("place.find")
async def show_unconnected(turn: Turn) -> None:
    """Who has not joined yet."""
    await turn.send(await _directory_page(turn, "", 0))


@on("place.page")
async def turn_directory(turn: Turn, typed: str, number: str) -> None:
    """Another page of what was found."""
    await turn.rewrite(await _directory_page(turn, typed, int(number)))


async def _directory_page(turn: Turn, typed: str, number: int) -> Outgoing:
    """Establishments found, each with what can be done about it."""
    page = paging.page_at(number, await count_places(turn.session, turn.actor, typed))
    if not page.total:
        return from_html(turn.html("directory.nothing" if typed else "directory.all_joined"), turn.language)
    found = await find_places(turn.session, turn.actor, typed, limit=page.stop - page.start, offset=page.start)
    key = "directory.found" if typed else "directory.unconnected"
    markup = turn.html(key, places=_listed(turn, found)) + paging.foot(turn, page)
    inviting = [place for place in found if place.state is EstablishmentState.INVITED]
    if not turn.actor.may(Permission.DECIDE_PLACES):
        inviting = []
    invites = tuple((_labelled(turn, "button.invite_place", "place.invite", place),) for place in inviting)
    return from_html(markup, turn.language, buttons=(*invites, *paging.turners(turn, page, "place.page", typed)))


def _listed(turn: Turn, places: list[PlaceFacts]) -> str:
    return "\n".join(
        f"• {paging.clipped(place.name)} ({place.code}), {paging.clipped(place.address)}: "
        f"{turn.state('place_state', place.state)}"
        for place in places
    )


def _labelled(turn: Turn, key: str, verb: str, place: PlaceFacts) -> Button:
    """A button about one establishment, by its code."""
    made = button(turn.language, key, verb, place.id, once=False)
    return replace(made, label=f"{made.label} {place.code}")


@on("place.invite")
async def invite(turn: Turn, establishment_id: str) -> None:
    """A fresh link for one establishment, to hand over or to send."""
    payload = await invite_place(turn.session, turn.actor, int(establishment_id))
    place = await place_for(turn.session, payload)
    await turn.say("directory.link", name=place.name, code=place.code, links=link_lines(turn.services, payload))
