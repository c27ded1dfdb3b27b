"""Saying something: what the user says and the run are stored in one batch, then the run starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

from backchat.domain.assistant import Assistant, definitions_of
from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.limits import Retention
from backchat.domain.message import Image, Message, Part, Text
from backchat.domain.recipe import Effort
from backchat.domain.run import Run
from backchat.domain.times import stamp
from backchat.errors import IdempotencyMismatch, InvalidInput, NotFound, RunInProgress, StaleWrite
from backchat.ports.storage import Change, Put, RecordStore
from backchat.services.assistants import Assistants
from backchat.services.conversations import Conversations, required
from backchat.services.engine import Engine
from backchat.services.files import file_puts
from backchat.services.growing import heard
from backchat.services.providers import Configured, Providers
from backchat.services.runs import Runs
from backchat.services.runstate import run_put
from backchat.services.saying import Once, Say, candidates, recipe
from backchat.services.stored import conversation_put, message_of, message_put
from backchat.services.waiting import Outputs, resumed


class Turns:
    """The verbs ``say``, ``note`` and ``answer``."""

    def __init__(
        self,
        store: RecordStore,
        conversations: Conversations,
        assistants: Assistants,
        runs: Runs,
        engine: Engine,
        providers: Providers,
        retention: Retention,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._conversations, self._assistants, self._runs = store, conversations, assistants, runs
        self._engine, self._providers, self._retention = engine, providers, retention
        self._now, self._new_id = now, new_id
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def check(self, who: Identity, say: Say) -> None:
        """Raise what ``say`` would raise, as far as that can be told now; for callers with something to store first."""
        candidates(self._providers, say)
        if say.conversation is not None:
            await self._conversations.open(who, say.conversation)
        elif say.assistant is not None:
            await self._assistants.open(who, say.assistant)
        self._runs.refuse_if_draining()

    async def say(self, who: Identity, say: Say) -> Run:
        """Store what the user said and start the reply; whatever can be refused is refused here.

        A run of the conversation that waits for tool outputs is cancelled. Raises NotFound or NotOwned for the
        conversation or the assistant, NotConfigured for the provider, NoVision or InvalidInput for what the model
        cannot do, RunInProgress by the ``busy`` policy, IdempotencyMismatch, Draining.
        """
        if say.once is not None and (run := await self._earlier(who, say.once)) is not None:
            return run
        asked = candidates(self._providers, say)
        async with self._line(say.conversation):
            return await self._say_in_turn(who, say, asked)

    async def note(self, who: Identity, say: Say) -> Message:
        """Store what the user said, without a reply. Raises like ``say``."""
        async with self._line(say.conversation):
            while True:
                now = self._now()
                conversation, _, changes = await self._conversation(who, say, now)
                message, more = self._message(who, say, conversation, now)
                grown = replace(heard(conversation, message, self._retention), active_run=None)
                try:
                    await self._store.apply([*changes, *more, conversation_put(grown)])
                except StaleWrite:
                    continue
                return replace(message, version=1)

    async def answer(
        self,
        who: Identity,
        conversation: str,
        run: str | None,
        outputs: Outputs,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        reasoning: Effort | None = None,
    ) -> Run:
        """Hand in the outputs of the tools that a run waits for, as (call id, text); it goes on.

        ``run`` None is the one that the conversation waits with. ``tools`` and ``reasoning`` are for the rest of the
        run instead of what it began with. Raises NotFound or NotOwned; InvalidInput for a run that does not wait and
        for outputs that do not match its calls one by one; Draining.
        """
        while True:
            here = await self._conversations.open(who, conversation)
            waiting = await self._waiting(who, here, run)
            record = await self._store.get("message", waiting.answer)
            if record is None:
                raise NotFound("the message with the tool calls was deleted")
            asked, now = message_of(record), self._now()
            changed = waiting.recipe
            if tools is not None:
                changed = replace(changed, tools=definitions_of(tuple(tools)))
            if reasoning is not None:
                changed = replace(changed, reasoning=reasoning)
            going = replace(waiting, worker=self._runs.worker, answer=self._new_id(), recipe=changed)
            going, grown, changes = resumed(going, asked, here, outputs, now, self._new_id)
            self._runs.refuse_if_draining()
            try:
                await self._store.apply(changes)
            except StaleWrite:
                continue
            going = replace(going, version=going.version + 1)
            self._start(going, replace(grown, version=grown.version + 1))
            return going

    async def _waiting(self, who: Identity, conversation: Conversation, id: str | None) -> Run:
        if id is None:
            active = await self._runs.active(conversation)
            if active is None or active.status != "waiting":
                raise InvalidInput("no run of this thread waits for tool outputs", field="body.thread_id")
            return active
        run = await self._runs.open(who, id)
        if run.conversation != conversation.id:
            raise NotFound("run not found")
        if run.status != "waiting":
            raise InvalidInput(f"this run does not wait for tool outputs: it is {run.status}", field="path.run_id")
        return run

    @asynccontextmanager
    async def _line(self, conversation: str | None) -> AsyncIterator[None]:
        """Of two who wait for the same reply the first one goes first."""
        if conversation is None:
            yield
            return
        queue = self._queues.setdefault(conversation, asyncio.Lock())
        try:
            async with asyncio.timeout(self._runs.times.wait.total_seconds()):
                await queue.acquire()
        except TimeoutError:
            raise RunInProgress("others are waiting for the reply of this conversation") from None
        try:
            yield
        finally:
            queue.release()

    async def _say_in_turn(self, who: Identity, say: Say, asked: Sequence[Configured]) -> Run:
        while True:
            # Asked again: who was waited for, or wrote first, may have been an equal request.
            if say.once is not None and (run := await self._earlier(who, say.once)) is not None:
                return run
            try:
                return await self._attempt(who, say, asked)
            except StaleWrite:
                continue
            except RunInProgress:
                if say.once is not None and (run := await self._earlier(who, say.once)) is not None:
                    return run
                raise

    async def _attempt(self, who: Identity, say: Say, asked: Sequence[Configured]) -> Run:
        now = self._now()
        conversation, assistant, changes = await self._conversation(who, say, now)
        run_id, answer_id = self._new_id(), self._new_id()
        message, more = self._message(who, say, conversation, now)
        first = asked[0]
        run = Run(
            id=run_id,
            conversation=conversation.id,
            owner=conversation.owner,
            input=message.id,
            seq=message.seq,
            answer=answer_id,
            parent=message.id,
            provider=first.name,
            model=say.model or first.provider.model,
            worker=self._runs.worker,
            created_at=now,
            recipe=recipe(say, asked, assistant),
            options=say.options,
        )
        grown = replace(heard(conversation, message, self._retention), active_run=run_id)
        changes += [*more, conversation_put(grown), run_put(run)]
        if say.once is not None:
            changes.append(self._once_put(who, say.once, run, now))
        self._runs.refuse_if_draining()
        await self._store.apply(changes)
        run = replace(run, version=1)
        self._start(run, replace(grown, version=grown.version + 1), say.notes)
        return run

    def _start(self, run: Run, conversation: Conversation, notes: Sequence[str] = ()) -> None:
        self._runs.start(run, lambda live: self._engine.work(live, conversation, notes))

    async def _conversation(
        self, who: Identity, say: Say, now: datetime
    ) -> tuple[Conversation, Assistant | None, list[Change]]:
        """Where it is said, who answers there, and what ends a run that waits there for tool outputs."""
        if say.conversation is None:
            assistant = await self._assistants.open(who, say.assistant) if say.assistant is not None else None
            conversation = Conversation(
                id=self._new_id(),
                owner=who.user,
                title="",
                created_at=now,
                updated_at=now,
                channel=say.channel,
                assistant=say.assistant,
            )
            return conversation, assistant, required(say.assistant)
        while True:
            conversation = await self._conversations.open(who, say.conversation)
            active = await self._runs.active(conversation)
            if active is None or active.status == "waiting":
                break
            if say.busy == "refuse":
                raise RunInProgress("a reply of this conversation is still running")
            await (self._runs.idle(conversation) if say.busy == "wait" else self._runs.stop_on(conversation))
        changes = await self._runs.given_up(active) if active is not None else []
        if conversation.assistant is None and say.assistant is not None:
            conversation = replace(conversation, assistant=say.assistant)
            changes += required(say.assistant)
        assistant = None
        if conversation.assistant is not None:
            assistant = await self._assistants.open(who, conversation.assistant)
        return conversation, assistant, changes

    def _message(
        self, who: Identity, say: Say, conversation: Conversation, now: datetime
    ) -> tuple[Message, list[Change]]:
        parts: list[Part] = [Text(say.text)]
        changes: list[Change] = []
        for image in say.images:
            file = self._new_id()
            parts.append(Image(file, image.mime))
            changes += file_puts(file, conversation, image, now)
        message = Message(
            id=self._new_id(),
            conversation=conversation.id,
            owner=conversation.owner,
            seq=conversation.next_seq,
            role="user",
            parts=(*parts, *say.files),
            created_at=now,
            parent=conversation.leaf,
            author=who.user,
            metadata=say.metadata,
        )
        return message, [message_put(message), *changes]

    def _once_put(self, who: Identity, once: Once, run: Run, now: datetime) -> Put:
        expires = stamp(now + max(self._runs.times.keep, timedelta(minutes=1)))
        doc = {"fingerprint": once.fingerprint, "run": run.id, "expires": expires}
        return Put("idempotency", once.id(who), doc, 0)

    async def _earlier(self, who: Identity, once: Once) -> Run | None:
        """The run that this key started before; IdempotencyMismatch if the request was another one."""
        record = await self._store.get("idempotency", once.id(who))
        if record is None:
            return None
        if record.doc["fingerprint"] != once.fingerprint:
            raise IdempotencyMismatch("this Idempotency-Key was used with another request")
        try:
            return await self._runs.open(who, record.doc["run"])
        except NotFound:
            raise NotFound("what this Idempotency-Key started was deleted") from None
