"""Thought signatures as seals: what a signature was on is kept with it, for it has to go back to the same place.

https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from backchat.domain.message import Seal

MAKER = "google"
UNSIGNED = "skip_thought_signature_validator"
"""Google's signature for calls that the model has not made itself, in place of the one that it demands."""
_REFUSED = re.compile(rb"(?i)signature")
Kind = Literal["call", "text", "thought"]
_KINDS: Mapping[str, Kind] = {"call": "call", "text": "text", "thought": "thought"}


@dataclass(frozen=True, slots=True)
class Signature:
    """``data`` is of a call; or of ``length`` characters, which may be none, from ``start`` on.

    These are counted in the text of the answer, or in what the model thought since the seal before.
    """

    data: str
    kind: Kind = "call"
    start: int = 0
    length: int = 0


def sealed(model: str, signature: Signature) -> Seal:
    """For the model that made it: another one refuses it as corrupted."""
    return Seal(MAKER, f"{model} {signature.kind} {signature.start} {signature.length} {signature.data}")


def opened(seal: Seal | None, model: str) -> Signature | None:
    """None for seals of other models and of other makers."""
    if seal is None or seal.maker != MAKER:
        return None
    match seal.data.split(" "):
        case [made_by, kind, start, length, data] if made_by == model and kind in _KINDS:
            if start.isdecimal() and length.isdecimal():
                return Signature(data, _KINDS[kind], int(start), int(length))
    return None


def refused(told: bytes) -> bool:
    """Whether the body of a 400 says that it is about a signature that was given back.

    As in https://github.com/google-gemini/gemini-cli/issues/13467
    """
    return _REFUSED.search(told) is not None
