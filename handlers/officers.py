"""`/canbo`: officers and invitations."""

from __future__ import annotations

from telegram import Update

from channels.port import Outgoing
from channels.wording import button, from_html, rows
from conversations.languages import language_of
from deliveries.ledger import Lane, open_delivery
from establishments.registration import short_text
from handlers import conversation, paging
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.conversation import Answer, Choice, Flow, Question, Step, Talk
from handlers.links import link_lines
from officers.accounts import (
    all_officers,
    confirm_invitation,
    invite_officer,
    officers_who_may,
    open_invitation,
    revoke_officer,
    who_confirms,
)
from officers.cards import close_cards, show_card
from officers.messages import confirmation_asked, confirmation_given, confirmation_line, invitation_answered
from officers.permissions import Permission, Role, require
from texts.refusal import Refusal

NAME_LIMIT = 80


async def on_officers(update: Update, context: Context) -> None:
    """`/canbo`."""
    async with context.begin(update) as turn:
        await show_officers(turn)


@on("officers.list")
async def show_officers(turn: Turn) -> None:
    """Everybody with a role, and what can be done."""
    await turn.send(await _officers_page(turn, 0))


@on("officers.page")
async def turn_officers(turn: Turn, number: str) -> None:
    """Another page of them."""
    await turn.rewrite(await _officers_page(turn, int(number)))


async def _officers_page(turn: Turn, number: int) -> Outgoing:
    require(turn.actor, Permission.MANAGE_OFFICERS)
    officers = await all_officers(turn.session)
    page = paging.page_at(number, len(officers))
    lines = "\n".join(
        f"• {paging.clipped(officer.name)}: {turn.plain(f'role.{officer.role}')}"
        for officer in officers[page.start : page.stop]
    )
    acts = rows(
        button(turn.language, "button.invite", "officers.invite", once=False),
        button(turn.language, "button.revoke", "officers.revoke_ask", once=False),
    )
    markup = turn.html("officers.shown", officers=lines) + paging.foot(turn, page)
    return from_html(markup, turn.language, buttons=(*paging.turners(turn, page, "officers.page"), *acts))


@on("officers.invite")
async def start_invitation(turn: Turn) -> None:
    """Invite an officer by name and role."""
    require(turn.actor, Permission.MANAGE_OFFICERS)
    await conversation.begin(turn, INVITE)


async def _ask_name(turn: Turn, talk: Talk) -> Question:
    return Question(turn.html("officers.ask_name"))


async def _take_name(turn: Turn, talk: Talk, answer: Answer) -> str:
    talk.answers["name"] = short_text(answer.text, limit=NAME_LIMIT)
    return "role"


async def _ask_role(turn: Turn, talk: Talk) -> Question:
    roles = [role for role in Role if role is not Role.ADMIN or turn.actor.role is Role.ADMIN]
    choices = tuple(Choice(role, turn.plain(f"role.{role}")) for role in reversed(roles))
    return Question(turn.html("officers.ask_role", name=talk.answers["name"]), choices)


async def _take_role(turn: Turn, talk: Talk, answer: Answer) -> None:
    if answer.choice not in set(Role):
        raise Refusal("talk.choose_one")
    name, role = talk.answers["name"], Role(answer.choice)
    payload = await invite_officer(turn.session, turn.actor, name=name, role=role, now=turn.now)
    await conversation.finish(turn)
    await turn.say(
        "officers.link", name=name, role=turn.plain(f"role.{role}"), links=link_lines(turn.services, payload)
    )


INVITE = conversation.add_flow(
    Flow(
        "invite",
        "name",
        {"name": Step(_ask_name, _take_name), "role": Step(_ask_role, _take_role)},
        permission=Permission.MANAGE_OFFICERS,
    )
)


