"""The message tree of a conversation: all of its branches, and changes anywhere in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.limits import Retention
from backchat.domain.message import Message
from backchat.domain.rights import Action
from backchat.errors import Conflict, InvalidInput, NotFound, RunInProgress
from backchat.ports.storage import Change, Delete, Query, Range, RecordStore
from backchat.services.conversations import Conversations
from backchat.services.finding import Found, Place, found_words
from backchat.services.growing import grown, heard
from backchat.services.message_files import files_purges, require_own_images
from backchat.services.new_message import NewMessage
from backchat.services.paging import pages
from backchat.services.retrying import retrying
from backchat.services.rewording import reworded, still_said
from backchat.services.runstate import RUN
from backchat.services.stored import MESSAGE, conversation_put, message_of, message_put
from backchat.services.summary_records import line_of, outdated
from backchat.services.tree_reading import PAGE, placed, tree_of

__all__ = ["Found", "NewMessage", "Trees"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    store: RecordStore
    conversations: Conversations
    retention: Retention
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    async def whole(self, who: Identity, id: str) -> Sequence[Message]:
        """The messages of every branch, by seq: parents before their children, siblings in their order."""
        await self.conversations.open(who, id)
        return await tree_of(self.store, id)

    async def open(self, who: Identity, id: str, message: str) -> Message:
        """Raises NotFound for a message that is not in this conversation."""
        await self.conversations.open(who, id)
        return await placed(self.store, await self._message(id, message))

    async def put(self, who: Identity, id: str, new: NewMessage) -> Message:
        """Store a message, or store it anew if the conversation has one of that id, which stays where it is.

        A new one becomes the end of the active path. A run that waits for the outputs of the message's tool calls is
        cancelled. Raises InvalidInput for a parent that is not in the conversation and for an image that the message
        has not shown before; Conflict for an id that is taken elsewhere, RunInProgress for that of a running reply.
        """

        async def attempt() -> Message:
            conversation = await self.conversations.open(who, id, "rewrite")
            there = await self._named(id, new.id)
            if there is not None:
                return await self._replace(who, conversation, there, new)
            if new.id is not None:
                await self._refuse_running(conversation, new.id)
            if new.parent is not None:
                parent = await self.store.get(MESSAGE.name, new.parent)
                if parent is None or parent.doc["conversation"] != id:
                    raise InvalidInput("the parent message is not in this conversation", field="body.parentMessageId")
            return await self._add(who, conversation, new)

        return await retrying(attempt)

    async def begin(self, who: Identity, new: NewMessage, *, temporary: bool, channel: str) -> Message:
        """Store a message as the first of a new conversation.

        Raises InvalidInput if it has a parent or an image, and Conflict for an id that is taken.
        """
        if new.parent is not None:
            raise InvalidInput("the parent message is not in this conversation", field="body.parentMessageId")
        id = self.new_id()

        async def attempt() -> Message:
            await self._named(id, new.id)
            now = self.now()
            conversation = Conversation(
                id=id,
                owner=who.user,
                title="",
                created_at=now,
                updated_at=now,
                channel=channel,
                temporary=temporary,
                expires_at=self.retention.deadline(temporary, now),
            )
            return await self._add(who, conversation, new)

        return await retrying(attempt)

    async def edit(
        self, who: Identity, id: str, message: str, text: str, *, model: str | None = None, index: int | None = None
    ) -> Message:
        """Change the text of a message: of all its text, or of the text or reasoning part at ``index``.

        Raises NotFound, and InvalidInput for an index that names no such part.
        """

        async def attempt() -> Message:
            conversation, old = await self._changeable(who, id, message)
            parts = reworded(old.parts, text, index)
            extra = still_said(old.extra, old.parts, text, index)
            changed = replace(old, parts=parts, extra=extra, model=model or old.model)
            return await self._rewrite(who, conversation, old, changed)

        return await retrying(attempt)

    async def annotate(self, who: Identity, id: str, message: str, extra: Mapping[str, Any]) -> Message:
        """Set these of the message's extras; None removes one."""

        async def attempt() -> Message:
            conversation = await self.conversations.open(who, id, "annotate")
            old = await self._message(id, message)
            kept = {name: value for name, value in {**old.extra, **extra}.items() if value is not None}
            changed = replace(old, extra=kept, updated_at=self.now())
            await self.store.apply([message_put(changed), *self._required(who, conversation, "annotate")])
            return await placed(self.store, replace(changed, version=changed.version + 1))

        return await retrying(attempt)

    async def remove(
        self,
        who: Identity,
        id: str,
        message: str,
        *,
        splice: bool = False,
        busy: Literal["go on", "refuse"] = "go on",
    ) -> None:
        """Delete one message. Its children stay and are roots; an active path that ended with it ends before it.

        With ``splice`` its children follow its parent instead, so that an active path that it was on is whole; and a
        path that nothing is left of is empty, whatever there is on other branches: nothing comes into view. A run
        that waits for the outputs of its tool calls is cancelled. ``busy``: what to do while a reply is being made;
        ``refuse`` raises RunInProgress. Raises NotFound, and Forbidden for what the caller has not said and may not
        delete.
        """

        async def attempt() -> None:
            conversation, old = await self._changeable(who, id, message)
            if busy == "refuse":
                await self._refuse_running(conversation)
            conversation, old = await self._settled(who, conversation, old)
            changed = replace(
                conversation,
                messages=conversation.messages - 1,
                characters=conversation.characters - len(old.text),
                removed=(*conversation.removed, old.id) if conversation.source is not None else (),
            )
            if conversation.leaf == old.id:
                changed = replace(changed, leaf=await (self._parent(old) if splice else self._before(old)))
            gone = [Delete(MESSAGE.name, old.id, old.version), *files_purges(old), *outdated(conversation, old.seq)]
            moved = await self._children(old, await self._parent(old)) if splice else []
            member = self._required(who, conversation, _action(who, old))
            await self.store.apply([conversation_put(changed), *gone, *map(message_put, moved), *member])
            self.conversations.drop(line_of(id))

        await retrying(attempt)

    async def search(
        self, who: Identity, words: str, *, limit: int, after: Place | None = None
    ) -> tuple[Sequence[Found], Place | None]:
        """Messages with all of these words, newest first, and the place after which the next page begins.

        Those of temporary conversations are left out.
        """
        reach = await self.conversations.access.reach(who)
        return await found_words(self.store, who.user, reach, words, self.now(), limit, after)

    async def _message(self, conversation: str, id: str) -> Message:
        record = await self.store.get(MESSAGE.name, id)
        if record is None or record.doc["conversation"] != conversation:
            raise NotFound("Message not found")
        return message_of(record)

    async def _changeable(self, who: Identity, id: str, message: str) -> tuple[Conversation, Message]:
        """A message that the caller may change: because they have said it, or because they may change any."""
        conversation = await self.conversations.open(who, id)
        found = await self._message(id, message)
        await self.conversations.access.require(who, _action(who, found), conversation)
        return conversation, found

    def _required(self, who: Identity, conversation: Conversation, action: Action) -> list[Change]:
        return self.conversations.access.required(who, conversation, action)

    async def _parent(self, message: Message) -> str | None:
        return (await placed(self.store, message)).parent

    async def _children(self, of: Message, parent: str | None) -> list[Message]:
        """The children of a message, with another parent."""
        where, above = (("conversation", (of.conversation,)),), Range("seq", low=of.seq + 1)
        query = Query(kind=MESSAGE.name, where=where, ranges=(above,), order=("seq",), limit=PAGE)
        children = [r async for page in pages(self.store, query) for r in page if r.doc["parent"] == of.id]
        return [replace(message_of(record), parent=parent) for record in children]

    async def _named(self, conversation: str, id: str | None) -> Message | None:
        """The conversation's message of that id. Raises Conflict if it is one of another conversation, of anybody's."""
        record = await self.store.get(MESSAGE.name, id) if id is not None else None
        if record is not None and record.doc["conversation"] != conversation:
            raise Conflict("this message id is taken", field="body.messageId")
        return message_of(record) if record is not None else None

    async def _refuse_running(self, conversation: Conversation, id: str | None = None) -> None:
        """Raises RunInProgress while a reply is being made; with ``id`` only for the reply that will have this id.

        It has its id already, and is not there yet. A reply that begins after this changes the conversation.
        """
        if conversation.active_run is None:
            return
        run = await self.store.get(RUN.name, conversation.active_run)
        if run is None or run.doc["status"] != "running":
            return
        if id is None:
            raise RunInProgress("a reply of this conversation is still running")
        if run.doc["answer"] == id:
            raise RunInProgress("this message is a reply that is still running", field="body.messageId")

    async def _add(self, who: Identity, conversation: Conversation, new: NewMessage) -> Message:
        message = Message(
            id=self.new_id() if new.id is None else new.id,
            conversation=conversation.id,
            owner=conversation.owner,
            seq=conversation.next_seq,
            role=new.role,
            parts=new.parts,
            created_at=self.now(),
            parent=new.parent,
            status=new.status,
            author=who.user if new.role == "user" else None,
            provider=new.provider,
            model=new.model,
            metadata=new.metadata,
            extra=new.extra,
        )
        require_own_images(message)
        said = message.role == "user"
        changed = heard(conversation, message, self.retention) if said else grown(conversation, message)
        member = self._required(who, conversation, "rewrite")
        await self.store.apply([message_put(message), conversation_put(changed), *member])
        return replace(message, version=1)

    async def _replace(self, who: Identity, conversation: Conversation, old: Message, new: NewMessage) -> Message:
        """What the new one does not say stays as it is."""
        conversation, old = await self._settled(who, conversation, old)
        changed = replace(
            old,
            role=new.role,
            parts=new.parts,
            status=new.status,
            author=(old.author or who.user) if new.role == "user" else None,
            provider=new.provider or old.provider,
            model=new.model or old.model,
            metadata={**old.metadata, **new.metadata},
            extra={**old.extra, **new.extra},
        )
        require_own_images(changed, old)
        return await self._rewrite(who, replace(conversation, updated_at=self.now()), old, changed)

    async def _rewrite(self, who: Identity, conversation: Conversation, old: Message, changed: Message) -> Message:
        changed = replace(changed, updated_at=self.now())
        characters = conversation.characters + len(changed.text) - len(old.text)
        counted = conversation_put(replace(conversation, characters=characters))
        member = self._required(who, conversation, _action(who, old))
        gone = [*files_purges(old, kept=changed), *outdated(conversation, old.seq)]
        await self.store.apply([message_put(changed), counted, *gone, *member])
        self.conversations.drop(line_of(conversation.id))
        return await placed(self.store, replace(changed, version=changed.version + 1))

    async def _settled(
        self, who: Identity, conversation: Conversation, message: Message
    ) -> tuple[Conversation, Message]:
        """Both as they are once no run waits for the outputs of the message's tool calls."""
        if message.status != "waiting" or message.run is None or message.run != conversation.active_run:
            return conversation, message
        await self.conversations.stop(conversation)
        return await self._changeable(who, conversation.id, message.id)

    async def _before(self, message: Message) -> str | None:
        """Where an active path ends that ended with this message: the one above it, else the newest other one."""
        if (parent := await self._parent(message)) is not None:
            return parent
        where = (("conversation", (message.conversation,)),)
        newest = await self.store.find(Query(kind=MESSAGE.name, where=where, order=("seq",), descending=True, limit=2))
        return next((record.id for record in newest if record.id != message.id), None)


def _action(who: Identity, message: Message) -> Action:
    """What changing this message is: whoever may say something may take back what they have said."""
    return "withdraw" if message.role == "user" and message.author == who.user else "rewrite"
