"""A batch carried out within a transaction, in one of two ways.

``quickly``: for each kind, everything of one sort is one command, and what was expected is seen from how many records
matched. That does for nearly all batches. When anything did not match, or a value was taken, the batch is done anew,
``carefully``: a look at the versions comes first, which tells what is stale, if anything is; then all records that
change are taken out, what they become is put in without comparing unique values, and those are compared in the end. So
values may move from record to record, and a record to another partition.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from pymongo import DeleteMany, DeleteOne, UpdateOne
from pymongo.errors import PyMongoError

from backchat.ports.checks import taken
from backchat.ports.storage import Purge
from backchat_mongo.drivers import Connection, Stored
from backchat_mongo.failures import TAKEN, codes
from backchat_mongo.filters import Filter, selection
from backchat_mongo.layout import REQUIRED, VERSION, Layout
from backchat_mongo.plan import Fate, Part, Plan

T = TypeVar("T")
Way = Callable[[Connection, Mapping[str, Layout], Plan, Any], Awaitable[None]]
"""How a batch is done, given the session of a transaction."""
AT_ONCE = 250
"""Operations that are given to the driver at once: it turns them into bytes on the event loop."""


class Unforeseen(Exception):
    """Something did not match, or is there already. Whether that makes the batch stale, a closer look will tell."""


async def quickly(connection: Connection, layouts: Mapping[str, Layout], plan: Plan, session: Any) -> None:
    """Raises Unforeseen, and what the driver does."""
    try:
        for kind, parts in plan.items():
            for part in parts:
                await _at_once(connection, layouts[kind], part, session)
    except PyMongoError as error:
        if TAKEN in codes(error):
            raise Unforeseen from None
        raise


async def carefully(connection: Connection, layouts: Mapping[str, Layout], plan: Plan, session: Any) -> None:
    """Raises StaleWrite, and what the driver does."""
    for kind, parts in plan.items():
        final: dict[str, Stored] = {}
        for part in parts:
            await _one_by_one(connection, layouts[kind], part, session)
            final |= {id: fate.doc for id, fate in part.fates.items() if fate.doc is not None}
        await _compare(connection, layouts[kind], final, session)


def update_of(layout: Layout, id: str, fate: Fate) -> tuple[Filter, Stored]:
    """The filter and the update that make a record what it becomes. It must stay in its partition."""
    assert fate.doc is not None
    partition = layout.kind.partition
    where: Filter = {partition: fate.doc[partition], "_id": id} if partition else {"_id": id}
    if fate.before is not None:
        where[VERSION] = fate.before
    return where, {"$set": fate.doc, "$inc": {VERSION: fate.growth}}


async def _at_once(connection: Connection, layout: Layout, part: Part, session: Any) -> None:
    """Nothing is put where something is yet to be deleted: unique values are free as soon as they can be."""
    collection = connection.collection(layout.collection)
    of = part.fates.items()
    await _require(collection, [id for id, fate in of if fate.only_required], session)
    absent = [id for id, fate in of if fate.before == 0 and fate.doc is None]
    if absent and await collection.find({"_id": {"$in": absent}}, {"_id": 1}, session=session).to_list(1):
        raise Unforeseen

    gone = [(id, fate) for id, fate in of if fate.gone]
    if some := [id for id, fate in gone if not fate.must_be]:
        await collection.delete_many({"_id": {"$in": some}}, session=session)
    for few in _chunks([(id, fate) for id, fate in gone if fate.must_be]):
        deletes = [DeleteOne({"_id": id, **({VERSION: fate.before} if fate.before else {})}) for id, fate in few]
        done = await collection.bulk_write(deletes, session=session)
        if done.deleted_count < len(few):
            raise Unforeseen

    for few in _chunks([(id, fate) for id, fate in of if fate.doc is not None and not fate.fresh]):
        updates = [UpdateOne(*update_of(layout, id, fate), upsert=not fate.must_be) for id, fate in few]
        done = await collection.bulk_write(updates, session=session)
        if done.matched_count + done.upserted_count < len(few):
            raise Unforeseen

    await _insert(collection, [_record(id, fate.last, fate.doc) for id, fate in of if fate.doc and fate.fresh], session)
    await _purge(collection, layout, part.purges, session)


async def _one_by_one(connection: Connection, layout: Layout, part: Part, session: Any) -> None:
    collection = connection.collection(layout.collection)
    ids = [*part.fates]
    found = await collection.find({"_id": {"$in": ids}}, {VERSION: 1}, session=session).to_list(None) if ids else []
    versions: dict[str, int] = {record["_id"]: record[VERSION] for record in found}
    for id, fate in part.fates.items():
        if not fate.may_follow(versions.get(id, 0)):
            raise fate.refusal()

    await _require(collection, [id for id, fate in part.fates.items() if fate.only_required], session)
    if old := [id for id, fate in part.fates.items() if id in versions and (fate.gone or fate.doc is not None)]:
        await collection.delete_many({"_id": {"$in": old}}, session=session)
    new = []
    for id, fate in part.fates.items():
        if fate.doc is not None:
            version = fate.last if fate.known else fate.last + versions.get(id, 0)
            new.append(_record(id, version, {**fate.doc, **dict.fromkeys(layout.loose, id)}))
    await _insert(collection, new, session)
    await _purge(collection, layout, part.purges, session)


async def _compare(connection: Connection, layout: Layout, final: Mapping[str, Stored], session: Any) -> None:
    """Hold records that were put in loosely against all others. Of those that are gone again, nothing matches."""
    collection = connection.collection(layout.collection)
    for loose, group in zip(layout.loose, layout.kind.unique, strict=True):
        whole = [id for id, doc in final.items() if doc[loose] is None]
        try:
            if whole:
                await collection.update_many({"_id": {"$in": whole}}, {"$set": {loose: None}}, session=session)
        except PyMongoError as error:
            if TAKEN in codes(error):
                raise taken(layout.kind.name, group) from None
            raise


async def _require(collection: Any, ids: Collection[str], session: Any) -> None:
    """A write: whoever deletes one of them at the same time has to wait for this batch, or this batch for that one."""
    if not ids:
        return
    mark = {"$set": {REQUIRED: secrets.randbits(48)}}
    done = await collection.update_many({"_id": {"$in": [*ids]}}, mark, session=session)
    if done.matched_count < len(ids):
        raise Unforeseen


async def _insert(collection: Any, records: Sequence[Stored], session: Any) -> None:
    for few in _chunks(records):
        await collection.insert_many(few, session=session)


async def _purge(collection: Any, layout: Layout, purges: Sequence[Purge], session: Any) -> None:
    filters = [selection(layout, purge.where, purge.ranges) for purge in purges]
    if some := [DeleteMany(f) for f in filters if f is not None]:
        await collection.bulk_write(some, session=session)


def _record(id: str, version: int, doc: Stored) -> Stored:
    return {"_id": id, VERSION: version, **doc}


def _chunks(things: Sequence[T]) -> list[Sequence[T]]:
    return [things[n : n + AT_ONCE] for n in range(0, len(things), AT_ONCE)]
