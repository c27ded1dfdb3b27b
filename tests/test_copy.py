"""One store copied into another: whole, while it is written to, after interruptions; and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from backchat.errors import Conflict, Unavailable
from backchat.ports.abilities import Journaled
from backchat.ports.storage import Change, Delete, Purge, Put, Query, RecordStore
from backchat.services import copying, copying_changes, copying_patience, copying_reading, copying_writing
from backchat.services.copying import Copying, Step
from backchat.services.copying_beginning import begin, check_pair, check_unserved, give_up, unfinished
from backchat.services.copying_digests import compare, differing, digest, summary
from backchat.services.copying_reading import Reader
from backchat.services.copying_writing import empty, put_records, transfer
from backchat.services.kinds import COPIED, KINDS
from backchat.testing.memory_store import MemoryStore
from copying_made import Between, JournaledBetween, copied, copying_records, docs, fill, made, new_id, server
from mongo_place import opening, settings_of
from sqlite_files import opened

Pair = tuple[RecordStore, RecordStore]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "PAUSE", 0.01)
    monkeypatch.setattr(copying_patience, "PAUSE", 0.01)


class Crash(Exception):
    """As good as a kill: nothing more is done."""


@pytest.fixture
def memory() -> Pair:
    return MemoryStore(KINDS), MemoryStore(KINDS)


@pytest.fixture(params=["memory to sqlite", "sqlite to mongo", "mongo to memory"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:

        async def store(name: str) -> RecordStore:
            if name == "memory":
                return MemoryStore(KINDS)
            if name == "mongo":
                settings = settings_of(request.getfixturevalue("mongo_url"), "copying")
                return await stack.enter_async_context(opening(settings)(KINDS))
            return await stack.enter_async_context(opened(tmp_path / "file.db", KINDS, readers=2))

        source, _, target = request.param.split()
        yield await store(source), await store(target)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - it is told to a callback among many others
            await asyncio.sleep(0.01)


# ---- whole ----------------------------------------------------------------------------------------------------------


async def test_everything_is_copied(pair: Pair) -> None:
    source, target = pair
    await fill(source)
    before = await docs(source)
    steps: list[Step] = []
    differences = await copied(source, target, steps.append)
    assert differences.count == 0
    assert await docs(target) == before == await docs(source)
    assert {kind for kind, _ in before} == {*COPIED} == {kind.name for kind in KINDS} - {"copying", "worker"}
    assert await copying_records(target) == []
    assert steps[-1].records == len(before)
    assert steps[-1].size > 1_600_000
    query = Query(kind="message", where=(("conversation", ("conversation-00001",)),), order=("seq",))
    assert [r.id for r in await target.find(query)] == ["message-00001"]
    assert (steps[-1].stage, steps[-1].done, steps[-1].total) == ("digests", len(before), len(before))


async def test_no_journal_is_left(memory: Pair) -> None:
    source, target = memory
    positions: list[str] = []

    class Seen(JournaledBetween):
        async def begin_journal(self) -> str:
            positions.append(await super().begin_journal())
            return positions[-1]

    await fill(source, 1)
    await copied(Seen(source), target)
    assert isinstance(source, Journaled)
    with pytest.raises(Conflict):
        await source.journal(positions[0], 100)
    assert await copying_records(source) == ["source"]


async def test_how_far_it_has_followed_is_stored(memory: Pair) -> None:
    source, target = memory
    await source.apply([server(), made("user", 1)])
    stages: list[str] = []
    task = asyncio.create_task(copied(source, target, lambda step: stages.append(step.stage)))
    await until(lambda: "servers" in stages)
    before = await target.get("copying", "copy")
    await source.apply([made("user", 2)])
    async with asyncio.timeout(10):
        while await target.get("user", "user-00002") is None:  # noqa: ASYNC110 - it is asked for
            await asyncio.sleep(0.01)
    after = await target.get("copying", "copy")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert before is not None
    assert after is not None
    assert isinstance(source, Journaled)
    assert ("user", "user-00002") in (await source.journal(before.doc["position"], 100))[0]
    assert ("user", "user-00002") not in (await source.journal(after.doc["position"], 100))[0]


# ---- while it is written to -----------------------------------------------------------------------------------------


async def test_a_store_that_is_written_to(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying_writing, "BATCH", 20)
    monkeypatch.setattr(copying_reading, "PAGE", 10)
    source, target = pair
    runs = server()
    await source.apply([runs, *[made("user", n) for n in range(100)], *[made("message", n) for n in range(200)]])
    waited = asyncio.Event()

    def told(step: Step) -> None:
        if step.stage == "servers":
            waited.set()

    async def write() -> None:
        """New ones, changed ones, deleted ones, and names that go from one to the other, everywhere in the order."""
        for n in range(1, 150):
            a, b = n % 100, (n * 37 + 1) % 100
            if a == b:
                continue
            free = {**made("user", a).doc, "name_folded": f"free {n}", "email_folded": f"free {n}"}
            names = [Put("user", f"user-{a:05d}", free), Put("user", f"user-{b:05d}", made("user", a).doc)]
            moved = [c for c in names if await source.get("user", c.id)]
            # Its old name is nobody's then; whoever has got it by chance keeps it.
            others = await source.find(Query(kind="user", where=(("name_folded", (f"name_folded-{a:05d}",)),)))
            rest = [Delete("user", o.id) for o in others if o.id not in (c.id for c in moved)]
            await source.apply(
                [
                    *rest,
                    *moved,
                    made("message", 1000 + n),
                    made("message", n % 200, again=n),
                    _gone("message", n * 7 % 200),
                ]
            )
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(write())
    task = asyncio.create_task(copied(source, target, told))
    await writing
    await asyncio.wait_for(waited.wait(), 60)
    assert not task.done()
    last = made("user", 7777)
    await source.apply([last, Delete("worker", runs.id)])
    assert (await asyncio.wait_for(task, 60)).count == 0
    assert await docs(target) == await docs(source)
    assert ("user", last.id) in await docs(target)


def _gone(kind: str, n: int) -> Delete:
    return Delete(kind, made(kind, n).id)


async def test_a_name_that_moves_while_the_records_are_copied(memory: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying_reading, "PAGE", 2)
    monkeypatch.setattr(copying_writing, "BATCH", 2)
    behind, target = memory
    await behind.apply([made("user", n) for n in range(10)])
    moved = False

    async def move(query: Query) -> None:
        nonlocal moved
        if query.kind == "user" and query.after and query.after[0] in ("user-00002", "user-00003") and not moved:
            moved = True
            await behind.apply([_with_name_of(0, 50), _with_name_of(9, 0), _with_name_of(8, 1), _with_name_of(1, 8)])

    source = JournaledBetween(behind, before_find=move)
    assert (await copied(source, target)).count == 0
    assert moved
    assert await docs(target) == await docs(behind)


def _with_name_of(n: int, name: int) -> Put:
    return Put("user", made("user", n).id, made("user", name).doc)


@pytest.mark.parametrize("chunk", [1, 2, 100])
async def test_names_that_go_round_while_it_is_followed(
    memory: Pair, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying_changes, "CHUNK", chunk)
    source, target = memory
    runs = server()
    await source.apply([runs, *[made("user", n) for n in range(6)]])
    step: list[str] = []
    task = asyncio.create_task(copied(source, target, lambda s: step.append(s.stage)))
    await until(lambda: "servers" in step)
    await source.apply([_with_name_of(n, (n + 1) % 5) for n in range(5)])
    await source.apply([_with_name_of(5, 4), _with_name_of(3, 5)])
    await source.apply([Delete("worker", runs.id)])
    assert (await asyncio.wait_for(task, 20)).count == 0
    assert await docs(target) == await docs(source)


async def test_the_last_change_before_the_server_goes(memory: Pair) -> None:
    source, target = memory
    runs = server()
    await source.apply([runs, made("user", 1)])
    looks = 0

    async def at_the_look(query: Query) -> None:
        nonlocal looks
        if query.kind == "worker" and query.limit == 1000:
            looks += 1
            if looks == 6:
                await source.apply([made("user", 2)])
                await source.apply([Delete("worker", runs.id)])

    between = JournaledBetween(source, before_find=at_the_look)
    assert (await asyncio.wait_for(copied(between, target, verify=False), 20)).count == 0
    assert looks >= 6
    assert await docs(target) == await docs(source)


async def test_once_ends_though_a_server_runs(memory: Pair) -> None:
    source, target = memory
    await source.apply([server(), *[made("message", n) for n in range(100)]])
    over = False

    async def write() -> None:
        n = 0
        while not over:
            n += 1
            await source.apply([made("message", n % 120, n=n)])
            await asyncio.sleep(0)

    task = asyncio.create_task(write())
    differences = await asyncio.wait_for(copied(source, target, once=True), 30)
    over = True
    await task
    assert differences.count == 0
    assert len(await docs(target)) > 100
    assert await copying_records(target) == []


async def test_it_waits_for_a_server_elsewhere(memory: Pair) -> None:
    source, target = memory
    runs = server(here=False)
    await source.apply([runs, made("user", 1)])
    waits: list[str] = []
    task = asyncio.create_task(copied(source, target, lambda s: waits.extend(map(str, s.servers))))
    await until(lambda: waits)
    assert waits[0] == "process 7 on far"
    await source.apply([Delete("worker", runs.id)])
    await asyncio.wait_for(task, 10)


async def test_a_server_that_was_killed_is_not_waited_for(memory: Pair) -> None:
    source, target = memory
    runs = server()
    await source.apply([Put("worker", runs.id, {**runs.doc, "started": 1.0}), made("user", 1)])
    assert (await asyncio.wait_for(copied(source, target), 10)).count == 0
    assert await target.get("worker", runs.id) is None


# ---- interrupted ----------------------------------------------------------------------------------------------------


async def test_it_goes_on_where_it_was(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await crashes_and_goes_on(pair, 25, monkeypatch)


async def test_it_goes_on_from_its_beginning(memory: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await crashes_and_goes_on(memory, 2, monkeypatch)


async def crashes_and_goes_on(pair: Pair, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crash at the so-manieth batch, then earlier, and change something each time."""
    monkeypatch.setattr(copying_writing, "BATCH", 10)
    monkeypatch.setattr(copying_reading, "PAGE", 5)
    monkeypatch.setattr(copying_changes, "CHUNK", 3)
    source, target = pair
    await source.apply([made(kind, n) for kind in ("chunk", "message", "user") for n in range(100)])
    applied, limit = 0, at

    async def crash(changes: Sequence[Change]) -> None:
        nonlocal applied
        applied += 1
        if applied >= limit:
            raise Crash

    for least in (at, 5):
        applied, limit = 0, min(at, least)
        with pytest.raises(Crash):
            await copied(source, Between(target, before_apply=crash))
        # Before what is stored, and behind it.
        await source.apply([made("chunk", 5, changed=at), _gone("chunk", 6), made("user", 200), _gone("message", 1)])
        await source.apply([made("message", 1), made("user", 99, changed=at)])
    assert await unfinished(source, target)
    last: list[Step] = []
    assert (await copied(source, target, last.append)).count == 0
    assert await docs(target) == await docs(source)
    if at == 25:  # batches were stored, without those under way and those that were so when those began
        assert last[-1].records < 300 - 10 * (at - 2 - 2 * copying_writing.LANES) + 15
    assert await copying_records(target) == []


