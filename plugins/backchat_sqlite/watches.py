"""Who watches what, in the file itself, and the notes that commits leave for them.

    _watches    id, kind, until: one that somebody watches, and the time when that has run out unless it is renewed
    _news       n, told: what a commit has put, as JSON: [kind, [[partition, id], ...]]

Everything here is done on the writer's connection.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence

import orjson

from backchat.ports.storage import Put
from backchat_sqlite.changes import Step
from backchat_sqlite.transactions import transaction

WATCH_TABLES = (
    "CREATE TABLE IF NOT EXISTS _watches (id PRIMARY KEY, kind, until) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS _news (n INTEGER PRIMARY KEY AUTOINCREMENT, told)",
)
LEASE = 30.0
"""Seconds that a watch lasts if its process does not renew it. Processes on one file share the clock of their host."""
KEPT = 2_000
"""Notes. Whoever is further behind is told that something was missed."""


def leave_note(db: sqlite3.Connection, done: Iterable[Sequence[Step]]) -> None:
    """Note what a transaction has put, before its commit, if anybody watches records of such a kind."""
    watched = db.execute("SELECT DISTINCT kind FROM _watches WHERE until > ?", (time.time(),)).fetchall()
    for (kind,) in watched:
        told = [
            (change.doc.get(table.kind.partition), change.id)
            for steps in done
            for table, change, _ in steps
            if type(change) is Put and change.kind == kind and table.kind.partition
        ]
        if told:
            n = db.execute("INSERT INTO _news (told) VALUES (?)", (orjson.dumps([kind, told]),)).lastrowid or 0
            if n % (KEPT // 10) == 0:
                db.execute("DELETE FROM _news WHERE n <= ?", (n - KEPT,))


def begin_watch(db: sqlite3.Connection, id: str, kind: str) -> int:
    """From the next commit on there are notes; returns the number of the last one before."""
    with transaction(db):
        now = time.time()
        db.execute("DELETE FROM _watches WHERE until < ?", (now,))
        db.execute("INSERT INTO _watches (id, kind, until) VALUES (?, ?, ?)", (id, kind, now + LEASE))
        last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = '_news'").fetchone()
        return last[0] if last else 0


def renew_watch(db: sqlite3.Connection, id: str) -> bool:
    """False if it had run out."""
    with transaction(db):
        now = time.time()
        own = db.execute("UPDATE _watches SET until = ? WHERE id = ? AND until > ?", (now + LEASE, id, now))
        return own.rowcount == 1


def end_watch(db: sqlite3.Connection, id: str) -> None:
    with transaction(db):
        db.execute("DELETE FROM _watches WHERE id = ?", (id,))
        if db.execute("SELECT 1 FROM _watches").fetchone() is None:
            db.execute("DELETE FROM _news")
