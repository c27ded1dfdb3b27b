"""Saying something: what the user says and the run are stored in one batch, then the run starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal
from weakref import WeakValueDictionary

from backchat.domain.assistant import Assistant
from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.limits import Retention
from backchat.domain.message import Image, Message, Part, Text
from backchat.domain.recipe import Effort, Recipe
from backchat.domain.run import Decision, Run
from backchat.errors import InvalidInput, RunInProgress, StaleWrite
from backchat.ports.storage import Change, RecordStore
from backchat.services.assistants import Assistants
from backchat.services.conversations import Conversations
from backchat.services.engine import Engine
from backchat.services.files import file_puts
from backchat.services.growing import heard
from backchat.services.onces import earlier, once_put
from backchat.services.openings import Openings, last_said, payer_in
from backchat.services.providers import Configured, Providers
from backchat.services.resuming import Resuming
from backchat.services.runs import Runs
from backchat.services.runstate import run_put
from backchat.services.saying import Say, candidates, notes, recipe
from backchat.services.stored import conversation_put, message_put
from backchat.services.waiting import Outputs


class Turns:
    """The verbs ``say``, ``again``, ``note``, ``waiting``, ``answer`` and ``confirm``."""

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
        self._openings = Openings(
            conversations=conversations,
            assistants=assistants,
            runs=runs,
            engine=engine,
            providers=providers,
            new_id=new_id,
        )
        self._resuming = Resuming(
            store=store,
            conversations=conversations,
            runs=runs,
            ledger=engine.ledger,
            start=self._start,
            now=now,
            new_id=new_id,
        )
        self._now, self._new_id = now, new_id
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def check(self, who: Identity, say: Say) -> None:
        """Raise what ``say`` would raise, as far as that can be told now; for callers with something to store first."""
        if say.conversation is not None:
            conversation = await self._conversations.open(who, say.conversation, "say")
        else:
            if say.assistant is not None:
                await self._assistants.open(who, say.assistant)
            conversation = self._openings.begun(who, say, self._now())
        self._openings.asked(who, say, conversation)
        self._runs.refuse_if_draining()
        await self._engine.ledger.check(payer_in(who, conversation))

    async def say(self, who: Identity, say: Say) -> Run:
        """Store what the user said and start the reply; whatever can be refused is refused here.

        A run of the conversation that waits is cancelled. Raises NotFound or NotOwned for the conversation or the
        assistant, Forbidden, NotConfigured for the provider, the agent or the memory strategy, NoVision or InvalidInput
        for what the model cannot do, InsufficientCredits, RunInProgress by the ``busy`` policy, IdempotencyMismatch,
        Draining.
        """
        return await self._in_turn(who, say, self._said)

    async def again(
        self, who: Identity, conversation: str, *, busy: Literal["wait", "refuse", "replace"] = "refuse"
    ) -> Run:
        """Answer the last thing that the user said anew, with the settings of the conversation.

        The answer there was stays on the tree; the new one takes its place on the active path once it is complete. If
        the path ends elsewhere by then, because something was stored there meanwhile, it stays as it is, and the new
        answer is beside it. The conversation is kept for longer, as after a word of the user's.

        Raises like ``say``, and InvalidInput if the user has said nothing there.
        """
        return await self._in_turn(who, Say(text="", conversation=conversation, busy=busy), self._anew)

    async def note(self, who: Identity, say: Say) -> Message:
        """Store what the user said, without a reply. Raises like ``say``."""
        async with self._line(who, say):
            while True:
                now = self._now()
                conversation, changes = await self._openings.conversation(who, say, now, replies=False)
                await self._openings.assistant(conversation)
                message, more = self._message(who, say, conversation, now)
                grown = replace(heard(conversation, message, self._retention), active_run=None)
                try:
                    await self._store.apply([*changes, *more, conversation_put(grown)])
                except StaleWrite:
                    continue
                return replace(message, version=1)

    async def waiting(self, who: Identity, conversation: str, run: str | None) -> Run:
        """The run that waits for what ``answer`` hands in; None is the one that the conversation waits with.

        Raises like ``answer`` for one that does not wait.
        """
        return await self._resuming.waiting(who, conversation, run)

    async def answer(
        self,
        who: Identity,
        conversation: str,
        run: str | None,
        outputs: Outputs,
        *,
        decisions: Mapping[str, Decision] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        reasoning: Effort | None = None,
    ) -> Run:
        """Hand in the outputs of the tools that a run waits for, as (call id, text), and by id what is decided on the
        calls that wait for that; it goes on, at the caller's cost.

        Where the caller is not the owner, it goes on without memories, and nothing is learned from it.
        ``run`` None is the one that the conversation waits with. ``tools`` and ``reasoning`` are for the rest of the
        run instead of what it began with. Raises NotFound, NotOwned or Forbidden; InvalidInput for a run that does not
        wait and for outputs that do not match its calls one by one; InsufficientCredits; Draining.
        """
        return await self._resuming.answer(who, conversation, run, outputs, decisions or {}, tools, reasoning)

    async def confirm(self, who: Identity, run: str, decision: Decision, calls: Sequence[str] | None = None) -> Run:
        """Say whether calls of the server's tools are allowed that a run waits with; None: all of them.

        What is allowed is run, with the arguments as they are stored; of the rest the model is told that it is not.
        The run goes on once all has been decided, and no outputs of the client's tools are missing: at the caller's
        cost, like after ``answer``, and raises like that; but Conflict for a run that waits for no decision, and for
        calls that somebody has decided before. Until then it is as it was, and what was said is kept.
        """
        return await self._resuming.confirm(who, run, decision, calls)

    @asynccontextmanager
    async def _line(self, who: Identity, say: Say) -> AsyncIterator[None]:
        """Of two who wait for the same reply the first one goes first; who would not wait for it is refused."""
        if say.conversation is None:
            yield
            return
        queue = self._queues.setdefault(say.conversation, asyncio.Lock())
        if queue.locked() and say.busy == "refuse":
            await self._openings.refuse_running(who, say.conversation)
        try:
            async with asyncio.timeout(self._runs.times.wait.total_seconds()):
                await queue.acquire()
        except TimeoutError:
            raise RunInProgress("others are waiting for the reply of this conversation") from None
        try:
            yield
        finally:
            queue.release()

    async def _in_turn(self, who: Identity, say: Say, attempt: Callable[[Identity, Say], Awaitable[Run]]) -> Run:
        if (run := await self._earlier(who, say)) is not None:
            return run
        if say.conversation is None or say.provider is not None:  # does not take the conversation's settings to tell
            candidates(self._providers, self._engine.agents, say)
        async with self._line(who, say):
            while True:
                # Asked again: who was waited for, or wrote first, may have been an equal request.
                if (run := await self._earlier(who, say)) is not None:
                    return run
                try:
                    return await attempt(who, say)
                except StaleWrite:
                    continue
                except RunInProgress:
                    if (run := await self._earlier(who, say)) is not None:
                        return run
                    raise

    async def _earlier(self, who: Identity, say: Say) -> Run | None:
        return await earlier(self._store, self._runs, who, say.once)

    async def _said(self, who: Identity, say: Say) -> Run:
        now = self._now()
        conversation, changes = await self._openings.conversation(who, say, now)
        say, asked = self._openings.asked(who, say, conversation)
        assistant = await self._openings.assistant(conversation)
        message, more = self._message(who, say, conversation, now)
        run = self._run(who, conversation, message, now, self._recipe(say, asked, assistant))
        run = replace(run, model=say.model or asked[0].provider.model, options=say.options)
        grown = replace(heard(conversation, message, self._retention), active_run=run.id)
        changes += more
        if say.once is not None:
            until = now + max(self._runs.times.keep, timedelta(minutes=1))
            changes.append(once_put(who, say.once, run, until))
        return await self._begin(run, grown, changes, notes(say, run.recipe, self._engine.toolbox))

    async def _anew(self, who: Identity, say: Say) -> Run:
        now = self._now()
        conversation, changes = await self._openings.conversation(who, say, now)
        say, asked = self._openings.asked(who, say, conversation)
        assistant = await self._openings.assistant(conversation)
        message = await last_said(self._store, conversation)
        if message is None:
            raise InvalidInput("the user has said nothing here that could be answered again")
        run = self._run(who, conversation, message, now, self._recipe(say, asked, assistant))
        run = replace(run, model=say.model or asked[0].provider.model, again=conversation.leaf)
        kept = self._retention.deadline(conversation.temporary, now)
        grown = replace(conversation, updated_at=now, active_run=run.id, expires_at=kept)
        return await self._begin(run, grown, changes)

    def _recipe(self, say: Say, asked: Sequence[Configured], assistant: Assistant | None) -> Recipe:
        made = recipe(say, asked, assistant, self._engine.toolbox)
        self._engine.strategies.choose(made.strategy)
        return made

    def _run(self, who: Identity, conversation: Conversation, message: Message, now: datetime, recipe: Recipe) -> Run:
        """A run that answers the message."""
        return Run(
            id=self._new_id(),
            conversation=conversation.id,
            owner=conversation.owner,
            author=who.user,
            workspace=conversation.home,
            input=message.id,
            seq=message.seq,
            answer=self._new_id(),
            parent=message.id,
            provider=recipe.providers[0],
            model="",
            worker=self._runs.worker,
            created_at=now,
            recipe=recipe,
        )

    async def _begin(
        self, run: Run, conversation: Conversation, changes: Sequence[Change], notes: Sequence[str] = ()
    ) -> Run:
        self._runs.refuse_if_draining()
        await self._store.apply([*changes, conversation_put(conversation), run_put(run)])
        run = replace(run, version=1)
        self._start(run, replace(conversation, version=conversation.version + 1), notes)
        return run

    def _start(self, run: Run, conversation: Conversation, notes: Sequence[str] = ()) -> None:
        self._runs.start(run, lambda live: self._engine.work(live, conversation, notes))

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
