"""Quiet hours: when people sleep."""

from __future__ import annotations

from datetime import datetime, timedelta

from unit.policy import Policy


def is_quiet(at: datetime, policy: Policy) -> bool:
    """Whether `at` falls into the quiet hours, which may span midnight."""
    local = at.astimezone(policy.zone).time()
    begins, ends = policy.quiet_hours
    return begins <= local < ends if begins <= ends else local >= begins or local < ends


def quiet_ends(at: datetime, policy: Policy) -> datetime:
    """The first end of the quiet hours after `at`."""
    local = at.astimezone(policy.zone)
    ends = policy.quiet_hours[1]
    end = local.replace(hour=ends.hour, minute=ends.minute, second=0, microsecond=0)
    return end if end > local else end + timedelta(days=1)
