"""How the server logs: structlog, as JSON lines or for a console; libraries that use ``logging`` come out alike."""

from __future__ import annotations

import logging
import sys
from traceback import StackSummary, walk_tb
from typing import Literal

import structlog


def without_words(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace an exception by its type and its frames: what it says may quote a message or a key."""
    raised = event.pop("exc_info", None)
    error = sys.exc_info()[1] if raised is True else raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        frames = StackSummary.extract(walk_tb(error.__traceback__), lookup_lines=False)
        event["exception"] = type(error).__qualname__
        event["frames"] = [f"{f.filename}:{f.lineno} {f.name}" for f in frames]
    return event


def _ours_or_a_warning(record: logging.LogRecord) -> bool:
    """At debug level drivers log their statements with what is in them, so of others only warnings pass."""
    return record.levelno >= logging.WARNING or record.name.startswith("backchat")


def set_up_logs(shape: Literal["json", "console"], level: str) -> None:
    """Log to standard error. Nothing here knows message text, keys or query strings, and nothing may pass them in."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_words,
    ]
    last: list[structlog.types.Processor]
    if shape == "json":
        last = [structlog.processors.JSONRenderer()]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(_ours_or_a_warning)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
