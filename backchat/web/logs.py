"""How the server logs: structlog, as JSON lines or for a console; libraries that use ``logging`` come out alike."""

from __future__ import annotations

import logging
import sys
from traceback import StackSummary, walk_tb
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor


class Lines:
    """Writes to whatever standard error is at the moment."""

    def msg(self, line: str) -> None:
        sys.stderr.write(line + "\n")

    debug = info = warning = error = exception = critical = msg


def without_words(logger: object, method: str, event: EventDict) -> EventDict:
    """Replace an exception by its type and its frames: what it says may quote a message or a key."""
    raised = event.pop("exc_info", None)
    error = sys.exc_info()[1] if raised is True else raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        frames = StackSummary.extract(walk_tb(error.__traceback__), lookup_lines=False)
        event["exception"] = type(error).__qualname__
        event["frames"] = [f"{f.filename}:{f.lineno} {f.name}" for f in frames]
    return event


def _json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()


def set_up_logs(shape: Literal["json", "console"], level: str) -> None:
    """Log to standard error. Nothing here knows message text, keys or query strings, and nothing may pass them in."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_words,
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
    handler = logging.StreamHandler(sys.stderr)
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared], processors=[meta, last]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
