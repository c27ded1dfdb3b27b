"""Recordings as JSON lines: what ``docs/formats.md`` says of them, in code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backchat.domain.message import Seal, ToolCall, Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, StatusNote, TextDelta
from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ProviderEvent, UsageReport
from backchat_replay.asked import Asked
from backchat_replay.scrubbing import Heard

FORMAT = "backchat-recording"
VERSION = 1


class Damaged(Exception):
    """A file that is no recording, or only a part of one."""


@dataclass(frozen=True, slots=True)
class About:
    """What was asked, of which model, and when.

    model        the one that answered;  own_model  the one that the provider asks when a request names none
    recorded_at  ISO 8601
    """

    asked: Asked
    model: str
    own_model: str
    recorded_at: str


@dataclass(frozen=True, slots=True)
class Recording:
    """What was answered.

    events   those of the answer;  failure  what it ended with, if it did not end with a ``Finish``
    after    seconds between the last event and the failure
    """

    about: About
    events: Sequence[Heard]
    failure: ProviderError | None = None
    after: float = 0.0


def lines(recording: Recording) -> bytes:
    about = recording.about
    first = {
        "format": FORMAT,
        "version": VERSION,
        "recorded_at": about.recorded_at,
        "model": about.model,
        "own_model": about.own_model,
        "request": {"fields": dict(about.asked.fields), "messages": list(about.asked.messages)},
    }
    made: list[dict[str, Any]] = [first, *[{"after": round(h.after, 6), **_said(h.event)} for h in recording.events]]
    if (failure := recording.failure) is not None:
        told = {"code": failure.code, "message": str(failure), "at_work": failure.at_work}
        more = {"field": failure.field, "retry_after": failure.retry_after}
        told |= {name: value for name, value in more.items() if value is not None}
        made.append({"after": round(recording.after, 6), "error": told})
    return b"".join([json.dumps(line).encode() + b"\n" for line in made])


def first_line(line: bytes) -> About:
    """Raises Damaged."""
    try:
        about = json.loads(line)
        if about["format"] != FORMAT or about["version"] != VERSION:
            raise Damaged(f"it is not of the format {FORMAT}, version {VERSION}")
        request = about["request"]
        fields = {str(name): str(digest) for name, digest in request["fields"].items()}
        messages = [(str(role), str(digest)) for role, digest in request["messages"]]
        model, own_model, recorded_at = (str(about[name]) for name in ("model", "own_model", "recorded_at"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged("its first line is not that of a recording") from None
    return About(Asked(fields, messages), model, own_model, recorded_at)


def recording(data: bytes) -> Recording:
    """Raises Damaged."""
    first, *rest = data.splitlines() or [b""]
    about = first_line(first)
    events: list[Heard] = []
    failure, after = None, 0.0
    for line in rest:
        if failure is not None or (events and isinstance(events[-1].event, Finish)):
            raise Damaged("something follows its end")
        try:
            found = json.loads(line)
            after = float(found["after"])
            if "error" in found:
                failure = _failure(found["error"])
            else:
                events.append(Heard(after, _event(found)))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Damaged("a line of it is not one of a recording") from None
    if failure is None and not (events and isinstance(events[-1].event, Finish)):
        raise Damaged("it has no end")
    return Recording(about, events, failure, after)


def _said(event: ProviderEvent) -> dict[str, Any]:
    match event:
        case TextDelta(text):
            return {"text": text}
        case ReasoningDelta(text):
            return {"reasoning": text}
        case ReasoningSealed(seal):
            return {"seal": asdict(seal)}
        case StatusNote(text):
            return {"status": text}
        case ToolCall():
            return {"call": {name: value for name, value in asdict(event).items() if value is not None}}
        case UsageReport(usage):
            return {"usage": asdict(usage)}
        case Finish(reason):
            return {"finish": reason}


def _event(line: Any) -> ProviderEvent:
    match line:
        case {"text": str(text)}:
            return TextDelta(text)
        case {"reasoning": str(text)}:
            return ReasoningDelta(text)
        case {"seal": {"maker": str(), "data": str()} as seal}:
            return ReasoningSealed(_seal(seal))
        case {"status": str(text)}:
            return StatusNote(text)
        case {"call": {"id": str(id), "name": str(name), "arguments": str(arguments), **more}}:
            return ToolCall(id, name, arguments, _seal(more["seal"]) if "seal" in more else None)
        case {"usage": dict(counts)}:
            return UsageReport(Usage(**{name: int(count) for name, count in counts.items()}))
        case {"finish": "stop" | "length" | "tool_calls" | "content_filter" as reason}:
            return Finish(reason)
    raise ValueError


def _seal(found: Any) -> Seal:
    return Seal(str(found["maker"]), str(found["data"]))


def _failure(told: Any) -> ProviderError:
    """An error of the class with this code; one of a class that is not there any more is a ProviderError."""
    kind = next((c for c in _classes(ProviderError) if c.code == told["code"]), ProviderError)
    more = {name: told.get(name) for name in ("field", "retry_after")}
    return kind(str(told["message"]), at_work=bool(told["at_work"]), **more)


def _classes(kind: type[ProviderError]) -> Iterator[type[ProviderError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _classes(below)
