"""The canary: what must never be in a log is logged in every way we can think of, and is not there."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError
from telegram import Bot, Update
from telegram.error import BadRequest, TelegramError
from telegram.ext import Application
from telegram.request import BaseRequest

from bench.botapi.faults import Fault
from bench.botapi.server import FakeBotApi
from bot.logs import configure_logs, name_of
from bot.settings import BadSettings, Settings
from channels.port import TryLater
from channels.telegram.channel import TelegramChannel
from channels.telegram.request import TelegramRequest
from texts.refusal import Refusal

ROOT = Path(__file__).parents[2]
# Put together here, so that the source lines a traceback shows do not hold them.
TOKEN = "".join(["98765", "4321:", "AAcanary", "Token_-x"])
OTHER_TOKEN = "".join(["11122", "2333:", "BBcanary", "Token_-y"])
REPORT = " ".join(["Ông", "Bảy", "phòng", "mười", "hai", "giấu", "pháo"])
PHONE = "".join(["0912", "345", "678"])
SECRET = "".join(["hook", "-secret"])
CANARIES = {TOKEN, OTHER_TOKEN, REPORT, PHONE, SECRET, "canary", "345678", "345 678", "giấu", "pháo"}


@pytest.fixture(params=["console", "json"])
def output(request, logging_as_before):
    """What is logged at DEBUG, with the process's logging as it was afterwards."""
    stream = io.StringIO()
    settings = Settings(
        _env_file=None,
        bot_token=TOKEN,
        webhook_secret=SECRET,
        log_level="DEBUG",
        log_format=request.param,
    )
    configure_logs(settings, stream=stream)
    return stream


def assert_clean(output: io.StringIO, *, says: str = "") -> None:
    written = output.getvalue()
    assert says in written
    for canary in CANARIES:
        assert canary not in written, f"{canary} in {written}"


PHONES = [
    PHONE,
    PHONE[:4] + " 345 678",
    PHONE[:4] + ".345.678",
    PHONE[:4] + "-345-678",
    "+84912345678",
    "+84 912 345 678",
    "84912345678",
    "0084912345678",
    "(0912) 345 678",
]


@pytest.mark.parametrize("phone", PHONES)
@pytest.mark.parametrize("logger", [logging.getLogger("bot.x"), structlog.get_logger("bot.x")])
def test_a_phone_number_is_struck_out_however_it_is_written(output, phone, logger):
    logger.warning("called %s", phone)
    logger.warning(f"called {phone} today")  # noqa: G004 (the worst way is what is tried)

    assert_clean(output, says="[redacted]")


def test_ids_and_times_are_not_taken_for_phone_numbers(output):
    logging.getLogger("bot").info("delivery %s to telegram:%s at %s", 1234567890, 5912345678, "2026-11-23 08:00:00")

    assert "1234567890" in output.getvalue() and "telegram:5912345678" in output.getvalue()
    assert "2026-11-23 08:00:00" in output.getvalue()


@pytest.mark.parametrize("secret", [TOKEN, OTHER_TOKEN, SECRET])
def test_a_secret_is_struck_out_of_every_part_of_an_event(output, secret):
    log = structlog.get_logger("bot.x")
    log.info(secret.join("<>"), url=f"https://api/bot{secret}/getMe", nested={"a": [secret, (secret,)], secret: 1})
    log.bind(bound=secret).debug("event", raw=secret.encode(), at=Path("/") / secret)
    structlog.contextvars.bind_contextvars(inherited=secret)
    log.warning("event %s", secret)
    structlog.contextvars.clear_contextvars()
    logging.getLogger("channels").error("to %(url)s", {"url": secret})
    logging.getLogger("elsewhere").error(secret.join("<>"), extra={"more": secret}, stack_info=True)

    assert_clean(output, says="[redacted]")


