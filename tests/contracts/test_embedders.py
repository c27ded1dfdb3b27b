"""Every embedder keeps the contract of the port."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from marshmallow import ValidationError

from backchat.errors import (
    ConfigError,
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.embedding import Embedder
from backchat.testing.embedding import EmbedderContract, HashEmbedder, cosine, numbers
from backchat_openai.embedder import OpenAIEmbedder, open_embedder
from backchat_openai.embedder_settings import EmbedderSchema, EmbedderSettings
from backchat_wordllama import embedder as wordllama
from backchat_wordllama.embedder import SettingsSchema, WordLlamaEmbedder, open_wordllama
from openai_embeddings import DIMENSIONS, Answer, EmbeddingUpstream, in_base64, serve_embeddings
from openai_upstream import Cut, Hang

KEY = "sk-secret-0123456789abcdef"


class TestHash(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> HashEmbedder:
        return HashEmbedder()

    @pytest.fixture
    def failing(self) -> Sequence[Embedder]:
        broken = HashEmbedder()
        broken.failures.append(ProviderError("broken"))
        return [broken]


@pytest.fixture
async def upstream() -> AsyncIterator[EmbeddingUpstream]:
    async with serve_embeddings() as upstream:
        yield upstream
        assert upstream.problems == []


def section(upstream: EmbeddingUpstream, **more: object) -> EmbedderSettings:
    loaded = EmbedderSchema().load({"model": "e-1", "api_key": KEY, "base_url": upstream.base_url, **more})
    assert isinstance(loaded, EmbedderSettings)
    return loaded


class TestOpenAI(EmbedderContract):
    secrets = (KEY,)

    @pytest.fixture
    async def embedder(self, upstream: EmbeddingUpstream) -> AsyncIterator[OpenAIEmbedder]:
        async with open_embedder(section(upstream)) as embedder:
            yield embedder

    @pytest.fixture
    def nobody(self) -> Iterator[str]:
        with socket.socket() as bound:  # bound but not listening: whoever connects is refused
            bound.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"

    @pytest.fixture
    async def failing(self, upstream: EmbeddingUpstream, nobody: str) -> AsyncIterator[Sequence[Embedder]]:
        leak = f'{{"error": {{"message": "Incorrect API key provided: {KEY}"}}}}'.encode()
        upstream.answers += [(401, leak), (400, leak), (200, leak), Cut]
        async with AsyncExitStack() as stack:
            settings = [section(upstream) for _ in range(4)] + [section(upstream, base_url=nobody)]
            yield [await stack.enter_async_context(open_embedder(s)) for s in settings]
        assert upstream.answers == []


class TestOpenAIInLists(TestOpenAI):
    """A server that does not know base64."""

    @pytest.fixture(autouse=True)
    def lists(self, upstream: EmbeddingUpstream) -> None:
        upstream.as_lists = True


class TestWordLlama(EmbedderContract):
    @pytest.fixture
    async def embedder(self) -> AsyncIterator[WordLlamaEmbedder]:
        async with open_wordllama(SettingsSchema().load({})) as embedder:
            yield embedder


class TestWordLlama64(TestWordLlama):
    @pytest.fixture
    async def embedder(self) -> AsyncIterator[WordLlamaEmbedder]:
        async with open_wordllama(SettingsSchema().load({"dimensions": 64})) as embedder:
            yield embedder


class TestTheOpenAIProtocol:
    async def test_what_is_sent(self, upstream: EmbeddingUpstream) -> None:
        settings = section(upstream, base_url=upstream.base_url + "/?v=1", dimensions=16, headers={"X-Team": "a"})
        async with open_embedder(settings) as embedder:
            assert embedder.dimensions == 16
            (vector,) = await embedder.embed(["tea"], "document")
        assert len(numbers(vector)) == 16
        assert upstream.bodies == [
            {"model": "e-1", "input": ["tea"], "encoding_format": "base64", "dimensions": 16},
        ]
        assert upstream.requests[0]["Authorization"] == f"Bearer {KEY}"
        assert upstream.requests[0]["X-Team"] == "a"
        assert upstream.paths == ["/v1/embeddings?v=1"]

    async def test_dimensions_are_sent_only_when_set(self, upstream: EmbeddingUpstream) -> None:
        async with open_embedder(section(upstream)) as embedder:
            assert embedder.dimensions == 0
            await embedder.embed(["tea"], "query")
            assert embedder.dimensions == DIMENSIONS
        assert "dimensions" not in upstream.bodies[0]

    async def test_known_models_have_known_dimensions(self, upstream: EmbeddingUpstream) -> None:
        async with open_embedder(section(upstream, model="text-embedding-3-large")) as embedder:
            assert embedder.dimensions == 3072
            with pytest.raises(ProviderError, match="48 dimensions instead of 3072"):
                await embedder.embed(["tea"], "query")

    async def test_requests_stay_within_what_one_may_carry(self, upstream: EmbeddingUpstream) -> None:
        texts = [f"{n} " + "word " * 240 for n in range(1_500)]
        async with open_embedder(section(upstream)) as embedder:
            assert len(await embedder.embed(texts, "document")) == 1_500
        assert len(upstream.bodies) >= 2
        assert [t for body in upstream.bodies for t in body["input"]] == texts

    async def test_the_size_of_requests_can_be_set(self, upstream: EmbeddingUpstream) -> None:
        async with open_embedder(section(upstream, batch=2)) as embedder:
            await embedder.embed(["a", "b", "c", "d", "e"], "document")
        async with open_embedder(section(upstream, batch_tokens=16)) as embedder:
            await embedder.embed(["a" * 20, "b" * 20, "c" * 200], "document")
        assert [len(body["input"]) for body in upstream.bodies] == [2, 2, 1, 1, 1, 1]

    async def test_long_texts_are_cut(self, upstream: EmbeddingUpstream) -> None:
        async with open_embedder(section(upstream, context=100)) as embedder:
            await embedder.embed(["ab" * 1_000, "\u20ac" * 1_000], "document")
        assert upstream.bodies[0]["input"] == ["ab" * 100, "\u20ac" * 66]

    async def test_what_is_refused_is_cut_as_short_as_need_be(self, upstream: EmbeddingUpstream) -> None:
        upstream.refuses = 100
        async with open_embedder(section(upstream, context=100)) as embedder:
            assert len(await embedder.embed(["ab" * 1_000, "tea"], "document")) == 2
            assert [len(t) for t in upstream.bodies[-1]["input"]] == [100, 3]
            upstream.refuses = 1
            with pytest.raises(ProviderRejected):
                await embedder.embed(["tea"], "document")
        assert len(upstream.bodies) == 3  # what is short already is not sent again

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            ((401, b"{}"), ProviderCredentials),
            ((429, b"{}"), ProviderThrottled),
            ((400, b"{}"), ProviderRejected),
            ((503, b"oops"), ProviderError),
            ((302, b""), ProviderError),
            ((200, b"not json"), ProviderError),
            ((200, b"[]"), ProviderError),
            ((200, b'{"data": []}'), ProviderError),
            ((200, b'{"data": [1]}'), ProviderError),
            ((200, b'{"data": [{"index": 0}]}'), ProviderError),
            ((200, b'{"data": [{"index": 1, "embedding": [1]}]}'), ProviderError),
            ((200, b'{"data": [{"index": "0", "embedding": [1]}]}'), ProviderError),
            ((200, b'{"data": [{"index": 0, "embedding": []}]}'), ProviderError),
            ((200, b'{"data": [{"index": 0, "embedding": [0, 0]}]}'), ProviderError),
            ((200, b'{"data": [{"index": 0, "embedding": [[1], [2]]}]}'), ProviderError),
            ((200, b'{"data": [{"index": 0, "embedding": ["x"]}]}'), ProviderError),
            ((200, b'{"data": [{"index": 0, "embedding": [null]}]}'), ProviderError),
            ((200, b'{"data": [{"index": 0, "embedding": {}}]}'), ProviderError),
            ((200, b'{"data": [{"index": 0, "embedding": "AA"}]}'), ProviderError),
            ((200, b'{"data": [{"index": 0, "embedding": "%%%%"}]}'), ProviderError),
            (
                (200, f'{{"data": [{{"index": 0, "embedding": "{in_base64([float("nan")])}"}}]}}'.encode()),
                ProviderError,
            ),
            ((200, b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}'), ProviderThrottled),
            (Cut, ProviderError),
            (Hang, ProviderTimeout),
        ],
    )
    async def test_what_goes_wrong_has_a_name(
        self, upstream: EmbeddingUpstream, answer: Answer, error: type[ProviderError]
    ) -> None:
        upstream.answers.append(answer)
        settings = section(upstream, read_timeout=0.2 if answer is Hang else 60)
        async with open_embedder(settings) as embedder:
            with pytest.raises(ProviderError) as caught:
                await embedder.embed(["a private text"], "query")
            assert type(caught.value) is error
            assert "private" not in str(caught.value)
            assert caught.value.__cause__ is None  # the client's own errors hold the request's headers
            (vector,) = await embedder.embed(["tea"], "query")  # as if nothing had happened
            assert cosine(vector, vector) == pytest.approx(1)

    async def test_a_refused_connection_is_tried_twice(
        self, upstream: EmbeddingUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_embedder(section(upstream)) as embedder:
            loop = asyncio.get_running_loop()
            connect, attempts = loop.sock_connect, 0

            async def refused_once(sock: socket.socket, address: object) -> None:
                nonlocal attempts
                attempts += 1
                if attempts == 1:
                    raise ConnectionRefusedError
                await connect(sock, address)  # type: ignore[arg-type]

            monkeypatch.setattr(loop, "sock_connect", refused_once)
            assert len(await embedder.embed(["tea"], "query")) == 1
        assert attempts == 2
        assert len(upstream.bodies) == 1

    @pytest.mark.parametrize(
        "wrong",
        [
            {"model": ""},
            {"dimensions": 0},
            {"batch": 2049},
            {"batch": 0},
            {"base_url": "ftp://x"},
            {"headers": {"Authorization": "x"}},
            {"sise": 1},
        ],
    )
    def test_wrong_settings_are_named(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError) as caught:
            EmbedderSchema().load({"model": "e-1", **wrong})
        assert list(caught.value.messages_dict) == list(wrong)


class TestTheModelInAPackage:
    async def test_near_in_meaning_is_near(self) -> None:
        async with open_wordllama(SettingsSchema().load({})) as embedder:
            car, vehicle, cake = await embedder.embed(
                ["How do I repair my car?", "Fixing automobiles at home", "A recipe for chocolate cake"], "document"
            )
        assert cosine(car, vehicle) > cosine(car, cake) + 0.1

    async def test_it_works_off_the_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with open_wordllama(SettingsSchema().load({})) as embedder:
            where: list[int] = []
            work = embedder._vectors

            def seen(texts: Sequence[str]) -> list[bytes]:
                where.append(threading.get_ident())
                return work(texts)

            monkeypatch.setattr(embedder, "_vectors", seen)
            await embedder.embed(["tea"], "query")
        assert where
        assert threading.get_ident() not in where

    def test_nothing_is_fetched_or_cached(self, tmp_path: Path) -> None:
        """A process that can neither open a socket nor find a cache loads it, and the package's own code is not run."""
        script = """
import asyncio, socket, sys
class NoSocket(socket.socket):
    def connect(self, *_): raise SystemExit("it connects")
    connect_ex = connect
from backchat_wordllama.embedder import SettingsSchema, open_wordllama
async def main():
    def refused(*_): raise SystemExit("it looks a name up")
    socket.socket, socket.getaddrinfo = NoSocket, refused
    async with open_wordllama(SettingsSchema().load({})) as embedder:
        print(len(await embedder.embed(["hello", "world"], "query")))
        assert not {"wordllama", "requests", "huggingface_hub"} & sys.modules.keys(), sys.modules.keys()
asyncio.run(main())
"""
        env = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("2\n", "")
        assert list(tmp_path.iterdir()) == []

    async def test_the_vectors_are_those_of_its_own_code(self) -> None:
        """Compared in another process, for importing it sets up logging."""
        texts = ["How do I repair my car?", "東京タワー", "word " * 3_000, "x"]
        script = f"""
import pathlib, sys, wordllama
from safetensors.numpy import load_file
from tokenizers import Tokenizer
package = pathlib.Path(wordllama.__file__).parent
table = load_file(package / {wordllama.WEIGHTS!r})["embedding.weight"]
model = wordllama.WordLlamaInference(table, Tokenizer.from_file(str(package / {wordllama.TOKENIZER!r})))
sys.stdout.write(model.embed({texts!r}, norm=True).astype("<f4").tobytes().hex())
"""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        answer, _ = await process.communicate()
        theirs = bytes.fromhex(answer.decode())
        async with open_wordllama(SettingsSchema().load({})) as embedder:
            ours = await embedder.embed(texts, "document")
        assert len(theirs) == 4 * 1024
        for n, vector in enumerate(ours):
            assert numbers(vector) == pytest.approx(numbers(theirs[1024 * n : 1024 * (n + 1)]), abs=1e-5)

    async def test_a_package_without_the_model_is_told_at_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wordllama, "WEIGHTS", "weights/gone.safetensors")
        with pytest.raises(ConfigError, match="gone"):
            async with open_wordllama(SettingsSchema().load({})):
                pass

    def test_other_dimensions_are_refused(self) -> None:
        with pytest.raises(ValidationError):
            SettingsSchema().load({"dimensions": 100})
