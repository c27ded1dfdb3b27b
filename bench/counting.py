"""An OpenAI-compatible upstream that counts, to the token, what it was asked and what it said.

Its tokens are what the server's own estimate takes them for: four characters of text, and what is begun counts as one.
So the two must agree also about calls that are cut off. It runs in the loop of the rig, which can hold an answer at a
known token, look around, and let it go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from aiohttp import web

CHARACTERS = 4
"""Of a token."""
State = Literal["open", "held", "ended", "cut"]
_CHUNK = {"id": "chatcmpl-counted", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "counted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the calls for one message of a user's go.

    tokens   of the answer, and of what is said before calls
    sums     how many calculations the model asks for, in one round, before it answers; 0 is none
    hold     tokens after which a call waits to be told to go on; None: it does not
    at       which call of the reply waits: 0 is the first
    fate     ``end``; ``break``: the connection is cut where it has waited; ``refuse``: an error in place of an answer
    """

    tokens: int = 8
    sums: int = 0
    hold: int | None = None
    at: int = 0
    fate: Literal["end", "break", "refuse"] = "end"


@dataclass(slots=True, eq=False)
class Asked:
    """One call, as the upstream saw it: ``input`` and ``output`` are tokens, ``text`` is what it has said.

    state    ``cut``: the other side left, or the connection was cut, before the end
    waiting  set when it waits, or is over;  go  what it waits for
    """

    word: str
    input: int
    output: int = 0
    text: str = ""
    state: State = "open"
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class CountingUpstream:
    """``plans`` by the first word of the user's message that is answered; ``calls`` in the order in which they came.

    refused   requests that were answered with an error: those are no calls
    problems  what no server should have asked
    """

    port: int = 0
    plans: dict[str, Plan] = field(default_factory=dict)
    calls: list[Asked] = field(default_factory=list)
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def of(self, word: str) -> list[Asked]:
        return [call for call in self.calls if call.word == word]

    async def held(self, word: str, count: int = 1) -> Asked:
        """The call for a word that waits, once there is one; ``count``: how many calls for it there must be then."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.of(word)) >= count)
        call = self.of(word)[count - 1]
        await call.waiting.wait()
        if call.state != "held":
            raise RuntimeError(f"the call for {word} did not wait: {call.state}")
        return call

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        messages = body["messages"]
        word = _said(next(m for m in reversed(messages) if m["role"] == "user")).split()[0]
        plan = self.plans.get(word)
        if plan is None or not body["stream_options"]["include_usage"]:
            self.problems.append(f"asked about {word!r}, or for no usage")
            return web.json_response({"error": {"message": "not in the plan"}}, status=400)
        if plan.fate == "refuse":
            self.refused += 1
            return web.json_response({"error": {"message": "too much at once"}}, status=429)
        calling = plan.sums > 0 and messages[-1]["role"] == "user"
        if calling and not body.get("tools"):
            self.problems.append(f"no tools were offered for {word!r}")
        call = Asked(word, tokens(messages))
        number = 1 if plan.sums and not calling else 0
        async with self._came:
            self.calls.append(call)
            serial = len(self.calls)
            self._came.notify_all()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            await self._say(response, call, plan, serial, hold=plan.hold if number == plan.at else None)
            if plan.fate == "break" and number == plan.at:
                call.state = "cut"
                assert request.transport is not None
                request.transport.abort()
                return response
            if calling:
                await self._ask_for_sums(response, call, plan.sums, serial)
            await _send(response, finish="tool_calls" if calling else "stop")
            usage = {"prompt_tokens": call.input, "completion_tokens": call.output}
            usage["total_tokens"] = call.input + call.output
            await response.write(_event({**_CHUNK, "choices": [], "usage": usage}))
            call.state = "ended"
            await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            if call.state != "ended":
                call.state = "cut"
            raise
        finally:
            call.waiting.set()
        return response

    @staticmethod
    async def _say(response: web.StreamResponse, call: Asked, plan: Plan, serial: int, hold: int | None) -> None:
        """So many tokens, the first of which names the call. What is counted has been handed to the network."""
        for number in range(plan.tokens):
            if number == hold:
                call.state = "held"
                call.waiting.set()
                await call.go.wait()
                if plan.fate == "break":
                    return
                call.state = "open"
            token = f"{serial:04d}" if number == 0 else f" {number % 1000:03d}"
            call.output += 1
            call.text += token
            await _send(response, content=token)

    @staticmethod
    async def _ask_for_sums(response: web.StreamResponse, call: Asked, sums: int, serial: int) -> None:
        for index in range(sums):
            arguments = orjson.dumps({"expression": f"{serial} * {index + 2}"}).decode()
            arguments = arguments[:-1] + " " * (-len(arguments) % CHARACTERS) + "}"
            function = {"name": "calculate", "arguments": ""}
            await _send(response, tool_calls=[_fragment(index, function, id=f"call_{serial}_{index}")])
            for at in range(0, len(arguments), CHARACTERS):
                call.output += 1
                await _send(response, tool_calls=[_fragment(index, {"arguments": arguments[at : at + CHARACTERS]})])


def tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Of a whole prompt: its texts, and the arguments of the calls in it."""
    length = sum(len(_said(m)) for m in messages)
    length += sum(len(c["function"]["arguments"]) for m in messages for c in m.get("tool_calls") or [])
    return -(-length // CHARACTERS)


def _said(message: Mapping[str, Any]) -> str:
    content = message["content"]
    if content is not None and not isinstance(content, str):
        raise TypeError("only text is counted here")
    return content or ""


def _fragment(index: int, function: Mapping[str, str], **more: str) -> dict[str, Any]:
    return {"index": index, **({"type": "function"} if more else {}), **more, "function": function}


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


async def _send(response: web.StreamResponse, finish: str | None = None, **delta: Any) -> None:
    await response.write(_event({**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))


@asynccontextmanager
async def counting(port: int = 0) -> AsyncIterator[CountingUpstream]:
    """Serve one; 0 is any free port."""
    upstream = CountingUpstream()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/chat/completions", upstream.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    upstream.port = runner.addresses[0][1]
    try:
        yield upstream
    finally:
        await runner.cleanup()