async def test_a_batch_that_is_overtaken_is_not_taken_for_stored(memory: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying_writing, "BATCH", 10)
    monkeypatch.setattr(copying_reading, "PAGE", 10)
    source, target = memory
    await source.apply([made("message", n) for n in range(300)])
    others = asyncio.Event()
    applied = 0

    async def overtake(changes: Sequence[Change]) -> None:
        nonlocal applied
        applied += 1
        if applied == 20:
            others.set()
        if any(c.kind == "message" and getattr(c, "id", "") == "message-00000" for c in changes):
            await asyncio.wait_for(others.wait(), 10)
            raise Crash

    with pytest.raises(Crash):
        await copied(source, Between(target, before_apply=overtake))
    assert len(await docs(target)) >= 100
    assert (await copied(source, target)).count == 0
    assert await docs(target) == await docs(source)


async def test_what_is_put_aside_survives_an_interruption(memory: Pair) -> None:
    source, target = memory
    runs = server()
    await source.apply([runs, made("user", 1), made("user", 2)])
    stages: list[str] = []
    task = asyncio.create_task(copied(source, target, lambda s: stages.append(s.stage)))
    await until(lambda: "servers" in stages)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # As if the first had been read after the second one had lost its name, and the second one before.
    record = await source.get("user", "user-00001")
    assert record is not None
    renamed = Put("user", record.id, made("user", 2).doc)
    await source.apply([_with_name_of(2, 3), renamed])
    read = await source.get("user", "user-00001")
    assert read is not None
    await put_records(target, [read], ())
    assert await target.get("user", "user-00001") is None
    assert "aside.user.user-00001" in await copying_records(target)
    await source.apply([Delete("worker", runs.id)])
    assert (await copied(source, target)).count == 0
    assert await docs(target) == await docs(source)


