"""What is kept of a block of thinking besides its text, so that it can be given back as it was.

Source: https://platform.claude.com/docs/en/build-with-claude/thinking (preserving thinking blocks)
"""

from __future__ import annotations

import re
from typing import Any

from orjson import JSONDecodeError, dumps, loads

from backchat.domain.message import Reasoning, Seal

MAKER = "anthropic"
_REFUSED = re.compile(rb"(?i)signature|`(?:redacted_)?thinking`|thinking block")


def refused(told: bytes) -> bool:
    """Whether the body of a 400 says that it is about thinking that was given back.

    As in https://github.com/anthropics/anthropic-sdk-python/issues/1598
    """
    return _REFUSED.search(told) is not None


def sealed(signer: str, at: int, **proof: str) -> Seal:
    """The seal of a block.

    signer   who made it: others refuse the signature
    at       characters of the answer's text that came before the block
    proof    ``signature`` of what was thought, or ``data`` of a block that was withheld
    """
    return Seal(MAKER, dumps({"signer": signer, "at": at, **proof}).decode())


def unsealed(part: Reasoning, signer: str) -> tuple[int, dict[str, Any]] | None:
    """Where in the answer's text the block was, and the block; None for what this signer did not make."""
    if part.seal is None or part.seal.maker != MAKER:
        return None
    try:
        kept = loads(part.seal.data)
    except JSONDecodeError:
        return None
    if type(kept) is not dict or kept.get("signer") != signer or type(kept.get("at")) is not int:
        return None
    if type(kept.get("data")) is str:
        return kept["at"], {"type": "redacted_thinking", "data": kept["data"]}
    if type(kept.get("signature")) is str:
        return kept["at"], {"type": "thinking", "thinking": part.text, "signature": kept["signature"]}
    return None
