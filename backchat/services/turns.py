"""Saying something: the user's message and the run are stored in one batch, then the run starts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from weakref import WeakValueDictionary

from backchat.domain.conversation import Conversation, title_of
from backchat.domain.identity import Identity
from backchat.domain.message import Image, Message, Part, Text
from backchat.domain.run import Run
from backchat.domain.times import stamp
from backchat.errors import IdempotencyMismatch, NotFound, NoVision, RunInProgress, StaleWrite
from backchat.ports.providers import ImageData, ModelRequest
from backchat.ports.storage import Change, Put, RecordStore
from backchat.services.conversations import Conversations
from backchat.services.engine import Engine, Job
from backchat.services.files import file_puts
from backchat.services.providers import Configured, Providers
from backchat.services.runs import Runs
from backchat.services.runstate import run_of, run_put
from backchat.services.stored import conversation_put, message_put


@dataclass(frozen=True, slots=True)
class Once:
    """An Idempotency-Key and a digest of the request it came with. Equal keys of one user start one run."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """What a user says.

    conversation  id of the one to continue; None starts a new one on ``channel``
    provider      word for a configured provider; None: the user's default, else the server's
    system        instructions for the model
    notes         lines for the reader of the stream, before the answer
    options       kept with the run
    busy          what to do while a reply is running: wait for it, refuse, or replace it
    """

    text: str
    conversation: str | None = None
    provider: str | None = None
    system: str = ""
    images: Sequence[ImageData] = ()
    notes: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    channel: str = "web"
    busy: Literal["wait", "refuse", "replace"] = "wait"
    once: Once | None = None


class Turns:
    """The verb ``say``."""

    def __init__(
        self,
        store: RecordStore,
        conversations: Conversations,
        runs: Runs,
        engine: Engine,
        providers: Providers,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._conversations, self._runs = store, conversations, runs
        self._engine, self._providers = engine, providers
        self._now, self._new_id = now, new_id
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def say(self, who: Identity, say: Say) -> Run:
        """Store what the user said and start the reply; whatever can be refused is refused here.

        Raises NotFound or NotOwned for the conversation, NotConfigured for the provider, NoVision for an image that
        the model cannot see, RunInProgress by the ``busy`` policy, IdempotencyMismatch, Draining.
        """
        if say.once is not None and (run := await self._earlier(who, say.once)) is not None:
            return run
        chosen = self._providers.choose(say.provider)
        candidates = [c for c in self._providers.candidates(chosen) if c.provider.abilities.vision or not say.images]
        if chosen not in candidates:
            raise NoVision(f"the model of provider {chosen.name!r} cannot see images")
        if say.conversation is None:
            return await self._say_in_turn(who, say, candidates)
        # In line: of two sends that wait for the same reply the first one goes first.
        queue = self._queues.setdefault(say.conversation, asyncio.Lock())
        try:
            async with asyncio.timeout(self._runs.times.wait.total_seconds()):
                await queue.acquire()
        except TimeoutError:
            raise RunInProgress("others are waiting for the reply of this conversation") from None
        try:
            return await self._say_in_turn(who, say, candidates)
        finally:
            queue.release()

    async def _say_in_turn(self, who: Identity, say: Say, candidates: Sequence[Configured]) -> Run:
        while True:
            # Asked again: who was waited for, or wrote first, may have been an equal request.
            if say.once is not None and (run := await self._earlier(who, say.once)) is not None:
                return run
            try:
                return await self._attempt(who, say, candidates)
            except StaleWrite:
                continue
            except RunInProgress:
                if say.once is not None and (run := await self._earlier(who, say.once)) is not None:
                    return run
                raise

    async def _attempt(self, who: Identity, say: Say, candidates: Sequence[Configured]) -> Run:
        now = self._now()
        conversation = await self._conversation(who, say, now)
        parts, changes = self._parts(who, say, conversation, now)
        run_id, answer_id = self._new_id(), self._new_id()
        message = Message(
            id=self._new_id(),
            conversation=conversation.id,
            owner=conversation.owner,
            seq=conversation.next_seq,
            role="user",
            parts=parts,
            created_at=now,
            parent=conversation.leaf,
            author=who.user,
        )
        first = candidates[0]
        run = Run(
            id=run_id,
            conversation=conversation.id,
            owner=conversation.owner,
            input=message.id,
            seq=message.seq,
            answer=answer_id,
            provider=first.name,
            model=first.provider.model,
            worker=self._runs.worker,
            created_at=now,
            options=say.options,
        )
        grown = replace(
            conversation,
            title=conversation.title or title_of(say.text),
            updated_at=now,
            leaf=message.id,
            next_seq=conversation.next_seq + 1,
            messages=conversation.messages + 1,
            characters=conversation.characters + len(say.text),
            active_run=run_id,
        )
        changes += [conversation_put(grown), message_put(message), run_put(run)]
        if say.once is not None:
            changes.append(self._once_put(who, say.once, run, now))
        self._runs.refuse_if_draining()
        await self._store.apply(changes)
        run = replace(run, version=1)
        request = ModelRequest(messages=(), system=say.system)
        job = Job(
            conversation=replace(grown, version=grown.version + 1),
            candidates=candidates,
            request=request,
            notes=say.notes,
        )
        self._runs.start(run, lambda live: self._engine.work(live, job))
        return run

    async def _conversation(self, who: Identity, say: Say, now: datetime) -> Conversation:
        if say.conversation is None:
            return Conversation(
                id=self._new_id(), owner=who.user, title="", created_at=now, updated_at=now, channel=say.channel
            )
        while True:
            conversation = await self._conversations.open(who, say.conversation)
            if not await self._runs.busy(conversation):
                return conversation
            if say.busy == "refuse":
                raise RunInProgress("a reply of this conversation is still running")
            await (self._runs.idle(conversation) if say.busy == "wait" else self._runs.stop_on(conversation))

    def _parts(
        self, who: Identity, say: Say, conversation: Conversation, now: datetime
    ) -> tuple[tuple[Part, ...], list[Change]]:
        parts: list[Part] = [Text(say.text)]
        changes: list[Change] = []
        for image in say.images:
            file = self._new_id()
            parts.append(Image(file, image.mime))
            changes += file_puts(file, conversation, image, now)
        return tuple(parts), changes

    def _once_put(self, who: Identity, once: Once, run: Run, now: datetime) -> Put:
        expires = stamp(now + max(self._runs.times.keep, timedelta(minutes=1)))
        doc = {"fingerprint": once.fingerprint, "run": run.id, "expires": expires}
        return Put("idempotency", _once_id(who, once), doc, 0)

    async def _earlier(self, who: Identity, once: Once) -> Run | None:
        """The run that this key started before; IdempotencyMismatch if the request was another one."""
        record = await self._store.get("idempotency", _once_id(who, once))
        if record is None:
            return None
        if record.doc["fingerprint"] != once.fingerprint:
            raise IdempotencyMismatch("this Idempotency-Key was used with another request")
        run = await self._store.get("run", record.doc["run"])
        if run is None:
            raise NotFound("what this Idempotency-Key started was deleted")
        return run_of(run)


def _once_id(who: Identity, once: Once) -> str:
    return hashlib.sha256(f"{who.user}\0{once.key}".encode()).hexdigest()
