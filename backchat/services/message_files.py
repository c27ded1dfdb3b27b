"""The images that one message shows, as they are deleted and kept."""

from __future__ import annotations

from backchat.domain.message import Image, Message
from backchat.errors import InvalidInput
from backchat.ports.storage import Condition, Purge, Range
from backchat.services.files import FILE, FILE_CHUNK


def images_of(message: Message) -> dict[str, str]:
    """The types of the images by their files."""
    return {p.file: p.mime for p in message.parts if isinstance(p, Image)}


def require_own_images(message: Message, before: Message | None = None) -> None:
    """Raise InvalidInput for an image that the message did not show before: its bytes may be anybody's."""
    if images_of(message).keys() - (images_of(before).keys() if before is not None else set()):
        raise InvalidInput("a message can only keep the images that it shows already", field="body.content")


def files_purges(message: Message, *, kept: Message | None = None) -> list[Purge]:
    """What deletes the images of a message, but for those that it still shows as ``kept``."""
    gone = tuple(images_of(message).keys() - (images_of(kept).keys() if kept is not None else set()))
    if not gone:
        return []
    at: Condition = ("conversation", (message.conversation,))
    seq = (Range("seq", low=message.seq, high=message.seq + 1),)
    return [
        Purge(FILE.name, (at, ("id", gone)), seq),
        Purge(FILE_CHUNK.name, (at, ("file", gone)), seq),
    ]
