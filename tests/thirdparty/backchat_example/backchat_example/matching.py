"""What the storage ``jsonl`` finds: conditions, order and words, one record at a time."""

import orjson

from backchat.ports.storage import Record
from backchat.ports.words import words


def record(kind, id, row):
    return Record(kind, id, orjson.loads(row[1]), row[0])


def value_of(record, field):
    return record.id if field == "id" else record.doc.get(field)


def ordered(value):
    """Null comes before numbers, numbers before text, which is compared by code point."""
    return (0 if value is None else 2 if isinstance(value, str) else 1, value)


def place(query, record):
    return [ordered(value_of(record, field)) for field in (*query.order, "id")]


def meets(kind, record, asked):
    """Whether a record meets the conditions, and lies in the ranges, of a query or a purge."""
    for field, values in asked.where:
        found = record.doc.get(field) or [] if field in kind.lists else [value_of(record, field)]
        if not any(value in values for value in found):
            return False
    for within in asked.ranges:
        value, low, high = value_of(record, within.field), within.low, within.high
        if value is None or (low is not None and ordered(value) < ordered(low)):
            return False
        if high is not None and ordered(value) >= ordered(high):
            return False
    return True


def held(kind, record):
    return {word for field in kind.text for word in words(record.doc.get(field) or "")}


def begun(wanted, held):
    """Those of the wanted words that begin a held one."""
    return {word for word in wanted if any(other.startswith(word) for other in held)}