def failing_with(words: str) -> Exception:
    """An exception with a past, a cause, notes and a group, all of which hold `words`."""
    try:
        try:
            raise KeyError(words)
        except KeyError as error:
            try:
                raise ValueError(f"not a number: {words}") from error
            except ValueError:
                raise RuntimeError({"text": words})  # noqa: B904 (a context, not a cause, is what is wanted)
    except RuntimeError as error:
        error.add_note(words)
        group = ExceptionGroup(words, [error, BadRequest(words), TelegramError(words), OSError(2, "gone", words)])
        return group


@pytest.mark.parametrize("words", [REPORT, PHONE, TOKEN])
def test_messages_of_exceptions_are_not_logged(output, words):
    error = failing_with(words)
    for logger in (logging.getLogger("bot.x"), logging.getLogger("elsewhere")):
        try:
            raise error
        except ExceptionGroup:
            logger.exception("it broke")
        logger.error("it broke: %s", error)
        logger.error("it broke", exc_info=error)
    structlog.get_logger("bot.x").error("it broke", exc_info=error, reason=error, several=[error])

    assert_clean(output, says="RuntimeError")
    assert "and then:" in output.getvalue() and "which caused:" in output.getvalue()
    assert "raise ValueError" in output.getvalue(), "the lines of the source are kept"


@pytest.mark.parametrize("words", [REPORT, PHONE])
def test_what_a_database_refused_is_not_logged(output, words):
    engine = create_engine("sqlite://")
    logging.getLogger("sqlalchemy.engine").setLevel(logging.DEBUG)
    logging.getLogger("sqlalchemy.engine").setLevel(logging.NOTSET)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE reports (body TEXT UNIQUE)"))
        try:
            for _ in range(2):
                connection.execute(text("INSERT INTO reports VALUES (:body)"), {"body": words})
        except IntegrityError as error:
            logging.getLogger("bot").exception("insert_failed %s", error)
            logging.getLogger("sqlalchemy.pool").critical("broken: %r", error, exc_info=error)
    engine.dispose()

    assert_clean(output, says="IntegrityError")


@pytest.mark.parametrize("words", [REPORT, PHONE])
async def test_an_update_nobody_can_read_is_not_logged(output, words):
    malformed = {"update_id": 1, "message": {"text": words, "date": words}}

    async with FakeBotApi(TOKEN) as api:
        api.updates.push_raw(malformed)
        bot = Bot(TOKEN, base_url=f"{api.url}/bot", base_file_url=f"{api.url}/file/bot")
        async with bot:
            with pytest.raises((TypeError, ValueError)):
                await bot.get_updates()
        channel = TelegramChannel(TOKEN, api_url=api.url)
        application = Application.builder().bot(channel.bot).updater(None).job_queue(None).build()
        await channel.start()
        try:
            Update.de_json(malformed, channel.bot)
        except Exception:
            logging.getLogger("bot").exception("update_unreadable")
        update = Update.de_json({"update_id": 2, "message": None, "poll": None}, channel.bot)
        await application.process_error(update, ValueError(words))
        await channel.close()

    assert_clean(output, says="telegram.Bot")


async def test_an_answer_nobody_can_read_is_not_logged(output):
    with pytest.raises(TelegramError):
        BaseRequest.parse_json_payload(f"<html>{REPORT} {PHONE} {TOKEN}".encode())
    with pytest.raises(TelegramError):
        TelegramRequest.parse_json_payload(f"<html>{REPORT} {PHONE} {TOKEN}".encode())
    async with FakeBotApi(TOKEN) as api:
        channel = TelegramChannel(TOKEN, api_url=api.url)
        await channel.start()
        api.faults.append(Fault("sendMessage", "refuse", code=403, body=f"{REPORT} {TOKEN}"))
        try:
            await channel.bot.send_message(1, REPORT)
        except TelegramError as error:
            logging.getLogger("bot").exception("send_failed %s", error)
        await channel.close()

    assert_clean(output, says="send_failed")


