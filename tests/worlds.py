"""The whole house on channels that only remember, and people who talk to it: one interface, three worlds.

- `telegram`: a Bot API in memory, with buttons, edits and files, under Telegram's name;
- `web`: the real web gateway, and people who post over HTTP what the page would post;
- `mail`: the toy channel of `tests/channels/mail_drop.py`, plain text of 2,000 characters, where people write the
  numbers of what they choose.

A test arranges people, lets them act, and says what they see:

    lan = await world.person("lan")
    await lan.sends("/dangky")
    await lan.presses("Nhà nghỉ")
    lan.sees("tên cơ sở")
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from string import Formatter
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from uuid import uuid4

import httpx
from PIL import Image
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from structlog.testing import capture_logs

from bot.house import House
from channels.channel import Channel
from channels.memory import MemoryGateway
from channels.port import MediaKind, Recipient
from channels.wording import catalogue, plain
from conversations.languages import language_of
from db.engine import Sessions
from db.tables.officers import Role
from deliveries.claims import next_due_at
from officers.permissions import Actor
from tests.channels.mail_drop import MailDrop
from tests.factories import Factory
from texts.markup import parse
from unit.policy import Policy
from web.app import build_web
from web.channel import PageChannel
from web.pages import WebSettings
from web.visitor import address_of

KINDS = ("telegram", "web", "mail")
UNIT = "Công an Phường 2"
DOOR = "https://binhyen.example"
_ORIGIN = "http://test"
_NUMBERED = re.compile(r"^(\d+)\. (.+)$", re.MULTILINE)
#: How soon a put-back message must be due for `settle` to wait for it instead of leaving it to the test.
_SOON = timedelta(seconds=1)


class Clock:
    """Stands still until told to go on."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> datetime:
        """Let time pass: `advance(minutes=5)`."""
        self.now += timedelta(**parts)
        return self.now


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as somebody sees it now.

    `version` changes when it is edited; `labels` are what can be pressed, of which `keys` stand on the keyboard below
    and post their label; `files` are (kind, name, bytes).
    """

    id: str
    version: int
    text: str
    labels: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    entities: tuple[dict[str, Any], ...] = ()
    files: tuple[tuple[str, str, bytes], ...] = ()
    place: tuple[float, float] | None = None
    is_own: bool = False

    def __str__(self) -> str:
        buttons = "".join(f" [{label}]" for label in self.labels)
        files = "".join(f" <{kind} {name}>" for kind, name, _ in self.files)
        place = f" <{self.place}>" if self.place else ""
        edited = f" (v{self.version})" if self.version else ""
        return f"{'>>' if self.is_own else '  '} {self.text}{files}{place}{edited}\n    {buttons}".rstrip()


class Port(Protocol):
    """A channel in a world: how people act on it, and what they see."""

    name: str
    gateway: Channel
    has_buttons: bool
    has_files: bool

    async def meet(self, name: str, number: int) -> str:
        """Somebody opens the chat for the first time; their address."""

    async def sends(self, house: House, address: str, text: str) -> None:
        """Somebody types."""

    async def sends_file(
        self, house: House, address: str, kind: MediaKind, content: bytes, name: str, caption: str
    ) -> None:
        """Somebody sends a file."""

    async def sends_location(self, house: House, address: str, latitude: float, longitude: float) -> None:
        """Somebody sends where they are."""

    async def presses(self, house: House, address: str, message: Shown, label: str) -> None:
        """Somebody presses a button they see."""

    async def shows(self, address: str) -> list[Shown]:
        """The chat as it is now, oldest message first."""


class TelegramLike:
    """Telegram as our code sees it: numbers for chats, buttons, edits, files."""

    name = "telegram"
    has_buttons = has_files = True

    def __init__(self, clock: Clock) -> None:
        self.gateway = MemoryGateway(name=self.name, clock=clock)
        self._names: dict[str, str] = {}

    async def meet(self, name: str, number: int) -> str:
        address = str(810_000_000 + number)
        self._names[address] = name
        return address

    async def sends(self, house: House, address: str, text: str) -> None:
        await self.arrives(house, await self.gateway.says(address, text))

    async def sends_file(
        self, house: House, address: str, kind: MediaKind, content: bytes, name: str, caption: str
    ) -> None:
        raw = await self.gateway.sends_file(address, kind, content, name=name, caption=caption)
        await self.arrives(house, raw)

    async def sends_location(self, house: House, address: str, latitude: float, longitude: float) -> None:
        await self.arrives(house, await self.gateway.sends_location(address, latitude, longitude))

    async def presses(self, house: House, address: str, message: Shown, label: str) -> None:
        await self.arrives(house, await self.gateway.presses(address, label, message_id=int(message.id)))

    async def arrives(self, house: House, raw: dict[str, Any]) -> None:
        """An update comes in, with the person's real name on it as on Telegram."""
        for part in raw.values():
            if isinstance(part, dict) and "from" in part:
                address = str(part["from"]["id"])
                name = self._names.get(address, "Ai đó")
                part["from"] |= {"first_name": f"{name.title()} Thị Tuyết", "username": f"{name}_tuyet"}
        await house.store(self.name, [raw])

    async def shows(self, address: str) -> list[Shown]:
        return [
            Shown(
                str(message.id),
                message.edits,
                message.text,
                (*message.labels, *_keys(message.content.keyboard)),
                _keys(message.content.keyboard),
                tuple(url for row in message.buttons for _, url in row if url.startswith("http")),
                message.entities,
                tuple(message.files),
                _place(message.content.location),
                not message.from_bot,
            )
            for message in self.gateway.chats.get(address, [])
            if not message.deleted
        ]


