"""The chunks of a streamed answer, put together to provider events.

Each is a ``GenerateContentResponse``: https://ai.google.dev/api/generate-content#GenerateContentResponse
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from orjson import JSONDecodeError, dumps, loads

from backchat.domain.message import Seal, ToolCall, Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ProviderEvent, UsageReport
from backchat.upstream.pieces import Held, garbled, text_of, tokens
from backchat_google.endings import blocked, finish
from backchat_google.failures import GoogleFailures
from backchat_google.seals import Kind, Signature, sealed

_MOST_CALLS = 1000


class Answer:
    """One answer in the making. ``tools``: what tools are called here that are called otherwise there.

    finished  the service said why the model stopped; as a rule nothing follows
    failure   what was read is not the protocol, or an error that the service reports in mid-stream; to be raised by the
              caller, after the events that came before it
    """

    __slots__ = (
        "_calls",
        "_counts",
        "_failures",
        "_held",
        "_lengths",
        "_model",
        "_out",
        "_pieces",
        "_reason",
        "_reported",
        "_thinks",
        "_tools",
        "failure",
    )

    def __init__(self, failures: GoogleFailures, model: str, tools: Mapping[str, str]) -> None:
        self._failures = failures
        self._model = model
        self._tools = tools
        self._held = Held()
        self._calls: list[ToolCall] = []
        self._reason: str | None = None
        self._reported: list[Any] = []  # in this read
        self._counts = (0, 0, 0, 0)  # sent, said, cached, thought
        self._out: list[ProviderEvent] = []
        self._pieces: list[str] = []  # of what is being said: text, or thinking
        self._thinks = False
        self._lengths = {False: 0, True: 0}  # of the text, and of the thinking since the last seal
        self.failure: ProviderError | None = None

    @property
    def finished(self) -> bool:
        return self._reason is not None

    def read(self, events: Iterable[bytes]) -> list[ProviderEvent]:
        """The events of the chunks of one read: adjacent pieces of text, or of thinking, are one delta."""
        try:
            for data in events:
                try:
                    chunk = loads(data)
                except JSONDecodeError:
                    if self.finished:
                        break  # half an event, of a connection that broke behind the end
                    raise garbled() from None
                if not self._thinks and (piece := _plain(chunk)) is not None:
                    self._pieces.append(piece)
                    self._lengths[False] += len(piece)
                    self._reported.append(chunk.get("usageMetadata"))
                    continue
                for each in chunk if type(chunk) is list else (chunk,):  # a list, where nothing is streamed
                    self._chunk(each)
        except ProviderError as failure:
            self.failure = failure
        self._flush()
        self._count()
        out, self._out = self._out, []
        return out

    def end(self) -> list[ProviderEvent]:
        """What is known only at the end: the tool calls, and why the model stopped. Raises ProviderError if it did not
        say, or if that is no end of an answer.
        """
        if self._reason is None:
            raise ProviderError("the model service ended its answer before it was finished")
        reason = finish(self._reason, said=self._lengths[False] > 0)
        if reason != "stop" or not self._calls:
            # An answer that was cut short or withheld does not act.
            return [Finish(reason)]
        return [*self._calls, Finish("tool_calls")]

    def _chunk(self, chunk: Any) -> None:
        if type(chunk) is not dict:
            raise garbled()
        if "error" in chunk:
            raise self._failures.reported(chunk["error"])
        self._reported.append(chunk.get("usageMetadata"))
        candidates = chunk.get("candidates")
        if not candidates:
            if rejected := blocked(chunk.get("promptFeedback")):
                raise rejected
            return
        if type(candidates) is not list or type(candidates[0]) is not dict:
            raise garbled()
        candidate = candidates[0]
        content = candidate.get("content")
        if content:
            parts = content.get("parts") if type(content) is dict else 7
            if parts is not None and type(parts) is not list:
                raise garbled()
            for part in parts or ():
                self._part(part)
        if reason := candidate.get("finishReason"):
            self._reason = text_of(reason)

    def _part(self, part: Any) -> None:
        if type(part) is not dict:
            raise garbled()
        signature = part.get("thoughtSignature")
        if "functionCall" in part:
            self._call(part["functionCall"], signature)
            return
        if "text" not in part:
            return  # nothing that was asked for, such as an image or code that the service ran
        text = text_of(part["text"])
        thinks = part.get("thought") is True
        if text:
            if thinks is not self._thinks:
                self._flush()
                self._thinks = thinks
            self._pieces.append(text)
            self._lengths[thinks] += len(text)
        if signature:
            self._flush()
            kind: Kind = "thought" if thinks else "text"
            start = self._lengths[thinks] - len(text)
            self._out.append(ReasoningSealed(self._seal(Signature(text_of(signature), kind, start, len(text)))))
            self._lengths[True] = 0

    def _call(self, call: Any, signature: Any) -> None:
        name = call.get("name") if type(call) is dict else None
        if type(name) is not str or not name or "partialArgs" in call or call.get("willContinue"):
            raise garbled()  # the last two only come to who asks for them
        arguments = call.get("args") or {}
        if type(arguments) is not dict or len(self._calls) == _MOST_CALLS:
            raise garbled()
        seal = self._seal(Signature(text_of(signature))) if signature else None
        id = text_of(call.get("id") or "") or f"call_{uuid.uuid4().hex}"
        given = dumps(arguments).decode()
        self._held.add(len(id) + len(name) + len(given))
        self._calls.append(ToolCall(id, self._tools.get(name, name), given, seal))

    def _seal(self, signature: Signature) -> Seal:
        self._held.add(len(signature.data))
        return sealed(self._model, signature)

    def _flush(self) -> None:
        if self._pieces:
            said = "".join(self._pieces)
            self._pieces.clear()
            self._out.append(ReasoningDelta(said) if self._thinks else TextDelta(said))

    def _count(self) -> None:
        counts = self._counts
        for reported in self._reported:
            if reported:
                counts = _most(counts, reported)
        self._reported.clear()
        if counts != self._counts:
            self._counts = counts
            sent, said, cached, thought = counts
            self._out.append(UsageReport(Usage(sent, said, min(cached, sent), min(thought, said))))


def _plain(chunk: Any) -> str | None:
    """The text of a chunk that is a piece of text and nothing else, as nearly every one is: the short way."""
    try:
        candidate = chunk["candidates"][0]
        (part,) = candidate["content"]["parts"]
        text = part["text"]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    plain = type(text) is str and text and len(part) == 1 and "finishReason" not in candidate and "error" not in chunk
    return text if plain else None


def _most(before: tuple[int, int, int, int], reported: Any) -> tuple[int, int, int, int]:
    """What is reported now, but no count less than before: the service corrects some downwards by a few tokens.

    It counts thinking beside the answer, and what tools of its own have found beside the prompt.
    """
    sent, said, cached, thought = before
    thinking = tokens(reported, "thoughtsTokenCount")
    return (
        max(sent, tokens(reported, "promptTokenCount") + tokens(reported, "toolUsePromptTokenCount")),
        max(said, tokens(reported, "candidatesTokenCount") + thinking),
        max(cached, tokens(reported, "cachedContentTokenCount")),
        max(thought, thinking),
    )