async def test_what_never_fits_is_told(memory: Pair) -> None:
    source, target = memory
    runs = server()
    await source.apply([runs, made("user", 1)])
    stages: list[str] = []
    task = asyncio.create_task(copied(source, target, lambda s: stages.append(s.stage)))
    await until(lambda: "servers" in stages)
    await target.apply([_with_name_of(9, 2)])  # somebody else writes there
    await source.apply([made("user", 2), Delete("worker", runs.id)])
    with pytest.raises(Conflict, match="1 records of FROM cannot be stored"):
        await asyncio.wait_for(task, 10)


async def test_a_finished_copy_whose_traces_were_not_removed(memory: Pair) -> None:
    source, target = memory
    await fill(source, 1)

    async def crash(changes: Sequence[Change]) -> None:
        if isinstance(changes[0], Purge):
            raise Crash

    with pytest.raises(Crash):
        await copied(source, Between(target, before_apply=crash))
    await source.apply([made("user", 100)])  # after it was finished
    assert (await copied(source, target)).count == 0
    assert await copying_records(target) == []
    assert ("user", "user-00100") not in await docs(target)


@pytest.mark.parametrize("which", ["source", "target"])
async def test_a_store_that_cannot_be_reached_for_a_while(memory: Pair, which: str) -> None:
    source, target = memory
    await fill(source)
    failures: list[str] = []
    calls = 0

    async def fail(of: object) -> None:
        nonlocal calls
        calls += 1
        if calls in (3, 4, 15, 30):
            raise Unavailable(f"failure {calls}")

    copy = await begin(source, target, new_id)
    between = JournaledBetween(source, before_find=fail) if which == "source" else source
    there = Between(target, before_find=fail, before_apply=fail) if which == "target" else target
    work = Copying(between, there, copy, lambda step: None, lambda error: failures.append(str(error)))
    assert (await work.run(once=False, verify=True)).count == 0
    assert failures == ["failure 3", "failure 4", "failure 15", "failure 30"]
    assert await docs(target) == await docs(source)


