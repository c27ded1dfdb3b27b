"""The answer to ``GET /api/tags``: https://docs.ollama.com/api/tags"""

from __future__ import annotations

from collections.abc import Sequence

from backchat.upstream.pieces import decoded, garbled


def listed_models(body: bytes) -> Sequence[str]:
    """The names of the models that the server has, each once. Raises ProviderError for anything else."""
    answer = decoded(body)
    models = answer.get("models") if type(answer) is dict else None
    if type(models) is not list:
        raise garbled()
    names: dict[str, None] = {}
    for entry in models:
        # ``name`` in versions before ``model`` was added
        name = (entry.get("model") or entry.get("name")) if type(entry) is dict else None
        if type(name) is not str or not name:
            raise garbled()
        names[name] = None
    return list(names)
