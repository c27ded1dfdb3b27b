"""How a kind lies in the file: a table with a column for each declared field, and the statements on it.

    <kind>          _row (if the kind has words or lists), id, version, the declared fields, doc (JSON)
    _lists_<kind>   field, value, part, _row: each string of each list field; part is the partition's value
    _words_<kind>   a contentless FTS5 index over the terms of the text fields (``terms.py``)
    _changed        kind, _row, terms: rows whose words are not indexed as they stand, and the terms that are indexed,
                    or as a BLOB the document that they were made of

No declared name begins with an underscore, so none of ours meets one of theirs. Columns have no type, so that a value
is compared as what it is: numbers before text, text by code point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backchat.ports.storage import Kind, Scalar

Doc = Mapping[str, Any]

SCOPE = 24
"""Characters before each word of a kind with ``within`` in its terms: hex digits of a digest of which no two meet."""
BEGINNINGS = (2, 3)
"""Letters of a word by which the word index is indexed once more: of beginnings as short as these there are so many
terms that to merge their rows takes longer than all the rest. One letter is looked up by two."""

MARK_ALL_CHANGED = "INSERT OR IGNORE INTO _changed (kind, _row, terms)"
MARK_CHANGED = f"{MARK_ALL_CHANGED} VALUES (?, ?, ?)"


class Table:
    """The statements of one kind. ``tracked`` kinds keep something beside the row: words, or the values of lists."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.name = f'"{kind.name}"'
        self.lists = f'"_lists_{kind.name}"'
        self.words = f'"_words_{kind.name}"'
        self.tracked = bool(kind.text or kind.lists)
        self.key = "_row" if self.tracked else "id"
        columns = [*(f'"{f}"' for f in kind.fields), "doc"]
        added = f"INSERT INTO {self.name} (id, {', '.join(columns)}, version) VALUES (?, {marks(len(columns))}, 1)"
        self.insert = f"{added} ON CONFLICT (id) DO NOTHING"
        taken_over = ", ".join(f"{c} = excluded.{c}" for c in columns)
        self.upsert = f"{added} ON CONFLICT (id) DO UPDATE SET {taken_over}, version = version + 1"
        changed = ", ".join(f"{c} = ?" for c in columns)
        self.update = f"UPDATE {self.name} SET {changed}, version = version + 1 WHERE id = ? AND version = ?"
        self.delete = f"DELETE FROM {self.name} WHERE id = ?"
        self.version = f"SELECT version FROM {self.name} WHERE id = ?"
        self.old = f"SELECT version, _row, doc FROM {self.name} WHERE id = ?"
        self.get = f"SELECT doc, version FROM {self.name} WHERE id = ?"
        same = [" AND ".join([f'"{f}" = ?' for f in group]) for group in kind.unique]
        self.holders = [
            (group, f"SELECT 1 FROM {self.name} WHERE {terms} LIMIT 2")
            for group, terms in zip(kind.unique, same, strict=True)
        ]
        self.add_value = f"INSERT INTO {self.lists} (field, value, part, _row) VALUES (?, ?, ?, ?)"
        self.drop_value = f"DELETE FROM {self.lists} WHERE field = ? AND value = ? AND part = ? AND _row = ?"
        self.index = f"INSERT INTO {self.words} (rowid, terms) VALUES (?, ?)"
        self.unindex = f"INSERT INTO {self.words} ({self.words}, rowid, terms) VALUES ('delete', ?, ?)"

    def create_rows(self, name: str) -> str:
        """The table of the records; under another name while one takes the place of an older one.

        Records that nothing else refers to lie in the order of their ids: one tree to write instead of two, and what
        has neighbouring ids (the events of a run) is read in one go.
        """
        fields = "".join([f', "{f}"' for f in self.kind.fields])
        if self.tracked:
            return f"CREATE TABLE {name} (_row INTEGER PRIMARY KEY, id NOT NULL UNIQUE, version{fields}, doc)"
        return f"CREATE TABLE {name} (id NOT NULL PRIMARY KEY, version{fields}, doc) WITHOUT ROWID"

    def create_lists(self) -> str:
        return (
            f"CREATE TABLE {self.lists} (field, value, part, _row, PRIMARY KEY (field, value, part, _row))"
            " WITHOUT ROWID"
        )

    def create_words(self) -> str:
        # Terms are normal already and separated by spaces: the tokenizer need only split. What is beyond ASCII is part
        # of a word to this one.
        before = SCOPE if self.kind.within else 0
        beginnings = " ".join([str(before + n) for n in BEGINNINGS])
        return (
            f"CREATE VIRTUAL TABLE {self.words} USING fts5 (terms, content='', tokenize='ascii', prefix='{beginnings}')"
        )

    def indexes(self) -> dict[str, str]:
        """Name and statement of each index. The id comes last, so that ties are in order too.

        Unique groups have plain indexes: SQLite would check them change by change, we do when a batch is through.
        """
        made = {}
        for group in (*self.kind.indexes, *self.kind.unique):
            name = f"{self.kind.name}({','.join(group)})"
            columns = ", ".join([f'"{f}"' for f in group])
            made[name] = f'CREATE INDEX "{name}" ON {self.name} ({columns}, id)'
        return made

    def values(self, doc: Doc) -> list[Scalar]:
        """The declared fields of a document, in the order of their columns."""
        get = doc.get
        return [get(f) for f in self.kind.fields]

    def listed(self, doc: Doc, row: int) -> set[tuple[str, str, Scalar, int]]:
        """What the list table holds for a document."""
        part = part_of(doc.get(self.kind.partition)) if self.kind.partition else ""
        return {(field, value, part, row) for field in self.kind.lists for value in doc.get(field) or ()}


def part_of(value: Scalar) -> Scalar:
    """The partition's value as the list table has it: a key there cannot be null."""
    return "" if value is None else value


def marks(n: int) -> str:
    """So many placeholders."""
    return ", ".join("?" * n)