async def claim_invitation(turn: Turn, payload: str) -> None:
    """Somebody opened an invitation's link."""
    invitation = await open_invitation(turn.session, payload, by=turn.actor, now=turn.now)
    role = turn.plain(f"role.{invitation.role}")
    if invitation.is_from_the_machine:
        await turn.say("invitation.accepted", name=invitation.name, role=role)
        return
    user = turn.update.effective_user
    account = user.full_name if user else str(turn.chat)
    for officer in await who_confirms(turn.session, invitation.id):
        card = confirmation_asked(invitation, officer.language, account=account)
        await show_card(turn.session, card, about=_confirmation(invitation.id), to=officer.chat, now=turn.now)
    await turn.say("invitation.waits", name=invitation.name, role=role)


@on("invitation.yes")
async def confirm(turn: Turn, invitation_id: str) -> None:
    """It is the right person: they are an officer now, and are told."""
    await _answer(turn, int(invitation_id), is_right_person=True)


@on("invitation.no")
async def refuse(turn: Turn, invitation_id: str) -> None:
    """It is somebody else: nothing is given."""
    await _answer(turn, int(invitation_id), is_right_person=False)


async def _answer(turn: Turn, invitation_id: int, *, is_right_person: bool) -> None:
    invitation = await confirm_invitation(
        turn.session, turn.actor, invitation_id, is_right_person=is_right_person, now=turn.now
    )
    by = turn.actor.name
    if invitation.chat is not None:
        language = await language_of(turn.session, invitation.chat)
        await open_delivery(
            turn.session,
            invitation_answered(invitation, language, is_right_person=is_right_person),
            to=invitation.chat,
            key=f"invitation:{invitation.id}/answer",
            origin=f"invitation:{invitation.id}",
            lane=Lane.REPLY,
            now=turn.now,
        )
    able = await officers_who_may(turn.session, Permission.MANAGE_OFFICERS)
    await close_cards(
        turn.session,
        lambda language: confirmation_given(invitation, language, by=by, is_right_person=is_right_person),
        about=_confirmation(invitation_id),
        readers={officer.chat: officer.language for officer in able},
        decided_in=turn.chat,
        besides=turn.delivery_id,
        now=turn.now,
    )
    await turn.add_line(confirmation_line(invitation, turn.language, by=by, is_right_person=is_right_person))


def _confirmation(invitation_id: int) -> str:
    """What the cards of an invitation are about, in the ledger."""
    return f"invitation-card:{invitation_id}"


@on("officers.revoke_ask")
async def ask_whom_to_revoke(turn: Turn) -> None:
    """Choose whose access ends."""
    require(turn.actor, Permission.MANAGE_OFFICERS)
    await conversation.begin(turn, REVOKE)


async def _ask_whom(turn: Turn, talk: Talk) -> Question:
    officers = [officer for officer in await all_officers(turn.session) if officer.id != turn.actor.officer_id]
    choices = tuple(Choice(str(officer.id), officer.name) for officer in officers)
    return Question(turn.html("officers.ask_whom"), choices)


async def _take_whom(turn: Turn, talk: Talk, answer: Answer) -> str:
    if answer.choice is None:
        raise Refusal("talk.choose_one")
    talk.answers["officer"] = int(answer.choice)
    return "sure"


async def _ask_sure(turn: Turn, talk: Talk) -> Question:
    names = {officer.id: officer.name for officer in await all_officers(turn.session)}
    name = names.get(talk.answers["officer"], "")
    return Question(turn.html("officers.revoke_sure", name=name), (Choice("yes", turn.plain("button.revoke_yes")),))


async def _take_sure(turn: Turn, talk: Talk, answer: Answer) -> None:
    if answer.choice != "yes":
        raise Refusal("talk.choose_one")
    officer = await revoke_officer(turn.session, turn.actor, talk.answers["officer"], now=turn.now)
    await conversation.finish(turn)
    await turn.say("officers.revoked_named" if officer.from_settings else "officers.revoked", name=officer.name)


REVOKE = conversation.add_flow(
    Flow(
        "revoke",
        "whom",
        {"whom": Step(_ask_whom, _take_whom), "sure": Step(_ask_sure, _take_sure)},
        permission=Permission.MANAGE_OFFICERS,
    )
)
