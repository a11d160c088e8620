"""Without the key, nothing in the database tells which web chat a report came from: neither times nor lengths."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from db.sealing import padded, unpadded
from db.tables import web
from db.tables.deliveries import MediaContent, MediaRow
from db.tables.officers import Role
from db.tables.reports import ReportPart
from tests.worlds import World, phrase
from web.visitor import WebChat


async def _all(world: World, table: Any) -> list[Any]:
    async with world.sessions.reading() as session:
        return list(await session.scalars(select(table)))


async def _reports_from_the_web(world: World) -> None:
    await world.officer("lan", Role.DUTY, on="mail", on_duty=True)
    for name, size in (("hoa", 5000), ("nam", 5040)):
        person = await world.person(name, on="web")
        world.clock.advance(minutes=7)
        await person.sends("/baotin")
        await person.sends("Có người lạ. " + "Ồn! " * ((size - 5000) // 2))
        await person.sends_document(b"%PDF-1.4 " + b"x" * size)
        await person.presses("Gửi")


async def test_lengths_of_what_is_sealed_do_not_tell_files_and_words_apart(mixed_world: World):
    await _reports_from_the_web(mixed_world)

    async with mixed_world.sessions.reading() as session:
        sealed = list(await session.scalars(select(web.WebFile.content)))
    parts = await _all(mixed_world, ReportPart)
    said = await _all(mixed_world, web.WebMessage)

    assert len(sealed) == 2 and len({len(content) for content in sealed}) == 1
    assert len({len(row.sealed) for row in await _all(mixed_world, MediaContent)}) == 1
    assert len({len(row.about) for row in await _all(mixed_world, MediaRow)}) == 1
    assert len(parts) == 4 and len({len(part.sealed) for part in parts}) == 1
    assert {len(row.sealed) - 33 for row in said} <= {512, 1024, 2048}


async def test_people_still_see_the_minute(mixed_world: World):
    await _reports_from_the_web(mixed_world)
    hoa = mixed_world.people[1]

    chat = WebChat(hoa.port.gateway, wake=lambda: None)
    found = await chat.messages_after(hoa.chat.address)

    # The file and "Gửi" went out at seven minutes past, and so did what was said to them.
    assert {datetime.fromisoformat(message["at"]).minute for message in found["messages"]} == {7}
    assert phrase("report.receipt") in found["messages"][-1]["text"]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 5000, 2**20, 2**20 + 1])
def test_padding_goes_to_a_power_of_two_and_comes_off(size: int):
    plain = b"\x80" * size
    assert unpadded(padded(plain)) == plain
    assert len(padded(plain)) == max(256, 1 << size.bit_length())