async def test_a_store_that_fails_for_good_ends_it(memory: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying_patience, "PATIENCE", 0.05)
    source, target = memory
    await fill(source)

    async def fail(changes: Sequence[Change]) -> None:
        if len(changes) > 1:
            raise Unavailable("no room")

    with pytest.raises(Unavailable, match="no room"):
        await copied(source, Between(target, before_apply=fail))
    assert (await copied(source, target)).count == 0


# ---- refused --------------------------------------------------------------------------------------------------------


async def test_a_store_is_not_copied_into_itself(memory: Pair) -> None:
    source, _ = memory
    await fill(source, 1)
    before = await docs(source)
    with pytest.raises(Conflict, match="are the same storage"):
        await check_pair(source, source, new_id)
    assert await docs(source) == before
    assert await copying_records(source) == []


async def test_nothing_is_not_copied(memory: Pair) -> None:
    source, target = memory
    with pytest.raises(Conflict, match="FROM holds nothing"):
        await copied(source, target)


async def test_a_target_with_anything_in_it(memory: Pair) -> None:
    source, target = memory
    await source.apply([made("user", 1)])
    for kind in COPIED:
        await target.apply([made(kind, 5)])
        with pytest.raises(Conflict, match="TO is not empty"):
            await begin(source, target, new_id)
        assert [*await docs(target)] == [(kind, f"{kind}-00005")]
        await target.apply([_gone(kind, 5)])
    assert await copying_records(source) == await copying_records(target) == []


