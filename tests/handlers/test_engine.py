"""What every flow may rely on, shown on a small one: an outing with a name, guests, a place to go, and a summary."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import select

from conversations.shapes import read, written
from conversations.talks import Talk, keep_talk, present_talk
from db.tables.conversations import Conversation
from handlers import conversation, flows, routes
from handlers.context import Turn
from handlers.flows import (
    Answer,
    Choice,
    Done,
    Edit,
    Ending,
    Flow,
    Next,
    Outcome,
    Question,
    Stay,
    Step,
    by_label,
    flow_named,
    flow_names,
)
from handlers.words import Words
from officers.permissions import Role
from tests.handlers.journeys import JOURNEYS, Journey
from tests.worlds import Person, World, phrase
from texts.refusal import Refusal

#: Values that the engine, or a channel, might take for its own.
GUESTS = ("<back", "<cancel", "<before", "<after", "talk.cancel", "")
PLACES = (*(f"Bến {number:02d}" for number in range(1, 31)), "Chợ Lớn", "Chợ nổi")


@dataclass(frozen=True, slots=True)
class Outing:
    """What is known of it."""

    name: str = ""
    guests: tuple[str, ...] = ()
    place: str = ""
    asked: int = 0


def _ask_name(words: Words, outing: Outing, seen: None) -> Question:
    return Question("Tên chuyến đi?")


async def _take_name(turn: Turn, outing: Outing, answer: Answer) -> Outcome[Outing]:
    if answer.text == "chờ":
        return Stay(replace(outing, asked=outing.asked + 1))
    if not answer.text or "cấm" in answer.text:
        raise Refusal("text.empty")
    return Next("guests", replace(outing, name=answer.text))


def _ask_guests(words: Words, outing: Outing, seen: None) -> Question:
    choices = tuple(Choice(value, f"Khách {number}") for number, value in enumerate(GUESTS, 1))
    return Question("Mời ai?", choices, ticks=outing.guests)


async def _take_guests(turn: Turn, outing: Outing, answer: Answer) -> Outcome[Outing]:
    if answer.choices is None:
        raise Refusal("talk.choose_one")
    return Next("place", replace(outing, guests=answer.choices))


async def _look_for_places(turn: Turn, outing: Outing) -> tuple[Choice, ...]:
    return tuple(Choice(name, name) for name in PLACES)


def _ask_place(words: Words, outing: Outing, places: tuple[Choice, ...]) -> Question:
    return Question("Đi đâu?", places)


async def _take_place(turn: Turn, outing: Outing, answer: Answer) -> Outcome[Outing]:
    if answer.choice is None:
        raise Refusal("talk.choose_one")
    return Next("summary", replace(outing, place=answer.choice))


def _ask_summary(words: Words, outing: Outing, seen: None) -> Question:
    markup = f"{outing.name} | {','.join(str(GUESTS.index(one) + 1) for one in outing.guests)} | {outing.place}"
    return Question(markup, (Choice("yes", "Đồng ý"),), edits=(Edit("name", "tên"), Edit("guests", "khách")))


async def _take_summary(turn: Turn, outing: Outing, answer: Answer) -> Outcome[Outing]:
    if answer.choice != "yes":
        raise Refusal("talk.choose_one")
    await turn.say("talk.noted")
    return Done()


async def _expired(ending: Ending, outing: Outing) -> str:
    return "report.expired" if outing.name else "talk.expired"


OUTING = Flow(
    "outing",
    "name",
    {
        "name": Step(_ask_name, _take_name),
        "guests": Step(_ask_guests, _take_guests),
        "place": Step(_ask_place, _take_place, look=_look_for_places, find=by_label),
        "summary": Step(_ask_summary, _take_summary),
    },
    Outing,
    on_expire=_expired,
)


async def _start(turn: Turn) -> None:
    await conversation.begin(turn, OUTING, Outing())


@pytest.fixture(autouse=True)
def outing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow is there for these tests, and whoever writes "đi chơi" begins it."""
    monkeypatch.setitem(flows._FLOWS, OUTING.name, OUTING)
    monkeypatch.setitem(routes._MENU_WORDS, "di choi", _start)


async def going(world: World, *said: str) -> Person:
    lan = await world.person("lan")
    for words in ("đi chơi", *said):
        await lan.sends(words)
    return lan


async def talk_of(world: World, person: Person) -> Talk:
    async with world.sessions.reading() as session:
        talk = await present_talk(session, person.chat, now=world.clock())
    assert talk is not None
    return talk


async def outing_of(world: World, person: Person) -> Outing:
    found = read(Outing, (await talk_of(world, person)).answers)
    assert found is not None
    return found


# --- where it goes ---


async def test_next_leads_on_stay_asks_nothing_and_done_ends(world: World):
    lan = await going(world, "chờ", "chờ")
    lan.sees_nothing()
    assert (await outing_of(world, lan)).asked == 2
    await lan.sends("Về quê")
    lan.sees("Mời ai?")
    await lan.sends("xong")
    await lan.sends("Chợ Lớn")
    lan.sees("Về quê | | Chợ Lớn")
    await lan.sends("đồng ý")
    lan.sees(phrase("talk.noted"))
    async with world.sessions.reading() as session:
        assert not list(await session.scalars(select(Conversation.chat)))


