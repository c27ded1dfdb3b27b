"""What calls cost, at which price, how it adds up with several processes, and what may be spent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

import backchat_apikey
import backchat_dialect_chat
import backchat_echo
import backchat_recall
import backchat_sqlite
import backchat_window
from backchat.config.load import load_config
from backchat.domain.identity import Identity
from backchat.domain.message import Usage
from backchat.domain.usage import Credits, Payer, Price, UsageRecord
from backchat.errors import ConfigError, InsufficientCredits, StaleWrite
from backchat.plugins import Plugins
from backchat.ports.storage import Query, RecordStore
from backchat.services import ledger as ledgers
from backchat.services import usage_records
from backchat.services.accounts import Accounts
from backchat.services.kinds import KINDS
from backchat.services.ledger import Ledger, Spent
from backchat.services.modeltable import model_table
from backchat.services.providers import Configured, Providers
from backchat.services.usage_records import Side, usage_between
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import ScriptedProvider
from nodes import SlowStore
from sqlite_files import opened

ANN = Identity(user="ann")
PLUGINS = Plugins(
    [backchat_apikey, backchat_dialect_chat, backchat_echo, backchat_recall, backchat_sqlite, backchat_window]
)
PAYER = Payer(user="ann", workspace="w")
BEGINNING = datetime(2026, 1, 31, 12, tzinfo=UTC)
ONE_DOLLAR = Usage(1_000_000, 0)


class Forbidden:
    """A store that nobody may ask."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the store was asked to {name}")


class Clock:
    def __init__(self) -> None:
        self.time = BEGINNING

    def __call__(self) -> datetime:
        return self.time


def ledger(
    store: RecordStore | None = None,
    *,
    use: str = "scripted",
    now: Callable[[], datetime] = lambda: BEGINNING,
    prices: Mapping[str, Price] | None = None,
    name: str = "u",
    **credits: Any,
) -> Ledger:
    """One where the model ``m`` of the provider ``local`` costs a dollar for a million tokens in, and two out."""
    ids = count(1)
    prices = prices if prices is not None else {"m": Price(input=Decimal(1), output=Decimal(2))}
    configured = {"local": Configured("local", use, ScriptedProvider())}
    return Ledger(
        store or MemoryStore(KINDS),
        Providers(configured, "local"),
        Credits(prices=prices, **credits),
        now=now,
        new_id=lambda: f"{name}{next(ids):06}",
    )


def cost(made: Ledger, usage: Usage, model: str = "m", **more: Any) -> Decimal:
    return made.entry(PAYER, "reply", "local", model, usage, **more).cost


async def book(made: Ledger, usage: Usage = ONE_DOLLAR, payer: Payer = PAYER) -> UsageRecord:
    record = made.entry(payer, "reply", "local", "m", usage)
    await made._store.apply([made.booked(record)])
    return record


async def uncounted(store: RecordStore) -> int:
    return await store.count(Query(kind="usage", where=(("counted", (False,)),)))


@pytest.fixture
async def at_hand() -> None:
    """The packaged prices are read."""
    await ledger(Forbidden()).check(PAYER)


# ---- prices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "usage", "seconds", "dollars"),
    [
        (Price(input=Decimal("0.15"), output=Decimal("0.6")), Usage(1000, 10), None, "0.000156"),
        (Price(input=Decimal("2.5"), cached=Decimal("1.25")), Usage(1000, 0, 400), None, "0.002"),
        (Price(input=Decimal("2.5")), Usage(1000, 0, 400), None, "0.0025"),
        (Price(input=Decimal("2.5"), cached=Decimal(0)), Usage(1000, 0, 400), None, "0.0015"),
        (Price(input=Decimal(1), cached=Decimal(0)), Usage(10, 0, 11), None, "0"),
        (Price(output=Decimal(3)), Usage(5, 7, 0, 6), None, "0.000021"),
        (Price(input=Decimal("0.000000000000001")), Usage(1, 0), None, "1E-21"),
        (
            Price(input=Decimal("999999999.123456789012345")),
            Usage(10**15 + 1, 0),
            None,
            "999999999123457789.012344123456789012345",
        ),
        (Price(minute=Decimal("0.006")), Usage(), 90, "0.009"),
        (Price(minute=Decimal("0.006")), Usage(), 0.5, "0.00005"),
        (Price(minute=Decimal("0.001")), Usage(), 1, "0.000016666667"),
        (Price(minute=Decimal(60)), Usage(1, 0), 1e300, "1e300"),
        (Price(input=Decimal(6), minute=Decimal(1)), Usage(1000, 0), 60, "0.006"),
        (Price(input=Decimal(6), minute=Decimal(1)), Usage(), 60, "1"),
    ],
)
def test_what_a_call_costs(price: Price, usage: Usage, seconds: float | None, dollars: str) -> None:
    assert price.cost(usage, seconds) == Decimal(dollars)


