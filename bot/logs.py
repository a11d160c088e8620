"""Logging: structlog through the standard library, to standard error, with nothing private in it.

Three rules, all kept where a record is rendered, so that no caller can forget them:

- our own events are kept, after tokens, our secrets and phone numbers are struck out of them;
- other libraries' messages keep their wording and lose what was filled in (it may be an update, a statement's
  parameters, a server's answer); below WARNING they are not heard at all;
- of an exception, type and frames are kept and its message only where it cannot hold what a person wrote.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bot.settings import BadSettings, Settings
from channels.port import SendError
from texts.refusal import Refusal

STRUCK_OUT = "[redacted]"
#: Heard from WARNING on, whatever LOG_LEVEL says; some of them set a level of their own.
QUIET = (
    "telegram",
    "telegram.ext",
    "httpx",
    "httpcore",
    "aiohttp",
    "sqlalchemy",
    "aiosqlite",
    "asyncio",
    "apscheduler",
    "uvicorn",
    "uvicorn.access",
)
_OURS = (
    *("bot", "handlers", "web", "broadcasts", "reports", "establishments", "officers", "deliveries", "channels"),
    *("texts", "db"),
)
_TOKEN = re.compile(r"\d{5,}:[\w-]{8,}")
# Vietnamese numbers in any of the ways they are written: 0912 345 678, (028) 3822.1234, +84 912345678, 84912345678.
_PHONE = re.compile(r"(?<![\w.])(?:\+84|0084|84(?=\d{9}(?!\d))|\(?0)(?:[ .()-]{0,2}\d){8,10}(?!\d)")
_FILLED_IN = re.compile(r"%(?:\(\w+\))?[#0\- +]*[\d*]*(?:\.[\d*]+)?[a-zA-Z]")
# These messages are written by the interpreter from names in the source, never from values.
_NAMES_ONLY = (AttributeError, ImportError, NameError)
_MAX_CHAIN = 10


def configure_logs(settings: Settings, *, stream: IO[str] | None = None) -> None:
    """Send every log record of the process to `stream` (standard error), as the settings say. May be called again."""
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(_formatter(settings))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[settings.log_level]
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    for quiet in (None, *QUIET):
        logging.getLogger(quiet).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*_described(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    sys.excepthook = _log_uncaught


def _described() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(settings: Settings) -> logging.Formatter:
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    return _Formatter(
        foreign_pre_chain=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            _render_exception,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _Redaction(settings.secret_texts()),
            renderer,
        ],
    )


class _Handler(logging.StreamHandler[Any]):
    """A stream that stays quiet about records it cannot render: the standard one would print their arguments."""

    def handleError(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # the stream itself is gone: nobody is left to be told
            self.stream.write(f"log_record_lost logger={record.name} line={record.lineno}\n")


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Takes out of a record what its processors would no longer recognise."""

    def format(self, record: logging.LogRecord) -> str:
        if not isinstance(record.msg, dict):
            record = logging.makeLogRecord(record.__dict__)
            record.msg = _message_of(record)
            record.args = None
            record.exc_text = record.stack_info = None
        return super().format(record)


def _message_of(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] in _OURS:
        record.args = _safe_arguments(record.args)
        return record.getMessage()
    # Only the first line: asyncio, for one, goes on with the repr of what failed.
    wording = str(record.msg) if isinstance(record.msg, str) else type(record.msg).__name__
    return _FILLED_IN.sub("…", wording.partition("\n")[0]) if record.args else wording.partition("\n")[0]


def _safe_arguments(arguments: Any) -> Any:
    if isinstance(arguments, Mapping):
        return {name: _without_message(value) for name, value in arguments.items()}
    return tuple(map(_without_message, arguments)) if isinstance(arguments, tuple) else arguments


def _without_message(value: Any) -> Any:
    return name_of(value) if isinstance(value, BaseException) else value


class _Redaction:
    """Strikes secrets out of every text of an event."""

    def __init__(self, secrets: Sequence[str]) -> None:
        literal = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        alternatives = [*map(re.escape, literal), _TOKEN.pattern, _PHONE.pattern]
        self._pattern = re.compile("|".join(alternatives))

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        return {str(self._clean(key)): self._clean(value) for key, value in event.items()}

    def _clean(self, value: Any) -> Any:
        match value:
            case None | bool() | float():
                return value
            case int():
                return STRUCK_OUT if self._pattern.search(str(value)) else value
            case dict():
                return {str(self._clean(key)): self._clean(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._clean(item) for item in value]
            case BaseException():
                return name_of(value)
            case str():
                return self._pattern.sub(STRUCK_OUT, value)
            case _:
                return self._pattern.sub(STRUCK_OUT, str(value))


def _render_exception(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else None
    if error is None and given is True:
        error = sys.exc_info()[1]
    if error is not None:
        event["exception"] = "\n".join(_chain(error))
    return event


def name_of(error: BaseException) -> str:
    """An exception in one line that can be logged: its type, and its message where that holds no person's words."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    match error:
        case SendError():
            return f"{name}: {error.reason}"
        case Refusal():
            return f"{name}: {error.key}"
        case BadSettings():
            return f"{name}: {'; '.join(error.lines)}"
        case OSError() if error.errno is not None:
            return f"{name}: {error.strerror} ({error.errno})"  # without the file's name
        case _ if kind in _NAMES_ONLY:
            return f"{name}: {error}"
        case _:
            return name


def _chain(error: BaseException) -> Iterator[str]:
    """The exception after what led to it, the way Python prints it."""
    links: list[tuple[BaseException, str]] = []
    current: BaseException | None = error
    heading = ""
    while current is not None and len(links) < _MAX_CHAIN:
        links.append((current, heading))
        if current.__cause__ is not None:
            current, heading = current.__cause__, "which caused:"
        else:
            current, heading = (None if current.__suppress_context__ else current.__context__), "and then:"
    for number, (link, _) in reversed(list(enumerate(links))):
        yield from _frames(link.__traceback__)
        yield name_of(link)
        if isinstance(link, BaseExceptionGroup):
            for member in link.exceptions:
                yield from ("  | " + line for line in _chain(member))
        if number:
            yield links[number][1]


def _frames(trace: TracebackType | None) -> Iterator[str]:
    for frame in traceback.extract_tb(trace):
        yield f'  File "{_short(frame.filename)}", line {frame.lineno}, in {frame.name}'
        if frame.line:
            yield f"    {frame.line.strip()}"


def _short(filename: str) -> str:
    """The end of a path: where we are installed is nobody's business."""
    return str(Path(*Path(filename).parts[-3:]))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("bot").critical("uncaught_exception", exc_info=(kind, error, trace))
