"""Where the conversation of a public link is looked up; a link that is not public has no record."""

from __future__ import annotations

from backchat.domain.conversation import Conversation
from backchat.ports.storage import Delete, Kind, Put

PUBLIC_LINK = Kind(name="public_link", fields=("conversation",), indexes=(("conversation",),), partition="conversation")


def link_put(conversation: Conversation) -> Put:
    return Put(PUBLIC_LINK.name, conversation.link, {"conversation": conversation.id})


def link_delete(conversation: Conversation) -> Delete:
    return Delete(PUBLIC_LINK.name, conversation.link)
