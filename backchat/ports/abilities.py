"""What a store may be able to do besides the six methods of the storage port. Each is an optional protocol.

Whoever needs one asks with ``isinstance``: a store has an ability if it has its methods.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from backchat.ports.storage import Record, RecordStore


@runtime_checkable
class Watched(Protocol):
    """It tells of what is stored, by whichever process, this one too. Without it, who waits looks again and again."""

    def watch(
        self, kind: str, partitions: Container[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Record]]]:
        """Tell of records of a kind that has a partition, as they are put.

        partitions  those that matter. It may change all the time; it is asked whenever something was stored, and not
                    always by the thread of the event loop. Records of others may be left out.

        Every record that is put for the first time after the context was entered is told of once it is committed, soon
        (tens of milliseconds), those of one partition in their order; one that was deleted meanwhile may be told of
        by what is left of it: version 0 and a document with nothing but the partition. One that was there before may
        be told of as well. The iterator never ends. It raises Unavailable when the
        store cannot be reached, or too much has happened: enter anew, and look at what may have been missed.
        """
        ...


Place = tuple[str, str]
"""The kind and the id of a record."""


@runtime_checkable
class Journaled(Protocol):
    """It can note what is changed, by whichever process, so that a copy of it can be kept up."""

    async def begin_journal(self) -> str:
        """From now on every change is noted; returns a position after everything that was changed before.

        If changes are being noted already, they go on being noted. Positions stay good when the store is closed and
        opened again, in this process or another.
        """
        ...

    async def journal(self, position: str, limit: int) -> tuple[Sequence[Place], str]:
        """The records that were put or deleted after a position, oldest change first, and the position after them.

        At least one record if anything was changed, about ``limit`` at most; one may be named several times. All that
        was acknowledged before the call is noted. Raises Conflict if the position is not known, or not any more.
        """
        ...

    async def end_journal(self) -> None:
        """Note nothing more, and forget what was noted. Quiet if nothing was."""
        ...


@runtime_checkable
class Frozen(Protocol):
    """It can be read as it was at one moment, while others write."""

    def frozen(self) -> AbstractAsyncContextManager[RecordStore]:
        """The store as of now: all that was acknowledged before, nothing that comes later. ``apply`` raises ValueError.

        Reads raise Unavailable when the moment is too long ago for the backend.
        """
        ...


@runtime_checkable
class Examined(Protocol):
    """It can say whether its files are whole."""

    async def examine(self) -> Sequence[str]:
        """Read all of them, however long that takes: what is damaged, in the words of the backend; nothing if all is
        well. Others may have to wait with what they write. Raises Unavailable if that cannot be found out.
        """
        ...


@runtime_checkable
class Saved(Protocol):
    """It can write a backup of itself faster than record by record: a file of the ``sqlite`` backend."""

    async def save(self, path: str, progress: Callable[[int, int], None]) -> None:
        """Write the store as it is at one moment to a new file, while others write.

        ``progress`` is told how much of how much is done; it is called on the event loop. Raises Conflict if the file
        exists, Unavailable if it cannot be written; then there is none.
        """
        ...
