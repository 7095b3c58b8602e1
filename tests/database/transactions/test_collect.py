"""The life of a batch: repeated, permuted, withheld, late, dead letters, and with a database that
goes away."""

# ruff: noqa: ASYNC110 - a lock's waiters and a queue's length tell nobody when they change

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from daemon.billing.posting import UnfitPaymentKey
from daemon.pipeline.pauses import USUAL, Pauses
from daemon.pipeline.pipeline import Pipeline
from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.gaps import find_gaps
from storage import archive, readings
from storage.database import Pool
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    ZONE,
    Site,
    balance,
    connect,
    everything,
    freeze,
    intact,
    links,
    on,
    pay,
    rows,
    slots,
    store,
)
from tests.servers.postgres import Server
from tests.spooled import a_pipeline

pytestmark = pytest.mark.hypertables

RunningPipeline = tuple[Pipeline, Callable[..., Awaitable[None]], asyncio.Task[None]]
DAYS = [OPEN + n * DAY for n in range(6)]
KWH = ["100.00", "110.10", "120.05", "131.99", "140.00", "155.55"]  # at 0.5 yuan/kWh


def priced(first: str, last: str) -> int:
    """Fen for the use between two registers at 0.5 yuan/kWh, by hand: half a fen per 0.01 kWh,
    rounded up."""
    steps = int((Decimal(last) - Decimal(first)) * 100)
    return (steps + 1) // 2


# --- once and in order ----------------------------------------------------------------------------