class Web:
    """Our page: what its script would post, over HTTP, with a cookie for each person."""

    name = "web"
    has_buttons = has_files = True
    #: What a browser says a file is.
    file_type = "application/octet-stream"

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._settings = WebSettings(unit_name=UNIT)
        self.gateway = PageChannel(sessions, clock=clock, settings=self._settings)
        self._browsers: dict[str, httpx.AsyncClient] = {}
        self._chats: dict[str, dict[int, dict[str, Any]]] = {}
        self._seen: dict[str, int] = {}
        self._refusals: dict[str, list[tuple[int, Shown]]] = {}
        self._files: dict[tuple[str, str], bytes] = {}

    def _app(self, wake: Callable[[], object]) -> Starlette:
        return build_web(
            sessions=self._sessions,
            routes=self.gateway.routes(_nothing_comes, wake),
            health=dict,
            settings=self._settings,
            registry=CollectorRegistry(),
        )

    async def meet(self, name: str, number: int) -> str:
        browser = httpx.AsyncClient(
            transport=httpx.ASGITransport(self._app(lambda: None)),
            base_url=_ORIGIN,
            headers={"Accept-Language": "vi", "Origin": _ORIGIN, "Sec-Fetch-Site": "same-origin"},
        )
        assert (await browser.get("/")).status_code == 200
        address = address_of(browser.cookies["by_chat"])
        self._browsers[address] = browser
        self._chats[address], self._refusals[address] = {}, []
        return address

    async def close(self) -> None:
        """Close the browsers."""
        for browser in self._browsers.values():
            await browser.aclose()

    async def sends(self, house: House, address: str, text: str) -> None:
        await self._post(house, address, "/api/text", json={"text": text, "nonce": str(uuid4())})

    async def sends_file(
        self, house: House, address: str, kind: MediaKind, content: bytes, name: str, caption: str
    ) -> None:
        await self._post(
            house,
            address,
            "/api/file",
            data={"kind": kind, "caption": caption, "nonce": str(uuid4())},
            files={"file": (name, content, self.file_type)},
        )

    async def sends_location(self, house: House, address: str, latitude: float, longitude: float) -> None:
        place = {"latitude": latitude, "longitude": longitude, "nonce": str(uuid4())}
        await self._post(house, address, "/api/location", json=place)

    async def presses(self, house: House, address: str, message: Shown, label: str) -> None:
        rows = self._chats[address][int(message.id)]["buttons"]
        data = next(button["data"] for row in rows for button in row if button["label"] == label)
        press = {"message_id": int(message.id), "data": data, "nonce": str(uuid4())}
        await self._post(house, address, "/api/press", json=press)

    async def post(self, address: str, path: str, body: dict[str, Any]) -> httpx.Response:
        """Post what the page would never post."""
        return await self._browsers[address].post(path, json=body)

    async def _post(self, house: House, address: str, path: str, **body: Any) -> None:
        browser = self._browsers[address]
        answer = await browser.post(path, **body)
        if answer.status_code == 429:
            # The page would wait; a new server has forgotten how fast we were.
            browser._transport = httpx.ASGITransport(self._app(house.inbox.wake))
            answer = await browser.post(path, **body)
        if answer.status_code != 200:
            told = answer.json()["error"]
            refusals = self._refusals[address]
            after = max(self._chats[address], default=0)
            refusals.append((after, Shown(f"page-{len(refusals)}", 0, told)))

    async def shows(self, address: str) -> list[Shown]:
        await self._read(address)
        chat = [self._chats[address][number] for number in sorted(self._chats[address])]
        shown = [(m["id"], await self._shown(address, m)) for m in chat if not m["deleted"]]
        return [one for _, one in sorted([*shown, *self._refusals[address]], key=lambda pair: pair[0])]

    async def _read(self, address: str) -> None:
        """What the page reads: everything that is new or changed since."""
        while True:
            after = self._seen.get(address, 0)
            page = (await self._browsers[address].get(f"/api/messages?after={after}&limit=200")).json()
            for message in page["messages"]:
                self._chats[address][message["id"]] = message
            self._seen[address] = page["last_seq"]
            if not page["more"] or not after:
                return

    async def _shown(self, address: str, message: dict[str, Any]) -> Shown:
        buttons = [button for row in message["buttons"] for button in row]
        return Shown(
            str(message["id"]),
            message["seq"] if message["edited"] else 0,
            message["text"],
            (*(button["label"] for button in buttons), *_keys(message["keyboard"])),
            _keys(message["keyboard"]),
            tuple(button["url"] for button in buttons if "url" in button),
            tuple(message["entities"]),
            tuple([(file["kind"], file["name"], await self._file(address, file["id"])) for file in message["files"]]),
            _place(message["location"]),
            message["from"] != "bot",
        )

    async def _file(self, address: str, file_id: str) -> bytes:
        if (address, file_id) not in self._files:
            answer = await self._browsers[address].get(f"/api/files/{file_id}")
            assert answer.status_code == 200, answer.text
            self._files[address, file_id] = answer.content
        return self._files[address, file_id]


