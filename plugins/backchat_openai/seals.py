"""What the services want back unchanged of a model's thinking, as seals and in the next request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from orjson import JSONDecodeError, dumps, loads

from backchat.domain.message import Seal

OPENAI = "openai"
"""The maker of the seals of the Responses API."""
_KEPT = ("id", "summary", "encrypted_content")
_REFUSED = re.compile(rb"(?i)encrypted_content|encrypted content|signature|`(?:redacted_)?thinking`")
Item = dict[str, Any]


def sealed_items(items: Sequence[Item], signer: str) -> Seal:
    """Reasoning items of the Responses API (https://developers.openai.com/api/docs/guides/reasoning).

    Only ``signer``, who has encrypted them, can read them, and refuses those of others.
    """
    kept = [{"type": "reasoning"} | {name: item[name] for name in _KEPT if name in item} for item in items]
    return _sealed(OPENAI, signer, kept)


def opened_items(seal: Seal | None, signer: str) -> list[Item]:
    """The items, if they are this signer's."""
    return [item for item in _opened(seal, OPENAI, signer) if item.get("type") == "reasoning"]


def sealed_details(details: Sequence[Item], maker: str, signer: str) -> Seal:
    """OpenRouter's ``reasoning_details`` (https://openrouter.ai/docs/guides/best-practices/reasoning-tokens).

    What one model has signed another one refuses.
    """
    return _sealed(maker, signer, details)


def opened_details(seal: Seal | None, maker: str, signer: str) -> list[Item]:
    return _opened(seal, maker, signer)


def refused(told: bytes) -> bool:
    """Whether the body of a 400 says that it is about what was sealed.

    The Responses API has a code for it (https://github.com/openai/codex/issues/8119); OpenRouter hands on, as text,
    what a model's own service says (https://github.com/massgen/MassGen/issues/665).
    """
    return _REFUSED.search(told) is not None


def _sealed(maker: str, signer: str, items: Sequence[Item]) -> Seal:
    return Seal(maker, dumps({"signer": signer, "items": items}).decode())


def _opened(seal: Seal | None, maker: str, signer: str) -> list[Item]:
    if seal is None or seal.maker != maker:
        return []
    try:
        found = loads(seal.data)
    except JSONDecodeError:
        return []
    items = found.get("items") if type(found) is dict and found.get("signer") == signer else None
    return [item for item in items if type(item) is dict] if type(items) is list else []
