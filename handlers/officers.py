"""`/canbo`: officers and invitations."""

from __future__ import annotations

from dataclasses import dataclass

from telegram import Update

from channels.port import Outgoing
from channels.wording import button, from_html, rows
from conversations.languages import language_of
from deliveries.ledger import Lane, open_delivery
from establishments.registration import short_text
from handlers import conversation, paging
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.flows import Answer, Choice, Done, Flow, Next, Question, Step, add_flow
from handlers.links import link_lines
from handlers.words import Words
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


@dataclass(frozen=True, slots=True)
class InviteAnswers:
    """Who is to be invited."""

    name: str = ""


@on("officers.invite")
async def start_invitation(turn: Turn) -> None:
    """Invite an officer by name and role."""
    require(turn.actor, Permission.MANAGE_OFFICERS)
    await conversation.begin(turn, INVITE, InviteAnswers())


def _ask_name(words: Words, _answers: InviteAnswers, _seen: None) -> Question:
    return Question(words.html("officers.ask_name"))


async def _take_name(turn: Turn, answers: InviteAnswers, answer: Answer) -> Next[InviteAnswers]:
    return Next("role", InviteAnswers(short_text(answer.text, limit=NAME_LIMIT)))


async def _look_at_roles(turn: Turn, _answers: InviteAnswers) -> list[Role]:
    """The roles this officer may give."""
    return [role for role in Role if role is not Role.ADMIN or turn.actor.role is Role.ADMIN]


def _ask_role(words: Words, answers: InviteAnswers, roles: list[Role]) -> Question:
    choices = tuple(Choice(role, words.plain(f"role.{role}")) for role in reversed(roles))
    return Question(words.html("officers.ask_role", name=answers.name), choices)


async def _take_role(turn: Turn, answers: InviteAnswers, answer: Answer) -> Done:
    if answer.choice not in set(Role):
        raise Refusal("talk.choose_one")
    name, role = answers.name, Role(answer.choice)
    payload = await invite_officer(turn.session, turn.actor, name=name, role=role, now=turn.now)
    await turn.say(
        "officers.link", name=name, role=turn.plain(f"role.{role}"), links=link_lines(turn.services, payload)
    )
    return Done()


INVITE = add_flow(
    Flow(
        "invite",
        "name",
        {"name": Step(_ask_name, _take_name), "role": Step(_ask_role, _take_role, look=_look_at_roles)},
        InviteAnswers,
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


@dataclass(frozen=True, slots=True)
class RevokeAnswers:
    """Whose access is to end."""

    officer_id: int | None = None


@on("officers.revoke_ask")
async def ask_whom_to_revoke(turn: Turn) -> None:
    """Choose whose access ends."""
    require(turn.actor, Permission.MANAGE_OFFICERS)
    await conversation.begin(turn, REVOKE, RevokeAnswers())


async def _look_at_others(turn: Turn, _answers: RevokeAnswers) -> list[Choice]:
    officers = [officer for officer in await all_officers(turn.session) if officer.id != turn.actor.officer_id]
    return [Choice(str(officer.id), officer.name) for officer in officers]


def _ask_whom(words: Words, _answers: RevokeAnswers, others: list[Choice]) -> Question:
    return Question(words.html("officers.ask_whom"), tuple(others))


async def _take_whom(turn: Turn, answers: RevokeAnswers, answer: Answer) -> Next[RevokeAnswers]:
    if answer.choice is None:
        raise Refusal("talk.choose_one")
    return Next("sure", RevokeAnswers(int(answer.choice)))


async def _look_at_name(turn: Turn, answers: RevokeAnswers) -> str:
    names = {officer.id: officer.name for officer in await all_officers(turn.session)}
    return names.get(answers.officer_id or 0, "")


def _ask_sure(words: Words, _answers: RevokeAnswers, name: str) -> Question:
    return Question(words.html("officers.revoke_sure", name=name), (Choice("yes", words.plain("button.revoke_yes")),))


async def _take_sure(turn: Turn, answers: RevokeAnswers, answer: Answer) -> Done:
    if answer.choice != "yes" or answers.officer_id is None:
        raise Refusal("talk.choose_one")
    officer = await revoke_officer(turn.session, turn.actor, answers.officer_id, now=turn.now)
    await turn.say("officers.revoked_named" if officer.from_settings else "officers.revoked", name=officer.name)
    return Done()


REVOKE = add_flow(
    Flow(
        "revoke",
        "whom",
        {
            "whom": Step(_ask_whom, _take_whom, look=_look_at_others),
            "sure": Step(_ask_sure, _take_sure, look=_look_at_name),
        },
        RevokeAnswers,
        permission=Permission.MANAGE_OFFICERS,
    )
)