class Mail:
    """The toy channel: no buttons, no edits, no files, 2,000 characters. People write numbers."""

    name = "mail"
    has_buttons = has_files = False

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._folder = TemporaryDirectory(prefix="binhyen-mail-")
        self.gateway = MailDrop(sessions, Path(self._folder.name), clock=clock, language_of=self._language)
        self._sessions = sessions
        self._log: dict[str, list[Shown]] = {}
        self._letters = itertools.count(1)

    async def _language(self, address: str) -> str:
        async with self._sessions.reading() as session:
            return await language_of(session, Recipient(self.name, address))

    async def close(self) -> None:
        """Take the folder away."""
        self._folder.cleanup()

    async def meet(self, name: str, number: int) -> str:
        address = f"{name}.{number}@ward.example"
        self._log[address] = []
        return address

    async def sends(self, house: House, address: str, text: str) -> None:
        await self.shows(address)
        self._log[address].append(Shown(f"own-{len(self._log[address])}", 0, text, is_own=True))
        self.gateway.writes(address, text, f"{next(self._letters):06}")
        await self.gateway.fetch(partial(house.store, self.name))

    async def sends_file(
        self, house: House, address: str, kind: MediaKind, content: bytes, name: str, caption: str
    ) -> None:
        raise NotImplementedError("plain text carries no files")

    async def sends_location(self, house: House, address: str, latitude: float, longitude: float) -> None:
        raise NotImplementedError("plain text carries no places")

    async def presses(self, house: House, address: str, message: Shown, label: str) -> None:
        newest = next(shown for shown in reversed(self._log[address]) if shown.labels)
        number = message.labels.index(label) + 1
        # A number answers the newest menu; for an older one there is only the label.
        await self.sends(house, address, str(number) if message is newest else label)

    async def shows(self, address: str) -> list[Shown]:
        """Deliveries and own lines in the order they came."""
        log = self._log.setdefault(address, [])
        for text in self.gateway.reads(address):
            assert len(text) <= 2000
            menu = text.rpartition("Trả lời bằng số:")[2] if "Trả lời bằng số:" in text else ""
            menu = menu or (text.rpartition("Reply with a number:")[2] if "Reply with a number:" in text else "")
            labels = tuple(label for _, label in _NUMBERED.findall(menu))
            log.append(Shown(str(len(log)), 0, text, labels))
        return list(log)


