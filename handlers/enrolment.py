"""Enrolment: in six messages from `/dangky`, in one tap from an establishment's own link."""

from __future__ import annotations

from dataclasses import dataclass, replace

from telegram import Update

from channels.wording import button
from establishments.facts import Application, Kind
from establishments.registration import ADDRESS_LIMIT, NAME_LIMIT, apply_for, join_by_link, place_for, short_text
from handlers import conversation
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.flows import Answer, Choice, Done, Flow, Next, Question, Step, add_flow
from handlers.words import Words
from texts.phones import parse_phone, say_phone
from texts.refusal import Refusal
from unit.areas import area_name, present_areas

_SKIP = "skip"


async def on_register(update: Update, context: Context) -> None:
    """`/dangky`."""
    async with context.begin(update) as turn:
        await start_enrolment(turn)


@dataclass(frozen=True, slots=True)
class EnrolAnswers:
    """What an owner has said so far."""

    kind: Kind | None = None
    name: str = ""
    address: str = ""
    phone: str = ""
    area_id: int | None = None


@on("enrol.start")
async def start_enrolment(turn: Turn) -> None:
    """Ask the first of six questions."""
    await conversation.begin(turn, ENROL, EnrolAnswers())


def _ask_kind(words: Words, _answers: EnrolAnswers, _seen: None) -> Question:
    choices = tuple(Choice(kind, words.plain(f"kind.{kind}")) for kind in Kind)
    return Question(words.html("enrol.ask_kind"), choices, columns=2)


async def _take_kind(turn: Turn, answers: EnrolAnswers, answer: Answer) -> Next[EnrolAnswers]:
    if answer.choice not in set(Kind):
        raise Refusal("talk.choose_one")
    return Next("name", replace(answers, kind=Kind(answer.choice)))


def _ask_name(words: Words, _answers: EnrolAnswers, _seen: None) -> Question:
    return Question(words.html("enrol.ask_name"))


async def _take_name(turn: Turn, answers: EnrolAnswers, answer: Answer) -> Next[EnrolAnswers]:
    return Next("address", replace(answers, name=short_text(answer.text, limit=NAME_LIMIT)))


def _ask_address(words: Words, answers: EnrolAnswers, _seen: None) -> Question:
    return Question(words.html("enrol.ask_address", name=answers.name))


async def _take_address(turn: Turn, answers: EnrolAnswers, answer: Answer) -> Next[EnrolAnswers]:
    return Next("phone", replace(answers, address=short_text(answer.text, limit=ADDRESS_LIMIT)))


def _ask_phone(words: Words, _answers: EnrolAnswers, _seen: None) -> Question:
    return Question(words.html("enrol.ask_phone"), asks="contact")


async def _take_phone(turn: Turn, answers: EnrolAnswers, answer: Answer) -> Next[EnrolAnswers]:
    answers = replace(answers, phone=parse_phone(answer.phone or answer.text))
    return Next("area" if await present_areas(turn.session) else "consent", answers)


async def _look_for_areas(turn: Turn, _answers: EnrolAnswers) -> list[Choice]:
    return [Choice(str(area.id), area.name) for area in await present_areas(turn.session)]


def _ask_area(words: Words, _answers: EnrolAnswers, areas: list[Choice]) -> Question:
    skip = Choice(_SKIP, words.plain("enrol.area_unknown"))
    return Question(words.html("enrol.ask_area"), tuple(areas), always=(skip,), columns=2)


async def _take_area(turn: Turn, answers: EnrolAnswers, answer: Answer) -> Next[EnrolAnswers]:
    if answer.choice is None:
        raise Refusal("talk.choose_one")
    return Next("consent", replace(answers, area_id=None if answer.choice == _SKIP else int(answer.choice)))


async def _look_at_area(turn: Turn, answers: EnrolAnswers) -> str | None:
    return await area_name(turn.session, answers.area_id)


def _ask_consent(words: Words, answers: EnrolAnswers, area: str | None) -> Question:
    markup = words.html(
        "enrol.consent",
        kind=words.plain(f"kind.{answers.kind}"),
        name=answers.name,
        address=answers.address,
        phone=say_phone(answers.phone),
        area=area or "–",
    )
    return Question(
        markup, (Choice("yes", words.plain("button.agree")), Choice("no", words.plain("button.disagree"))), columns=2
    )


async def _take_consent(turn: Turn, answers: EnrolAnswers, answer: Answer) -> Done:
    if answer.choice == "no":
        await turn.say("enrol.no_consent")
        return Done()
    if answer.choice != "yes" or answers.kind is None:
        raise Refusal("talk.choose_one")
    place = await apply_for(
        turn.session,
        Application(answers.kind, answers.name, answers.address, answers.phone, answers.area_id),
        by=turn.chat,
        language=turn.language,
        now=turn.now,
    )
    await turn.say("enrol.sent", name=place.name, code=place.code)
    return Done()


ENROL = add_flow(
    Flow(
        "enrol",
        "kind",
        {
            "kind": Step(_ask_kind, _take_kind),
            "name": Step(_ask_name, _take_name),
            "address": Step(_ask_address, _take_address),
            "phone": Step(_ask_phone, _take_phone),
            "area": Step(_ask_area, _take_area, look=_look_for_areas),
            "consent": Step(_ask_consent, _take_consent, look=_look_at_area),
        },
        EnrolAnswers,
        cancelled_key="enrol.cancelled",
    )
)


async def offer_to_join(turn: Turn, payload: str) -> None:
    """What an establishment's own link opens: who it is for, and one tap."""
    place = await place_for(turn.session, payload)
    await turn.say(
        "enrol.by_link",
        name=place.name,
        code=place.code,
        address=place.address,
        buttons=(
            (
                button(turn.language, "button.agree", "enrol.join", payload),
                button(turn.language, "button.disagree", "enrol.decline"),
            ),
        ),
    )


@on("enrol.join")
async def join(turn: Turn, payload: str) -> None:
    """One tap of consent, and the establishment is connected."""
    place = await join_by_link(turn.session, payload, by=turn.chat, now=turn.now)
    await turn.add_line(turn.html("enrol.joined", name=place.name, code=place.code))


@on("enrol.decline")
async def decline(turn: Turn) -> None:
    """No consent: nothing is kept."""
    await turn.add_line(turn.html("enrol.no_consent"))