async def test_a_target_that_is_served(memory: Pair) -> None:
    source, target = memory
    runs = server()
    await source.apply([made("user", 1)])
    await target.apply([runs])
    for replaced in (False, True):
        with pytest.raises(Conflict, match=r"a server runs on TO: stop it first \(process \d+\)$"):
            await check_unserved(target, replaced=replaced)
    await target.apply([Delete("worker", runs.id), server(here=False)])
    with pytest.raises(Conflict, match=r"\(process 7 on far\); if it is gone, --replace"):
        await check_unserved(target, replaced=False)
    await check_unserved(target, replaced=True)
    await empty(target, lambda records: None)
    assert (await copied(source, target)).count == 0


async def test_a_target_that_another_process_copies_into(memory: Pair) -> None:
    source, target = memory
    await source.apply([made("user", 1)])
    await begin(source, target, new_id)
    record = await target.get("copying", "copy")
    assert record is not None
    other = server().doc
    works = {name: other[name] for name in ("host", "pid", "started")}
    await target.apply([Put("copying", "copy", {**record.doc, **works})])
    with pytest.raises(Conflict, match=f"another process copies into TO: {works['pid']}"):
        await check_unserved(target, replaced=True)
    await target.apply([Put("copying", "copy", {**record.doc, **works, "started": 1.0})])  # it was killed
    assert (await copied(source, target)).count == 0


async def test_the_unfinished_copy_of_another_store(memory: Pair) -> None:
    source, target = memory
    other = MemoryStore(KINDS)
    for store in (source, other):
        await store.apply([made("user", 1)])
    await begin(other, target, new_id)
    with pytest.raises(Conflict, match="unfinished copy of another storage"):
        await copied(source, target)
    assert (await copied(other, target)).count == 0


async def test_a_newer_copy_ends_the_older_one(memory: Pair) -> None:
    source, target = memory
    newer = MemoryStore(KINDS)
    await source.apply([made("user", 1)])
    older = await begin(source, target, new_id)
    await begin(source, newer, new_id)
    assert isinstance(source, Journaled)
    assert older.position is not None
    with pytest.raises(Conflict):  # what was noted for it is not kept
        await source.journal(older.position, 1)
    with pytest.raises(Conflict, match="or one that was given up"):
        await copied(source, target)
    assert (await copied(source, newer)).count == 0


async def test_giving_up(memory: Pair) -> None:
    source, target = memory
    await source.apply([made("user", 1)])
    copy = await begin(source, target, new_id)
    assert isinstance(source, Journaled)
    assert copy.position is not None
    await give_up(source)
    with pytest.raises(Conflict):
        await source.journal(copy.position, 1)
    with pytest.raises(Conflict, match="or one that was given up"):
        await copied(source, target)
    await empty(target, lambda records: None)
    assert (await copied(source, target)).count == 0


async def test_a_source_that_has_forgotten_its_changes(memory: Pair) -> None:
    source, target = memory
    await source.apply([made("user", 1)])
    await begin(source, target, new_id)
    assert isinstance(source, Journaled)
    await source.end_journal()
    with pytest.raises(Conflict, match="does not know any more what has changed"):
        await copied(source, target)


async def test_a_source_that_notes_nothing(memory: Pair) -> None:
    behind, target = memory
    source = Between(behind)
    runs = server()
    await fill(behind, 1)
    assert (await copied(source, target)).count == 0
    assert await docs(target) == await docs(behind)
    await behind.apply([runs])
    with pytest.raises(Conflict, match=r"stop its servers first \(process \d+\)"):
        await copied(source, MemoryStore(KINDS))


async def test_a_server_that_starts_on_a_source_that_notes_nothing(memory: Pair) -> None:
    behind, target = memory
    await fill(behind, 1)

    async def start(query: Query) -> None:
        if query.kind == "user":
            await behind.apply([server()])

    with pytest.raises(Conflict, match="a server was started on FROM meanwhile"):
        await copied(Between(behind, before_find=start), target)
    with pytest.raises(Conflict, match="make it anew with --replace"):
        await begin(Between(behind), target, new_id)