async def _nothing_comes(updates: list[dict[str, Any]]) -> None:
    raise AssertionError("the page stores what its visitors send by itself")


def _keys(keyboard: Sequence[Sequence[Any]] | None) -> tuple[str, ...]:
    """The labels of a reply keyboard, without those that share a phone number or a place."""
    keys = [{"label": key} if isinstance(key, str) else key for row in keyboard or () for key in row]
    return tuple(key["label"] for key in keys if "asks" not in key)


def _place(location: dict[str, Any] | None) -> tuple[float, float] | None:
    return (location["latitude"], location["longitude"]) if location else None


def _port(kind: str, sessions: Sessions, clock: Clock) -> Any:
    match kind:
        case "telegram":
            return TelegramLike(clock)
        case "web":
            return Web(sessions, clock)
        case _:
            return Mail(sessions, clock)


@dataclass
class World:
    """A house, the people of a ward, and a clock that tests move."""

    sessions: Sessions
    clock: Clock
    ports: dict[str, Any]
    policy: Policy = field(default_factory=lambda: Policy(unit_name=UNIT))
    people: list[Person] = field(default_factory=list)
    logged: list[Any] = field(default_factory=list)
    house: House = field(init=False)

    @property
    def incidents(self) -> list[Any]:
        """What was logged as an error: there should be nothing."""
        return [entry for entry in self.logged if entry["log_level"] in ("error", "critical")]

    @property
    def make(self) -> Factory:
        """Makes what is to be there already."""
        return Factory(self.sessions, self.clock())

    @property
    def port(self) -> Any:
        """The channel, where there is one."""
        return next(iter(self.ports.values()))

    @property
    def has_buttons(self) -> bool:
        """Whether people press, and messages change in place."""
        return bool(self.port.has_buttons)

    @property
    def has_files(self) -> bool:
        """Whether people can send and see files and places."""
        return bool(self.port.has_files)

    async def open(self) -> None:
        """Build the house and start it."""
        channels = [port.gateway for port in self.ports.values()]
        channels[0].door = DOOR
        self.house = House(self.sessions, self.clock, self.policy, channels)
        await self.house.start()

    async def restart(self) -> None:
        """Another process on the same database."""
        await self.house.stop()
        await self.open()

    async def person(self, name: str, *, on: str | None = None) -> Person:
        """Somebody with a chat of their own."""
        port = self.ports[on] if on else self.port
        address = await port.meet(name, len(self.people) + 1)
        person = Person(self, port, Recipient(port.name, address), name)
        self.people.append(person)
        return person

    async def officer(
        self, name: str, role: Role = Role.COMMANDER, *, on: str | None = None, on_duty: bool = False
    ) -> Person:
        """Somebody with a role."""
        person = await self.person(name, on=on)
        person.actor = await self.make.officer(person.chat, role, name=name.title())
        if on_duty:
            await self.make.shift(person.actor)
        return person

    async def owner(self, name: str, place: str = "Nhà nghỉ Hoa Mai", *, on: str | None = None, **about: Any) -> Person:
        """Somebody who speaks for an approved establishment."""
        person = await self.person(name, on=on)
        await self.make.place(place, person.chat, **about)
        return person

    async def settle(self) -> None:
        """Let the house work until nothing is due, nor about to be."""
        await self.house.settle()
        while await self._soon():
            await self.house.settle()

    async def _soon(self) -> bool:
        """Move the clock to a message put back for a moment because its chat was busy."""
        async with self.sessions.reading() as session:
            found = [await next_due_at(session, name) for name in self.ports]
        due = min((at for at in found if at is not None), default=None)
        if due is None or due > self.clock() + _SOON or due <= self.clock():
            return False
        self.clock.now = due
        return True

    async def tick(self, **passed: float) -> None:
        """Let time pass, and the house notice."""
        self.clock.advance(**passed)
        await self.house.jobs.second()
        await self.house.jobs.minute()
        await self.settle()


