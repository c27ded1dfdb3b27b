"""Learning from what a user said: the job that turns one turn into changes of memories.

Only the user's own words are looked at: the text of the message that the run answers. Instructions, tool output,
documents and what was remembered for the turn never reach the learner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
import structlog

from backchat.domain.assistant import Assistant
from backchat.domain.identity import Identity
from backchat.domain.memory import Memory, MemoryOperation, Recalled
from backchat.domain.message import Text
from backchat.domain.run import Run
from backchat.domain.usage import Payer
from backchat.errors import BackchatError, NotFound, ProviderError
from backchat.ports.learning import Ask, Learned, Learner, Lesson, Unlearned
from backchat.ports.providers import ModelRequest, PromptMessage
from backchat.ports.storage import Change, Delete, RecordStore
from backchat.services.calls import Calls
from backchat.services.jobs import Job
from backchat.services.memories import AssistantOf, Memories, there
from backchat.services.memory_content import MOST_CONTENT, MOST_HISTORY, superseded
from backchat.services.memory_records import (
    MEMORY_OPERATION,
    MEMORY_RESET,
    MEMORY_VECTOR,
    memory_of,
    memory_put,
    operation_of,
    operation_put,
    reset_of,
)
from backchat.services.memory_words import same_fact
from backchat.services.providers import Providers
from backchat.services.runstate import run_of
from backchat.services.stored import message_of

log = structlog.get_logger(source=__name__)

LIMIT = 120.0
MOST_ANSWER = 32_000
NEIGHBOURS = 10
_SCHEMA = "\n\nAnswer with one JSON object and nothing else. It has to be valid against this JSON schema:\n"


@dataclass(slots=True)
class _Memories:
    """What one lesson makes of an assistant's memories, before anything is written.

    kept     memories that were changed or made, as they will be
    dropped  memories that will be deleted, by id
    """

    kept: dict[str, Memory] = field(default_factory=dict)
    dropped: dict[str, Memory] = field(default_factory=dict)


class Learning:
    """The handler of the topic ``memory``. ``limit``: seconds that one answer of a model may take."""

    def __init__(
        self,
        store: RecordStore,
        *,
        memories: Memories,
        learner: Learner,
        providers: Providers,
        calls: Calls,
        assistant_of: AssistantOf,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        limit: float = LIMIT,
    ) -> None:
        self._store, self._memories, self._learner, self._providers = store, memories, learner, providers
        self._calls = calls
        self._assistant_of, self._now, self._new_id, self._limit = assistant_of, now, new_id, limit

    async def work(self, job: Job) -> Sequence[Change]:
        """The changes of the memories and the end of the operation; quiet when what it is about is gone."""
        operation = await self._operation(job)
        if operation is None:
            return []
        record = await self._store.get("run", operation.id)
        run = run_of(record) if record else None
        said = await self._said(run) if run is not None else ""
        assistant = await self._assistant(operation)
        if assistant is None:
            return [Delete(MEMORY_OPERATION.name, operation.id, operation.version)]
        if run is None or not said.strip() or await self._was_reset(run, assistant):
            return [self._ended(operation)]
        lesson = Lesson(
            said=said,
            similar=self._similar(assistant),
            ask=self._ask(run),
            extraction_prompt=assistant.extraction_prompt,
            update_prompt=assistant.update_prompt,
        )
        result = await self._apply(assistant, await self._learner.learn(lesson), run.input)
        changes: list[Change] = [there(assistant.id)]
        for gone in result.dropped.values():
            changes += [Delete("memory", gone.id, gone.version), Delete(MEMORY_VECTOR.name, gone.id)]
        changes += [memory_put(memory) for memory in result.kept.values()]
        changes += await self._memories.search_index.vector_puts(assistant, list(result.kept.values()))
        log.info("memory.learned", run=run.id, changed=len(result.kept), dropped=len(result.dropped))
        return [*changes, self._ended(operation, tuple(result.kept))]

    async def failed(self, job: Job, error: BackchatError) -> Sequence[Change]:
        operation = await self._operation(job)
        if operation is None:
            return []
        return [operation_put(replace(operation, status="error", problem=str(error), updated_at=self._now()))]

    async def _operation(self, job: Job) -> MemoryOperation | None:
        record = await self._store.get(MEMORY_OPERATION.name, job.payload["run"])
        operation = operation_of(record) if record else None
        return operation if operation is not None and operation.status == "pending" else None

    def _ended(self, operation: MemoryOperation, ids: tuple[str, ...] = ()) -> Change:
        return operation_put(replace(operation, status="completed", memories=ids, updated_at=self._now()))

    async def _said(self, run: Run) -> str:
        record = await self._store.get("message", run.input)
        message = message_of(record) if record else None
        if message is None or message.role != "user" or message.owner != run.owner:
            return ""
        return "\n".join([p.text for p in message.parts if isinstance(p, Text)])

    async def _assistant(self, operation: MemoryOperation) -> Assistant | None:
        try:
            return await self._assistant_of(Identity(user=operation.owner), operation.assistant)
        except NotFound:
            return None

    async def _was_reset(self, run: Run, assistant: Assistant) -> bool:
        """Whether everything was to be forgotten after the turn had begun."""
        record = await self._store.get(MEMORY_RESET.name, assistant.id)
        return record is not None and run.created_at <= reset_of(record)

    def _similar(self, assistant: Assistant) -> Callable[[str, int], Any]:
        async def similar(text: str, limit: int) -> Sequence[Recalled]:
            found = await self._memories.search_index.ranked(assistant.owner, assistant, text, limit, fill=False)
            return [Recalled(m.id, m.content, score) for m, score in found]

        return similar

    def _ask(self, run: Run) -> Ask | None:
        """Asks the provider that answered the turn, if it follows instructions. Raises ProviderError if it is gone."""
        configured = self._providers.configured.get(run.provider)
        if configured is None:
            raise ProviderError(f"the provider {run.provider!r}, which answered, is not configured any more")
        if not configured.provider.abilities.instructions:
            return None
        model = run.model if run.provider == run.recipe.providers[0] else None
        payer = Payer(user=run.author, workspace=run.workspace, conversation=run.conversation, run=run.id)

        async def ask(instructions: str, text: str, schema: Mapping[str, Any]) -> str:
            request = ModelRequest(
                messages=[PromptMessage("user", (Text(text),))],
                model=model,
                system=instructions + _SCHEMA + orjson.dumps(schema).decode(),
                json_output=True,
            )
            return await self._calls.text(payer, "memory", configured, request, limit=self._limit, most=MOST_ANSWER)

        return ask

    async def _apply(self, assistant: Assistant, outcome: Sequence[Learned | Unlearned], source: str) -> _Memories:
        result = _Memories()
        for change in outcome:
            if isinstance(change, Unlearned):
                old = await self._current(result, assistant, change.id)
                if old is not None and result.kept.pop(old.id, old).version:
                    result.dropped[old.id] = old
            else:
                await self._learn(result, assistant, change, source)
        return result

    async def _learn(self, result: _Memories, assistant: Assistant, fact: Learned, source: str) -> None:
        """Add the fact or let it supersede a memory, unless it is known.

        Where another memory says already what the superseded one is to say, only that other one stays.
        """
        content = fact.content.strip()[:MOST_CONTENT]
        if not content:
            return
        now = self._now()
        old = await self._current(result, assistant, fact.replaces) if fact.replaces is not None else None
        same = await self._known(result, assistant, content)
        if same is not None and old is not None and same.id != old.id:
            history = (*same.history, *superseded(old, content, now).history)[-MOST_HISTORY:]
            result.kept[same.id] = replace(same, history=history, updated_at=now)
            result.kept.pop(old.id, None)
            if old.version:
                result.dropped[old.id] = old
        elif old is not None:
            if not same_fact(old.content, content):
                result.kept[old.id] = superseded(old, content, now, source)
        elif same is None:
            memory = Memory(
                id=self._new_id(),
                owner=assistant.owner,
                assistant=assistant.id,
                content=content,
                created_at=now,
                updated_at=now,
                sources=(source,),
            )
            result.kept[memory.id] = memory

    async def _current(self, result: _Memories, assistant: Assistant, id: str) -> Memory | None:
        """The assistant's memory of that id as this lesson leaves it."""
        if id in result.dropped:
            return None
        if id in result.kept:
            return result.kept[id]
        record = await self._store.get("memory", id)
        memory = memory_of(record) if record else None
        mine = memory is not None and (memory.owner, memory.assistant) == (assistant.owner, assistant.id)
        return memory if mine else None

    async def _known(self, result: _Memories, assistant: Assistant, content: str) -> Memory | None:
        """A memory that says the same, though perhaps in other words."""
        for memory in result.kept.values():
            if same_fact(memory.content, content):
                return memory
        # By its digest first: the nearest by words may be others when very many have the same words.
        found = await self._memories.saying(assistant.owner, assistant.id, content)
        near = [found] if found else []
        if not near:
            ranked = await self._memories.search_index.ranked(
                assistant.owner, assistant, content, NEIGHBOURS, fill=False
            )
            near = [m for m, _ in ranked if same_fact(m.content, content)]
        unchanged = [m for m in near if m.id not in result.dropped and m.id not in result.kept]
        return unchanged[0] if unchanged else None
