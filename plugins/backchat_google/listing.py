"""The answers to ``GET /models``: https://ai.google.dev/api/models#method:-models.list"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backchat.upstream.pieces import decoded, garbled


@dataclass(frozen=True, slots=True)
class Page:
    """``following``: the token of the next page; None at the end."""

    names: Sequence[str]
    following: str | None


def read_page(body: bytes) -> Page:
    """The models that answer (others embed, or make images), without ``models/``. Raises ProviderError for what is no
    list of models.
    """
    answer = decoded(body)
    if type(answer) is not dict or answer.get("error"):
        raise garbled()
    models, following = answer.get("models", []), answer.get("nextPageToken") or None
    if type(models) is not list or not (following is None or type(following) is str):
        raise garbled()
    names: list[str] = []
    for model in models:
        name = model.get("name") if type(model) is dict else None
        if type(name) is not str or not name:
            raise garbled()
        methods = model.get("supportedGenerationMethods")
        if type(methods) is list and "generateContent" in methods:
            names.append(name.removeprefix("models/"))
    return Page(names, following)
