"""How a process fared when it read its configuration again: kept in its record, for who asked it to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """``began``: when, in seconds of ``time.monotonic``, which all processes of a host share. The rest are lines for
    people, without secrets.

    problems  what is wrong with the configuration; then nothing has changed
    changes   what is so from now on
    restart   the sections that have changed too, for which the server must be started again
    """

    began: float
    problems: Sequence[str] = ()
    changes: Sequence[str] = ()
    restart: Sequence[str] = ()


def reload_doc(reload: Reload) -> Mapping[str, Any]:
    return {
        "began": reload.began,
        "problems": list(reload.problems),
        "changes": list(reload.changes),
        "restart": list(reload.restart),
    }


def reload_in(worker: Mapping[str, Any]) -> Reload | None:
    """What the record of a process says; None of one that does not listen to those who ask."""
    found = worker.get("reload")
    return Reload(**found) if found is not None else None