async def test_configured_prices_go_before_the_packaged_ones(at_hand: None) -> None:
    known = ledger(use="openai", prices={})
    assert cost(known, Usage(10**6, 0), "gpt-4o") == Decimal("2.5")
    assert cost(known, Usage(0, 10**6), "gpt-4o") == 10
    assert cost(known, Usage(10**6, 0, 10**6), "gpt-4o") == Decimal("1.25")
    for names in (["gpt-4o"], ["openai/gpt-4o", "gpt-4o"], ["local/gpt-4o", "openai/gpt-4o", "gpt-4o"]):
        prices = {name: Price(input=Decimal(n)) for n, name in enumerate(names, 7)}
        own = ledger(use="openai", prices=prices)
        record = own.entry(PAYER, "reply", "local", "gpt-4o", Usage(10**6, 10**6))
        assert [record.cost, record.input_price, record.output_price] == [7, 7, 0]


@pytest.mark.parametrize(
    ("use", "model", "usage", "dollars"),
    [
        ("openai", "whisper-1", Usage(), "0.006"),
        ("groq", "whisper-large-v3-turbo", Usage(), "0.000667"),
        ("openai", "gpt-4o-transcribe", Usage(), "0.006"),
        ("openai", "gpt-4o-transcribe", Usage(1000, 100), "0.0035"),
        ("elsewhere", "whisper-1", Usage(), "0"),
    ],
)
async def test_what_a_minute_of_sound_costs(at_hand: None, use: str, model: str, usage: Usage, dollars: str) -> None:
    made = ledger(use=use, prices={})
    assert made.entry(PAYER, "transcription", use, model, usage, seconds=60.0).cost == Decimal(dollars)


async def test_a_model_without_a_price_counts_as_nothing_and_is_told_of_once(at_hand: None) -> None:
    with capture_logs() as lines:
        made = ledger()
        for model in ("secret-1", "secret-1", "secret-2", "m"):
            record = made.entry(PAYER, "reply", "local", model, Usage(10, 10))
            assert (record.input_price is None, record.output_price is None) == (model != "m",) * 2
            assert record.cost == (0 if model != "m" else Decimal("0.00003"))
    told = [line for line in lines if line["event"] == "usage.price_unknown"]
    assert [line["model"] for line in told] == ["secret-1", "secret-2"]
    assert told[0].keys() == {"event", "log_level", "source", "provider", "model"}


async def test_a_price_of_another_service_is_none(at_hand: None) -> None:
    assert ledger(use="ollama", prices={}).entry(PAYER, "reply", "local", "gpt-4o", Usage(9, 9)).input_price is None


async def test_an_entry_reads_no_file_once_the_ledger_is_at_work(
    monkeypatch: pytest.MonkeyPatch, blockbuster: BlockBuster
) -> None:
    model_table.cache_clear()
    async with ledger(prices={}) as made:
        cost(made, Usage(1, 1), "gpt-4o")
    model_table.cache_clear()
    made = ledger(prices={})
    await made.check(PAYER)
    cost(made, Usage(1, 1), "gpt-4o")


# ---- totals ----------------------------------------------------------------------------------------------------------


async def test_a_record_is_as_it_was_booked() -> None:
    made = ledger()
    payer = Payer(user="ann", workspace="w", conversation="c", run="r")
    first = made.entry(payer, "transcription", "local", "m", Usage(1, 2, 1, 1), seconds=1.5, estimated=True)
    second = made.entry(PAYER, "title", "gone", "unknown", Usage(3, 4))
    await made._store.apply([made.booked(second), made.booked(first)])
    assert [r async for r in usage_between(made._store)] == [replace(r, version=1) for r in (first, second)]
    with pytest.raises(StaleWrite):
        await made._store.apply([made.booked(first)])


