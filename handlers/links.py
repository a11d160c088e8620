"""Deep links to this bot, on every channel that has an address."""

from __future__ import annotations

from handlers.context import Services


def links_for(services: Services, payload: str) -> list[str]:
    """The address that opens this bot with a payload, one for each channel people can reach."""
    return [f"{address}?start={payload}" for address in services.doors()]


def link_lines(services: Services, payload: str) -> str:
    """The links, one a line; without any address of ours, the command that does the same."""
    return "\n".join(links_for(services, payload)) or f"/start {payload}"