async def test_emptying(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying_writing, "EMPTIED", 10)
    _, target = pair
    await fill(target, 30)
    batches: list[int] = []
    await empty(target, batches.append)
    assert await docs(target) == {}
    assert sum(batches) >= 20 * len(COPIED)
    assert max(batches) == 10


async def test_what_is_being_emptied_is_no_unfinished_copy(memory: Pair) -> None:
    source, target = memory
    await fill(source, 2)
    await begin(source, target, new_id)
    await transfer(source, target, lambda records, size: None, noted=True)
    left = 3

    async def crash(changes: Sequence[Change]) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Crash

    with pytest.raises(Crash):
        await empty(Between(target, before_apply=crash), lambda records: None)
    with pytest.raises(Conflict, match="TO holds what is left of a replacement that was cut off"):
        await copied(source, target)


# ---- compared -------------------------------------------------------------------------------------------------------


PLACES = (0, 1, 63, 64, 65, 128, 149)


@pytest.mark.parametrize("damage", ["lost", "changed", "added", "another"])
async def test_differences_are_found(memory: Pair, damage: str) -> None:
    source, target = memory
    for store in (source, target):
        await store.apply([made("message", 2 * n) for n in range(150)])
    looked: list[int] = []
    for n in PLACES:
        id, beside = made("message", 2 * n).id, made("message", 2 * n + 1)
        changes: dict[str, list[Change]] = {
            "lost": [Delete("message", id)],
            "changed": [made("message", 2 * n, nested={"n": float(2 * n)})],
            "added": [beside],
            "another": [Delete("message", id), beside],
        }
        await target.apply(changes[damage])
        wrong = [beside.id] if damage == "added" else [id, beside.id] if damage == "another" else [id]
        looked.clear()
        found = await compare(source, target, looked.append)
        assert found.places == [("message", id) for id in wrong]
        assert found.count == len(wrong)
        assert sum(looked) == 150
        places = [("message", made("message", i).id) for i in range(301)]
        assert await differing(source, target, places) == found.places
        here, there = [await summary(store, looked.append) for store in memory]
        assert here.digest != there.digest
        await target.apply([made("message", 2 * n), Delete("message", beside.id)])


async def test_equal_stores_have_equal_summaries(memory: Pair) -> None:
    source, target = memory
    await fill(source)
    await copied(source, target)
    await target.apply([made("message", 1)])  # a version more is no difference
    here, there = [await summary(store, lambda records: None) for store in memory]
    assert here == there
    assert here.counts["message"] == 3
    assert here.counts["blob_chunk"] == 5
    assert len(here.digest) == 64


async def test_kind_and_id_are_part_of_the_digest(memory: Pair) -> None:
    store, _ = memory
    await store.apply(
        [Put("spending", "a", {"x": 1}), Put("signing_key", "a", {"x": 1}), Put("spending", "b", {"x": 1})]
    )
    records = [r for kind in ("spending", "signing_key") for r in await store.find(Query(kind=kind))]
    assert len({digest(record) for record in records}) == 3


@pytest.mark.parametrize("fault", ["loses", "changes"])
async def test_a_target_that_does_not_keep_what_it_gets(memory: Pair, fault: str) -> None:
    source, target = memory
    await fill(source, 5)

    async def damage(changes: Sequence[Change]) -> Sequence[Change]:
        bad = [c for c in changes if isinstance(c, Put) and c.id == "message-00003"]
        kept = [c for c in changes if c not in bad]
        return kept if fault == "loses" else [*kept, *[Put(c.kind, c.id, {**c.doc, "text": "other"}) for c in bad]]

    found = await copied(source, Between(target, before_apply=damage))
    assert found.places == [("message", "message-00003")]
    assert await unfinished(source, target)  # it is not called finished


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_goes_wrong_beside_the_comparison_is_found(memory: Pair, when: str) -> None:
    """Both are compared while a server runs, and what changes after that once more when it is gone."""
    source, target = memory
    runs = server()
    await source.apply([runs, *[made("message", n) for n in range(10)]])
    stages: list[str] = []

    async def lose(changes: Sequence[Change]) -> Sequence[Change]:
        if when == "after" and "servers" not in stages:
            return changes
        kept = [c for c in changes if getattr(c, "id", "") != "message-00003"]
        return kept or [Delete("user", "nobody")]

    between = Between(target, before_apply=lose)
    task = asyncio.create_task(copied(source, between, lambda step: stages.append(step.stage)))
    if when == "after":
        await until(lambda: "servers" in stages)
        await source.apply([made("message", 3, changed=True)])
        await source.apply([made("message", 4, changed=True), Delete("worker", runs.id)])
    found = await asyncio.wait_for(task, 10)  # found before, it need not wait for the server
    assert found.places == [("message", "message-00003")]
    assert stages.count("digests") >= 1


