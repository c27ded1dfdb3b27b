"""What is kept of a block of thinking besides its text, so that it can be given back as it was.

Source: https://platform.claude.com/docs/en/build-with-claude/thinking (preserving thinking blocks)
"""

from __future__ import annotations

from typing import Any

from orjson import JSONDecodeError, dumps, loads

from backchat.domain.message import Reasoning, Seal

_MAKER = "anthropic"


def sealed(service: str, at: int, **proof: str) -> Seal:
    """The seal of a block.

    service  the host that made it: another one refuses the signature
    at       characters of the answer's text that came before the block
    proof    ``signature`` of what was thought, or ``data`` of a block that was withheld
    """
    return Seal(_MAKER, dumps({"service": service, "at": at, **proof}).decode())


def unsealed(part: Reasoning, service: str) -> tuple[int, dict[str, Any]] | None:
    """Where in the answer's text the block was, and the block; None for what this service did not make."""
    if part.seal is None or part.seal.maker != _MAKER:
        return None
    try:
        kept = loads(part.seal.data)
    except JSONDecodeError:
        return None
    if type(kept) is not dict or kept.get("service") != service or type(kept.get("at")) is not int:
        return None
    if type(kept.get("data")) is str:
        return kept["at"], {"type": "redacted_thinking", "data": kept["data"]}
    if type(kept.get("signature")) is str:
        return kept["at"], {"type": "thinking", "thinking": part.text, "signature": kept["signature"]}
    return None