async def test_what_is_refused_changes_no_answer(telegram_world: World):
    lan = await going(telegram_world, "chờ", "cấm")
    lan.sees(phrase("text.empty"), "Tên chuyến đi?")
    assert await outing_of(telegram_world, lan) == Outing(asked=1)


async def test_what_happens_when_its_time_has_passed_is_the_flows_to_say(telegram_world: World):
    lan = await going(telegram_world)
    hai = await telegram_world.person("hai")
    await hai.sends("đi chơi")
    await hai.sends("Về quê")
    for person in (lan, hai):
        await person.looks()
    await telegram_world.tick(hours=24, minutes=1)
    for person in (lan, hai):
        await person.refresh()
    lan.sees(phrase("talk.expired"))
    hai.sees(phrase("report.expired"))


# --- several of them ---


async def test_several_are_ticked_in_place_and_unticked_and_come_in_the_order_they_were_offered(telegram_world: World):
    lan = await going(telegram_world, "Về quê")
    asked = lan.last.id
    for label in ("☐ Khách 4", "☐ Khách 1", "☐ Khách 2", "☑ Khách 1"):
        await lan.presses(label)
        assert lan.last.id == asked, "the same message, rewritten"
    assert [label for label in lan.last.labels if label.startswith("☑")] == ["☑ Khách 2", "☑ Khách 4"]
    await lan.presses("Xong")
    lan.sees("Đi đâu?")
    assert (await outing_of(telegram_world, lan)).guests == ("<cancel", "<after")


async def test_ticks_may_be_typed_by_name_or_number_in_every_world(world: World):
    lan = await going(world, "Về quê", "khách 3", "1")
    lan.sees("Mời ai?")
    await lan.sends("Xong")
    lan.sees("Đi đâu?")
    assert (await outing_of(world, lan)).guests == ("<back", "<before")


async def test_nothing_ticked_is_an_answer_and_words_are_none(telegram_world: World):
    lan = await going(telegram_world, "Về quê", "ai cũng được")
    lan.sees(phrase("talk.choose_one"))
    await lan.presses("Xong")
    assert (await outing_of(telegram_world, lan)).guests == ()


async def test_ticks_outlive_a_restart_and_are_there_again_when_one_comes_back(telegram_world: World):
    lan = await going(telegram_world, "Về quê", "khách 2")
    await telegram_world.restart()
    await lan.sends("khách 5")
    await lan.presses("Xong")
    await lan.presses("Quay lại")
    assert [label for label in lan.last.labels if label.startswith("☑")] == ["☑ Khách 2", "☑ Khách 5"]


# --- a list that is shortened by typing ---


async def test_a_few_letters_shorten_a_list_and_all_of_it_comes_back(world: World):
    lan = await going(world, "Về quê", "xong")
    assert "Bến 01" in lan.last.labels
    assert "Chợ nổi" not in lan.last.labels
    await lan.sends("CHO")
    assert lan.last.labels[:2] == ("Chợ Lớn", "Chợ nổi")
    assert "Bến 01" not in lan.last.labels
    await lan.sends("bến 2")
    assert lan.last.labels[:2] == ("Bến 20", "Bến 21")
    await lan.presses("Xem tất cả")
    assert "Bến 01" in lan.last.labels
    assert "Xem tất cả" not in lan.last.labels
    await lan.sends("nổi")
    await lan.presses("Chợ nổi")
    lan.sees("Về quê | | Chợ nổi")


async def test_letters_that_none_has_are_refused_and_the_list_stays_as_it_was(telegram_world: World):
    lan = await going(telegram_world, "Về quê", "xong", "chợ", "xyz")
    lan.sees(phrase("talk.choose_one"))
    assert lan.last.labels[:2] == ("Chợ Lớn", "Chợ nổi")


async def test_a_shortened_list_has_pages_and_a_number_means_what_is_shown(telegram_world: World):
    lan = await going(telegram_world, "Về quê", "xong", "bến")
    await lan.presses("Sau")
    assert lan.last.labels[0] == "Bến 11"
    await lan.sends("2")
    lan.sees("| Bến 12")


async def test_a_question_that_is_gone_back_to_shows_all_of_its_list(telegram_world: World):
    lan = await going(telegram_world, "Về quê", "xong", "chợ")
    await lan.presses("Chợ Lớn")
    await lan.presses("Quay lại")
    assert "Bến 01" in lan.last.labels


# --- one answer mended ---


async def summed_up(world: World) -> Person:
    lan = await going(world, "Về quê", "khách 2", "xong", "Chợ Lớn")
    lan.sees("Về quê | 2 | Chợ Lớn")
    return lan


