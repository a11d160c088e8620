"""`/nhom`: broadcast groups, those that exist by themselves and those picked by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

from telegram import Update

from channels.port import Outgoing
from channels.wording import button, from_html, rows
from establishments.groups import add_member, audience_size, group_choices, make_group, rename_group
from establishments.messages import group_named
from establishments.registration import find_places
from handlers import conversation, paging
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.flows import Answer, Choice, Done, Flow, Next, Outcome, Question, Step, add_flow
from handlers.words import Words
from officers.permissions import Permission, require
from texts.refusal import Refusal

_DONE = "done"
#: How many groups stand on a page, and how many establishments a search for members may find.
_LINES = 20
_MOST_FOUND = 300


async def on_groups(update: Update, context: Context) -> None:
    """`/nhom`."""
    async with context.begin(update) as turn:
        await show_groups(turn)


@on("group.list")
async def show_groups(turn: Turn) -> None:
    """Every group with its size."""
    await turn.send(await _groups_page(turn, 0))


@on("group.page")
async def turn_groups(turn: Turn, number: str) -> None:
    """Another page of them."""
    await turn.rewrite(await _groups_page(turn, int(number)))


async def _groups_page(turn: Turn, number: int) -> Outgoing:
    require(turn.actor, Permission.MANAGE_GROUPS)
    groups = await turn.apart("groups", group_choices)
    page = paging.page_at(number, len(groups), size=_LINES)
    lines = "\n".join(
        f"• {group_named(group.key, group.name, turn.language)}: {group.size}"
        for group in groups[page.start : page.stop]
    )
    making = rows(button(turn.language, "button.new_group", "group.new", once=False))
    markup = turn.html("group.list", groups=lines) + paging.foot(turn, page)
    return from_html(markup, turn.language, buttons=(*paging.turners(turn, page, "group.page"), *making))


@dataclass(frozen=True, slots=True)
class GroupAnswers:
    """The group that is being made, and who was put into it so far."""

    group_id: int | None = None
    name: str = ""
    added: tuple[int, ...] = ()


@on("group.new")
async def start_group(turn: Turn) -> None:
    """Make a hand-picked group."""
    require(turn.actor, Permission.MANAGE_GROUPS)
    await conversation.begin(turn, MAKE, GroupAnswers())


def _ask_name(words: Words, _answers: GroupAnswers, _seen: None) -> Question:
    return Question(words.html("group.ask_name"))


async def _take_name(turn: Turn, answers: GroupAnswers, answer: Answer) -> Next[GroupAnswers]:
    if answers.group_id is not None:  # came back from the next question
        group = await rename_group(turn.session, turn.actor, answers.group_id, name=answer.text)
    else:
        group = await make_group(turn.session, turn.actor, name=answer.text, now=turn.now)
    return Next("members", replace(answers, group_id=group.id, name=group.name))


async def _look_at_size(turn: Turn, answers: GroupAnswers) -> int:
    return (await audience_size(turn.session, f"group:{answers.group_id}")).places


def _ask_members(words: Words, answers: GroupAnswers, size: int) -> Question:
    done = Choice(_DONE, words.plain("button.done"))
    return Question(words.html("group.ask_members", name=answers.name, n=size), always=(done,))


async def _find_members(turn: Turn, answers: GroupAnswers, _question: Question, typed: str) -> tuple[Choice, ...]:
    """Whoever has this in their name, code or address, but for those who were put in already."""
    found = await find_places(turn.session, turn.actor, typed, limit=_MOST_FOUND + 1)
    if not found:
        raise Refusal("directory.nothing")
    if len(found) > _MOST_FOUND:
        raise Refusal("group.too_many_found", limit=_MOST_FOUND)
    return tuple(
        Choice(str(place.id), f"{place.name} ({place.code})") for place in found if place.id not in answers.added
    )


async def _take_members(turn: Turn, answers: GroupAnswers, answer: Answer) -> Outcome[GroupAnswers]:
    if answer.choice == _DONE:
        await turn.say("group.made", name=answers.name, n=await _look_at_size(turn, answers))
        return Done()
    if answer.choice is None or answers.group_id is None:
        raise Refusal("directory.nothing")
    await add_member(turn.session, turn.actor, answers.group_id, int(answer.choice))
    return Next("members", replace(answers, added=(*answers.added, int(answer.choice))))


MAKE = add_flow(
    Flow(
        "group",
        "name",
        {
            "name": Step(_ask_name, _take_name),
            "members": Step(_ask_members, _take_members, look=_look_at_size, find=_find_members),
        },
        GroupAnswers,
        cancelled_key="group.left",
        permission=Permission.MANAGE_GROUPS,
    )
)
