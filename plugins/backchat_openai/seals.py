"""What the services want back unchanged of a model's thinking, as seals and in the next request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orjson import JSONDecodeError, dumps, loads

from backchat.domain.message import Seal

OPENAI = "openai"
"""The maker of the seals of the Responses API."""
_KEPT = ("id", "summary", "encrypted_content")
Item = dict[str, Any]


def sealed_items(items: Sequence[Item], service: str) -> Seal:
    """Reasoning items of the Responses API (https://developers.openai.com/api/docs/guides/reasoning).

    Only the service that has encrypted them can read them, and refuses those of others: ``service`` is its host.
    """
    kept = [{"type": "reasoning"} | {name: item[name] for name in _KEPT if name in item} for item in items]
    return Seal(OPENAI, dumps({"service": service, "items": kept}).decode())


def opened_items(seal: Seal | None, service: str) -> list[Item]:
    """The items, if they are this service's."""
    found = _opened(seal, OPENAI)
    if type(found) is not dict or found.get("service") != service:
        return []
    return [item for item in _objects(found.get("items")) if item.get("type") == "reasoning"]


def sealed_details(details: Sequence[Item], maker: str) -> Seal:
    """OpenRouter's ``reasoning_details`` (https://openrouter.ai/docs/guides/best-practices/reasoning-tokens)."""
    return Seal(maker, dumps(details).decode())


def opened_details(seal: Seal | None, maker: str) -> list[Item]:
    return _objects(_opened(seal, maker))


def _opened(seal: Seal | None, maker: str) -> Any:
    if seal is None or seal.maker != maker:
        return None
    try:
        return loads(seal.data)
    except JSONDecodeError:
        return None


def _objects(found: Any) -> list[Item]:
    return [item for item in found if type(item) is dict] if type(found) is list else []
