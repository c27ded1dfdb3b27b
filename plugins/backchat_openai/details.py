"""OpenRouter's ``reasoning_details`` of one answer, put together of what is streamed."""

from __future__ import annotations

from typing import Any

from backchat.domain.message import Seal
from backchat.upstream.pieces import Held, garbled, text_of
from backchat_openai.seals import sealed_details

_PIECES = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""The details that come in pieces, and what they are pieces of. Others come whole."""


class Details:
    """``maker`` is whose seal they are kept under, ``signer`` who has made them; ``held`` counts what is kept."""

    __slots__ = ("_found", "_held", "_maker", "_signer")

    def __init__(self, maker: str, signer: str, held: Held) -> None:
        self._maker, self._signer, self._held = maker, signer, held
        self._found: list[tuple[dict[str, Any], list[str]]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, details: Any) -> str:
        """What a chunk has of them; returns the thinking that can be read in it. Raises ProviderError for garbage."""
        if type(details) is not list:
            raise garbled()
        read = ""
        for detail in details:
            kind = detail.get("type") if type(detail) is dict else None
            if type(kind) is not str:
                raise garbled()
            piece = ""
            last, pieces = self._found[-1] if self._found else ({}, [])
            if name := _PIECES.get(kind):
                piece = text_of(detail.get(name) or "")
                read += piece
            if name and last.get("type") == kind and last.get("index") == detail.get("index"):
                last |= {key: value for key, value in detail.items() if value is not None}  # a signature comes last
                pieces.append(piece)
            else:
                self._found.append((dict(detail), [piece]))
            self._held.add(len(piece) or sum([len(value) for value in detail.values() if type(value) is str]))
        return read

    def sealed(self) -> Seal:
        """The seal of what has come since the last one."""
        found, self._found = self._found, []
        whole = [d | {_PIECES[d["type"]]: "".join(pieces)} if d["type"] in _PIECES else d for d, pieces in found]
        return sealed_details(whole, self._maker, self._signer)
