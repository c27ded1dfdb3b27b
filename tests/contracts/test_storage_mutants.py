"""The contract finds broken stores: each of these is the SQLite store with one fault, and one test must fail on it."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path

import pytest

import backchat_sqlite
from backchat.ports.storage import StorageBackend
from backchat.testing.records import KINDS, ignore
from backchat.testing.storage import DurableStorageContract
from mutants import Mutant, cases, mutated

MUTANTS = [
    Mutant(
        "a stale batch is not rolled back",
        "writer.py",
        'execute("COMMIT" if committed else "ROLLBACK")',
        'execute("COMMIT")',
        "test_a_batch_is_all_or_nothing",
    ),
    Mutant(
        "a stale batch in a group is not rolled back",
        "writer.py",
        'execute("ROLLBACK TO batch")',
        "pass",
        "test_one_stale_batch_among_many_fails_alone",
    ),
    Mutant(
        "a stale batch takes its group with it",
        "writer.py",
        "            return shown(error)",
        "            raise",
        "test_one_stale_batch_among_many_fails_alone",
    ),
    Mutant(
        "batches are kept in memory",
        "writer.py",
        'execute("COMMIT" if committed else "ROLLBACK")',
        'committed or execute("ROLLBACK")',
        "test_a_read_after_apply_sees_it",
    ),
    Mutant(
        "versions are not compared",
        "changes.py",
        "if expect is not None and version != expect:",
        "if expect is not None and version < expect:",
        "test_an_expectation_that_does_not_hold",
    ),
    Mutant(
        "versions of simple kinds are not compared",
        "tables.py",
        "version = version + 1 WHERE id = ? AND version = ?",
        "version = version + 1 WHERE id = ? AND ? > 0",
        "test_twenty_writers_one_winner",
    ),
    Mutant(
        "versions do not grow",
        "tables.py",
        '{taken_over}, version = version + 1"',
        '{taken_over}"',
        "test_put_whatever_is_there",
    ),
    Mutant("new need not be new", "changes.py", "if added.rowcount == 0:", "if False:", "test_new_means_new"),
    Mutant(
        "a delete takes no heed of versions",
        "changes.py",
        "if delete.expect is not None and version != delete.expect:",
        "if delete.expect == 99:",
        "test_an_expectation_that_does_not_hold",
    ),
    Mutant(
        "changes are done in another order",
        "changes.py",
        "for table, change, values in steps:",
        "for table, change, values in reversed(steps):",
        "test_a_batch_is_done_in_its_order",
    ),
    Mutant(
        "a purge takes no heed of ranges",
        "changes.py",
        "conditions(table, purge.where, purge.ranges)",
        'conditions(table, purge.where or [("id", ["n003"])], ())',
        "test_purge",
    ),
    Mutant(
        "reads on the writer's connection",
        "store.py",
        "for doc, version in await self._readers.fetch(table.get, (id,)):",
        "for doc, version in self._writer._db.execute(table.get, (id,)):",
        "test_nobody_sees_an_unfinished_batch",
    ),
    Mutant("unique groups are not checked", "changes.py", "if checked:", "if False:", "test_unique_groups"),
    Mutant(
        "unique groups are checked too early",
        "changes.py",
        "checked = checked or bool(table.holders)",
        "self._check_unique([(table, change, values)])",
        "test_unique_values_move_within_a_batch",
    ),
    Mutant(
        "fields are compared as text",
        "tables.py",
        """fields = "".join([f', "{f}"' for f in self.kind.fields])""",
        """fields = "".join([f', "{f}" TEXT' for f in self.kind.fields])""",
        "test_values_are_compared_as_what_they_are",
    ),
    Mutant(
        "case is ignored",
        "tables.py",
        """fields = "".join([f', "{f}"' for f in self.kind.fields])""",
        """fields = "".join([f', "{f}" COLLATE NOCASE' for f in self.kind.fields])""",
        "test_order_is_by_code_point_and_number",
    ),
    Mutant(
        "compacting empties the word index",
        "store.py",
        "('optimize')",
        "('delete-all')",
        "test_compact_changes_nothing_that_can_be_asked",
    ),
    Mutant(
        "compacting loses what is written meanwhile",
        "store.py",
        'db.execute("VACUUM")',
        """db.execute("DELETE FROM note WHERE id > 'n100'")""",
        "test_compact_while_others_write",
    ),
    Mutant("the offset is lost", "pages.py", "if query.offset:", "if False:", "test_limit_and_offset"),
    Mutant(
        "ties are not broken",
        "pages.py",
        'order = ", ".join([column + direction for column in columns])',
        'order = ", ".join([column + direction for column in columns[:-1] or columns])',
        "test_ties_are_broken_by_id",
    ),
    Mutant(
        "the id has a direction of its own",
        "pages.py",
        'order = ", ".join([column + direction for column in columns])',
        "order = \", \".join([column + direction for column in columns]).removesuffix(' DESC')",
        "test_pages_hold_everything_once",
    ),
    Mutant(
        "a place is not passed",
        "pages.py",
        'beyond = "<" if query.descending else ">"',
        'beyond = "<=" if query.descending else ">="',
        "test_after_is_strict_and_needs_no_record",
    ),
    Mutant(
        "a place without its id",
        "pages.py",
        "({', '.join(fields)}) {beyond} ({marks(len(query.after))})",
        "({', '.join([*fields[:-1], 'char(1114111)'])}) {beyond} ({marks(len(query.after))})",
        "test_pages_hold_everything_once",
    ),
    Mutant("ranges are closed", "queries.py", '{column} < ?"', '{column} <= ?"', "test_ranges_are_half_open"),
    Mutant("ranges are open", "queries.py", '{column} >= ?"', '{column} > ?"', "test_ranges_are_half_open"),
    Mutant(
        "null is no value",
        "queries.py",
        "if len(some) < len(wanted):",
        "if not some:",
        "test_a_field_is_one_of",
    ),
    Mutant(
        "a list keeps what it held",
        "changes.py",
        "self.db.executemany(table.drop_value, before - after)",
        "pass",
        "test_lists_follow_their_record",
    ),
    Mutant(
        "lists outlive their record",
        "changes.py",
        "self.db.executemany(table.drop_value, [value for row, doc in rows for value in table.listed(doc, row)])",
        "pass",
        "test_lists_follow_their_record",
    ),
    Mutant(
        "a search does not wait for the index",
        "pages.py",
        "    if found.indexed:\n        waiting =",
        "    if False:\n        waiting =",
        "test_changes_are_found_at_once",
    ),
    Mutant(
        "values do not wait for the index",
        "queries.py",
        '    if found.indexed:\n        sql = f"SELECT * FROM ({sql}) UNION ALL SELECT * FROM (SELECT NULL',
        '    if False:\n        sql = f"SELECT * FROM ({sql}) UNION ALL SELECT * FROM (SELECT NULL',
        "test_values_are_those_of_this_moment",
    ),
    Mutant(
        "values come again",
        "queries.py",
        "SELECT DISTINCT {column}",
        "SELECT {column}",
        "test_values_come_once_and_are_what_is_held",
    ),
    Mutant(
        "null is a value too",
        "queries.py",
        "f'{column} IS NOT NULL'",
        "'TRUE'",
        "test_values_come_once_and_are_what_is_held",
    ),
    Mutant(
        "there is no limit of values",
        "queries.py",
        "values = [*found.values, query.limit]",
        "values = [*found.values, 100]",
        "test_no_more_values_than_the_limit",
    ),
    Mutant(
        "values that are asked for need no record",
        "queries.py",
        "AS v WHERE EXISTS ({held})",
        "AS v WHERE ({held}) IS NOT NULL OR TRUE",
        "test_values_that_are_asked_for",
    ),
    Mutant(
        "values that are asked for meet one condition on the field",
        "queries.py",
        "if c is not asked",
        "if c[0] != field",
        "test_values_that_are_asked_for",
    ),
    Mutant(
        "text ends at a null among many values",
        "queries.py",
        'return "\\0" not in value',
        "return True",
        "test_a_condition_with_very_many_values",
    ),
    Mutant(
        "many values leave out what JSON does not hold",
        "queries.py",
        "    if others:",
        "    if not others:",
        "test_a_condition_with_very_many_values",
    ),
    Mutant(
        "each value is a parameter",
        "queries.py",
        "if len(wanted) <= MANY:",
        "if wanted:",
        "test_a_condition_with_very_many_values",
    ),
    Mutant(
        "changed words stay in the index",
        "index.py",
        "db.executemany(table.unindex, [(row, _terms(table, kept)) for row, kept, _ in rows if kept is not None])",
        "pass",
        "test_changes_are_found_at_once",
    ),
    Mutant(
        "changed words are not noticed",
        "changes.py",
        "said(table.kind, old) != said(table.kind, new)",
        "False",
        "test_changes_are_found_at_once",
    ),
    Mutant(
        "a record that changes hands keeps its words with the old owner",
        "terms.py",
        "for f in (*kind.text, *kind.within, *kind.facets)]",
        "for f in kind.text]",
        "test_a_record_changes_hands",
    ),
    Mutant("one word is enough", "terms.py", '" AND ".join(parts)', '" OR ".join(parts)', "test_every_word_begins_one"),
    Mutant("a word must be whole", "terms.py", """'"{s}{word}"*'""", """'"{s}{word}"'""", "test_every_word_begins_one"),
    Mutant("no relevance", "pages.py", 'order = "w.rank, r.id"', 'order = "r.id DESC"', "test_one_word_is_enough"),
    Mutant(
        "each change is a batch of its own",
        "store.py",
        "await self._writer.apply(steps)",
        "[await self._writer.apply([step]) for step in steps]",
        "test_a_batch_is_all_or_nothing",
    ),
    Mutant(
        "a record keeps its old facets",
        "terms.py",
        "(*kind.text, *kind.within, *kind.facets)]",
        "(*kind.text, *kind.within)]",
        "test_a_facet_changes_and_no_word_does",
    ),
    Mutant(
        "a facet of any field",
        "terms.py",
        'f"{_plain(part)!r} {field} {_plain(value)!r}"',
        'f"{_plain(part)!r} {_plain(value)!r}"',
        "test_a_facet_that_has_the_value_of_another",
    ),
    Mutant(
        "the first pages are one",
        "store.py",
        "return seen[query.offset :]",
        "return seen[: query.limit]",
        "test_pages_of_words",
    ),
    Mutant(
        "what is looked at first is all",
        "store.py",
        "if seen is not None and len(seen) == query.offset + query.limit:",
        "if seen is not None and len(seen) > query.offset:",
        "test_pages_of_words",
    ),
    Mutant(
        "an index without ties, that has some",
        "pages.py",
        "for group in kind.unique if",
        "for group in (*kind.unique, *kind.indexes) if",
        "test_pages_of_words",
    ),
    Mutant(
        "one of two lists is counted",
        "queries.py",
        "for held, given in sources[1:]:",
        "for held, given in sources[2:]:",
        "test_lists_are_counted",
    ),
]


async def run(backend: StorageBackend, folder: Path, name: str) -> None:
    test = getattr(DurableStorageContract, name)
    for number, arguments in enumerate(cases(test)):
        settings = backend.schema.load({"path": str(folder / f"{number}.db"), "synchronous": "NORMAL", "readers": 1})
        async with backend.open(settings, KINDS, ignore) as store:
            await test(DurableStorageContract(), store=store, **arguments)


def imported() -> StorageBackend:
    """The backend of the copy that is imported now."""
    backend: StorageBackend = importlib.import_module("backchat_sqlite.component").SQLITE
    return backend


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.fault)
def test_a_fault_is_found(mutant: Mutant, tmp_path: Path) -> None:
    with mutated(backchat_sqlite, tmp_path, mutant), pytest.raises((Exception, pytest.fail.Exception)):
        asyncio.run(run(imported(), tmp_path, mutant.caught_by))


@pytest.mark.parametrize("name", sorted({mutant.caught_by for mutant in MUTANTS}))
def test_without_a_fault_none_is_found(name: str, tmp_path: Path) -> None:
    with mutated(backchat_sqlite, tmp_path, None):
        asyncio.run(run(imported(), tmp_path, name))
