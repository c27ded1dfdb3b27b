"""Both drivers behind one face: PyMongo's asyncio API, and Motor, whose calls run in threads.

Collections, databases and sessions are the driver's own objects, and what both drivers do alike is called on them:

    await connection.collection("note").replace_one({...}, {...}, session=session)
    await connection.moment("note").find({...}).to_list(None)

What they do differently is a method here. Nothing outside this file knows which driver it is.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar, Protocol

from pymongo import AsyncMongoClient, timeout
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.server_api import ServerApi
from pymongo.uri_parser import parse_uri
from pymongo.write_concern import WriteConcern

from backchat.errors import ConfigError
from backchat_mongo.closing import PATIENCE

Stored = dict[str, Any]
"""A document as the server has it."""
Pipeline = Sequence[Mapping[str, Any]]


class Stream(Protocol):
    """A change stream that is open: it tells of everything from the moment in which ``changes`` was entered."""

    @property
    def resume_token(self) -> Mapping[str, Any] | None: ...

    async def try_next(self) -> Stored | None:
        """The next change; None if there was none for ``max_await_time_ms``."""
        ...


class Connection(ABC):
    """A client of one of the drivers and the database it works on. Errors are the driver's: ``failures`` turns them.

    ``driver`` is the name in the settings, ``seed`` the first host of the URL, with its port.
    """

    driver: ClassVar[str]

    def __init__(self, client: Any, database: str, timeout: float, seed: str) -> None:
        self.client = client
        self.seed = seed
        self.database = client[database]
        self.timeout = timeout

    def collection(self, name: str) -> Any:
        """To write, and to read what a majority has."""
        return self.database[name]

    def moment(self, name: str) -> Any:
        """To read, outside a transaction: what one answer tells is as it was at one moment, and shows no half batch."""
        return self.database.get_collection(name, read_concern=ReadConcern("snapshot"))

    @abstractmethod
    async def aggregate(self, target: Any, pipeline: Pipeline, **options: Any) -> list[Stored]:
        """All that a pipeline gives. ``target`` is a collection or a database, ``options`` are those of PyMongo."""

    @abstractmethod
    async def indexes(self, collection: Any) -> list[Stored]:
        """The indexes of a collection; none if it is not there."""

    @abstractmethod
    def session(self, **options: Any) -> AbstractAsyncContextManager[Any]:
        """A session; a transaction that is still open at its end is aborted. ``options`` as of ``start_session``."""

    @abstractmethod
    async def begin(self, session: Any) -> None:
        """Begin a transaction: reads as of one moment that a majority has, durable on a majority when committed.

        ``commit_transaction`` and ``abort_transaction`` are the session's.
        """

    @abstractmethod
    def changes(self, target: Any, pipeline: Pipeline, **options: Any) -> AbstractAsyncContextManager[Stream]:
        """A change stream of a collection or the database, open when the context is entered."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of all sockets, tasks and threads of this client."""


class PymongoConnection(Connection):
    driver = "pymongo"

    async def aggregate(self, target: Any, pipeline: Pipeline, **options: Any) -> list[Stored]:
        cursor = await target.aggregate(pipeline, **options)
        found: list[Stored] = await cursor.to_list(None)
        return found

    async def indexes(self, collection: Any) -> list[Stored]:
        cursor = await collection.list_indexes()
        found: list[Stored] = await cursor.to_list(None)
        return found

    @asynccontextmanager
    async def session(self, **options: Any) -> AsyncGenerator[Any, None]:
        async with self.client.start_session(**options) as session:
            yield session

    async def begin(self, session: Any) -> None:
        await session.start_transaction(**_of_transactions())

    @asynccontextmanager
    async def changes(self, target: Any, pipeline: Pipeline, **options: Any) -> AsyncGenerator[Stream, None]:
        async with await target.watch(pipeline, **options) as stream:
            yield stream

    async def close(self) -> None:
        with timeout(PATIENCE):  # it tells the server that its sessions are over
            await self.client.close()


class MotorConnection(Connection):
    """``delegate`` is the PyMongo object that a Motor object drives in threads."""

    driver = "motor"

    async def aggregate(self, target: Any, pipeline: Pipeline, **options: Any) -> list[Stored]:
        found: list[Stored] = await target.aggregate(pipeline, **options).to_list(None)
        return found

    async def indexes(self, collection: Any) -> list[Stored]:
        found: list[Stored] = await collection.list_indexes().to_list(None)
        return found

    @asynccontextmanager
    async def session(self, **options: Any) -> AsyncGenerator[Any, None]:
        async with await self.client.start_session(**options) as session:
            yield session

    async def begin(self, session: Any) -> None:
        session.delegate.start_transaction(**_of_transactions())  # sends nothing

    @asynccontextmanager
    async def changes(self, target: Any, pipeline: Pipeline, **options: Any) -> AsyncGenerator[Stream, None]:
        """Motor opens a stream with the first look at it, which is too late."""
        stream = await asyncio.to_thread(lambda: target.delegate.watch(pipeline, **options))
        try:
            yield _ThreadedStream(stream)
        finally:
            await asyncio.shield(asyncio.to_thread(stream.close))

    async def close(self) -> None:
        with timeout(PATIENCE):
            await asyncio.to_thread(self.client.close)


class _ThreadedStream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def resume_token(self) -> Mapping[str, Any] | None:
        token: Mapping[str, Any] | None = self._stream.resume_token
        return token

    async def try_next(self) -> Stored | None:
        change: Stored | None = await asyncio.to_thread(self._stream.try_next)
        return change


async def connect(settings: Mapping[str, Any]) -> Connection:
    """A client with the settings that ``MongoSettings`` loads. It has asked the server nothing yet.

    What it promises does not depend on options in the URL. Raises ConfigError for a URL that is none.
    """
    options = _options(settings)
    client_class: Callable[..., Any] = AsyncMongoClient
    connection: type[Connection] = PymongoConnection
    if settings["driver"] == MotorConnection.driver:
        from motor.motor_asyncio import AsyncIOMotorClient  # which need not be installed

        client_class, connection = AsyncIOMotorClient, MotorConnection
        options["io_loop"] = asyncio.get_running_loop()
    # In a thread: the name of a mongodb+srv URL, certificates and the like are looked up at once.
    client, seed = await asyncio.to_thread(_made, client_class, settings["url"], options)
    return connection(client, settings["database"], settings["timeout"], seed)


def _made(client_class: Callable[..., Any], url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    try:
        # The client would only warn of an option that it does not know, and go on without.
        host, port = parse_uri(url, warn=False)["nodelist"][0]
        return client_class(url, **options), f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    except (PyMongoError, ValueError, TypeError, OSError) as error:
        # Its message may repeat any part of the URL.
        raise ConfigError(
            f"the url is not one that the driver can use ({type(error).__name__}); in user names and passwords, "
            "characters such as : / ? # @ % are written as %3A %2F %3F %23 %40 %25"
        ) from None


def _options(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "appname": "backchat",
        "connect": False,
        "w": "majority",
        "journal": True,
        "readConcernLevel": "majority",
        "readPreference": "primary",
        "retryReads": True,
        "retryWrites": True,
        "server_api": ServerApi("1", strict=True),
        "timeoutMS": int(1000 * settings["timeout"]),
        "tz_aware": True,
    }


def _of_transactions() -> dict[str, Any]:
    return {
        "read_concern": ReadConcern("snapshot"),
        "write_concern": WriteConcern(w="majority", j=True),
        "read_preference": ReadPreference.PRIMARY,
    }