async def test_many_changes_after_the_comparison_are_compared_anew(
    memory: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "MOST_SINCE", 5)
    source, target = memory
    runs = server()
    await source.apply([runs, *[made("message", n) for n in range(10)]])
    begun: list[int] = []

    def told(step: Step) -> None:
        if step.stage == "digests" and step.done == 0:
            begun.append(step.records)
        waits.append(step.stage == "servers")

    waits: list[bool] = []
    task = asyncio.create_task(copied(source, target, told))
    await until(lambda: any(waits))
    await source.apply([made("message", n, changed=True) for n in range(8)])
    await until(lambda: len(begun) == 2)
    await source.apply([Delete("worker", runs.id)])
    assert (await asyncio.wait_for(task, 10)).count == 0
    assert await docs(target) == await docs(source)


async def test_a_damage_is_told_from_what_is_being_changed(memory: Pair) -> None:
    """The copy ends while the source is written to, all the time, also to what is compared."""
    source, target = memory
    await source.apply([server(), *[made("message", n) for n in range(100)]])
    over = False

    async def write() -> None:
        n = 0
        while not over:
            n += 1
            await source.apply([made("message", 50 + n % 50, n=n)])
            await asyncio.sleep(0)

    async def damage(changes: Sequence[Change]) -> Sequence[Change]:
        return [c for c in changes if getattr(c, "id", "") != "message-00003"] or [Delete("user", "nobody")]

    task = asyncio.create_task(write())
    found = await asyncio.wait_for(copied(source, Between(target, before_apply=damage), once=True), 30)
    over = True
    await task
    assert found.places == [("message", "message-00003")]


# ---- bounded --------------------------------------------------------------------------------------------------------


async def test_pages_are_bounded_in_bytes(memory: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 16 << 10
    monkeypatch.setattr(copying_reading, "PAGE_BYTES", most)
    store, _ = memory
    await store.apply([made("blob_chunk", n) for n in range(100)])
    await store.apply([made("blob_chunk", 500 + n, data="x" * most) for n in range(20)])
    await store.apply([made("message", n, data="x" * (most >> 4)) for n in range(100)])
    sizes: dict[str, list[int]] = {"blob_chunk": [], "message": []}
    async for page in Reader(store).everything():
        sizes[page.records[0].kind].append(page.size)
    assert max(sizes["blob_chunk"]) <= copying_reading.PAGE_OF_LARGE * (most + 1000)  # it cannot know what comes
    assert sorted(sizes["blob_chunk"])[-3] <= most + 1000  # but what has come
    assert sorted(sizes["message"])[-2] <= most + 1000


async def test_little_is_under_way(memory: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying_writing, "BATCH", 10)
    monkeypatch.setattr(copying_reading, "PAGE", 10)
    source, target = memory
    await source.apply([made("message", n) for n in range(300)])
    read = most = stored = 0
    full = asyncio.Event()

    async def reading(query: Query) -> None:
        nonlocal read, most
        read += query.limit if query.kind == "message" else 0
        most = max(most, read - stored)
        if read >= 10 * (copying_writing.LANES + 1):
            full.set()

    async def slowly(changes: Sequence[Change]) -> None:
        nonlocal stored
        await asyncio.wait_for(full.wait(), 10)  # until a page is read for which there is no lane yet
        stored += sum(isinstance(c, Put) and c.kind == "message" for c in changes)

    await transfer(
        JournaledBetween(source, before_find=reading), Between(target, before_apply=slowly), lambda records, size: None
    )
    assert len(await docs(target)) == 300
    assert most <= 10 * (copying_writing.LANES + 2)
