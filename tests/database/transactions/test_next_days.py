"""A day that is settled by columns leaves what settling account by account leaves."""

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from random import Random
from typing import Any, Final

import pytest
from psycopg import AsyncConnection

from daemon.quality.arrival import Arrival
from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.documents.filing import approve, file_document
from daemon.transactions.documents.ratio_change import RatioChange
from daemon.transactions.rounds import Pace
from daemon.transactions.settle import settle_accounts
from daemon.transactions.supply import request_trips, restore
from storage import supply, terms
from storage.archive import SiteMeter
from storage.database import connect
from storage.settling import Days, mark_accounts, take_marks
from tests.database.small_site import (
    ARMED,
    DAY,
    SHADOW,
    ZONE,
    Site,
    balance,
    freeze,
    intact,
    noon,
    on,
    pay,
    rows,
)
from tests.database.transactions.test_any_order_of_events import Crash, FusedConnection
from tests.database.transactions.test_cost_of_a_batch import counted
from tests.database.transactions.test_documents import LI, WANG

pytestmark = pytest.mark.hypertables

BEGIN: Final = date(2026, 3, 27)
LAST: Final = date(2026, 4, 5)
"""So a month ends meanwhile."""
TOU: Final = {
    "effective_from": "2026-01-01",
    "energy": {
        "mode": "tou",
        "prices": {"sharp": "0.95", "peak": "0.75", "flat": "0.5283", "valley": "0.31"},
    },
    "ladder": {"cycle": "year", "method": "adder", "bounds_kwh": ["30"], "adders": ["0", "0.05"]},
    "fixed": {"monthly_yuan": "31"},
    "tax": {"mode": "exclusive", "rate": "0.06"},
}
LATER: Final = {
    **TOU,
    "effective_from": "2026-03-30",
    "surcharges": [{"code": "fund", "per_kwh": "0.02"}],
}
MATRIX: Final = {
    "effective_from": "2026-01-01",
    "ladder": {
        "cycle": "month",
        "method": "matrix",
        "bounds_kwh": ["20"],
        "matrix": [
            {"sharp": "0.9", "peak": "0.7", "flat": "0.5", "valley": "0.3"},
            {"sharp": "1.2", "peak": "0.9", "flat": "0.7", "valley": "0.4"},
        ],
    },
}
SLAB: Final = {
    "effective_from": "2026-01-01",
    "ladder": {
        "cycle": "month",
        "method": "slab",
        "bounds_kwh": ["10", "25"],
        "whole_above_kwh": "10",
        "prices": ["0.5", "0.7", "0.9"],
    },
    "minimum": {"monthly_yuan": "20"},
}
LEFT: Final = {
    "links": "SELECT point_id, account_id, from_day, to_day, meter_id, l.begins, l.ends, modulus, decimals, ratio, hold, "
    "pieces::text, billed_by IS NULL FROM link l ORDER BY 1, 3",
    "charges": "SELECT a.name, t.value_date, t.kind, p.leg, p.amount_fen, p.period, p.component FROM posting p "
    "JOIN ledger_transaction t ON t.id = p.transaction_id JOIN ledger_account a ON a.id = p.ledger_account_id "
    "ORDER BY 1, 2, 3, 4, 6, 7, 5",
    "billed": "SELECT l.point_id, l.from_day, j.value_date, j.amounts FROM link l JOIN journal j ON j.id = l.billed_by "
    "ORDER BY 1, 2",
    "months": "SELECT * FROM account_month ORDER BY 1, 2",
    "balances": "SELECT name, balance_fen FROM account_balance ORDER BY 1",
    "credit": "SELECT id, state, credit_state, span_grace_until FROM account ORDER BY 1",
    "episodes": "SELECT account_id, started_at, ended_at FROM arrears_episode ORDER BY 1, 2",
    "old charges": "SELECT account_id, first_day, fen, reasons FROM old_charge ORDER BY 1, 2, 3",
    "used": "SELECT tariff_id, effective_from, is_used FROM tariff_version ORDER BY 1, 2",
    "commands": "SELECT point_id, action, state FROM command ORDER BY 1, 2, 3",
    "marks": "SELECT * FROM to_settle ORDER BY 1",
}


RICH: Final = {"warn_fen": -50_000, "trip_fen": -90_000, "reconnect_fen": -90_000}
"""Nobody of these is cut for what the tests let them use."""


async def left(connection: AsyncConnection[Any]) -> dict[str, list[Any]]:
    return {name: await rows(connection, query) for name, query in LEFT.items()}


