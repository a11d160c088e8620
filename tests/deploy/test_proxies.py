"""The web servers in front of ours, exactly as docs/operators/install.md says, with other ports and certificates."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from channels.web.files import MAX_FILE
from conversations.inbound import waiting_updates
from db.engine import Sessions
from tests.conftest import KEYS
from tests.processes import free_port
from tests.serving import says, serving, uploads

ROOT = Path(__file__).resolve().parents[2]
HOST = "binhyen.example.vn"
PUBLIC_URL = f"https://{HOST}"
UPDATE = {"update_id": 7, "message": {"message_id": 1, "date": 1, "chat": {"id": 5, "type": "private"}, "text": "x"}}


class Telegram:
    """As much of the channel as the webhook asks for."""

    def check_secret(self, header: str | None, /) -> bool:
        return header == "s3cret"


@pytest.fixture
def sessions(sqlite_engine):
    return Sessions(sqlite_engine, KEYS)


@pytest.fixture
async def ours(sessions):
    """Our own server, as it stands behind a proxy."""
    async with serving(sessions, public_url=PUBLIC_URL, webhook=Telegram()) as server:
        yield server


@pytest.fixture(params=["nginx", "caddy"])
async def proxy(request, ours, tmp_path) -> AsyncIterator[Proxy]:
    """The proxy of that name, running in front of it."""
    program = _program(request.param)
    one = Proxy(request.param, free_port(), tmp_path)
    _make_certificate(tmp_path)
    (tmp_path / "conf").write_text(one.configuration(ours.port), "utf-8")
    async with _running(one, program):
        yield one


def _program(name: str) -> str:
    """Where the proxy is. Without it the test is skipped; in CI (`CI=true`) that is a failure."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = f"no {name} here: install the {name} package"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def documented(language: str) -> str:
    """The block in that language of the installation document."""
    said = (ROOT / "docs/operators/install.md").read_text("utf-8")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", said, re.MULTILINE | re.DOTALL)
    assert block.count("127.0.0.1:8080") == 1
    return block


