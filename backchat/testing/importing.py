"""For authors of importers: the port's contract."""

from __future__ import annotations

import io
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from datetime import datetime
from itertools import islice
from typing import Any, get_args

import ijson
import pytest

from backchat.domain.message import MessageStatus, Part, Role
from backchat.errors import InvalidInput
from backchat.ports.importing import Importer, Shape, SourceConversation, Unreadable

SECRET = "quinoa-4711"
SMALL = 100_000
"""Bytes of samples that are read very often."""
HOSTILE = [
    b"",
    b"  \n",
    b"nonsense",
    b"\xff\xfe\x00",
    b'"text',
    b"{",
    b"[1, 2",
    b"5",
    b"null",
    b"[]",
    b"{}",
    b'[null, 5, "x", [], {}, true]',
    b'["\\udc00", "\\ud800"]',
    b"[1e999, 123456789012345678901234567890]",
    b"[" * 20_000,
    b'{"a":' * 20_000,
    b"[" * 20_000 + b"]" * 20_000,
]
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1e300,
    2**62,
    float("1.7e9"),
    "",
    " ",
    "12",
    "1e400",
    "\x00",
    SECRET,
    [],
    {},
    [SECRET],
    {SECRET: SECRET},
    [[]],
    [None],
    {"": None},
    "2024-02-30T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
]


class ShortReads(io.RawIOBase):
    """A file that gives less than it is asked for, and counts how much that was."""

    def __init__(self, data: bytes, most: Callable[[], int]) -> None:
        self._file, self._most = io.BytesIO(data), most
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(min(self._most(), size) if size >= 0 else -1)
        self.given += len(chunk)
        return chunk


def shapes(data: bytes) -> list[Shape]:
    """What is known of a file while it is read: the same as an import asks with."""
    found: list[Shape] = []
    keys: set[str] = set()
    depth, level, is_array = 0, 1, False
    for event, value in ijson.basic_parse(io.BytesIO(data), multiple_values=True):
        if event.startswith("start"):
            if depth == 0:
                is_array = event == "start_array"
                level = 1 + is_array
            depth += 1
        elif event.startswith("end"):
            depth -= 1
            if depth < level:
                break
        elif event == "map_key" and depth == level:
            keys.add(value)
            found.append(Shape(is_array, frozenset(keys)))
    return [*found, Shape(is_array, frozenset(keys), whole=True)]


def check(conversation: SourceConversation) -> None:
    """Everything that an import relies on."""
    assert conversation.id is None or (type(conversation.id) is str and conversation.id)
    assert conversation.title is None or type(conversation.title) is str
    assert type(conversation.untitled) is str
    assert conversation.untitled
    ids = {m.id for m in conversation.messages}
    assert conversation.leaf is None or conversation.leaf in ids
    assert type(conversation.tags) is tuple
    assert all(type(tag) is str and tag for tag in conversation.tags)
    _check_moments(conversation.created_at, conversation.updated_at, conversation.archived_at)
    _check_json(conversation.options, conversation.metadata)
    for message in conversation.messages:
        assert type(message.id) is str
        assert message.id
        assert message.parent is None or type(message.parent) is str
        assert message.role in get_args(Role)
        assert message.status in get_args(MessageStatus)
        assert message.status not in ("running", "waiting"), "nobody works on it any more"
        assert message.model is None or type(message.model) is str
        assert type(message.parts) is tuple
        assert all(isinstance(part, Part) for part in message.parts)
        _check_moments(message.created_at, message.updated_at)
        _check_json(message.extra, message.metadata)
        for part in message.parts:
            for name in part.__dataclass_fields__:
                value = getattr(part, name)
                if name == "data":
                    _check_json(value)
                elif name == "seal":
                    assert value is None, "a service takes back nothing that is not its own"
                else:
                    assert type(value) is str
                    value.encode()


def _check_moments(*moments: datetime | None) -> None:
    assert all(m is None or m.utcoffset() is not None for m in moments)


def _check_json(*values: Any) -> None:
    for value in values:
        assert isinstance(value, Mapping)
        assert not value or json.loads(json.dumps(dict(value), allow_nan=False)) == value


