"""What a reply is grounded with: memories of the user, and passages of documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backchat.domain.document import Passage
from backchat.domain.memory import Recalled
from backchat.domain.run import MemoriesRecalled, PassagesFound, Run, RunEvent
from backchat.ports.providers import Citation
from backchat.ports.storage import RecordStore
from backchat.services.assistant_records import assistant_of
from backchat.services.documents import Documents
from backchat.services.memories import Memories
from backchat.services.stored import message_of

CITE = (
    "Mark every sentence that uses one of the numbered passages with its number in square brackets, such as [1]. "
    "Mark nothing else."
)


@dataclass(frozen=True, slots=True)
class Grounds:
    """``memories`` is None in a turn without memory. Citations are the memories first, then the passages."""

    memories: Sequence[Recalled] | None = None
    passages: Sequence[Passage] = ()

    @property
    def citations(self) -> list[Citation]:
        remembered = [Citation("memory", m.content) for m in self.memories or ()]
        return remembered + [Citation(p.source, p.text) for p in self.passages]

    @property
    def events(self) -> list[RunEvent]:
        events: list[RunEvent] = []
        if self.memories is not None:
            events.append(MemoriesRecalled(tuple(self.memories)))
        if self.passages:
            events.append(PassagesFound(tuple(dict.fromkeys([p.filename for p in self.passages]))))
        return events


@dataclass(frozen=True, slots=True)
class Grounding:
    store: RecordStore
    documents: Documents
    memories: Memories

    async def gather(self, run: Run) -> Grounds:
        """The assistant's best for what the user said; nothing without an assistant."""
        if run.recipe.assistant is None:
            return Grounds()
        record = await self.store.get("assistant", run.recipe.assistant)
        said = await self.store.get("message", run.input)
        if record is None or said is None or record.doc["owner"] != run.owner:
            return Grounds()
        assistant, question = assistant_of(record), message_of(said).text
        memories: Sequence[Recalled] | None = None
        if run.recipe.memory != "off":
            memories = await self.memories.recall(run.owner, assistant, question)
        passages = await self.documents.search(
            run.owner, assistant=assistant, conversation=run.conversation, question=question
        )
        return Grounds(memories, passages)
