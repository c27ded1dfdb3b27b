"""The ``openai`` embedder: OpenAI's ``POST /embeddings``, also of other servers."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
from orjson import dumps
from yarl import URL

from backchat.errors import ProviderError, ProviderRejected
from backchat.upstream.failures import Failures
from backchat.upstream.http import post, problem, start_of, whole
from backchat.upstream.pieces import decoded, garbled
from backchat_openai.embedder_settings import KNOWN_DIMENSIONS, EmbedderSettings
from backchat_openai.service import open_service

_LONGEST_ANSWER = 256 << 20
_BYTES_PER_TOKEN = 2
"""Of usual text there are three or four, so that an estimate by two is cautious; of random characters hardly more."""


class OpenAIEmbedder:
    """``dimensions`` is 0 until the first answer, if it is neither set nor known of the model.

    Tokens are estimated. Should a text be refused all the same, it is cut to as many bytes as the model reads tokens,
    which is always enough, and sent once more.
    """

    def __init__(self, settings: EmbedderSettings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._failures = Failures([settings.api_key or "", *settings.headers.values()])
        base = URL(settings.base_url)
        self._url = base.with_path(base.path.rstrip("/") + "/embeddings", keep_query=True)
        self.model = settings.model
        self.context = settings.context
        self.dimensions = settings.dimensions or KNOWN_DIMENSIONS.get(settings.model.rpartition("/")[2], 0)

    def __repr__(self) -> str:
        return f"<OpenAIEmbedder {self.model}>"

    async def embed(self, texts: Sequence[str], purpose: Literal["query", "document"]) -> Sequence[bytes]:
        """These models make no difference between questions and documents."""
        vectors: list[bytes] = []
        for batch in self._batches(texts):
            vectors += await self._embedded(batch)
        return vectors

    def _batches(self, texts: Sequence[str]) -> Iterator[list[bytes]]:
        """The texts, cut and in groups that a request may carry, as UTF-8. An empty text is refused, a blank is not."""
        most = self._settings.context * _BYTES_PER_TOKEN
        batch: list[bytes] = []
        tokens = 0
        for text in texts:
            data = _cut(text[:most].encode("utf-8", "replace") or b" ", most)
            cost = len(data) // _BYTES_PER_TOKEN + 1
            if batch and (len(batch) == self._settings.batch or tokens + cost > self._settings.batch_tokens):
                yield batch
                batch, tokens = [], 0
            batch.append(data)
            tokens += cost
        if batch:
            yield batch

    async def _embedded(self, batch: Sequence[bytes]) -> Sequence[bytes]:
        try:
            answer = await self._asked(batch)
        except ProviderRejected:
            least = self._settings.context
            if all(len(data) <= least for data in batch):
                raise
            answer = await self._asked([_cut(data, least) for data in batch])
        vectors = await asyncio.to_thread(_vectors, answer, len(batch), self._failures)
        size = len(vectors[0]) // 4
        if self.dimensions and size != self.dimensions:
            raise ProviderError(f"the model service gave vectors of {size} dimensions instead of {self.dimensions}")
        self.dimensions = size
        return vectors

    async def _asked(self, batch: Sequence[bytes]) -> bytes:
        body: dict[str, Any] = {
            "model": self.model,
            "input": [data.decode() for data in batch],
            "encoding_format": "base64",
        }
        if self._settings.dimensions is not None:
            body["dimensions"] = self._settings.dimensions
        try:
            response = await post(self._session, self._url, dumps(body))
            try:
                if response.status != 200:
                    raise self._failures.answered(response.status, response.headers, await start_of(response))
                return await whole(response, _LONGEST_ANSWER, "an answer")
            finally:
                response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise problem(error) from None


@asynccontextmanager
async def open_embedder(settings: EmbedderSettings) -> AsyncIterator[OpenAIEmbedder]:
    import numpy  # noqa: F401 - a missing one is told at the start, and nothing is imported on the loop later

    async with open_service(settings, accept="application/json") as session:
        yield OpenAIEmbedder(settings, session)


def _cut(data: bytes, most: int) -> bytes:
    """At most so many bytes of UTF-8, none of them half a character."""
    return data if len(data) <= most else data[:most].decode("utf-8", "ignore").encode()


def _vectors(body: bytes, count: int, failures: Failures) -> list[bytes]:
    """The vectors of an answer by their ``index``: base64 of float32, or lists of numbers where that is not heeded."""
    answer = decoded(body)
    if not isinstance(answer, dict):
        raise garbled()
    if answer.get("error"):
        raise failures.reported(answer["error"])
    data = answer.get("data")
    if not isinstance(data, list) or len(data) != count or not all(isinstance(entry, dict) for entry in data):
        raise garbled()
    found: dict[int, bytes] = {}
    for place, entry in enumerate(data):
        index = entry.get("index", place)
        if type(index) is not int:
            raise garbled()
        found[index] = _vector(entry.get("embedding"))
    if sorted(found) != list(range(count)) or len({len(v) for v in found.values()}) != 1:
        raise garbled()
    return [found[index] for index in range(count)]


def _vector(embedding: object) -> bytes:
    import numpy as np

    try:
        if isinstance(embedding, str):
            values = np.frombuffer(b64decode(embedding, validate=True), dtype="<f4").astype(np.float64)
        elif isinstance(embedding, list):
            values = np.array(embedding, dtype=np.float64)
        else:
            raise garbled()
    except (NotBase64, ValueError, TypeError):
        raise garbled() from None
    length = float(np.linalg.norm(values)) if values.ndim == 1 else 0.0
    if not 0 < length < float("inf"):  # not for NaN either
        raise ProviderError("the model service gave a vector that has no direction")
    return (values / length).astype("<f4").tobytes()