class ImporterContract(ABC):
    """Subclass it, provide the fixtures ``importer`` and ``samples``, and pytest runs what every importer must keep."""

    @pytest.fixture
    @abstractmethod
    def importer(self) -> object:
        """The importer under test."""

    @pytest.fixture
    @abstractmethod
    def samples(self) -> object:
        """Good files of its product by what they are, ``Mapping[str, bytes]``: every entry is a conversation."""

    @pytest.fixture
    def large(self, samples: Mapping[str, bytes]) -> bytes | None:
        """A file of 4 MB or more with many conversations. By default a sample that is an array, repeated."""
        inside = [data[1:-1] for data in map(bytes.strip, samples.values()) if data[:1] == b"[" and len(data) > 2]
        return b"[" + b",".join([inside[0]] * (1 + (4 << 20) // len(inside[0]))) + b"]" if inside else None

    def test_its_name_is_one_for_an_identity(self, importer: Importer) -> None:
        assert importer.name.isidentifier()
        assert importer.name == importer.name.lower()

    def test_it_knows_its_files(self, importer: Importer, samples: Mapping[str, bytes]) -> None:
        """And changes its mind about none when more of it is known."""
        assert samples
        for name, data in samples.items():
            answers = [importer.recognises(shape) for shape in shapes(data)]
            assert answers == sorted(answers), name
            assert answers[-1], name

    def test_it_knows_no_others(self, importer: Importer) -> None:
        for keys in (frozenset[str](), frozenset(["id"]), frozenset(["spam", "eggs"])):
            for is_array in (False, True):
                assert not importer.recognises(Shape(is_array, keys))
        assert not importer.recognises(Shape(False, frozenset(), whole=True))
        assert not importer.recognises(Shape(False, frozenset(["spam", "eggs"]), whole=True))

    def test_samples_are_conversations(self, importer: Importer, samples: Mapping[str, bytes]) -> None:
        for name, data in samples.items():
            ids = []
            for entry in importer.read(io.BytesIO(data)):
                assert isinstance(entry, SourceConversation), (name, entry)
                check(entry)
                known = {m.id for m in entry.messages}
                assert len(known) == len(entry.messages), name
                assert all(m.parent is None or m.parent in known for m in entry.messages), name
                ids += [entry.id] if entry.id is not None else []
            assert len(set(ids)) == len(ids), name

    def test_the_same_file_reads_the_same(self, importer: Importer, samples: Mapping[str, bytes]) -> None:
        """Otherwise importing it once more would add it once more. Also when it comes in small pieces."""
        chance = random.Random(11)
        for name, data in samples.items():
            if len(data) < SMALL:
                read = list(importer.read(io.BytesIO(data)))
                assert list(importer.read(io.BytesIO(data))) == read, name
                pieces: Any = ShortReads(data, lambda: chance.randint(1, 9))
                assert list(importer.read(pieces)) == read, name

    def test_entries_are_read_when_they_are_asked_for(self, importer: Importer, large: bytes | None) -> None:
        if large is None:
            pytest.skip("no sample is an array, and `large` is not given")
        assert len(large) >= 4 << 20
        file: Any = ShortReads(large, lambda: 1 << 30)
        entries = importer.read(file)
        for few in islice(entries, 3):
            assert isinstance(few, SourceConversation)
        assert file.given < len(large) / 4

    def test_a_file_that_breaks_off_says_so_after_what_came_before(
        self, importer: Importer, samples: Mapping[str, bytes]
    ) -> None:
        for name, data in samples.items():
            data = data.strip()
            if len(data) >= SMALL:
                continue
            whole = list(importer.read(io.BytesIO(data)))
            for cut in {len(data) * n // 40 for n in range(40)} | {len(data) - 1}:
                read, problem = _read(importer, data[:cut])
                assert read == whole[: len(read)], (name, cut)
                assert problem is not None or _is_whole(data[:cut]), (name, cut)

    def test_what_is_no_export_does_no_harm(self, importer: Importer) -> None:
        for data in HOSTILE:
            for entry in _read(importer, data)[0]:
                if isinstance(entry, SourceConversation):
                    check(entry)

    def test_odd_values_anywhere_do_no_harm(self, importer: Importer, samples: Mapping[str, bytes]) -> None:
        """Whatever stands in the place of whatever: a conversation that is fit, or a reason that quotes nothing."""
        chance = random.Random(7)
        for name, data in samples.items():
            if len(data) >= SMALL or not _is_one(data):
                continue
            good = json.loads(data)
            for _ in range(60):
                changed = {"": deepcopy(good)}
                for _ in range(chance.choice([1, 1, 2, 5])):
                    _change(changed, chance)
                entries, problem = _read(importer, json.dumps(changed[""]).encode())
                for entry in entries:
                    if isinstance(entry, SourceConversation):
                        check(entry)
                    else:
                        assert SECRET not in entry.reason, name
                        assert entry.reason, name
                assert SECRET not in (problem or ""), name


def _read(importer: Importer, data: bytes) -> tuple[list[SourceConversation | Unreadable], str | None]:
    """What there is in a file, and what is wrong with it. InvalidInput is the only thing that may be raised."""
    entries: list[SourceConversation | Unreadable] = []
    try:
        entries.extend(importer.read(io.BytesIO(data)))
    except InvalidInput as problem:
        return entries, str(problem)
    return entries, None


def _is_whole(data: bytes) -> bool:
    try:
        for _ in ijson.basic_parse(io.BytesIO(data), multiple_values=True):
            pass
    except ijson.JSONError:
        return False
    return bool(data.strip())


def _is_one(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _change(value: Any, chance: random.Random) -> None:
    container, key = chance.choice(list(_places(value)))
    what = chance.random()
    if what < 0.15 and key != "":
        del container[key]
    elif what < 0.3 and isinstance(container, list):
        container.insert(key, deepcopy(container[key]))
    else:
        container[key] = deepcopy(chance.choice(ODD))