async def test_a_refused_token_is_not_logged(output):
    async with FakeBotApi(OTHER_TOKEN) as api:
        bot = Bot(TOKEN, base_url=f"{api.url}/bot")
        try:
            await bot.initialize()
        except TelegramError:
            logging.getLogger("bot").exception("no_bot")
        finally:
            await bot.shutdown()

    assert_clean(output, says="InvalidToken")


async def test_a_task_nobody_awaited_is_logged_without_its_words(output):
    async def breaks() -> None:
        raise ValueError(REPORT)

    loop = asyncio.get_running_loop()
    task = loop.create_task(breaks())
    await asyncio.wait({task})
    loop.call_exception_handler(
        {"message": "Task exception was never retrieved", "exception": task.exception(), "future": task}
    )

    assert_clean(output, says="Task exception was never retrieved")


def test_a_record_that_cannot_be_rendered_is_lost_without_its_arguments(output, capsys, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler for handler in root.handlers if "pytest" not in str(type(handler))])
    logging.getLogger("bot").error("%d reports", REPORT)

    assert_clean(output, says="log_record_lost")
    assert REPORT not in capsys.readouterr().err


def test_what_ends_the_process_is_logged_without_its_words(output):
    try:
        raise ValueError(REPORT)
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)

    assert_clean(output, says="uncaught_exception")


@pytest.mark.parametrize(
    "name",
    [
        *("telegram", "telegram.ext", "telegram.ext.ExtBot", "httpx", "httpcore.http11", "aiohttp.access"),
        *("sqlalchemy", "sqlalchemy.engine.Engine", "aiosqlite", "asyncio", "apscheduler.scheduler"),
        *("uvicorn.access", "anything"),
    ],
)
def test_other_libraries_are_heard_from_warning_on(output, name, monkeypatch):
    # A server started by another test in this process leaves uvicorn's loggers cut off.
    monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    logging.getLogger(name).info("to %s", REPORT)
    logging.getLogger(name).debug("to %s", REPORT)
    assert output.getvalue() == ""

    logging.getLogger(name).warning("sent to %s", REPORT)
    assert_clean(output, says="sent to …")


def test_our_own_events_are_heard_with_their_values(output):
    structlog.get_logger("deliveries.dispatch").debug("claimed", count=3, channel="telegram", nothing=None)

    for part in ("claimed", "count", "3", "telegram", "deliveries.dispatch"):
        assert part in output.getvalue()


def test_configuring_again_does_not_double_the_lines(output):
    configure_logs(Settings(_env_file=None, log_format="json"), stream=output)

    logging.getLogger("bot").info("once")

    (line,) = output.getvalue().splitlines()
    assert json.loads(line)["event"] == "once"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TryLater("throttled"), "channels.port.TryLater: throttled"),
        (Refusal("when.past", text=REPORT), "texts.refusal.Refusal: when.past"),
        (BadSettings(["WEB_PORT is 'x'"]), "bot.settings.BadSettings: WEB_PORT is 'x'"),
        (FileNotFoundError(2, "No such file", REPORT), "FileNotFoundError: No such file (2)"),
        (AttributeError("'X' has no 'y'"), "AttributeError: 'X' has no 'y'"),
        (ValueError(REPORT), "ValueError"),
        (IntegrityError(REPORT, {"a": REPORT}, Exception(REPORT)), "sqlalchemy.exc.IntegrityError"),
    ],
)
def test_an_exception_is_named_with_what_cannot_hold_a_persons_words(error, said):
    assert name_of(error) == said


def test_logs_go_to_standard_error():
    script = (
        "import logging; from bot.logs import configure_logs; from bot.settings import Settings;"
        "configure_logs(Settings(_env_file=None)); logging.getLogger('bot').info('hello'); raise ValueError('words')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert done.stdout == ""
    assert "hello" in done.stderr and "ValueError" in done.stderr and "ValueError: words" not in done.stderr
    assert done.returncode == 1
