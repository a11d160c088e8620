"""What officers, and those who are to become officers, are told: in the language of whoever reads it."""

from __future__ import annotations

from channels.port import Outgoing, Recipient
from channels.wording import button, from_html, html, message, plain
from officers.facts import InvitationFacts, Role
from texts.catalogue import DEFAULT_LANGUAGE


def role_named(role: Role, language: str) -> str:
    """What a role is called."""
    return plain(language, f"role.{role}")


# --- invitations ---


def confirmation_asked(invitation: InvitationFacts, language: str, *, account: str) -> Outgoing:
    """Whether the right person opened an invitation's link; `account` is what their chat calls itself."""
    yes = button(language, "button.right_person", "invitation.yes", invitation.id)
    no = button(language, "button.wrong_person", "invitation.no", invitation.id)
    role = role_named(invitation.role, language)
    return message(
        language, "invitation.confirm", name=invitation.name, role=role, account=account, buttons=((yes, no),)
    )


def invitation_answered(invitation: InvitationFacts, language: str, *, is_right_person: bool) -> Outgoing:
    """To whoever opened it: they are an officer now, or are not."""
    key = "invitation.accepted" if is_right_person else "invitation.refused"
    return message(language, key, name=invitation.name, role=role_named(invitation.role, language))


def confirmation_given(invitation: InvitationFacts, language: str, *, by: str, is_right_person: bool) -> Outgoing:
    """What the cards that asked say from now on; said anew where they cannot be rewritten."""
    line = confirmation_line(invitation, language, by=by, is_right_person=is_right_person)
    return from_html(line, language, brief=from_html(line, language).text)


def confirmation_line(invitation: InvitationFacts, language: str, *, by: str, is_right_person: bool) -> str:
    """Who said what of an invitation, as markup."""
    key = "invitation.confirmed" if is_right_person else "invitation.declined"
    return html(language, key, name=invitation.name, role=role_named(invitation.role, language), by=by)


# --- shifts ---


def nobody_on_duty(name: str, language: str) -> Outgoing:
    """To the administrators: the last shift ended."""
    return message(language, "duty.alarm", name=name)


def shift_taken_over(name: str, language: str) -> Outgoing:
    """To whoever is on duty from now on: a colleague has handed the shift over."""
    return message(language, "duty.taken_over", name=name)


def name_from_settings(chat: Recipient) -> str:
    """What an administrator whom the settings name is called until somebody writes a name."""
    return plain(DEFAULT_LANGUAGE, "officer.from_settings", ending=chat.address[-4:])
