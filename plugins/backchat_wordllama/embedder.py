"""WordLlama's model without WordLlama's code.

The model is a table of one vector for each token; a text's vector is the mean of those of its tokens. The package
``wordllama`` brings the table and the tokenizer as files, and only these are used. Its own loader (0.4.0.post1) looks
for the tokenizer in a folder that the package does not have and then downloads it; importing it sets up the root
logger; and it pads all texts of a batch to the length of the longest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from marshmallow import RAISE, Schema, post_load, validate

from backchat.errors import ConfigError
from backchat.web.fields import Whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

MODEL = "l2_supercat"
WEIGHTS = f"weights/{MODEL}_256.safetensors"
TOKENIZER = f"tokenizers/{MODEL}_tokenizer_config.json"
DIMENSIONS = (64, 128, 256)
_BATCH = 64
_ROWS = 4096
"""Rows of the table summed at once: 4 MiB of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    dimensions: int = 256


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    dimensions = Whole(
        load_default=256,
        validate=validate.OneOf(DIMENSIONS),
        metadata={
            "description": "Length of the vectors: 64, 128 or 256. Shorter ones take less room and tell less apart. "
            "Changing it leaves documents indexed before to be found by their words only."
        },
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        return Settings(**data)


class WordLlamaEmbedder:
    """``table`` has a row for each token. Works in threads; a passage of 1,200 characters takes about 0.6 ms."""

    context = 0

    def __init__(self, table: NDArray[np.float32], tokenizer: Tokenizer) -> None:
        self._table = table
        self._tokenizer = tokenizer
        self.dimensions: int = table.shape[1]
        self.model = f"wordllama-{MODEL}"

    async def embed(self, texts: Sequence[str], purpose: Literal["query", "document"]) -> Sequence[bytes]:
        """Questions and documents are treated alike."""
        return await asyncio.to_thread(self._vectors, texts)

    def _vectors(self, texts: Sequence[str]) -> list[bytes]:
        found: list[bytes] = []
        for i in range(0, len(texts), _BATCH):
            plain = [text.encode("utf-8", "replace").decode() for text in texts[i : i + _BATCH]]
            encoded = self._tokenizer.encode_batch_fast(plain, add_special_tokens=False)
            found += [self._vector(tokens.ids) for tokens in encoded]
        return found

    def _vector(self, tokens: Sequence[int]) -> bytes:
        import numpy as np

        total = np.zeros(self.dimensions)
        ids = np.asarray(tokens, dtype=np.intp)
        for i in range(0, len(ids), _ROWS):
            total += self._table[ids[i : i + _ROWS]].sum(axis=0)
        length = float(np.linalg.norm(total))
        if length == 0:  # no token, as in the empty text: some direction, the same for all of them
            total[:], length = 1.0, self.dimensions**0.5
        return (total / length).astype("<f4").tobytes()


@asynccontextmanager
async def open_wordllama(settings: Settings) -> AsyncIterator[WordLlamaEmbedder]:
    yield await asyncio.to_thread(_loaded, settings.dimensions)


def _loaded(dimensions: int) -> WordLlamaEmbedder:
    """Takes 0.5 s, and 70 MB of memory for as long as the embedder lives."""
    import numpy as np
    from safetensors import safe_open
    from tokenizers import Tokenizer

    found = find_spec("wordllama")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'wordllama'", name="wordllama")
    package = Path(found.origin).parent
    for name in (WEIGHTS, TOKENIZER):
        if not (package / name).is_file():
            raise ConfigError(f"this version of the package wordllama has no {name}")
    tokenizer = Tokenizer.from_file(str(package / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with safe_open(str(package / WEIGHTS), framework="np") as file:
        table = file.get_tensor("embedding.weight")
    if table.shape[0] < tokenizer.get_vocab_size():
        raise ConfigError("the tokenizer of the package wordllama does not fit its weights")
    return WordLlamaEmbedder(np.ascontiguousarray(table[:, :dimensions], dtype=np.float32), tokenizer)
