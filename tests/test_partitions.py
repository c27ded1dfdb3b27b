"""The MongoDB store in a sharded cluster: what it would refuse, and what reaches all of its shards."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from backchat.ports.storage import Kind
from backchat.services.kinds import KINDS
from backchat.testing.conformance.drivers import DRIVERS
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from backchat.testing.storages import Storage
from backchat_mongo.layout import WORDS, Layout
from mongo_place import database_named
from sharded_watch import TABLE, faults, watch
from sharding import PAGE, Broadcast, Refused, documented, is_documented, judged

NOTE = Kind(name="note", fields=("owner", "n"), partition="owner")
LOOSE = Kind(name="loose", fields=("n",))
V1 = {"apiVersion": "1", "apiStrict": True}


def judge(command: Mapping[str, Any]) -> list[str]:
    """What is said of a command; ``name`` is that of its first key."""
    return [str(found) for found in judged(next(iter(command)), {**V1, **command}, [NOTE, LOOSE])]


def update(q: Mapping[str, Any], u: Any, **more: Any) -> dict[str, Any]:
    return {"update": "note", "updates": [{"q": q, "u": u, **more}]}


def delete(q: Mapping[str, Any], limit: int) -> dict[str, Any]:
    return {"delete": "note", "deletes": [{"q": q, "limit": limit}]}


def created(*keys: str, unique: bool = True) -> dict[str, Any]:
    index = {"name": "i", "key": dict.fromkeys(keys, 1), "unique": unique}
    return {"createIndexes": "note", "indexes": [index]}


MINE = {"owner": {"$eq": "ann"}}


@pytest.mark.parametrize(
    "command",
    [
        {"find": "note", "filter": MINE},
        {"find": "note", "filter": {"owner": "ann"}},
        {"find": "note", "filter": {"$and": [{"n": 1}, {"$and": [{"owner": {"$in": ["ann", "bob"]}}]}]}},
        {"find": "loose", "filter": {"n": 1}},
        {"find": "unknown", "filter": {}},
        {"aggregate": "note", "pipeline": [{"$match": MINE}, {"$group": {"_id": None}}]},
        {"aggregate": "note", "pipeline": [{"$changeStream": {}}]},
        {"insert": "note", "documents": [{"_id": "a", "owner": "ann"}]},
        {"insert": "loose", "documents": [{"_id": "a"}]},
        update({"_id": "a", **MINE}, {"owner": "ann", "n": 2}),
        update({"_id": "a", **MINE}, {"$set": {"owner": "ann"}}, upsert=True),
        update({"_id": "a", **MINE}, [{"$set": {"n": 3}}]),
        delete({"_id": "a", **MINE}, 1),
        delete(MINE, 0),
        created("owner", "n"),
        created("n", unique=False),
        {"findAndModify": "note", "query": MINE},
        {"getMore": 7, "collection": "note"},
        {"commitTransaction": 1},
    ],
)
def test_what_a_cluster_takes(command: Mapping[str, Any]) -> None:
    assert judge(command) == []


@pytest.mark.parametrize(
    ("command", "verdict"),
    [
        ({"distinct": "note", "query": MINE}, ["distinct: not in Stable API v1"]),
        ({"find": "note", "filter": MINE, "apiVersion": None}, ["find: sent without the version of the API"]),
        ({"insert": "note", "documents": [{"_id": "a", "owner": None}]}, ["note: inserted without owner"]),
        ({"insert": "note", "documents": [{"_id": "a", "owner": "ann"}, {}]}, ["note: inserted without owner"]),
        (created("n", "owner"), ["note: the unique index i does not begin with owner"]),
        ({"findAndModify": "note", "query": {"_id": "a"}}, ["note: findAndModify without owner"]),
        (
            update({"_id": "a"}, {"$set": {"n": 1}}, upsert=True),
            ["note: upsert without owner", "note by id"],
        ),
        (update({"_id": "a"}, {"owner": "ann"}), ["note: stored without owner in its filter", "note by id"]),
        (update(MINE, {"$set": {"owner": "bob"}}), ["note: owner changed"]),
        (update(MINE, {"$unset": {"owner": 1}}), ["note: owner changed"]),
        (update(MINE, {"n": 1}), ["note: replaced by something without owner"]),
        (
            update({"n": 1}, {"$set": {"n": 2}}),
            ["note: one record changed with neither _id nor owner in the filter", "note by n"],
        ),
        (delete({"n": 1}, 1), ["note: one record changed with neither _id nor owner in the filter", "note by n"]),
        (
            delete({"_id": {"$gte": ""}}, 1),
            ["note: one record changed with neither _id nor owner in the filter", "note by nothing"],
        ),
        (delete({"n": {"$lt": 1}}, 0), ["note by n"]),
        ({"find": "note", "filter": {"owner": {"$gt": "a"}, "n": 1}}, ["note by n, owner"]),
        ({"find": "note", "filter": {"$or": [MINE, {"n": 1}]}}, ["note by nothing"]),
        ({"find": "note", "filter": {"_id": {"$in": ["a"]}, "_version": 2}}, ["note by id"]),
        ({"find": "note", "filter": {"_words": {"$elemMatch": {"$gte": "a"}}}}, ["note by words"]),
        ({"aggregate": "note", "pipeline": [{"$group": {"_id": None}}]}, ["note by nothing"]),
        ({"count": "note", "query": {}}, ["note by nothing"]),
    ],
)
def test_what_a_cluster_refuses_or_asks_all_shards(command: Mapping[str, Any], verdict: list[str]) -> None:
    assert judge(command) == verdict


def test_what_is_asked_of_all_shards_is_in_the_table_or_a_fault() -> None:
    page = """
