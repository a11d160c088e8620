"""`/nhom`: broadcast groups, those that exist by themselves and those picked by hand."""

from __future__ import annotations

from telegram import Update

from channels.port import Outgoing
from channels.wording import button, from_html, rows
from establishments.groups import add_member, audience_size, group_choices, make_group, rename_group
from establishments.messages import group_named
from establishments.registration import find_places
from handlers import conversation, paging
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.conversation import Answer, Choice, Flow, Question, Step, Talk
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


@on("group.new")
async def start_group(turn: Turn) -> None:
    """Make a hand-picked group."""
    require(turn.actor, Permission.MANAGE_GROUPS)
    await conversation.begin(turn, MAKE)


async def _ask_name(turn: Turn, talk: Talk) -> Question:
    return Question(turn.html("group.ask_name"))


async def _take_name(turn: Turn, talk: Talk, answer: Answer) -> str:
    made = talk.answers.get("group")
    if made is not None:  # came back from the next question
        group = await rename_group(turn.session, turn.actor, made, name=answer.text)
    else:
        group = await make_group(turn.session, turn.actor, name=answer.text, now=turn.now)
    talk.answers |= {"group": group.id, "name": group.name, "found": []}
    return "members"


async def _ask_members(turn: Turn, talk: Talk) -> Question:
    size = await _size(turn, talk)
    found = [Choice(str(place_id), label) for place_id, label in talk.answers["found"]]
    done = Choice(_DONE, turn.plain("button.done"))
    asked = turn.html("group.ask_members", name=talk.answers["name"], n=size)
    return Question(asked, tuple(found), always=(done,))


async def _size(turn: Turn, talk: Talk) -> int:
    return (await audience_size(turn.session, f"group:{talk.answers['group']}")).places


async def _take_members(turn: Turn, talk: Talk, answer: Answer) -> str | None:
    if answer.choice == _DONE:
        size = await _size(turn, talk)
        await conversation.finish(turn)
        await turn.say("group.made", name=talk.answers["name"], n=size)
        return None
    if answer.choice is not None:
        await add_member(turn.session, turn.actor, talk.answers["group"], int(answer.choice))
        talk.answers["found"] = [item for item in talk.answers["found"] if str(item[0]) != answer.choice]
        return "members"
    found = await find_places(turn.session, turn.actor, answer.text, limit=_MOST_FOUND + 1)
    if not found or not answer.text:
        raise Refusal("directory.nothing")
    if len(found) > _MOST_FOUND:
        raise Refusal("group.too_many_found", limit=_MOST_FOUND)
    talk.answers["found"] = [(place.id, f"{place.name} ({place.code})") for place in found]
    return "members"


MAKE = conversation.add_flow(
    Flow(
        "group",
        "name",
        {"name": Step(_ask_name, _take_name), "members": Step(_ask_members, _take_members)},
        cancelled_key="group.left",
        permission=Permission.MANAGE_GROUPS,
    )
)