class Proxy:
    """A proxy, its folder, and browsers that come through it."""

    def __init__(self, name: str, port: int, folder: Path) -> None:
        self.name = name
        self.port = port
        self.folder = folder

    def command(self, program: str) -> list[str]:
        """How it is started in the foreground."""
        if self.name == "nginx":
            return [program, "-p", str(self.folder), "-e", str(self.folder / "errors"), "-c", str(self.folder / "conf")]
        return [program, "run", "--adapter", "caddyfile", "--config", str(self.folder / "conf")]

    def configuration(self, upstream: int) -> str:
        """The documented block, with our ports, certificate and folders around it."""
        made = self._nginx() if self.name == "nginx" else self._caddy()
        return made.replace("127.0.0.1:8080", f"127.0.0.1:{upstream}")

    def _nginx(self) -> str:
        folder = self.folder
        temporary = "\n".join(
            f"{kind}_temp_path {folder}/temporary-{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""
            daemon off; pid {folder}/pid; error_log {folder}/errors info; worker_processes 1;
            {"user root;" if os.geteuid() == 0 else ""}
            events {{ worker_connections 128; }}
            http {{
                {temporary}
                access_log {folder}/access;
                server {{
                    listen 127.0.0.1:{self.port} ssl; server_name {HOST};
                    ssl_certificate {folder}/certificate; ssl_certificate_key {folder}/key;
                    {documented("nginx")}
                }}
            }}"""

    def _caddy(self) -> str:
        site = f"{HOST} {{"
        block = documented("caddyfile")
        assert site in block
        ours = f"https://{HOST}:{self.port} {{\n bind 127.0.0.1\n tls {self.folder}/certificate {self.folder}/key"
        alone = "{\n admin off\n auto_https disable_redirects\n}\n"
        return alone + block.replace(site, ours)

    @asynccontextmanager
    async def visitor(self, of: str) -> AsyncIterator[httpx.AsyncClient]:
        """A browser at the address `of`, on the public name."""
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Host": HOST, "Origin": PUBLIC_URL, "Accept-Language": "vi"},
            transport=_Named(local_address=of, verify=False),
            timeout=30,
        ) as opened:
            yield opened


class _Named(httpx.AsyncHTTPTransport):
    """Asks for the public name when TLS begins."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "sni_hostname": HOST}
        return await super().handle_async_request(request)


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    (folder / "key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))


@asynccontextmanager
async def _running(proxy: Proxy, program: str) -> AsyncIterator[None]:
    folders = {name: str(proxy.folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    with (proxy.folder / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *proxy.command(program), env={"PATH": os.environ["PATH"], **folders}, stdout=output, stderr=output
        )
    try:
        await _listens(proxy, process)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def _listens(proxy: Proxy, process: asyncio.subprocess.Process) -> None:
    for _ in range(200):
        assert process.returncode is None, (proxy.folder / "output").read_text("utf-8")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await writer.wait_closed()
        return
    raise AssertionError((proxy.folder / "output").read_text("utf-8"))


async def test_the_page_opens_over_https_with_a_cookie_of_this_host_alone(proxy):
    async with proxy.visitor("127.0.0.2") as lan:
        answer = await lan.get("/")
        assert answer.status_code == 200
        assert answer.headers["set-cookie"].startswith("__Host-by_chat=")
        assert "Secure" in answer.headers["set-cookie"]
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert await says(lan, "Chào") == 200
        (message,) = (await lan.get("/api/messages")).json()["messages"]
        assert message["text"] == "Chào"


async def test_visitors_are_counted_by_their_own_addresses(proxy):
    async with proxy.visitor("127.0.0.2") as flood, proxy.visitor("127.0.0.3") as lan:
        statuses = []
        for number in range(65):
            flood.cookies.clear()
            forged = {
                "X-Forwarded-For": f"203.0.113.{number}",
                "X-Real-IP": "203.0.113.9",
                "Forwarded": "for=203.0.113.9",
            }
            statuses.append((await flood.get("/", headers=forged)).status_code)
        assert set(statuses[:60]) == {200} and 429 in statuses[60:]
        assert (await lan.get("/")).status_code == 200


async def test_news_comes_at_once(proxy):
    async with proxy.visitor("127.0.0.2") as lan:
        await lan.get("/")
        async with lan.stream("GET", "/api/events") as answer, asyncio.timeout(10):
            pieces = answer.aiter_bytes()
            heard = ""
            while "hello" not in heard:
                heard += (await anext(pieces)).decode()
            assert await says(lan, "tin nóng") == 200
            while "tin nóng" not in heard:
                heard += (await anext(pieces)).decode("utf-8", "ignore")


async def test_the_largest_file_passes_and_is_never_written_to_the_proxys_disk(proxy):
    async with proxy.visitor("127.0.0.2") as lan:
        await lan.get("/")
        content = os.urandom(1024) * (MAX_FILE // 1024)
        assert await uploads(lan, content) == 200
        (message,) = (await lan.get("/api/messages")).json()["messages"]
        answer = await lan.get(f"/api/files/{message['files'][0]['id']}")
        assert answer.content == content
    errors = proxy.folder / "errors"
    assert not errors.exists() or "temporary file" not in errors.read_text("utf-8")


async def test_a_file_that_is_too_large_is_refused(proxy):
    async with proxy.visitor("127.0.0.2") as lan:
        await lan.get("/")
        assert await uploads(lan, b"x" * (MAX_FILE + 1)) == 413


async def test_the_numbers_cannot_be_read_through_it(proxy):
    async with proxy.visitor("127.0.0.2") as lan:
        for path in ("/metrics", "/metrics/", "/static/../metrics", "/%6detrics"):
            answer = await lan.get(path)
            assert answer.status_code in (400, 404), path
            assert "binhyen_test" not in answer.text


async def test_telegrams_secret_passes(proxy, sessions):
    async with proxy.visitor("127.0.0.2") as telegram:
        header = "X-Telegram-Bot-Api-Secret-Token"
        assert (await telegram.post("/telegram/webhook", json=UPDATE)).status_code == 403
        assert (await telegram.post("/telegram/webhook", json=UPDATE, headers={header: "wrong"})).status_code == 403
        assert (await telegram.post("/telegram/webhook", json=UPDATE, headers={header: "s3cret"})).status_code == 200
    async with sessions.reading() as session:
        stored = await waiting_updates(session, {"telegram": ""}, chats=9, each=9)
    assert [waiting.raw for waiting in stored] == [UPDATE]


async def test_nobodys_address_is_written_down(proxy):
    async with proxy.visitor("127.0.0.2") as lan:
        await lan.get("/?start=secret-invitation")
    for path in proxy.folder.iterdir():
        if path.is_file() and path.name in ("access", "output"):
            said = path.read_text("utf-8")
            assert "127.0.0.2" not in said and "secret-invitation" not in said