| Kinds | Looked for by | Why |
|---|---|---|
| `note`, `file` | `id` | because |
| `note` | all | because |

| `note` | `n` | in another table |
"""
    table = documented(page)
    assert table == {"note": [frozenset({"id"}), frozenset()], "file": [frozenset({"id"})]}
    assert is_documented(Broadcast("note", frozenset({"id", "n"})), table)
    assert is_documented(Broadcast("note", frozenset()), table)
    assert not is_documented(Broadcast("note", frozenset({"n"})), table)
    assert not is_documented(Broadcast("file", frozenset()), table)
    assert not is_documented(Broadcast("other", frozenset({"id"})), table)
    assert faults([Refused("note", "why")]) == ["note: why"]


def test_the_manual_names_the_shard_key_of_every_kind() -> None:
    section = PAGE.read_text("utf-8").partition("### Sharding")[2]
    keys = re.findall(r"^    ([a-z]+): \[([^\]]*)\],$", section.partition("```js")[2].partition("};")[0], re.MULTILINE)
    named = {kind: key for key, kinds in keys for kind in re.findall(r'"([a-z_]+)"', kinds)}
    assert named == {k.name: k.partition for k in KINDS if k.partition}
    others = re.search(r"The other collections \(([^)]*)\)", section)
    assert others is not None
    assert {*re.findall(r"`([a-z_]+)`", others[1])} == {k.name for k in KINDS if not k.partition}


def test_the_table_is_about_kinds_that_are_sharded() -> None:
    sharded = {k.name: {*k.fields, *k.lists, "id", "words"} for k in KINDS if k.partition}
    assert TABLE.keys() <= sharded.keys()
    for kind, rows in TABLE.items():
        assert all(row <= sharded[kind] for row in rows), kind
        assert len({*rows}) == len(rows), kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.partition], ids=lambda kind: kind.name)
def test_a_collection_has_the_indexes_that_sharding_needs(kind: Kind) -> None:
    indexes = Layout(kind).indexes
    assert all(index.keys[0] == kind.partition for index in indexes if index.unique)
    plain = [index for index in indexes if WORDS not in index.keys and not {*index.keys} & {*kind.lists}]
    assert any(index.keys[0] == kind.partition for index in plain)


# ---- on a server ----------------------------------------------------------------------------------------------------


async def in_time(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - the listener may be called in threads
            await asyncio.sleep(0.02)


@pytest.mark.own_storage
@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_a_server_from_its_start_to_its_end(serve: Serve, mongo_url: str, driver: str) -> None:
    place = {"use": "mongo", "url": mongo_url, "database": database_named(f"partitions_{driver}"), "driver": driver}
    with watch().all() as found:
        box = await serve({"storage": place, "replies": {"lease": 1}})
        # Opening looks once whether there is anything of a kind at all.
        found[:] = [each for each in found if isinstance(each, Refused) or each.fields]
        for dialect in DRIVERS.values():
            ann = await box.key()
            id, _ = await dialect.say(box, ann, "Tell me of the sea", None)
            await dialect.stream(box, ann, "And of the mountains", id)
            assert id in await dialect.browse(box, ann)
            assert len(await dialect.read(box, ann, id)) == 4
            await dialect.delete(box, ann, id)
        services = box.services
        assert not await services.accounts.is_empty()
        assert len(await services.accounts.keys()) == len(DRIVERS)
        ann_id = (await services.accounts.ensure_user("ann")).id
        await services.accounts.forget(ann_id)
        await in_time(lambda: Broadcast("run", frozenset({"expires"})) in found)  # what is swept now and then
    assert faults(found) == []
    seen = {str(each) for each in found}
    assert {"job by nothing", "run by status", "import by expires", "message by id", "share by owner"} <= seen


async def test_what_requests_ask_is_told_from_what_a_test_does(storage: Storage, box: Box) -> None:
    if not storage.id.startswith("mongo"):
        pytest.skip("about MongoDB")
    who = await box.key()
    with watch().of_requests() as found:
        await box.services.accounts.keys()
        assert found == []
        id, _ = await DRIVERS["chat"].say(box, who, "Hello", None)
        await DRIVERS["chat"].say(box, who, "Hello again", id)
    assert {"api_key by id", "conversation by id"} <= {str(each) for each in found}