async def test_one_answer_is_mended_and_the_summary_comes_back(world: World):
    lan = await summed_up(world)
    await lan.presses("Sửa tên")
    lan.sees("Tên chuyến đi?")
    await world.restart()
    await lan.sends("cấm")
    lan.sees(phrase("text.empty"))
    await lan.sends("Ra biển")
    lan.sees("Ra biển | 2 | Chợ Lớn")
    await lan.sends("sửa khách")
    await lan.sends("khách 1")
    await lan.sends("xong")
    lan.sees("Ra biển | 1,2 | Chợ Lớn")
    await lan.sends("Đồng ý")
    lan.sees(phrase("talk.noted"))


async def test_going_back_while_mending_changes_nothing_and_goes_to_the_summary(telegram_world: World):
    lan = await summed_up(telegram_world)
    await lan.presses("Sửa tên")
    await lan.presses("Quay lại")
    lan.sees("Về quê | 2 | Chợ Lớn")
    await lan.presses("Quay lại")
    lan.sees("Đi đâu?")
    await lan.sends("Chợ nổi")
    lan.sees("Về quê | 2 | Chợ nổi")


async def test_after_mending_one_goes_back_the_way_one_came(telegram_world: World):
    lan = await summed_up(telegram_world)
    before = (await talk_of(telegram_world, lan)).back
    await lan.presses("Sửa khách")
    await lan.sends("xong")
    talk = await talk_of(telegram_world, lan)
    assert (talk.back, talk.returns_to, talk.step) == (before, None, "summary")


async def test_an_old_button_to_mend_something_does_nothing(telegram_world: World):
    lan = await summed_up(telegram_world)
    old = lan.last
    await lan.sends("sửa tên")
    await lan.presses_on(old, "Sửa khách")
    lan.sees(phrase("talk.stale_step"))


# --- what is the engine's, and what is not ---


async def test_the_engines_own_things_are_no_answers(telegram_world: World):
    lan = await going(telegram_world, "Về quê", "khách 2", "xong", "bến")
    await lan.presses("Sau")
    talk = await talk_of(telegram_world, lan)
    assert (talk.page, talk.narrowed) == (1, "bến")
    assert talk.answers == written(Outing("Về quê", ("<cancel",)))


# --- after an upgrade ---


async def _as_another_version_wrote_it(world: World, person: Person, *, more: bool) -> None:
    talk = await talk_of(world, person)
    answers = {**talk.answers, "more": 1} if more else dict(list(talk.answers.items())[1:])
    async with world.sessions.begin() as session:
        await keep_talk(session, replace(talk, answers=answers), now=world.clock())


@pytest.mark.parametrize("more", [True, False], ids=["a field more", "a field less"])
@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.flow)
async def test_a_conversation_of_another_version_ends_with_a_word(telegram_world: World, journey: Journey, more: bool):
    person = await journey.arrive(telegram_world)
    await journey.go_to(person, len(journey.stops) - 1)
    if not more and not (await talk_of(telegram_world, person)).answers:
        return  # of a flow that keeps nothing there is nothing to miss
    await _as_another_version_wrote_it(telegram_world, person, more=more)
    await journey.stops[-1].go_on(person)
    person.sees(phrase("talk.stale"))
    person.sees_not(phrase(journey.ends))
    await person.sends("/huy")
    person.sees(phrase("talk.nothing_to_cancel"))


async def test_a_report_begun_in_one_of_another_version_reaches_an_officer_all_the_same(telegram_world: World):
    chief = await telegram_world.officer("chief", Role.ADMIN)
    lan = await telegram_world.person("lan")
    await lan.sends("/baotin")
    await lan.sends("Có người lạ.")
    await _as_another_version_wrote_it(telegram_world, lan, more=True)
    await lan.sends("Họ còn ở đó.")
    lan.sees(phrase("talk.stale"))
    await chief.looks()
    await telegram_world.tick(hours=50)
    await chief.refresh()
    chief.sees("Có người lạ.", phrase("forward.incomplete"))


async def test_one_left_lying_ends_with_the_plain_word(telegram_world: World):
    lan = await going(telegram_world, "Về quê")
    await _as_another_version_wrote_it(telegram_world, lan, more=True)
    await lan.looks()
    await telegram_world.tick(hours=24, minutes=1)
    await lan.refresh()
    lan.sees(phrase("talk.expired"))


# --- every flow there is ---

every_flow = pytest.mark.parametrize("name", sorted(flow_names()))


@every_flow
def test_no_question_reads_anything(name: str):
    flow = flow_named(name)
    assert flow is not None
    for step in flow.steps.values():
        assert not inspect.iscoroutinefunction(step.ask)
        first = next(iter(inspect.signature(step.ask).parameters.values()))
        assert first.annotation == "Words", "it is given words, and neither a turn nor a session"


@every_flow
def test_answers_are_frozen_and_may_be_written_down(name: str):
    flow = flow_named(name)
    assert flow is not None
    assert dataclasses.is_dataclass(flow.answers)
    assert flow.answers.__dataclass_params__.frozen  # type: ignore[attr-defined]
    required = [one.name for one in dataclasses.fields(flow.answers) if one.default is dataclasses.MISSING]
    if not required:
        assert read(flow.answers, written(flow.answers())) == flow.answers()
