"""Saying something in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from backchat.domain.document import Document
from backchat.domain.message import File
from backchat.errors import BackchatError, DocumentsPending, Forbidden, InvalidInput
from backchat.services.saying import Say
from backchat.web.dialect import Call
from backchat.web.multipart import Upload
from backchat_dialect_threads import shapes
from backchat_dialect_threads.answering import Answering, Begun
from backchat_dialect_threads.wishes import CHANNEL, say_of


async def send_message(call: Call) -> web.StreamResponse:
    return await _send(call, call.body["thread_id"])


async def send_message_to_thread(call: Call) -> web.StreamResponse:
    thread = call.path("thread_id")
    if call.body["thread_id"] not in (None, thread):
        raise InvalidInput("is another thread than that of the path", field="body.thread_id")
    return await _send(call, thread)


async def _send(call: Call, thread: str | None) -> web.StreamResponse:
    asked = Answering(call=call, streams=call.body["stream"], thread=thread, assistant=call.body["assistant_id"])
    return await asked.answer(_begin(call, thread))


async def _begin(call: Call, thread: str | None) -> Begun:
    say = await say_of(call.services, call.who, call.body, thread)
    attached = await _attach(call, say, call.body["files"]) if call.body["files"] else None
    if attached is not None:
        say = replace(say, conversation=attached.thread, files=attached.files)
    attachments = attached.shown if attached is not None else None
    try:
        if not call.body["send_to_llm"]:
            message = await call.services.turns.note(call.who, say)
            return Begun(message=message, assistant=say.assistant, attachments=attachments)
        await _ready(call, say, attached)
        return Begun(run=await call.services.turns.say(call.who, say), attachments=attachments)
    except DocumentsPending:
        raise
    except BackchatError:
        if attached is not None:
            await attached.take_back(call)
        raise


async def _ready(call: Call, say: Say, attached: Attached | None) -> None:
    try:
        await call.services.documents.ready(call.who, assistant=say.assistant, conversation=say.conversation)
    except DocumentsPending as error:
        if attached is None:
            raise
        kept = f"the files are kept in thread {attached.thread}: send the message there again, without them"
        raise DocumentsPending(f"{error}; {kept}", retry_after=error.retry_after) from None


# ---- attachments ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attached:
    """Files of a message that became documents of its thread; ``made``: the thread was made for them."""

    thread: str
    made: bool
    documents: Sequence[Document]

    @property
    def files(self) -> list[File]:
        return [File(d.id, d.filename) for d in self.documents]

    @property
    def shown(self) -> list[dict[str, Any]]:
        return [shapes.attachment(File(d.id, d.filename), d) for d in self.documents]

    async def take_back(self, call: Call) -> None:
        """The message was refused: leave nothing of it behind."""
        if self.made:
            await call.services.conversations.discard(call.who, self.thread)
        else:
            for document in self.documents:
                await call.services.documents.discard(call.who, document.id)


async def _attach(call: Call, say: Say, files: Sequence[Upload]) -> Attached:
    """Store the files as documents of the thread, which is made if there is none; none of them if one is refused."""
    services, who = call.services, call.who
    await services.turns.check(who, say)
    if say.conversation is not None:
        await services.conversations.open(who, say.conversation, "attach")
    if say.assistant is None:
        raise Forbidden("there is no assistant in this thread that would read files")
    if say.conversation is None:
        thread = (await services.conversations.create(who, assistant=say.assistant, channel=CHANNEL)).id
    else:
        thread = (await services.conversations.adopt(who, say.conversation, say.assistant)).id
    documents: list[Document] = []
    attached = Attached(thread, say.conversation is None, documents)
    try:
        for file in files:
            added = await services.documents.add(
                who, filename=file.filename, mime=file.mime, data=file.data, conversation=thread
            )
            documents.append(added)
    except BackchatError:
        await attached.take_back(call)
        raise
    return attached
