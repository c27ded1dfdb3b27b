"""A real server with the vault, in a place where everything that it leaves and says can be looked at."""

from __future__ import annotations

import asyncio
import json
import random
import resource
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import jwt

from served import PATIENCE, Server
from vault_marked import files_below, traces, word

JWT_SECRET = "the-secret-of-the-issuer-of-tokens!"
LARGEST = 256 << 10
"""Bytes of a body."""
CONFIG = f"""
storage: {{use: sqlite, path: {{$data: backchat.db}}, busy_timeout: 0.2}}
providers: {{echo: {{use: echo}}}}
memory: {{use: window}}
auth: [{{use: apikey}}, {{use: jwt, secret: {JWT_SECRET}}}]
dialects: [{{use: chat}}, {{use: vault}}]
server: {{log: json, log_level: debug, body_limit: {LARGEST}}}
"""
PUSH = "/api/v1/push"


def bearer_of(user: str) -> str:
    return jwt.encode({"sub": user, "exp": 2**32}, JWT_SECRET, "HS256")


class Marks:
    """What each test looks for: in every content, and in what describes it."""

    def __init__(self) -> None:
        self.content = word()
        self.title, self.topic, self.tag, self.search = word(), word(), word(), word()

    @property
    def describing(self) -> tuple[str, ...]:
        return (self.title, self.topic, self.tag, self.search)


class Place:
    """A server in a directory of its own, and all that it says and leaves there."""

    def __init__(self, root: Path, env: Mapping[str, str] | None = None) -> None:
        self.root, self.marks = root, Marks()
        self.cwd, self.temporary = root / "cwd", root / "tmp"
        for folder in (self.cwd, self.temporary):
            folder.mkdir()
        config = root / "backchat.yml"
        config.write_text(CONFIG)
        self.server = Server(root, config=config, env={**(env or {}), "TMPDIR": str(self.temporary)}, cwd=self.cwd)
        self.said: dict[str, bytes] = {}
        self.secrets: set[str] = set()
        self.sealed: set[str] = set()

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)
        self.secrets.add(self.server.key.rpartition("_")[2])

    async def stop(self) -> None:
        assert await asyncio.to_thread(self.server.stop) == 0
        self.keep_log()

    def keep_log(self) -> None:
        """The next start begins a new one."""
        self.said[f"log {len(self.said)}"] = self.server.log.encode()

    def check(self, *, at_least: int = 0) -> None:
        """What was pushed is nowhere, what describes it not in a log or an answer, and no key either."""
        data = files_below(self.root / "data")
        assert data
        for name in ("backchat.db", "backchat.db-wal"):
            with suppress(KeyError):
                at_least -= len(data[str(self.root / "data" / name)])
        assert at_least <= 0, "too little was written to have been looked at"
        others = files_below(self.cwd, self.temporary)
        assert not [name for name in others if "core" in Path(name).name]
        said = {**self.said, "log now": self.server.log.encode()}
        assert not traces({**data, **others, **said}, [self.marks.content])
        assert not traces(said, [*self.marks.describing, *self.sealed])
        assert not traces({**data, **others, **said}, self.secrets)

    # ---- what is sent -----------------------------------------------------------------------------------------------

    def text(self, words: int = 12) -> str:
        """The mark again and again, so that a piece has all of it, at places that are not multiples of anything."""
        return " ".join([self.marks.content + "'" * random.randrange(3) for _ in range(words)])

    def plain(self, chat: str, **more: Any) -> dict[str, Any]:
        said = {"role": "user", "content": self.text(), "timestamp": "2026-01-31T10:00:00Z"}
        described = {"title": f"About {self.marks.title}", "topic": self.marks.topic, "tags": [self.marks.tag]}
        return {"chatId": chat, "platform": "ollama", "messages": [said], **described, **more}


@asynccontextmanager
async def open_place(root: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Place]:
    place = Place(root, env)
    try:
        await place.start()
        yield place
    finally:
        await asyncio.to_thread(place.server.close)


@contextmanager
def cores_allowed() -> Iterator[None]:
    """As after ``ulimit -c unlimited``, as far as that may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


class Client:
    """One of the vault's clients; whatever it is answered is kept and looked at."""

    def __init__(self, place: Place, session: aiohttp.ClientSession, key: str | None = None) -> None:
        self._place, self.session = place, session
        self.headers = {"Authorization": f"Bearer {place.server.key if key is None else key}"}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._place.server.port}{path}"

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status and JSON, or text, of an answer, in which nothing is that was in a message."""
        more["headers"] = {**self.headers, **more.get("headers", {})}
        async with self.session.request(method, self.url(path), **more) as answer:
            raw = await answer.read()
        assert not traces({f"{method} {path} {answer.status}": raw}, [self._place.marks.content])
        if answer.status >= 400:
            assert not traces({f"{method} {path} {answer.status}": raw}, self._place.marks.describing)
        return answer.status, json.loads(raw) if answer.content_type == "application/json" else raw.decode()

    async def push(self, body: Mapping[str, Any]) -> Any:
        status, answer = await self.ask("POST", PUSH, json=body)
        assert status == 200, answer
        return answer


@asynccontextmanager
async def client_of(place: Place) -> AsyncIterator[Client]:
    limits = aiohttp.TCPConnector(limit=16)
    async with aiohttp.ClientSession(connector=limits, timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
        yield Client(place, session)