async def one_by_one(connection: AsyncConnection[Any], now: datetime) -> None:
    marks = await take_marks(connection, 1000, now, datetime.max.replace(tzinfo=now.tzinfo))
    accounts = await settle_accounts(connection, marks, ZONE, now)
    await restore(
        connection, await supply.accounts_not_energised(connection, accounts), "paid", now
    )
    poor = await supply.accounts_exhausted(connection, accounts)
    await request_trips(connection, ARMED, poor, now)


async def check(connection: AsyncConnection[Any], now: datetime) -> None:
    """Settle what is marked both ways; the first one is taken back."""
    async with connection.transaction(force_rollback=True):
        await one_by_one(connection, now)
        expected = await left(connection)
    await settle_marked(connection, ARMED, now)
    found = await left(connection)
    for name, told in expected.items():
        differing = [it for it in found[name] if it not in told]
        assert (name, differing) == (name, [it for it in told if it not in found[name]])
    assert await intact(connection)


async def add_tariffs(
    connection: AsyncConnection[Any],
    *versions: tuple[str, Mapping[str, Any]],
) -> None:
    for tariff, form in versions or (
        ("tou", TOU),
        ("tou", LATER),
        ("matrix", MATRIX),
        ("slab", SLAB),
    ):
        await connection.execute(
            "INSERT INTO tariff_version (tariff_id, effective_from, revision, form) VALUES (%s, %s, 0, %s)",
            (tariff, form["effective_from"], json.dumps(form)),
        )


def of_every_kind() -> Site:
    """Accounts of every kind that may lie side by side."""
    found = Site()
    kinds: list[Mapping[str, Any]] = [
        *[{}] * 4,
        {"ratio": Decimal("1.5")},
        {"ratio": Decimal(40), "max_daily_kwh": Decimal(40)},
        *[{"tariff_id": "tou", "residual_rate": "flat"}] * 4,
        {"tariff_id": "tou", "phases": 3},
        {"tariff_id": "matrix"},
        *[{"tariff_id": "slab"}] * 2,
        {"credit_limit_fen": 2_000, "warn_fen": 50_000},
        {"protected": True},
        {"settlement": "month"},
    ]
    for number, kind in enumerate(kinds, 1):
        found.add(number, opened_on=BEGIN, **kind)
    return found


def rich(accounts: int, **facts: Any) -> Site:
    """Accounts of one kind."""
    found = Site()
    for number in range(1, accounts + 1):
        found.add(number, opened_on=BEGIN, **RICH, **facts)
    return found


def value(meter: SiteMeter, day: date, chance: Random, known: dict[int, list[int]]) -> Arrival:
    """The next value of a meter, in hundredths of a kWh."""
    kept = known.setdefault(meter.meter_id, [100, 100, 100, 100])
    known[meter.meter_id] = [it + chance.randint(1, 300) for it in kept]
    rates = [Decimal(it).scaleb(-2) for it in known[meter.meter_id]]
    return freeze(meter, day, sum(rates, Decimal()), rates=rates)


@pytest.mark.parametrize("seed", range(4))
def test_every_day_leaves_what_account_by_account_leaves(database_url: str, seed: int) -> None:
    chance = Random(seed)

    async def story(connection: AsyncConnection[Any]) -> None:
        await add_tariffs(connection)
        found = await of_every_kind().take_over(connection)
        known: dict[int, list[int]] = {}
        late: list[Arrival] = []
        for n in range((LAST - BEGIN).days):
            day = BEGIN + n * DAY
            now = noon(day)
            batch = [value(it, day, chance, known) for it in found.values()]
            # Some come a day later, together with those of that day.
            waiting = [it for it in batch if n > 1 and chance.random() < 0.15]
            await collect(connection, [*late, *(it for it in batch if it not in waiting)], ZONE)
            late = waiting
            if n == 3:
                await terms.add_bonus(connection, 8, BEGIN, Decimal("2.5"), "person:x")
                await terms.add_used_elsewhere(connection, 9, "2026", Decimal(20), "person:x")
            if n == 5:
                await terms.close_days(connection, [BEGIN + k * DAY for k in range(5)])
            # Whoever has no money is cut, and is settled by himself: most have some.
            for account in (*range(1, len(found) - 3), len(found)) if n == 0 else ():
                await pay(
                    connection,
                    f"A{account}",
                    chance.randint(2_000, 20_000),
                    f"first {account}",
                    now,
                )
            if chance.random() < 0.5:
                await pay(
                    connection, f"A{chance.randint(1, 5)}", chance.randint(1, 3_000), f"{n}", now
                )
            await check(connection, now)
            # The same day told again, and days that nothing happened on.
            again = [chance.randint(1, len(found)) for _ in range(3)]
            await mark_accounts(connection, again, Days(day, day), "readings")
            await check(connection, now)

    on(database_url, story)


