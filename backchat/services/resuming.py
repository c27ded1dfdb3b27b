"""Handing in what a run waits for, so that it goes on: tool outputs, and what the user says to calls."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from backchat.domain.assistant import definitions_of
from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.message import Message, ToolCall
from backchat.domain.recipe import Effort
from backchat.domain.run import Decision, Run
from backchat.errors import Conflict, InvalidInput, NotFound, StaleWrite
from backchat.ports.storage import Change, RecordStore
from backchat.services.booking import payer_of
from backchat.services.conversations import Conversations
from backchat.services.ledger import Ledger
from backchat.services.runs import Runs
from backchat.services.runstate import run_put
from backchat.services.stored import MESSAGE, message_of
from backchat.services.waiting import Outputs, checked, pending, require_all, resumed


@dataclass(frozen=True, slots=True, kw_only=True)
class Resuming:
    """``start`` begins the work of a run that is stored as a running one."""

    store: RecordStore
    conversations: Conversations
    runs: Runs
    ledger: Ledger
    start: Callable[[Run, Conversation], None]
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    async def waiting(self, who: Identity, conversation: str, run: str | None) -> Run:
        """See ``Turns.waiting``."""
        return await self._waiting(who, await self.conversations.open(who, conversation, "say"), run)

    async def answer(
        self,
        who: Identity,
        conversation: str,
        run: str | None,
        outputs: Outputs,
        decisions: Mapping[str, Decision],
        tools: Sequence[Mapping[str, Any]] | None,
        reasoning: Effort | None,
    ) -> Run:
        """See ``Turns.answer``."""
        while True:
            here = await self.conversations.open(who, conversation, "say")
            waiting = await self._waiting(who, here, run)
            asked = await self._asked(waiting)
            wanted = pending(waiting, asked)
            open_ones = [c.id for c in wanted.decisions]
            _require_open(decisions, open_ones, "body.tool_outputs")
            given = checked(wanted.outputs, outputs)
            require_all(open_ones, decisions)
            waiting = replace(waiting, decided={**waiting.decided, **decisions})
            if tools is not None:
                waiting = replace(waiting, recipe=replace(waiting.recipe, tools=definitions_of(tuple(tools))))
            if reasoning is not None:
                waiting = replace(waiting, recipe=replace(waiting.recipe, reasoning=reasoning))
            if (going := await self._goes_on(who, here, waiting, asked, wanted.outputs, given)) is not None:
                return going

    async def confirm(self, who: Identity, run: str, decision: Decision, calls: Sequence[str] | None) -> Run:
        """See ``Turns.confirm``."""
        while True:
            waiting = await self.runs.open(who, run)
            here = await self.conversations.open(who, waiting.conversation, "say")
            if waiting.status != "waiting":
                raise Conflict(f"this run does not wait for a decision: it is {waiting.status}")
            asked = await self._asked(waiting)
            wanted = pending(waiting, asked)
            open_ones = [c.id for c in wanted.decisions]
            if not open_ones or any(id in waiting.decided for id in calls or ()):
                raise Conflict("this has been decided already" if waiting.decided else "this run waits for no decision")
            _require_open(calls or (), open_ones, "body.calls")
            said = dict.fromkeys(open_ones if calls is None else calls, decision)
            waiting = replace(waiting, decided={**waiting.decided, **said})
            if wanted.outputs or len(said) < len(open_ones):
                changes: list[Change] = [run_put(waiting), *self.conversations.access.required(who, here, "say")]
                try:
                    await self.store.apply(changes)
                except StaleWrite:
                    continue
                return replace(waiting, version=waiting.version + 1)
            if (going := await self._goes_on(who, here, waiting, asked, (), {})) is not None:
                return going

    async def _goes_on(
        self,
        who: Identity,
        here: Conversation,
        waiting: Run,
        asked: Message,
        clients: Sequence[ToolCall],
        outputs: Mapping[str, str],
    ) -> Run | None:
        """The run, which goes on at the caller's cost; None if something has changed meanwhile."""
        recipe = waiting.recipe if who.user == waiting.owner else replace(waiting.recipe, memory="off")
        after = await self._last_stored(waiting, asked, {c.id for c in clients} | {*waiting.confirm})
        going = replace(waiting, author=who.user, worker=self.runs.worker, answer=self.new_id(), recipe=recipe)
        going, grown, changes = resumed(going, asked, after, here, outputs, self.now(), self.new_id)
        changes += self.conversations.access.required(who, here, "say")
        self.runs.refuse_if_draining()
        await self.ledger.check(payer_of(going))
        try:
            await self.store.apply(changes)
        except StaleWrite:
            return None
        going = replace(going, version=going.version + 1)
        self.start(going, replace(grown, version=grown.version + 1))
        return going

    async def _waiting(self, who: Identity, conversation: Conversation, id: str | None) -> Run:
        if id is None:
            active = await self.runs.active(conversation)
            if active is None or active.status != "waiting":
                raise InvalidInput("no run of this thread waits for tool outputs", field="body.thread_id")
            return active
        run = await self.runs.open(who, id)
        if run.conversation != conversation.id:
            raise NotFound("run not found")
        if run.status != "waiting":
            raise InvalidInput(f"this run does not wait for tool outputs: it is {run.status}", field="path.run_id")
        return run

    async def _asked(self, run: Run) -> Message:
        record = await self.store.get(MESSAGE.name, run.answer)
        if record is None:
            raise NotFound("the message with the tool calls was deleted")
        return message_of(record)

    async def _last_stored(self, run: Run, asked: Message, waited: set[str]) -> str:
        """The id of what the answers follow: the calls, or what the server's own tools answered to some of them."""
        mixed = any(p.id not in waited for p in asked.parts if isinstance(p, ToolCall))
        return run.parent if mixed and await self.store.get(MESSAGE.name, run.parent) is not None else asked.id


def _require_open(ids: Iterable[str], open_ones: Container[str], field: str) -> None:
    for id in ids:
        if id not in open_ones:
            raise InvalidInput(f"no tool call with the id {id[:200]!r} waits for a decision", field=field)