async def test_records_are_read_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_records, "PAGE", 50)
    store, clock = MemoryStore(KINDS), Clock()
    made = ledger(store, now=clock)
    records = []
    for _ in range(130):
        records.append(made.entry(PAYER, "reply", "local", "m", ONE_DOLLAR))
        clock.time += timedelta(seconds=1)
    await store.apply([made.booked(record) for record in reversed(records)])
    ids = [record.id for record in records]
    assert [r.id async for r in usage_between(store)] == ids
    since, until = BEGINNING + timedelta(seconds=7), BEGINNING + timedelta(seconds=103)
    assert [r.id async for r in usage_between(store, since=since, until=until)] == ids[7:103]
    assert [r.id async for r in usage_between(store, since=until)] == ids[103:]
    assert [r.id async for r in usage_between(store, until=since)] == ids[:7]


async def test_totals_of_a_user_are_over_workspaces_and_those_of_a_workspace_over_users() -> None:
    made = ledger(per_user=Decimal(5))
    for user, workspace in (("ann", "w"), ("ann", "w"), ("ann", "v"), ("bob", "w")):
        await book(made, payer=Payer(user=user, workspace=workspace))
    for _ in range(2):
        assert await made.spent(ANN) == Spent(Decimal(3), Decimal(5))
        assert await made.spent(Identity(user="bob")) == Spent(Decimal(1), Decimal(5))
        assert await made.spent(Identity(user="w")) == Spent(Decimal(0), Decimal(5))
        assert await made.total("workspace", "w") == 3
        assert await made.total("workspace", "v") == 1
        await made.count()


async def test_a_month_begins_at_midnight_utc() -> None:
    clock, store = Clock(), MemoryStore(KINDS)
    monthly, ever = ledger(store, now=clock, period="month"), ledger(store, now=clock)
    borders = {
        "2026-01-01T00:00:00+00:00": 1,
        "2026-01-31T23:59:59.999+00:00": 2,
        "2026-02-01T01:30:00+02:00": 3,  # still January
        "2026-02-01T00:00:00+00:00": 1,
        "2026-01-31T20:00:00-05:00": 2,  # February already
    }
    for n, (text, month) in enumerate(borders.items(), 1):
        clock.time = datetime.fromisoformat(text)
        await book(monthly)
        assert (await monthly.spent(ANN)).total == month
        assert await ever.total("workspace", "w") == n
        if n == 2:
            await ever.count()
    for text, month in (("2026-01-15", 3), ("2026-02-28", 2), ("2026-03-01", 0), ("2025-02-01", 0)):
        clock.time = datetime.fromisoformat(f"{text}T00:00:00+00:00")
        for _ in range(2):
            assert (await monthly.spent(ANN)).total == await monthly.total("workspace", "w") == month
            await ever.count()
    assert (await ever.spent(ANN)).total == 5


