"""How the server logs: structlog, as JSON lines or for a console; libraries that use ``logging`` come out alike."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from numbers import Number
from traceback import StackSummary, walk_tb
from types import TracebackType
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor

from backchat.errors import Unavailable

log = structlog.get_logger(source=__name__)
# The secret of an API key or of a recovery key, which somebody may have put into a path. Its id may be seen.
_SECRET = re.compile(r"(bs[kr]_[A-Za-z0-9-]+)_[A-Za-z0-9_-]+")


class Lines:
    """Writes to whatever standard error is at the moment."""

    def msg(self, line: str) -> None:
        sys.stderr.write(line + "\n")

    debug = info = warning = error = exception = critical = msg


def without_words(logger: object, method: str, event: EventDict) -> EventDict:
    """Replace an exception by its type and its frames: what it says may quote a message or a key.

    Of Unavailable the reason is told, which is words of ours, and not where: something always waits for the store.
    """
    raised = event.pop("exc_info", None)
    error = sys.exc_info()[1] if raised is True else raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        event["exception"] = type(error).__qualname__
        if isinstance(error, Unavailable):
            event["reason"] = str(error)
        else:
            frames = StackSummary.extract(walk_tb(error.__traceback__), lookup_lines=False)
            event["frames"] = [f"{f.filename}:{f.lineno} {f.name}" for f in frames]
    return event


def without_secrets(logger: object, method: str, event: EventDict) -> EventDict:
    """Cut what looks like the secret of a key from every text of the line."""
    for name, value in event.items():
        if isinstance(value, str) and "_" in value:
            event[name] = _SECRET.sub(r"\1", value)
    return event


class _Unsaid:
    """Stands in a line for a value that is not shown."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def __repr__(self) -> str:
        return self._shown


def _unsaid(value: object) -> object:
    if isinstance(value, BaseException):
        return _Unsaid(type(value).__qualname__)
    return value if isinstance(value, Number) else _Unsaid("…")


class Formatter(structlog.stdlib.ProcessorFormatter):
    """Other libraries' lines as ours. Of what they fill in, only numbers and the types of exceptions are shown.

    In its debug mode, for example, asyncio quotes the arguments and results of whatever was slow.
    """

    def format(self, record: logging.LogRecord) -> str:
        shown = copy(record)
        shown.msg = record.msg if isinstance(record.msg, str) else str(_unsaid(record.msg))
        if isinstance(record.args, Mapping):
            shown.args = {name: _unsaid(value) for name, value in record.args.items()}
        elif record.args:
            shown.args = tuple(_unsaid(value) for value in record.args)
        return super().format(shown)


class Handler(logging.Handler):
    """Writes like ``Lines``."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            Lines().msg(self.format(record))
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """``logging`` itself would print all that was to be filled in."""
        with suppress(Exception):  # there is nowhere left to say it
            log.error("log.failed", library=record.name, exc_info=True)


def log_the_uncaught() -> None:
    """Log what nobody catches, in the running loop, in threads, while objects are destroyed, and at the end.

    Without this it is printed with all that it says.
    """

    def in_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None:
            log.error("fault.uncaught", at="loop", exc_info=error)  # its message may quote arguments
        else:
            log.error("fault.uncaught", at="loop", message=context.get("message"))

    def in_thread(raised: threading.ExceptHookArgs) -> None:
        if raised.exc_type is not SystemExit:
            log.error("fault.uncaught", at="thread", exc_info=raised.exc_value)

    def in_passing(raised: sys.UnraisableHookArgs) -> None:
        log.error("fault.uncaught", at="finalizer", exc_info=raised.exc_value)

    def at_the_end(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
        log.error("fault.uncaught", at="end", exc_info=error)

    asyncio.get_running_loop().set_exception_handler(in_loop)
    threading.excepthook, sys.unraisablehook, sys.excepthook = in_thread, in_passing, at_the_end


def _json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()


def set_up_logs(shape: Literal["json", "console"], level: str) -> None:
    """Log to standard error. Nothing here knows message text, keys or query strings, and nothing may pass them in."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_words,
        without_secrets,
    ]
    last: Processor = structlog.processors.JSONRenderer(serializer=_json)
    if shape == "console":
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=20, pad_level=False)
    structlog.configure(
        processors=[*shared, last],
        logger_factory=lambda *args: Lines(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    # Others' loggers: warnings only. At debug level drivers log their statements with what is in them.
    handler = Handler()
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        Formatter(foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared], processors=[meta, last])
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
