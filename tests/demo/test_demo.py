"""The demo: a whole ward, a clock that can be pushed, a way back, and five steps that come out."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import func, select

from db.tables.broadcasts import BroadcastPlace, Notice, NoticeState
from db.tables.establishments import Area, Contact, Establishment, Kind
from db.tables.reports import Report, ReportState
from demo.house import Demo, DemoClock, beginning, run_demo, running_demo
from demo.selfcheck import Failed, Phone, walk
from demo.ward import AREAS, BUSINESSES, PERSONAS, ROOMS
from unit.policy import Policy

#: A Monday morning, 09:00 in Viet Nam.
MORNING = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
CLOSED = (ReportState.RESOLVED, ReportState.UNFOUNDED, ReportState.HANDED_OVER)


@pytest.fixture(autouse=True)
def _folders_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logging_as_before: None) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@asynccontextmanager
async def browsing(demo: Demo) -> AsyncIterator[httpx.AsyncClient]:
    """A client that says what a browser on the demo's own page says."""
    headers = {"Origin": demo.address.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(base_url=demo.address, headers=headers, trust_env=False, timeout=60) as client:
        yield client


async def count(demo: Demo, table: Any, *where: Any) -> int:
    async with demo._house.sessions.reading() as session:
        return await session.scalar(select(func.count()).select_from(table).where(*where)) or 0


async def says(client: httpx.AsyncClient, role: str, *words: str) -> str:
    """The newest message on a person's phone that has all the words, within a few seconds."""
    for _ in range(300):
        found = (await client.get(f"/demo/{role}/api/messages")).json()["messages"]
        for message in reversed(found):
            if all(word in message["text"] for word in words):
                return str(message["text"])
        await asyncio.sleep(0.05)
    raise AssertionError(f"{role} never heard {words}")


async def write(client: httpx.AsyncClient, role: str, text: str) -> None:
    await client.get(f"/demo/{role}/")
    answer = await client.post(f"/demo/{role}/api/text", json={"text": text, "nonce": str(uuid4())})
    assert answer.status_code == 200


async def press(client: httpx.AsyncClient, role: str, label: str) -> None:
    for _ in range(100):
        for message in reversed((await client.get(f"/demo/{role}/api/messages")).json()["messages"]):
            for button in (button for row in message["buttons"] for button in row):
                if button["label"] == label:
                    body = {"message_id": message["id"], "data": button["data"], "nonce": str(uuid4())}
                    assert (await client.post(f"/demo/{role}/api/press", json=body)).status_code == 200
                    return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{role} has no button {label}")


async def report_something(client: httpx.AsyncClient) -> None:
    await write(client, "citizen", "/baotin")
    await write(client, "citizen", "Có người lạ thử khoá xe")
    await press(client, "citizen", "Gửi")
    await says(client, "duty", "Có người lạ thử khoá xe")


class TestClock:
    def test_goes_on_by_itself_from_its_beginning(self) -> None:
        clock = DemoClock(MORNING)

        assert MORNING <= clock() < MORNING + timedelta(seconds=5)

    def test_goes_forward_and_never_back(self) -> None:
        clock = DemoClock(MORNING)

        clock.push(MORNING + timedelta(hours=2))
        clock.push(MORNING + timedelta(hours=1))

        assert clock() >= MORNING + timedelta(hours=2)

    def test_starts_again_at_its_beginning(self) -> None:
        clock = DemoClock(MORNING)
        clock.push(MORNING + timedelta(hours=2))

        clock.restart()

        assert clock() < MORNING + timedelta(seconds=5)

    @pytest.mark.parametrize(
        ("real", "begins"),
        [
            (datetime(2026, 11, 23, 7, 41, tzinfo=UTC), datetime(2026, 11, 23, 7, 41, tzinfo=UTC)),
            (datetime(2026, 11, 23, 16, 0, tzinfo=UTC), MORNING),  # 23:00 there
            (datetime(2026, 11, 22, 19, 0, tzinfo=UTC), MORNING),  # 02:00 there, already Monday
        ],
    )
    def test_a_demo_started_at_night_begins_in_the_morning(self, real: datetime, begins: datetime) -> None:
        assert beginning(real, Policy()) == begins


async def test_the_ward_is_as_large_as_promised() -> None:
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo:
        assert await count(demo, Area) == AREAS == 9
        assert await count(demo, Establishment, Establishment.kind != Kind.ROOMS) == BUSINESSES == 62
        assert await count(demo, Establishment, Establishment.kind == Kind.ROOMS) == ROOMS == 200
        assert await count(demo, Contact, Contact.blocked_at.is_not(None)) == 4
        assert await count(demo, Notice, Notice.state == NoticeState.FINISHED) == 1
        assert await count(demo, BroadcastPlace, BroadcastPlace.acknowledged_at.is_not(None)) > 200
        assert await count(demo, Report, Report.state.in_(CLOSED)) == 2
        async with demo._house.sessions.reading() as session:
            names = list(await session.scalars(select(Establishment.name)))
        assert len(set(names)) == len(names)


async def test_the_page_shows_a_phone_for_each_person_in_both_languages() -> None:
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo, browsing(demo) as client:
        front = await client.get("/", follow_redirects=True)
        english = await client.get("/demo?lang=en")

        assert front.url.path == "/demo"
        for persona in PERSONAS:
            assert f'src="{persona.base}/?lang=' in front.text
            assert persona.title in (await client.get(f"{persona.base}/")).text
        assert '<html lang="en"' in english.text
        assert "frame-ancestors 'self'" in front.headers["content-security-policy"]


async def test_a_notice_arrives_at_everybody_who_is_connected_also_days_later() -> None:
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo, browsing(demo) as client:
        await client.post("/demo/clock", json={"minutes": 3 * 24 * 60})

        await says(client, "commander", "Họp các cơ sở", "đã gửi tới 56/62", "chưa kết nối 4", "không tới được 2")


async def test_an_invitation_opens_a_visitors_own_chat() -> None:
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo, browsing(demo) as client:
        opened = await client.get("/?start=oABC", follow_redirects=True)

        assert opened.url.path == "/chat/"
        assert "oABC" in opened.text
        assert "by_chat" in client.cookies


async def test_officers_find_their_menus_on_their_phones() -> None:
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo, browsing(demo) as client:
        assert "Lê Minh An" in await says(client, "commander", "Chào đồng chí")
        assert "Trần Hải" in await says(client, "duty", "Chào đồng chí")


async def test_pushing_the_clock_passes_a_report_on_that_nobody_takes() -> None:
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo, browsing(demo) as client:
        await report_something(client)

        pushed = (await client.post("/demo/clock", json={"minutes": 5})).json()

        assert pushed["said"] == "Thứ Hai 23/11/2026, 09:05"
        assert datetime.fromisoformat(pushed["now"]) >= MORNING + timedelta(minutes=5)
        await says(client, "commander", "Có người lạ thử khoá xe", "5 phút")


async def test_pushing_far_stops_at_every_instant_something_falls_due() -> None:
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo, browsing(demo) as client:
        await report_something(client)

        pushed = (await client.post("/demo/clock?lang=en", json={"to": "08:00"})).json()

        assert pushed["said"] == "Tuesday 24/11/2026, 08:00"
        for minutes in ("5 phút", "15 phút", "60 phút"):
            await says(client, "commander", "Có người lạ thử khoá xe", minutes)
        await says(client, "commander", "Họp các cơ sở", "/62")


async def test_a_push_that_makes_no_sense_is_refused() -> None:
    wishes: list[object] = [{}, {"minutes": 0}, {"minutes": -5}, {"minutes": "x"}, {"minutes": 10**9}]
    wishes += [{"to": "25:00"}, {"to": 8}, [], 7]
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo, browsing(demo) as client:
        for wish in wishes:
            assert (await client.post("/demo/clock", json=wish)).status_code == 400, wish

        assert (await client.get("/demo/clock?lang=vi")).json()["said"].endswith("09:00")


async def test_other_sites_can_neither_push_nor_reset() -> None:
    headers = {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"}
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo, browsing(demo) as client:
        for path in ("/demo/clock", "/demo/reset"):
            assert (await client.post(path, json={"minutes": 5}, headers=headers)).status_code == 403


async def test_starting_again_forgets_everything_and_goes_on_working() -> None:
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo, browsing(demo) as client:
        await report_something(client)
        await client.post("/demo/clock", json={"minutes": 60})

        assert (await client.post("/demo/reset", json={})).json() == {"ok": True}

        assert (await client.get("/demo/clock?lang=vi")).json()["said"].endswith("09:00")
        assert await count(demo, Report, Report.state.not_in(CLOSED)) == 0
        await client.get("/demo/citizen/")
        assert (await client.get("/demo/citizen/api/messages")).json()["messages"] == []
        await says(client, "duty", "Chào đồng chí")
        await report_something(client)


async def test_the_five_steps_come_out() -> None:
    said: list[str] = []
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo:
        await walk(demo.address, say=said.append)

    assert [line[:2] for line in said] == ["1.", "2.", "3.", "4.", "5."]


async def test_a_step_that_does_not_come_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.selfcheck._PATIENCE", 0.3)

    async def mute(phone: Phone, text: str) -> None: ...

    monkeypatch.setattr(Phone, "write", mute)
    async with running_demo(host="127.0.0.1", port=0, now=MORNING) as demo:
        with pytest.raises(Failed, match="step 1, the owner enrols"):
            await walk(demo.address, say=lambda line: None)


async def test_a_taken_port_is_said_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert await run_demo(host="127.0.0.1", port=port, selfcheck=False) == 1

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(port) in error
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_folder(stop: signal.Signals, tmp_path: Path) -> None:
    # Nothing in the environment counts, however wrong.
    environment = os.environ | {"TMPDIR": str(tmp_path), "WEB_PORT": "nonsense", "BOT_TOKEN": "nonsense"}
    command = [sys.executable, "-m", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        assert "http://127.0.0.1:" in process.stdout.readline()
        assert list(tmp_path.glob("binhyen-demo-*"))

        process.send_signal(stop)

        assert process.wait(10) == 0
        assert process.stdout.read() == ""
    assert not list(tmp_path.glob("binhyen-demo-*"))