things = st.sampled_from(["x", "y", "z"])
amounts = st.integers(0, 10**12).map(lambda n: Usage(n, n % 7, n // 3))
steps = st.one_of(
    st.tuples(st.just("book"), things, things, amounts, st.integers(0, 70)),
    st.tuples(st.just("settle"), st.integers(0, 30), st.none() | amounts),
    st.tuples(st.just("count")),
    st.tuples(st.just("ask"), things),
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), steps), max_size=40), st.integers(1, 6), st.integers(0, 3))
async def test_totals_are_exact_whoever_counts_when(
    work: Sequence[tuple[bool, tuple[Any, ...]]], at_once: int, few: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledgers, "AT_ONCE", at_once)
        patch.setattr(ledgers, "FEW", few)
        store, clock = SlowStore(), Clock()
        price = {"m": Price(input=Decimal("0.1"), output=Decimal("0.000000000000001"), cached=Decimal("0.05"))}
        two = [ledger(store, now=clock, prices=price, name=name) for name in "ab"]
        booked: list[UsageRecord] = []
        expected: dict[str, UsageRecord] = {}

        async def step(made: Ledger, what: tuple[Any, ...]) -> None:
            if what[0] == "book":
                _, user, workspace, usage, day = what
                payer = Payer(user=user, workspace=workspace)
                record = replace(
                    made.entry(payer, "reply", "local", "m", usage), at=BEGINNING + timedelta(days=day), version=0
                )
                await store.apply([made.booked(record)])
                booked.append(record)
                expected[record.id] = record
            elif what[0] == "settle":
                if what[1] < len(booked) and (first := booked[what[1]]).id in expected:
                    del expected[first.id]  # by one task only
                    last = None
                    if what[2] is not None:
                        last = made.entry(first.payer, "reply", "local", "m", what[2])
                    await made.settle(first, last)
                    if last is not None:
                        expected[first.id] = last
            elif what[0] == "count":
                await made.count()
            else:
                await made.spent(Identity(user=what[1]))

        async with asyncio.timeout(10):
            for n in range(0, len(work), 5):
                await asyncio.gather(*[step(two[second], what) for second, what in work[n : n + 5]])
        for made in two:
            for name in "xyz":
                of_user = [r.cost for r in expected.values() if r.payer.user == name]
                of_workspace = [r.cost for r in expected.values() if r.payer.workspace == name]
                assert (await made.spent(Identity(user=name))).total == sum(of_user)
                assert await made.total("workspace", name) == sum(of_workspace)
            await made.count()
        assert await uncounted(store) == 0


async def test_two_processes_count_on_one_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "b.db", KINDS) as here, opened(tmp_path / "b.db", KINDS) as there:
        one, other = ledger(here, name="a"), ledger(there, name="b")

        async def talk(made: Ledger) -> None:
            for n in range(120):
                await book(made, Usage(n, n), Payer(user=f"u{n % 3}", workspace=f"w{n % 2}"))
                if n % 20 == 0:
                    await made.count()

        await asyncio.gather(talk(one), talk(other))
        await asyncio.gather(one.count(), other.count())
        each = 3 * sum(range(120)) * 2
        sides: list[tuple[Side, Sequence[str]]] = [("user", ("u0", "u1", "u2")), ("workspace", ("w0", "w1"))]
        for side, names in sides:
            asked = [(one if side == "user" else other).total(side, n) for n in names]
            assert sum(await asyncio.gather(*asked)) == Decimal(each).scaleb(-6)
        assert await uncounted(here) == 0


async def test_what_is_counted_between_two_looks_is_not_counted_twice_or_missed() -> None:
    class Meanwhile(MemoryStore):
        """``other`` counts after each look, once."""

        other: Ledger | None = None

        async def get(self, kind: str, id: str) -> Any:
            found = await super().get(kind, id)
            await self._between()
            return found

        async def find(self, query: Query) -> Any:
            found = await super().find(query)
            await self._between()
            return found

        async def _between(self) -> None:
            other, self.other = self.other, None
            if other is not None:
                await other.count()

    for _ in range(3):
        store = Meanwhile(KINDS)
        made = ledger(store)
        for _ in range(5):
            await book(made)
        store.other = made
        assert (await made.spent(ANN)).total == 5


async def test_much_that_is_not_counted_is_counted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(KINDS)
    made = ledger(store, per_user=Decimal(10**6))
    others = Payer(user="bob", workspace="w")
    await store.apply([made.booked(made.entry(others, "reply", "local", "m", ONE_DOLLAR)) for _ in range(300)])
    await store.apply([made.booked(made.entry(PAYER, "reply", "local", "m", ONE_DOLLAR)) for _ in range(700)])
    await made.check(PAYER)
    assert await uncounted(store) <= 300 + ledgers.FEW
    asked: list[Query] = []

    async def find(query: Query) -> Any:
        asked.append(query)
        return await MemoryStore.find(store, query)

    monkeypatch.setattr(store, "find", find)
    await made.check(PAYER)
    assert sum([query.limit for query in asked]) < 100
    assert (await made.spent(ANN)).total == 700
    assert await made.total("workspace", "w") == 1000


async def test_at_work_it_counts_by_itself_and_survives_a_store_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "EVERY", 0)
    store = SlowStore()
    made = ledger(store)
    await book(made)
    store.failures = 2
    with capture_logs() as lines:
        async with made, asyncio.timeout(5):
            while await uncounted(store):  # noqa: ASYNC110
                await asyncio.sleep(0)
    assert [line["event"] for line in lines] == ["usage.not_counted"] * 2
    assert (await made.spent(ANN)).total == 1


