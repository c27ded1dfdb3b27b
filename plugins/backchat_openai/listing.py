"""The answer to ``GET /models``."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.errors import ProviderError
from backchat.upstream.pieces import decoded, garbled


def listed_models(body: bytes) -> Sequence[str]:
    """The ids of a list of models, each once; some servers leave the object around the list out.

    Raises ProviderError for anything else.
    """
    answer = decoded(body)
    if type(answer) is dict:
        if answer.get("error"):
            raise ProviderError("the model service did not list its models")
        answer = answer.get("data")
    if type(answer) is not list:
        raise garbled()
    ids: dict[str, None] = {}
    for entry in answer:
        id = entry.get("id") if type(entry) is dict else None
        if type(id) is not str or not id:
            raise garbled()
        ids[id] = None
    return list(ids)
