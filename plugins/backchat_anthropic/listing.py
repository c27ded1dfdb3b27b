"""The answer to ``GET /v1/models``, page by page (https://platform.claude.com/docs/en/api/models/list)."""

from __future__ import annotations

from dataclasses import dataclass

from backchat.upstream.pieces import decoded, garbled


@dataclass(frozen=True, slots=True)
class Page:
    """``after``: the id that the next page begins after; None on the last one."""

    names: tuple[str, ...]
    after: str | None


def listed(body: bytes) -> Page:
    """Raises ProviderError for what is no such list."""
    answer = decoded(body)
    entries = answer.get("data") if type(answer) is dict else None
    if type(entries) is not list:
        raise garbled()
    names: list[str] = []
    for entry in entries:
        id = entry.get("id") if type(entry) is dict else None
        if type(id) is not str or not id:
            raise garbled()
        names.append(id)
    after = answer.get("last_id") if answer.get("has_more") is True and names else None
    return Page(tuple(names), after if type(after) is str and after else None)