def test_the_same_batch_again_changes_nothing(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        batch = [freeze(meter, day, kwh) for day, kwh in zip(DAYS, KWH, strict=True)]
        batch.append(freeze(meter, DAYS[2], "99.99"))
        first = await store(connection, *batch)
        before = await everything(connection)
        assert await store(connection, *batch) == first
        assert await store(connection, *reversed(batch)) == first
        assert await everything(connection) == before
        assert await balance(connection, "A1") == -priced(KWH[0], KWH[-1])

    on(database_url, story)


def test_every_order_of_arrival_leads_to_the_same_balance(database_url: str) -> None:
    count = 24

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(count)
        site.tariffs.append(("T", DAYS[2], Decimal("0.77")))
        found = await site.take_over(connection)
        orders = itertools.permutations(range(1, 5))
        for number, order in enumerate(orders, 1):
            meter = found[f"P{number}"]
            await store(connection, freeze(meter, DAYS[0], KWH[0]))
            for n in order:
                await store(connection, freeze(meter, DAYS[n], KWH[n]))
        assert len({await balance(connection, f"A{number}") for number in range(1, count + 1)}) == 1
        # 20.05 kWh at 0.50 and 19.95 at 0.77: 25.3865 yuan
        posted = "SELECT DISTINCT use[5], use[10], components, posted_fen FROM account_month"
        assert await rows(connection, posted) == [(2005000000, 1995000000, ["energy"], [2539])]
        assert await intact(connection)

    on(database_url, story)


def test_a_late_reading_replaces_a_span_by_two_links(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, freeze(meter, DAYS[0], KWH[0]), freeze(meter, DAYS[2], KWH[2]))
        assert await links(connection, "P1") == [(DAYS[0], DAYS[2], "billed")]
        before = await balance(connection, "A1")
        await store(connection, freeze(meter, DAYS[1], KWH[1]))
        assert await links(connection, "P1") == [
            (DAYS[0], DAYS[1], "billed"),
            (DAYS[1], DAYS[2], "billed"),
        ]
        assert await balance(connection, "A1") == before
        assert await rows(connection, "SELECT count(*) FROM ledger_transaction") == [1]
        assert await intact(connection)

    on(database_url, story)


def test_a_span_of_more_than_a_week_waits_for_its_days(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, freeze(meter, OPEN, 100), freeze(meter, OPEN + 8 * DAY, 180))
        assert await links(connection, "P1") == [(OPEN, OPEN + 8 * DAY, "held")]
        assert await balance(connection, "A1") == 0
        await store(connection, freeze(meter, OPEN + 1 * DAY, 110))
        assert [state for _, _, state in await links(connection, "P1")] == ["billed", "billed"]
        assert await balance(connection, "A1") == -4000
        assert await rows(connection, "SELECT DISTINCT kind FROM ledger_transaction") == ["charge"]
        assert await intact(connection)

    on(database_url, story)


def test_a_batch_takes_as_many_statements_for_one_account_as_for_many(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        executed: list[Any] = []

        class CountingCursor(psycopg.AsyncCursor[Any]):
            async def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
                executed.append(query)
                return await super().execute(query, *arguments, **options)

        found = await Site.of(13).take_over(connection)
        await store(connection, *(freeze(meter, DAYS[0], KWH[0]) for meter in found.values()))
        # Somebody is the first who is charged for energy of the month.
        await store(connection, freeze(found["P13"], DAYS[1], KWH[1]))
        for n in range(1, 13):
            await pay(connection, f"A{n}", 100_000, f"A{n}")
        connection.cursor_factory = CountingCursor
        counts = []
        # A span over two days, and the late reading that splits it: links leave and come.
        for day in (2, 1):
            for points in (["P1"], [f"P{n}" for n in range(2, 13)]):
                executed.clear()
                batch = [freeze(found[point], DAYS[day], KWH[day]) for point in points]
                await store(connection, *batch)
                counts.append(len(executed))
        one, many, late_one, late_many = counts
        assert (one, late_one) == (many, late_many)
        assert await balance(connection, "A12") == 100_000 - priced(KWH[0], KWH[2])
        assert await intact(connection)

    on(database_url, story)


# --- what is not published ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwh", "rates", "skew", "reasons"),
    [
        ("99.99", (), None, ["V07"]),
        ("490.11", (), None, ["V08"]),
        ("111", (Decimal(50), Decimal(60)), None, ["V11"]),
        ("111", (), timedelta(minutes=6), ["V05"]),
    ],
)
def test_a_suspect_reading_is_kept_and_moves_no_money(
    database_url: str,
    kwh: str,
    rates: tuple[Decimal, ...],
    skew: timedelta | None,
    reasons: list[str],
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, freeze(meter, DAYS[0], KWH[0]), freeze(meter, DAYS[1], KWH[1]))
        money = await rows(connection, "SELECT * FROM posting")
        present = await store(connection, freeze(meter, DAYS[2], kwh, rates=rates, skew=skew))
        assert present == [(meter.meter_id, DAYS[2])]
        state, total, found = (await slots(connection, "P1"))[DAYS[2]]
        assert (state, total, found) == ("suspect", int(Decimal(kwh) * 100), reasons)
        assert await rows(connection, "SELECT * FROM posting") == money
        await store(
            connection, freeze(meter, DAYS[3], KWH[3])
        )  # billing goes on from the last good reading
        assert (DAYS[1], DAYS[3], "billed") in await links(connection, "P1")
        assert await balance(connection, "A1") == -priced(KWH[0], KWH[3])
        assert await rows(connection, "SELECT count(*) FROM reading") == [4]

    on(database_url, story)


def test_a_second_value_for_a_slot_is_kept_beside_the_first(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, freeze(meter, DAYS[0], KWH[0]), freeze(meter, DAYS[1], KWH[1]))
        before = await balance(connection, "A1")
        await store(connection, freeze(meter, DAYS[1], "111.11"))
        assert (await slots(connection, "P1"))[DAYS[1]] == ("published", 11_010, ["V34"])
        assert await balance(connection, "A1") == before
        assert await rows(connection, "SELECT total FROM reading ORDER BY 1") == [
            10_000,
            11_010,
            11_111,
        ]

    on(database_url, story)


def test_a_stamp_that_is_no_midnight_is_no_value_of_its_day_and_is_collected_again(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        assert await store(connection, freeze(meter, DAYS[0], KWH[0], at=time(0, 0, 1))) == []
        assert await slots(connection, "P1") == {DAYS[0]: ("suspect", 10_000, ["V04"])}
        assert await readings.present_days(connection, DAYS[0], DAYS[0]) == {}
        (kept,) = await rows(connection, "SELECT stamp FROM reading")
        assert kept == datetime(2026, 3, 1, 0, 0, 1, tzinfo=ZONE)

    on(database_url, story)


def test_a_freeze_from_before_the_meter_was_installed_makes_no_slot(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(installed_on=DAYS[1]).take_over(connection))["P1"]
        await store(connection, freeze(meter, DAYS[0], KWH[0]), freeze(meter, DAYS[1], KWH[1]))
        assert list(await slots(connection, "P1")) == [DAYS[1]]

    on(database_url, story)


def test_raw_readings_are_never_changed(owner_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, freeze(meter, DAYS[0], KWH[0], rates=(Decimal(40), Decimal(60))))
        with pytest.raises(psycopg.IntegrityError, match="append-only"):
            await connection.execute("UPDATE reading SET total = 0")
        assert await rows(connection, "SELECT total, rate_1, rate_2, rate_3 FROM reading") == [
            (10_000, 4000, 6000, None)
        ]

    on(owner_url, story)


def test_a_clock_that_is_decades_wrong_is_kept_as_it_is(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        wrong = timedelta(days=27_000)  # more seconds than 32 bits hold
        await store(
            connection,
            freeze(meter, DAYS[0], KWH[0], skew=wrong),
            freeze(meter, DAYS[1], KWH[1], skew=-wrong),
        )
        kept = await rows(connection, "SELECT clock_skew_s FROM reading ORDER BY day")
        assert kept == [27_000 * 86_400, -27_000 * 86_400]

    on(database_url, story)


# --- opening --------------------------------------------------------------------------------------


def test_an_account_waits_for_its_opening_freeze_and_then_the_whole_chain_is_billed(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        early = freeze(meter, OPEN - DAY, "90")
        await store(
            connection,
            early,
            *(freeze(meter, day, kwh) for day, kwh in zip(DAYS[1:], KWH[1:], strict=True)),
        )
        assert await rows(connection, "SELECT state FROM account") == ["pending"]
        assert await links(connection, "P1") == []
        assert await balance(connection, "A1") == 0
        await store(connection, freeze(meter, DAYS[0], KWH[0]))
        assert await rows(connection, "SELECT state FROM account") == ["active"]
        assert [link[:2] for link in await links(connection, "P1")] == list(
            itertools.pairwise(DAYS)
        )
        assert await balance(connection, "A1") == -priced(KWH[0], KWH[-1])
        assert await intact(connection)

    on(database_url, story)


def test_an_account_of_two_points_is_active_when_both_opening_freezes_are_there(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2)
        site.points[1]["account"] = "A1"
        found = await site.take_over(connection)
        await store(
            connection, *(freeze(found["P1"], day, kwh) for day, kwh in zip(DAYS, KWH, strict=True))
        )
        await store(connection, freeze(found["P2"], DAYS[1], KWH[1]))
        assert await rows(connection, "SELECT state FROM account ORDER BY id") == [
            "pending",
            "pending",
        ]
        await store(connection, freeze(found["P2"], DAYS[0], KWH[0]))
        assert await rows(connection, "SELECT state FROM account ORDER BY id") == [
            "active",
            "pending",
        ]
        assert await balance(connection, "A1") == -priced(KWH[0], KWH[-1]) - priced(KWH[0], KWH[1])
        assert await intact(connection)

    on(database_url, story)


def test_an_account_opened_after_its_freezes_were_collected_is_billed_once(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(opened_on=None, agreement=None, account=None)
        meter = (await site.take_over(connection))["P1"]
        await store(
            connection, *(freeze(meter, day, kwh) for day, kwh in zip(DAYS, KWH, strict=True))
        )
        await archive.open_account(
            connection, "A1", points=["P1"], opened_on=DAYS[2], agreement="signed"
        )
        for _ in range(2):
            await settle_marked(connection, ARMED, NOW)
            assert await balance(connection, "A1") == -priced(KWH[2], KWH[-1])
        assert (await links(connection, "P1"))[0][0] == DAYS[2]

    on(database_url, story)


def test_accounts_that_are_marked_while_others_are_settled_wait_for_the_next_round(
    database_url: str,
) -> None:
    """A back-fill marks the same accounts again and again: each is settled once in a round."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        batch = [freeze(meter, day, kwh) for day, kwh in zip(DAYS, KWH, strict=True)]
        await collect(connection, batch, ZONE)
        marked = 0
        with psycopg.connect(database_url, autocommit=True) as other:

            def marking_clock() -> float:
                nonlocal marked
                if marked < 9:
                    other.execute(
                        "INSERT INTO to_settle (account_id, from_day, to_day, cause) "
                        "SELECT id, %s, %s, 'readings' FROM account",
                        (DAYS[0], DAYS[-1]),
                    )
                    marked += 1
                return 0.0

            await settle_marked(connection, ARMED, NOW, marking_clock)
        assert marked < 9
        assert await rows(connection, "SELECT DISTINCT account_id FROM to_settle") == [1]
        assert await balance(connection, "A1") == -priced(KWH[0], KWH[-1])
        await settle_marked(connection, ARMED, NOW)
        assert await rows(connection, "SELECT count(*) FROM to_settle") == [0]

    on(database_url, story)


def test_an_account_opened_while_a_batch_was_on_its_way_misses_none_of_its_links(
    database_url: str,
) -> None:
    """`account open` waits for a batch that does not know of it, and then sees what it brought."""

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(opened_on=None, agreement=None, account=None)
        meter = (await site.take_over(connection))["P1"]
        batch = [freeze(meter, day, kwh) for day, kwh in zip(DAYS, KWH, strict=True)]

        async def opener(other: AsyncConnection[Any]) -> None:
            await archive.open_account(
                other, "A1", points=["P1"], opened_on=OPEN, agreement="signed"
            )
            await settle_marked(other, ARMED, NOW)

        async with await connect(database_url) as other:
            async with connection.transaction():
                await collect(connection, batch, ZONE)
                opening = asyncio.create_task(opener(other))
                waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                while await rows(connection, waits) != [1]:
                    await asyncio.sleep(0)
            await opening
        assert [link[:2] for link in await links(connection, "P1")] == list(
            itertools.pairwise(DAYS)
        )
        assert await balance(connection, "A1") == -priced(KWH[0], KWH[-1])

    on(database_url, story)


# --- the queue and a database in trouble ----------------------------------------------------------


@asynccontextmanager
async def running_pipeline(
    url: str, *, batch_readings: int = 1000, pauses: Pauses = USUAL
) -> AsyncIterator[RunningPipeline]:
    """A pipeline with its task, and a wait until slots are stored and settled."""
    stored: list[tuple[int, date]] = []
    news = asyncio.Event()

    def told(slots: Collection[tuple[int, date]]) -> None:
        stored.extend(slots)
        news.set()

    async def until(*wanted: tuple[int, date]) -> None:
        while not set(wanted) <= set(stored):
            await asyncio.wait_for(news.wait(), 20)
            news.clear()
        async with await connect(url) as connection:
            waiting = "SELECT count(*) FROM to_settle WHERE account_id NOT IN (SELECT account_id FROM not_settled)"
            while await rows(connection, waiting) != [0]:
                await asyncio.sleep(0.01)

    async with await connect(url) as connection:
        meters = await archive.site_meters(connection)
    async with Pool(url, most=2, timeout=0.3) as pool:
        with a_pipeline(
            pool,
            ARMED,
            batch_readings=batch_readings,
            stored=told,
            meters=lambda: meters,
            pauses=pauses,
        ) as pipeline:
            runs = (pipeline.run, pipeline.keep, pipeline.settle)
            tasks = [asyncio.create_task(run()) for run in runs]
            try:
                yield pipeline, until, tasks[0]
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)


def test_a_reading_that_cannot_be_stored_is_a_dead_letter_and_the_rest_is_stored(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await Site.of(4).take_over(connection)
        good = [
            freeze(found[f"P{n}"], day, kwh)
            for n in (1, 2, 3)
            for day, kwh in zip(DAYS, KWH, strict=True)
        ]
        bad = freeze(found["P4"], DAYS[0], "1.234")
        async with running_pipeline(database_url) as (pipeline, until, _):
            for _ in range(2):
                for arrival in [*good[:7], bad, *good[7:]]:
                    assert pipeline.submit(arrival)
                await until(*((found[f"P{n}"].meter_id, day) for n in (1, 2, 3) for day in DAYS))
                await until((found["P4"].meter_id, DAYS[0]))
        for n in (1, 2, 3):
            assert await balance(connection, f"A{n}") == -priced(KWH[0], KWH[-1])
        ((content, reason),) = await rows(
            connection, "SELECT content::text, reason FROM dead_letter"
        )
        assert reason == "AssertionError: 1.234 kWh has more than 2 decimals"
        assert json.loads(content)["address"] == found["P4"].address
        assert await slots(connection, "P4") == {}

    on(database_url, story)


def test_use_that_has_no_price_waits_with_its_reason_and_the_other_accounts_go_on(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await Site.of(2).take_over(connection)
        await connection.execute("UPDATE account SET tariff_id = 'gone' WHERE number = 'A1'")
        async with running_pipeline(database_url) as (pipeline, until, task):
            for point in ("P1", "P2"):
                for day, kwh in zip(DAYS, KWH, strict=True):
                    assert pipeline.submit(freeze(found[point], day, kwh))
            await until(*((found[point].meter_id, day) for point in ("P1", "P2") for day in DAYS))
            assert not task.done()
        assert await balance(connection, "A2") == -priced(KWH[0], KWH[-1])
        assert await balance(connection, "A1") == 0
        assert len(await slots(connection, "P1")) == len(DAYS)
        assert await rows(connection, "SELECT account_id, error FROM not_settled") == [
            (1, "NoPrice: tariff gone has no version that counts")
        ]

    on(database_url, story)


@pytest.mark.one_by_one
def test_what_many_accounts_at_once_cannot_be_settled_for_is_told(database_url: str) -> None:
    """What is kept of A1 is broken: it waits with the reason, the others are settled, and those who
    watch see that they were not as they should be."""

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(3, warn_fen=-50_000, trip_fen=-90_000, reconnect_fen=-90_000)
        found = await site.take_over(connection)
        await store(connection, *(freeze(meter, DAYS[0], 100) for meter in found.values()))
        await store(connection, *(freeze(meter, DAYS[1], 101) for meter in found.values()))
        broken = "UPDATE account_month SET use = '{9,1}' WHERE account_id = 1"
        await connection.execute(broken)
        async with running_pipeline(database_url) as (pipeline, until, _):
            assert pipeline.condition()["settlement"] == "ok"
            for meter in found.values():
                assert pipeline.submit(freeze(meter, DAYS[2], 102))
            while (told := pipeline.condition()["settlement"]) == "ok":
                await asyncio.sleep(0.01)
            await until(*((meter.meter_id, DAYS[2]) for meter in found.values()))
        assert told.startswith("one by one: ValueError: ")
        assert [await balance(connection, f"A{n}") for n in (1, 2, 3)] == [-50, -100, -100]
        ((account, error),) = await rows(connection, "SELECT account_id, error FROM not_settled")
        assert (account, error.split(":")[0]) == (1, "ValueError")

    on(database_url, story)


def terminate_others(database_url: str) -> int:
    """Kill every other backend of this database, as its administrator would."""
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    administrator = make_conninfo(database_url, user="postgres")
    with psycopg.connect(administrator, autocommit=True) as connection:
        ((count,),) = connection.execute(kill).fetchall()
    return int(count)


def test_a_backend_killed_in_the_middle_of_a_batch_loses_nothing(
    database_url: str, owner_url: str
) -> None:
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'account_month'::regclass"
    )

    async def tell() -> None:
        async with await connect(database_url) as connection:
            meter = (await Site.of().take_over(connection))["P1"]
        async with running_pipeline(database_url) as (pipeline, until, _):
            async with await connect(owner_url) as other:
                with pytest.raises(psycopg.OperationalError):  # noqa: PT012 - the kill ends this transaction too
                    async with other.transaction():
                        await other.execute("LOCK TABLE account_month IN ACCESS EXCLUSIVE MODE")
                        for day, kwh in zip(DAYS, KWH, strict=True):
                            assert pipeline.submit(freeze(meter, day, kwh))
                        while await rows(other, waiting) != [
                            1
                        ]:  # readings and slots are written, charges are not
                            await asyncio.sleep(0.01)
                        assert terminate_others(database_url) >= 2
                        await other.execute("SELECT 1")
            await until(*((meter.meter_id, day) for day in DAYS))
        async with await connect(database_url) as connection:
            assert await balance(connection, "A1") == -priced(KWH[0], KWH[-1])
            assert len(await slots(connection, "P1")) == len(DAYS)
            assert await intact(connection)
            assert await rows(connection, "SELECT count(*) FROM dead_letter") == [0]

    asyncio.run(tell())


@contextmanager
def away(server: Server, url: str) -> Iterator[None]:
    """Meanwhile nobody gets into this database, and who was there is out."""
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    try:
        server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        yield
    finally:
        server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")


def test_a_database_that_is_away_for_a_while_gets_everything_afterwards(
    server: Server, database_url: str
) -> None:
    async def tell() -> None:
        async with await connect(database_url) as connection:
            meter = (await Site.of().take_over(connection))["P1"]
        async with running_pipeline(database_url, batch_readings=2) as (pipeline, until, _):
            assert pipeline.submit(freeze(meter, DAYS[0], KWH[0]))
            await until((meter.meter_id, DAYS[0]))
            with away(server, database_url):
                for day, kwh in zip(DAYS[1:], KWH[1:], strict=True):
                    assert pipeline.submit(freeze(meter, day, kwh))
                while pipeline.condition()["stores"] or pipeline.condition()["in_memory"]:
                    await asyncio.sleep(0.01)
            await until(*((meter.meter_id, day) for day in DAYS))
        async with await connect(database_url) as connection:
            assert await balance(connection, "A1") == -priced(KWH[0], KWH[-1])

    asyncio.run(tell())


def test_what_is_queued_is_stored_batch_by_batch_before_the_end(database_url: str) -> None:
    # On a busy machine three batches take longer than the end of a daemon waits for them.
    patient = Pauses(finish_s=60.0)

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        going = running_pipeline(database_url, batch_readings=2, pauses=patient)
        async with going as (pipeline, until, _):
            for day, kwh in zip(DAYS, KWH, strict=True):
                assert pipeline.submit(freeze(meter, day, kwh))
            await pipeline.finish()
            assert list(await slots(connection, "P1")) == DAYS
            await until()
        assert await balance(connection, "A1") == -priced(KWH[0], KWH[-1])

    on(database_url, story)


def test_the_end_does_not_wait_for_a_database_that_is_away(
    server: Server, database_url: str
) -> None:
    async def tell() -> None:
        async with await connect(database_url) as connection:
            meter = (await Site.of().take_over(connection))["P1"]
        async with running_pipeline(database_url, batch_readings=2) as (pipeline, _, _):
            with away(server, database_url):
                for day, kwh in zip(DAYS, KWH, strict=True):
                    assert pipeline.submit(freeze(meter, day, kwh))
                await asyncio.wait_for(pipeline.finish(), USUAL.finish_s + USUAL.sync_s)
                assert pipeline.condition()["spooled"] == len(DAYS)

    asyncio.run(tell())


# --- what is asked of it later --------------------------------------------------------------------


def test_gaps_and_withheld_values_are_found_by_comparing_with_what_is_owed(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await Site.of(2, installed_on=DAYS[1]).take_over(connection)
        await store(
            connection, freeze(found["P1"], DAYS[3], KWH[3]), freeze(found["P1"], DAYS[4], "1")
        )
        gaps = await find_gaps(connection, DAYS[0], DAYS[5])
        assert [(gap.point, gap.first_day, gap.last_day, gap.days) for gap in gaps] == [
            ("P1", DAYS[1], DAYS[2], 2),
            ("P1", DAYS[4], DAYS[4], 1),
            ("P1", DAYS[5], DAYS[5], 1),
            ("P2", DAYS[1], DAYS[5], 5),
        ]
        (withheld,) = await readings.withheld(connection, DAYS[0], DAYS[5])
        assert (withheld["point_id"], withheld["day"], withheld["total"]) == ("P1", DAYS[4], 100)
        assert withheld["reasons"] == ["V07"]
        first, second = found["P1"].meter_id, found["P2"].meter_id
        assert await readings.present_days(connection, DAYS[3], DAYS[5]) == {first: 0b110}
        assert await readings.present_days(connection, DAYS[4], DAYS[4], [first, second]) == {
            first: 0b1
        }
        assert await readings.present_days(connection, DAYS[3], DAYS[5], [second]) == {}

    on(database_url, story)


def test_a_change_of_a_slot_is_journalled(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, freeze(meter, DAYS[0], KWH[0]))
        await connection.execute("UPDATE slot SET state = 'suspect'")
        assert await rows(connection, "SELECT state::text FROM slot_journal") == ["published"]

    on(database_url, story)


def test_a_payment_without_a_fit_key_is_refused_whoever_takes_it_in(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of().take_over(connection)
        with pytest.raises(UnfitPaymentKey):
            await pay(connection, "A1", 100, "1:2")
        assert await rows(connection, "SELECT count(*) FROM ledger_transaction") == [0]

    on(database_url, story)


def test_payments_and_charges_of_one_account_at_once_add_up(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = await Site.of(2).take_over(connection)

        async def payer(account: str) -> None:
            async with await connect(database_url) as own:
                for n in range(10):
                    await pay(own, account, 100, f"{account}-{n}")

        async def collector() -> None:
            async with await connect(database_url) as own:
                for day, kwh in zip(DAYS, KWH, strict=True):
                    await store(own, freeze(found["P2"], day, kwh), freeze(found["P1"], day, kwh))

        await asyncio.gather(payer("A1"), payer("A2"), collector())
        expected = 1000 - priced(KWH[0], KWH[-1])
        assert [await balance(connection, account) for account in ("A1", "A2")] == [
            expected,
            expected,
        ]
        assert await intact(connection)

    on(database_url, story)