# ---- limits ----------------------------------------------------------------------------------------------------------


async def test_without_limits_nothing_is_read() -> None:
    store: Any = Forbidden()
    await ledger(store).check(PAYER)
    await ledger(store, users={"bob": Decimal(1)}, workspaces={"v": Decimal(0)}).check(PAYER)
    null: dict[str, Any] = {
        "per_user": Decimal(0),
        "per_workspace": Decimal(0),
        "users": {"ann": None},
        "workspaces": {"w": None},
    }
    await ledger(store, **null).check(PAYER)


@pytest.mark.parametrize(
    ("credits", "whose"),
    [
        ({"per_user": Decimal(2)}, "you have"),
        ({"users": {"ann": Decimal(2)}}, "you have"),
        ({"per_user": Decimal(9), "users": {"ann": Decimal(2)}}, "you have"),
        ({"per_user": Decimal("2.5"), "reserve": Decimal("0.5")}, "you have"),
        ({"per_workspace": Decimal(3)}, "workspace"),
        ({"workspaces": {"w": Decimal(3)}}, "workspace"),
        ({"per_user": Decimal(9), "per_workspace": Decimal(4), "reserve": Decimal(1)}, "workspace"),
        ({"per_user": Decimal(2), "period": "month"}, "this month"),
    ],
)
async def test_a_limit_that_is_reached(credits: Mapping[str, Any], whose: str) -> None:
    made = ledger(**credits)
    await book(made, payer=Payer(user="bob", workspace="w"))
    await made.check(PAYER)
    await book(made)
    await book(made, Usage(999_999, 0))
    await made.check(PAYER)
    await book(made, Usage(1, 0))
    for _ in range(2):
        with pytest.raises(InsufficientCredits, match=whose) as refused:
            await made.check(PAYER)
        assert not any(c.isdigit() for c in str(refused.value))
        await made.count()
    others = Payer(user="bob", workspace="v")
    await made.check(others)


async def test_limits_of_users_may_be_given_by_their_names() -> None:
    """Who is called in another way than anybody is told of: a limit that holds for nobody looks like one that does."""
    store = MemoryStore(KINDS)
    ada = await Accounts(store, now=lambda: BEGINNING, new_id=lambda: "id-of-ada").create_user("Ada")
    given = {"ada": Decimal(3), "adda": Decimal(4)}
    book = ledger(store, per_user=Decimal(0), users=given, workspaces={"harbour": Decimal(2)})
    with capture_logs() as logs:
        async with book:
            assert (await book.spent(Identity(user=ada.id))).limit == 3
            assert (await book.spent(Identity(user="id-of-bob"))).limit == 0
    told = [line["option"] for line in logs if line["event"] == "credits.unknown"]
    assert told == ["credits.users.adda", "credits.workspaces.harbour"]


async def test_a_new_month_gives_new_credit() -> None:
    clock = Clock()
    made = ledger(now=clock, per_user=Decimal(1), period="month")
    await book(made)
    with pytest.raises(InsufficientCredits):
        await made.check(PAYER)
    clock.time += timedelta(days=1)
    await made.check(PAYER)


async def test_nothing_may_be_spent_with_a_limit_of_nothing() -> None:
    with pytest.raises(InsufficientCredits):
        await ledger(per_user=Decimal(0)).check(PAYER)


async def test_ten_at_once_overspend_by_one_call_each_at_most(tmp_path: Path) -> None:
    async with opened(tmp_path / "b.db", KINDS) as here, opened(tmp_path / "b.db", KINDS) as there:
        two = [ledger(store, name=name, per_user=Decimal(30)) for store, name in ((here, "a"), (there, "b"))]

        async def spend(made: Ledger) -> int:
            for calls in range(200):
                try:
                    await made.check(PAYER)
                except InsufficientCredits:
                    return calls
                await book(made)
            raise AssertionError("it never ends")

        made = await asyncio.gather(*[spend(two[n % 2]) for n in range(10)])
        spent = (await two[0].spent(ANN)).total
        assert spent == sum(made)
        assert 30 <= spent <= 39