@dataclass(eq=False)
class Person:
    """Somebody in a world, with one chat."""

    world: World
    port: Any
    chat: Recipient
    name: str
    actor: Actor | None = None
    _read: set[tuple[str, int]] = field(default_factory=set)
    _shown: list[Shown] = field(default_factory=list)

    # --- acts ---

    async def sends(self, text: str) -> None:
        """Type a line."""
        await self.acts(lambda: self.port.sends(self.world.house, self.chat.address, text))

    async def sends_photo(self, content: bytes | None = None, *, caption: str = "") -> None:
        """Send a picture."""
        await self._sends_file("photo", content or picture(), "IMG_2026.jpg", caption)

    async def sends_voice(self, content: bytes = b"OggS voice", *, caption: str = "") -> None:
        """Send a recording."""
        await self._sends_file("voice", content, "voice.ogg", caption)

    async def sends_document(self, content: bytes = b"%PDF-1.4 x", *, name: str = "a.pdf", caption: str = "") -> None:
        """Send a file."""
        await self._sends_file("document", content, name, caption)

    async def _sends_file(self, kind: MediaKind, content: bytes, name: str, caption: str) -> None:
        await self.acts(lambda: self.port.sends_file(self.world.house, self.chat.address, kind, content, name, caption))

    async def sends_location(self, latitude: float = 10.7769, longitude: float = 106.7009) -> None:
        """Send a point on the map."""
        await self.acts(lambda: self.port.sends_location(self.world.house, self.chat.address, latitude, longitude))

    async def presses(self, label: str) -> None:
        """Press the newest button with that label."""
        await self.presses_on(self.offer(label), label)

    async def presses_on(self, message: Shown, label: str) -> None:
        """Press a button of a certain message, as it was seen."""
        if label in message.keys:
            await self.sends(label)
            return
        await self.acts(lambda: self.port.presses(self.world.house, self.chat.address, message, label))

    async def looks(self) -> None:
        """Read everything there is; what comes later is news."""
        await self.refresh()
        self._read = {(shown.id, shown.version) for shown in self._shown}

    async def shares_contact(self, phone: str, *, of: str | None = None) -> None:
        """Share a phone number, one's own unless `of` is somebody else's id; only where a platform has that."""
        raw = await self.port.gateway.says(self.chat.address, "")
        contact = {"phone_number": phone, "first_name": "Lan", "user_id": int(of or self.chat.address)}
        message = {key: value for key, value in raw["message"].items() if key not in ("text", "entities")}
        update = {**raw, "message": {**message, "contact": contact}}
        await self.acts(lambda: self.port.arrives(self.world.house, update))

    async def acts(self, act: Callable[[], Any]) -> None:
        """Do something; the house works until it is quiet, and everybody looks at their phone."""
        await self.looks()
        self.world.clock.advance(milliseconds=20)
        await act()
        await self.world.settle()
        for person in self.world.people:
            await person.refresh()

    async def refresh(self) -> None:
        """Look at the phone without counting what is there as read."""
        self._shown = await self.port.shows(self.chat.address)

    # --- sights ---

    @property
    def shown(self) -> list[Shown]:
        """The chat as it is, own messages left out."""
        return [shown for shown in self._shown if not shown.is_own]

    @property
    def news(self) -> list[Shown]:
        """What came or changed since the last own act."""
        return [shown for shown in self.shown if (shown.id, shown.version) not in self._read]

    @property
    def last(self) -> Shown:
        """The newest message."""
        assert self.shown, f"{self.name} has seen nothing"
        return self.shown[-1]

    def offer(self, label: str) -> Shown:
        """The newest message that offers a button with this label."""
        for shown in reversed(self.shown):
            if label in shown.labels:
                return shown
        raise AssertionError(f"{self.name} sees no button {label!r}\n{self.transcript()}")

    def offers(self, *labels: str) -> None:
        """The news offer these buttons."""
        seen = [label for shown in self.news for label in shown.labels]
        missing = [label for label in labels if label not in seen]
        assert not missing, f"{self.name} is not offered {missing}\n{self.transcript()}"

    def sees(self, *pieces: str) -> None:
        """Each piece is in the news, however it is spaced."""
        news = _squeezed("\n".join(shown.text for shown in self.news))
        missing = [piece for piece in pieces if _squeezed(piece) not in news]
        assert not missing, f"{self.name} does not see {missing}\n{self.transcript()}"

    def sees_not(self, *pieces: str) -> None:
        """None of the pieces is in the news."""
        news = _squeezed("\n".join(shown.text for shown in self.news))
        found = [piece for piece in pieces if _squeezed(piece) in news]
        assert not found, f"{self.name} sees {found}\n{self.transcript()}"

    def sees_nothing(self) -> None:
        """There is no news."""
        assert not self.news, f"{self.name} sees something\n{self.transcript()}"

    def transcript(self) -> str:
        """The newest of the chat, for a person who wonders why a test failed."""
        lines = [
            f"{'*' if (shown.id, shown.version) not in self._read else ' '} {shown}" for shown in self._shown[-16:]
        ]
        return "\n".join([f"--- {self.name} on {self.port.name} (* is news) ---", *lines])


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def picture(*, size: tuple[int, int] = (8, 6), exif: dict[int, str] | None = None) -> bytes:
    """A small JPEG, with what a camera may have written into it (EXIF tag → text)."""
    image = Image.new("RGB", size, (200, 30, 30))
    tags = Image.Exif()
    for tag, value in (exif or {}).items():
        tags[tag] = value
    out = io.BytesIO()
    image.save(out, "JPEG", exif=tags)
    return out.getvalue()


@asynccontextmanager
async def open_world(
    sessions: Sessions, clock: Clock, kinds: Sequence[str] = ("telegram",), *, policy: Policy | None = None
) -> AsyncIterator[World]:
    """A world on these channels."""
    world = World(sessions, clock, {kind: _port(kind, sessions, clock) for kind in kinds})
    if policy is not None:
        world.policy = policy
    with capture_logs() as world.logged:
        await world.open()
        try:
            yield world
        finally:
            await world.house.stop()
            for port in world.ports.values():
                if isinstance(port, Web | Mail):
                    await port.close()
    assert not world.incidents, world.incidents


def phrase(key: str, language: str = "vi", /, **params: str | int) -> str:
    """What the catalogue says under a key: filled in when `params` are given, else its longest literal piece."""
    if params:
        return plain(language, key, **params)
    form = catalogue().forms(language, key)[0]
    pieces = [piece for literal, *_ in Formatter().parse(form) for piece in parse(_closed(literal))[0].split("\n")]
    return max(pieces, key=len).strip()


def _closed(markup: str) -> str:
    """A piece of markup without its tags: pieces are cut anywhere."""
    return re.sub(r"<[^>]*>", "", markup)