def test_money_that_a_day_does_not_move_is_in_no_transaction(database_url: str) -> None:
    """A meter that stands still is linked, and charged for nothing."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found = (await Site.of(2, opened_on=BEGIN).take_over(connection)).values()
        for n in range(4):
            if n == 0:
                await pay(connection, "A1", 10_000)
                await pay(connection, "A2", 10_000, "2")
            used = [100 + n, 100 + min(n, 2)]
            arrivals = [
                freeze(it, BEGIN + n * DAY, kwh) for it, kwh in zip(found, used, strict=True)
            ]
            await collect(connection, arrivals, ZONE)
            await check(connection, noon(BEGIN + n * DAY))
        billed = "SELECT point_id, billed_by IS NULL FROM link WHERE from_day = %s ORDER BY 1"
        assert await rows(connection, billed, BEGIN + 2 * DAY) == [(1, False), (2, True)]
        assert await balance(connection, "A2") == 10_000 - 100

    on(database_url, story)


def test_an_account_that_cannot_be_settled_holds_up_no_other(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await add_tariffs(connection)
        found = await Site.of(3, opened_on=BEGIN, tariff_id="tou").take_over(connection)
        known: dict[int, list[int]] = {}
        for n in range(4):
            day = BEGIN + n * DAY
            batch = [value(meter, day, Random(n), known) for meter in found.values()]
            await collect(connection, batch, ZONE)
            if n == 3:
                await connection.execute("UPDATE point SET rates = '{a,b,c,d}' WHERE number = 'P2'")
            await settle_marked(connection, ARMED, noon(day))
        put_off = "SELECT account_id, error LIKE 'NoPrice: no register tells%%' FROM not_settled"
        assert await rows(connection, put_off) == [(2, True)]
        newest = "SELECT point_id, max(to_day) FROM link GROUP BY 1 ORDER BY 1"
        last = BEGIN + 3 * DAY
        assert await rows(connection, newest) == [(1, last), (2, last - DAY), (3, last)]

    on(database_url, story)


def test_a_link_has_the_ratio_of_its_day_not_that_of_the_link_before(database_url: str) -> None:
    """A document says it from the midnight on that lies between them."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found = (await rich(2).take_over(connection)).values()
        for n in range(5):
            day = BEGIN + n * DAY
            await collect(connection, [freeze(it, day, 100 + n) for it in found], ZONE)
            await check(connection, noon(day))
            if n == 2:
                told = RatioChange("P1", day, Decimal(3), None)
                filed = await file_document(connection, told, LI, noon(day))
                assert filed.number is not None
                await approve(connection, filed.number, WANG, noon(day))
                await settle_marked(connection, ARMED, noon(day))
        ratios = "SELECT ratio FROM link WHERE point_id = 1 ORDER BY from_day"
        assert await rows(connection, ratios) == [1, 1, 3, 3]

    on(database_url, story)


