"""What holds for every step of every conversation."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import handlers
from handlers.flows import Flow
from tests.handlers.journeys import JOURNEYS, Journey
from tests.worlds import Person, World, phrase
from texts.markup import clean, is_blank

every_journey = pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.flow)

HOSTILE = {
    "signs": "<b>đậm</b> </i> & &amp; {name} %s \u202eabc\u202c 👮🏽‍♀️ مرحبا a\x00b",
    "long": "rất dài " * 625,
    "spaces": "  \u00a0 \u2003 \t",
    "nulls": "\x00\x00",
}

#: The sentences that refuse what was typed.
REFUSALS = [
    phrase(key)
    for key in (
        "text.empty",
        "text.too_long",
        "talk.choose_one",
        "phone.not_understood",
        "when.not_understood",
        "track.not_a_code",
        "verify.unknown",
        "directory.nothing",
        "compose.file_or_skip",
    )
]


def flows() -> set[str]:
    modules = [importlib.import_module(f"handlers.{found.name}") for found in pkgutil.iter_modules(handlers.__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Flow)]
    return {flow.name for flow in found}


def test_every_flow_is_walked():
    assert flows() == {journey.flow for journey in JOURNEYS}


@every_journey
async def test_every_step_can_be_cancelled_by_button(world: World, journey: Journey):
    person = await journey.arrive(world)
    for number, stop in enumerate(journey.stops):
        await journey.go_to(person, number)
        person.sees(phrase(stop.asks))
        person.offers("Huỷ")
        await person.presses("Huỷ")
        person.sees(phrase(journey.cancelled))
        await person.sends("/huy")
        person.sees(phrase("talk.nothing_to_cancel"))


@every_journey
@pytest.mark.parametrize("typed", ["/huy", "huỷ", "HUY"])
async def test_a_step_can_be_cancelled_by_typing(telegram_world: World, journey: Journey, typed: str):
    person = await journey.arrive(telegram_world)
    await journey.go_to(person, len(journey.stops) - 1)
    await person.sends(typed)
    person.sees(phrase(journey.cancelled))


@every_journey
async def test_every_step_but_the_first_goes_back_and_forth(world: World, journey: Journey):
    person = await journey.arrive(world)
    await journey.start(person)
    assert "Quay lại" not in person.last.labels
    for before, after in zip(journey.stops, journey.stops[1:], strict=False):
        await before.go_on(person)
        if before.asks == "report.first":
            continue  # the same question, asked differently
        person.offers("Quay lại")
        await person.presses("Quay lại")
        person.sees(phrase(before.asks))
        await before.go_on(person)
        await person.sends("quay lại")
        person.sees(phrase(before.asks))
        await before.go_on(person)
        person.sees(phrase(after.asks))
    await journey.stops[-1].go_on(person)
    person.sees(phrase(journey.ends))


@every_journey
async def test_the_way_leads_to_the_end_with_a_restart_between_any_two_steps(world: World, journey: Journey):
    person = await journey.arrive(world)
    await journey.start(person)
    for stop in journey.stops:
        person.sees(phrase(stop.asks))
        await world.restart()
        await stop.go_on(person)
    person.sees(phrase(journey.ends))


@every_journey
async def test_a_conversation_left_lying_ends_after_a_day_with_a_word(world: World, journey: Journey):
    person = await journey.arrive(world)
    await journey.go_to(person, len(journey.stops) - 1)
    question = person.last
    await person.looks()
    await world.tick(hours=23, minutes=59)
    person.sees_not(phrase("talk.expired"), phrase("report.expired"))
    await world.tick(minutes=2)
    await person.refresh()
    person.sees(phrase("report.expired" if journey.flow == "report" else "talk.expired"))
    if world.has_buttons:
        await person.presses_on(question, "Huỷ")
        person.sees(phrase("talk.stale"))


@every_journey
async def test_buttons_of_answered_questions_change_nothing(telegram_world: World, journey: Journey):
    person = await journey.arrive(telegram_world)
    await journey.start(person)
    asked = []
    for stop in journey.stops:
        asked.append((person.last.id, stop.answer))
        await stop.go_on(person)
        for message_id, label in asked:
            question = next(shown for shown in person.shown if shown.id == message_id)
            for pressed in {label, "Huỷ"} & set(question.labels) if stop is journey.stops[-1] else {label}:
                await presses_in_vain(person, message_id, pressed, journey)


async def presses_in_vain(person: Person, message_id: str, label: str, journey: Journey):
    question = next(shown for shown in person.shown if shown.id == message_id)
    if label not in question.labels or label in question.keys or (journey.stays and label == "Huỷ"):
        return  # the button is gone, or only types its label, or the flow goes on and may be left
    await person.presses_on(question, label)
    person.sees_not(phrase(journey.ends), phrase(journey.cancelled))
    said = "\n".join(shown.text for shown in person.news)
    assert any(phrase(key) in said for key in ("button.used", "talk.stale_step", "talk.stale")), person.transcript()


@every_journey
async def test_a_choice_may_be_typed_as_its_number(telegram_world: World, journey: Journey):
    person = await journey.arrive(telegram_world)
    await journey.start(person)
    for stop in journey.stops:
        choices = [label for label in person.last.labels if label not in ("Huỷ", "Quay lại")]
        if stop.answer in choices and len(choices) > 1:
            await person.sends(f"{choices.index(stop.answer) + 1}.")
        else:
            await stop.go_on(person)
    person.sees(phrase(journey.ends))


@every_journey
async def test_hostile_text_is_shown_literally_or_refused_with_a_sentence(world: World, journey: Journey):
    person = await journey.arrive(world)
    for number, stop in enumerate(journey.stops):
        for hostile in hostile_at(number, world):
            await journey.go_to(person, number)
            await person.sends(hostile)
            assert person.news, f"silence at {stop.asks} after {hostile[:20]!r}"
            if is_refused(person):
                await person.presses("Huỷ")
            else:
                assert stop.takes_words, f"{stop.asks} took {hostile[:20]!r}\n{person.transcript()}"
                await finishes(journey, person, number)
                await is_read_literally(world, hostile)
            if journey.renew is not None:
                await journey.renew(world)
    assert not world.incidents


def hostile_at(number: int, world: World) -> list[str]:
    """Every text at every step where markup is most powerful; elsewhere the texts take turns: what differs there is how
    a message is drawn, whatever step it belongs to."""
    texts = list(HOSTILE.values())
    return texts if world.port.name == "telegram" else [texts[number % len(texts)]]


def is_refused(person: Person) -> bool:
    return any(shown.id.startswith("page-") for shown in person.news) or any(
        refusal in shown.text for shown in person.news for refusal in REFUSALS
    )


async def finishes(journey: Journey, person: Person, number: int) -> None:
    """Go on from after a step to the end, if there is any way to go."""
    for stop in journey.stops[number + 1 :]:
        await stop.go_on(person)


async def is_read_literally(world: World, hostile: str) -> None:
    """Somebody was shown exactly what was typed, without what is not a character."""
    wanted = " ".join(clean(hostile).split())
    assert not is_blank(wanted)
    seen = [" ".join("".join(shown.text for shown in one.shown[-12:]).split()) for one in world.people]
    squeezed = wanted.replace(" ", "")
    assert any(squeezed in text.replace(" ", "") for text in seen), (
        wanted[:60] + "\n" + "\n".join(one.transcript()[-3000:] for one in world.people)
    )