# ---- replacing what was stored before a call -------------------------------------------------------------------------


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("last", [None, Usage(3_000_000, 0)])
async def test_settling(counted: bool, last: Usage | None) -> None:
    clock = Clock()
    made = ledger(MemoryStore(KINDS), now=clock)
    await book(made)
    first = made.entry(PAYER, "title", "local", "m", ONE_DOLLAR, estimated=True)
    await made._store.apply([made.booked(first)])
    if counted:
        await made.count()
    clock.time += timedelta(days=1)  # another month
    final = made.entry(PAYER, "title", "local", "m", last) if last is not None else None
    await made.settle(first, final)
    spent = 1 if last is None else 4
    for _ in range(2):
        assert (await made.spent(ANN)).total == await made.total("workspace", "w") == spent
        await made.count()
    clock.time = BEGINNING
    assert (await ledger(made._store, now=clock, period="month").spent(ANN)).total == spent
    records = [r async for r in usage_between(made._store)]
    assert [(r.id, r.at, r.estimated) for r in records[1:]] == ([(first.id, BEGINNING, False)] if final else [])


async def test_settling_what_was_never_stored() -> None:
    made = ledger()
    first = made.entry(PAYER, "title", "local", "m", ONE_DOLLAR)
    await made.settle(first, None)
    assert [r async for r in usage_between(made._store)] == []
    await made.settle(first, replace(first, cost=Decimal(5)))
    assert (await made.spent(ANN)).total == 5


# ---- the configuration -----------------------------------------------------------------------------------------------


def credits(tmp_path: Path, text: str) -> Credits:
    file = tmp_path / "backchat.yml"
    file.write_text(f"providers: {{local: echo}}\ndialects: [chat]\nauth: [apikey]\ncredits:\n{text}")
    return load_config(file, PLUGINS, data=tmp_path).credits


def test_amounts_are_what_is_written(tmp_path: Path) -> None:
    found = credits(
        tmp_path,
        """
  prices:
    openai/gpt-4.1: {input: 0.1, output: "0.30", cached: 1e-7}
    whisper-1: {minute: 0.006}
  per_user: 20
  per_workspace: "1000000000"
  users: {ann: 0.3, bob: null}
  workspaces: {w: 5}
  reserve: 0.7
  period: month
""",
    )
    assert found == Credits(
        prices={
            "openai/gpt-4.1": Price(input=Decimal("0.1"), output=Decimal("0.3"), cached=Decimal("0.0000001")),
            "whisper-1": Price(minute=Decimal("0.006")),
        },
        per_user=Decimal(20),
        per_workspace=Decimal(10**9),
        users={"ann": Decimal("0.3"), "bob": None},
        workspaces={"w": Decimal(5)},
        reserve=Decimal("0.7"),
        period="month",
    )
    assert credits(tmp_path, "  per_user: null") == Credits()


@pytest.mark.parametrize("bad", ["-1", "-0.001", ".nan", ".inf", '"Infinity"', '"sNaN"', "true", "[1]", "x", '""'])
def test_what_is_no_amount(tmp_path: Path, bad: str) -> None:
    text = f"""
  per_user: {bad}
  reserve: {bad}
  users: {{ann: {bad}, bob: 1}}
  prices: {{local/m: {{cached: {bad}, input: 1}}}}
"""
    with pytest.raises(ConfigError) as caught:
        credits(tmp_path, text)
    paths = ("prices.local/m.cached", "per_user", "users.ann", "reserve")
    problem = "Must be an amount of US dollars such as 0.15, not below 0."
    assert caught.value.problems == tuple([f"credits.{path}: {problem}" for path in paths])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("  per_user: 1000000001", "credits.per_user: Must be at most 1,000,000,000 US dollars"),
        ('  per_user: "1e-99999"', "credits.per_user: Must be at most 1,000,000,000 US dollars"),
        ("  prices: {m: {inptu: 1}}", "credits.prices.m.inptu: unknown key; did you mean input?"),
        ("  prices: {m: 1}", "credits.prices.m"),
        ("  prices: [m]", "credits.prices"),
        ("  users: 5", "credits.users"),
        ("  period: week", "credits.period"),
        ("  per_users: 5", "credits.per_users: unknown key; did you mean per_user?"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        credits(tmp_path, text)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)