def test_a_day_told_again_takes_six_statements_that_know_its_links(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = (await rich(3).take_over(connection)).values()
        for n in range(4):
            await collect(connection, [freeze(it, BEGIN + n * DAY, 100 + n) for it in found], ZONE)
            await settle_marked(connection, SHADOW, noon(BEGIN + n * DAY))
        settled = await left(connection)
        days = Days(BEGIN + 3 * DAY, BEGIN + 3 * DAY)
        await mark_accounts(connection, [1, 2, 3], days, "readings")
        with counted(connection) as given:
            await settle_marked(connection, SHADOW, noon(BEGIN + 3 * DAY))
        assert len(given) <= 6, given
        assert await left(connection) == settled

    on(database_url, story)


def test_a_day_of_many_accounts_takes_fourteen_statements(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = (await rich(20).take_over(connection)).values()
        for n in range(4):
            arrivals = [freeze(it, BEGIN + n * DAY, 100 + n) for it in found]
            await collect(connection, arrivals, ZONE)
            with counted(connection) as given:
                await settle_marked(connection, SHADOW, noon(BEGIN + n * DAY))
        assert len(given) <= 14, given
        assert not any("published_chains" in it or "AS linked_to" in it for it in given)
        assert await rows(connection, "SELECT count(*) FROM link") == [60]

    on(database_url, story)


def test_what_is_stored_while_others_are_settled_is_settled_with_them(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = [*(await rich(4).take_over(connection)).values()]
        for n in range(2):
            await collect(connection, [freeze(it, BEGIN + n * DAY, 100 + n) for it in found], ZONE)
            await settle_marked(connection, SHADOW, noon(BEGIN + n * DAY))
        day = BEGIN + 2 * DAY
        values = [freeze(it, day, 102) for it in found]
        waits = 0
        async with await connect(database_url) as beside:
            await collect(connection, values[2:], ZONE)
            await beside.execute("BEGIN")
            await collect(beside, values[:2], ZONE)

            async def give_way() -> None:
                nonlocal waits
                waits += 1
                if waits == 2:
                    await beside.execute("COMMIT")

            with counted(connection) as given:
                await settle_marked(connection, SHADOW, noon(day), give_way=give_way)
        assert await rows(connection, "SELECT count(*) FROM link WHERE to_day = %s", day) == [4]
        assert not any("AS linked_to" in it for it in given)

    on(database_url, story)


@pytest.mark.parametrize(
    ("takes_s", "at_once", "then"), [(0.01, [10, 14], 50), (0.5, [10, 10, 4], 10)]
)
def test_as_many_accounts_are_locked_as_fifty_milliseconds_are_enough_for(
    database_url: str,
    takes_s: float,
    at_once: list[int],
    then: int,
) -> None:
    """Of 24 accounts 10 are taken first; who settles next goes on at that pace."""

    async def story(connection: AsyncConnection[Any]) -> None:
        found = (await rich(24).take_over(connection)).values()
        for n in range(3):
            await collect(connection, [freeze(it, BEGIN + n * DAY, 100 + n) for it in found], ZONE)
            if n < 2:
                await settle_marked(connection, ARMED, noon(BEGIN + n * DAY))
        looks: list[float] = []

        def clock() -> float:
            # Every second look ends a transaction.
            looks.append(takes_s * ((len(looks) + 1) // 2))
            return looks[-1]

        pace = Pace(10, 2000, fewest=10)
        with counted(connection) as given:
            await settle_marked(connection, ARMED, noon(BEGIN + 2 * DAY), clock, pace=pace)
        assert sum("add_links" in it or "COPY link" in it for it in given) == len(at_once)
        charged = "SELECT count(*) FROM journal GROUP BY xmin::text::bigint ORDER BY xmin::text::bigint DESC LIMIT %s"
        assert (await rows(connection, charged, len(at_once)))[::-1] == at_once
        assert pace.at_once == then

    on(database_url, story)


def test_accounts_whose_tariff_is_not_for_columns_are_settled_fifty_at_a_time(
    database_url: str,
) -> None:
    """However many came: a payment waits for no more than these."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await add_tariffs(connection)
        found = (await rich(52, tariff_id="matrix").take_over(connection)).values()
        known: dict[int, list[int]] = {}
        for n in range(3):
            day = BEGIN + n * DAY
            await collect(connection, [value(it, day, Random(n), known) for it in found], ZONE)
            await settle_marked(connection, ARMED, noon(day), lambda: 0.0)
        charged = "SELECT count(*) FROM journal GROUP BY xmin::text::bigint ORDER BY xmin::text::bigint DESC LIMIT 2"
        assert await rows(connection, charged) == [2, 50]
        assert await rows(connection, "SELECT count(*) FROM to_settle") == [0]

    on(database_url, story)


def test_whatever_statement_breaks_the_day_is_settled_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        found = (await rich(3).take_over(connection)).values()
        for n in range(3):
            await collect(connection, [freeze(it, BEGIN + n * DAY, 100 + n) for it in found], ZONE)
            if n < 2:
                await settle_marked(connection, ARMED, noon(BEGIN + n * DAY))
        now = noon(BEGIN + 2 * DAY)
        async with await FusedConnection.connect(database_url, autocommit=True) as fused:
            async with fused.transaction(force_rollback=True):
                await settle_marked(fused, ARMED, now)
                expected = await left(fused)
            for at in count():
                async with fused.transaction(force_rollback=True):
                    fused.fuse = at
                    try:
                        await settle_marked(fused, ARMED, now)
                    except Crash:
                        fused.fuse = None
                    else:
                        break
                    await settle_marked(fused, ARMED, now)
                    assert await left(fused) == expected
            assert at > 12, "each statement broke once"

    on(database_url, story)
