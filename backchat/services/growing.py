"""What a message more makes of its conversation."""

from __future__ import annotations

from dataclasses import replace

from backchat.domain.conversation import Conversation, title_of
from backchat.domain.limits import Retention
from backchat.domain.message import File, Message


def grown(conversation: Conversation, message: Message) -> Conversation:
    """The conversation with this message at the end of its active path. The message has its next seq."""
    return replace(
        conversation,
        updated_at=message.created_at,
        leaf=message.id,
        next_seq=conversation.next_seq + 1,
        messages=conversation.messages + 1,
        characters=conversation.characters + len(message.text),
    )


def heard(conversation: Conversation, message: Message, retention: Retention) -> Conversation:
    """The same for what a user says: it is the title if there is none yet, and the conversation is kept for longer."""
    title = message.text or next((p.name for p in message.parts if type(p) is File), "")
    return replace(
        grown(conversation, message),
        title=conversation.title or title_of(title),
        expires_at=retention.deadline(conversation.temporary, message.created_at),
    )
