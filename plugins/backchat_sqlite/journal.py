"""Noting what is changed, by whichever process: triggers in the file itself, which every connection carries out.

_journal                    n, kind, id: a row for each record that was put or deleted, in the order of commits
_noted_<event>_<kind>       the triggers that write them
journal (in _meta)          the random name of this journal; a position is that name and the last n
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Sequence

from backchat.errors import Conflict
from backchat.ports.abilities import Place
from backchat_sqlite.transactions import transaction

_CHANGES = (("insert", "new"), ("update", "new"), ("delete", "old"))
_NAME = "SELECT value FROM _meta WHERE key = 'journal'"
_LAST = "SELECT coalesce(max(n), 0) FROM _journal"


def begin(db: sqlite3.Connection, kinds: Iterable[str]) -> str:
    """Note the changes of these kinds from now on; returns the position after everything before."""
    with transaction(db):
        if db.execute(_NAME).fetchone() is None:
            db.execute("CREATE TABLE _journal (n INTEGER PRIMARY KEY, kind, id)")
            db.execute("INSERT INTO _meta (key, value) VALUES ('journal', ?)", (secrets.token_hex(8),))
        note_kinds(db, kinds)
        ((name,),) = db.execute(_NAME).fetchall()
        ((last,),) = db.execute(_LAST).fetchall()
    return f"{name}.{last}"


def note_kinds(db: sqlite3.Connection, kinds: Iterable[str]) -> None:
    """Make the triggers that are missing, if changes are being noted: a table that was made anew has lost its own."""
    if db.execute(_NAME).fetchone() is None:
        return
    for kind in kinds:
        for event, row in _CHANGES:
            db.execute(
                f'CREATE TRIGGER IF NOT EXISTS "_noted_{event}_{kind}" AFTER {event} ON "{kind}"'
                f" BEGIN INSERT INTO _journal (kind, id) VALUES ('{kind}', {row}.id); END"
            )


def read(db: sqlite3.Connection, position: str, limit: int, kinds: Sequence[str]) -> tuple[Sequence[Place], str]:
    """What was changed after a position, each record once, and the position after it. Raises Conflict."""
    named, _, after = position.rpartition(".")
    db.execute("BEGIN")
    try:
        known = db.execute(_NAME).fetchone() == (named,) and after.isdecimal()
        if not known or int(after) > db.execute(_LAST).fetchone()[0]:
            raise Conflict("the changes after this position are not noted in this store, or not any more")
        own = ", ".join("?" * len(kinds))
        rows = db.execute(
            f"SELECT n, kind, id FROM _journal WHERE n > ? AND kind IN ({own}) ORDER BY n LIMIT ?",
            (int(after), *kinds, max(1, limit)),
        ).fetchall()
    finally:
        db.execute("ROLLBACK")  # it has only read
    places = dict.fromkeys([(kind, id) for _, kind, id in rows])
    return list(places), f"{named}.{rows[-1][0] if rows else after}"


def end(db: sqlite3.Connection) -> None:
    """Take everything of it out of the file. Quiet if there is nothing."""
    with transaction(db):
        noted = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, 7) = '_noted_'"
        for (name,) in db.execute(noted).fetchall():
            db.execute(f'DROP TRIGGER "{name}"')
        db.execute("DROP TABLE IF EXISTS _journal")
        db.execute("DELETE FROM _meta WHERE key = 'journal'")
