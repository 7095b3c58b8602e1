"""Readings of whatever days that are settled by columns leave what account by account leaves."""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from itertools import count
from random import Random
from typing import Any, Final

import pytest
from psycopg import AsyncConnection

from daemon.quality.arrival import Arrival
from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.documents.handover import Assignment
from storage import terms
from storage.archive import SiteMeter
from tests.database.small_site import ARMED, DAY, ZONE, Site, freeze, noon, on, pay, rows
from tests.database.transactions.test_any_order_of_events import Crash, FusedConnection
from tests.database.transactions.test_cost_of_a_batch import counted
from tests.database.transactions.test_documents import filed
from tests.database.transactions.test_next_days import (
    BEGIN,
    RICH,
    TOU,
    add_tariffs,
    check,
    left,
    of_every_kind,
)

pytestmark = pytest.mark.hypertables

DAYS: Final = 18
"""A month and a version of a tariff begin among them."""
BY_ACCOUNT: Final = "AS linked_to"
"""Part of a statement by which accounts are settled one by one."""


class Registers:
    """What each meter shows on each day, and which of that was told."""

    def __init__(self, meters: Mapping[str, SiteMeter], begin: date, chance: Random) -> None:
        self._meters = [*meters.values()]
        self._chance = chance
        self._values = {meter.meter_id: [*self._of_a_meter(begin)] for meter in self._meters}
        self._lacking: dict[int, list[int]] = {meter.meter_id: [] for meter in self._meters}
        self._begin = begin

    def _of_a_meter(self, begin: date) -> Iterator[list[Decimal]]:
        steps = [100, 100, 100, 100]
        for _ in range(DAYS):
            yield [Decimal(it).scaleb(-2) for it in steps]
            steps = [it + self._chance.randint(0, 200) for it in steps]

    def day_comes(self, number: int) -> None:
        """From now on meters can tell it."""
        for lacking in self._lacking.values():
            lacking.append(number)

    def told(self, meter: SiteMeter, how: str) -> list[Arrival]:
        """Some of what was not told yet."""
        lacking = self._lacking[meter.meter_id]
        some = {
            "nothing": [],
            "newest": lacking[-1:],
            "oldest": lacking[:1],
            "two": lacking[:2],
            "some": [it for it in lacking if self._chance.random() < 0.4],
            "all": list(lacking),
        }[how]
        self._lacking[meter.meter_id] = [it for it in lacking if it not in some]
        return [self._freeze(meter, number) for number in some]

    def _freeze(self, meter: SiteMeter, number: int) -> Arrival:
        rates = self._values[meter.meter_id][number]
        return freeze(meter, self._begin + number * DAY, sum(rates, Decimal()), rates=rates)

    def batch(self, hows: list[str]) -> list[Arrival]:
        """What the meters of a line tell that has its way of telling."""
        how = {meter.meter_id: self._chance.choice(hows) for meter in self._meters}
        lines = self._chance.choice([True, False])
        common = self._chance.choice(hows)
        return [
            it
            for meter in self._meters
            for it in self.told(meter, common if lines else how[meter.meter_id])
        ]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_days_come_they_leave_what_account_by_account_leaves(
    database_url: str, seed: int
) -> None:
    chance = Random(seed)

    async def story(connection: AsyncConnection[Any]) -> None:
        await add_tariffs(connection)
        found = await of_every_kind().take_over(connection)
        registers = Registers(found, BEGIN, chance)
        is_dark = False
        for n in range(DAYS):
            registers.day_comes(n)
            now = noon(BEGIN + n * DAY)
            if n == 2:
                for account in range(1, len(found) + 1):
                    await pay(
                        connection, f"A{account}", chance.randint(2_000, 50_000), f"{account}", now
                    )
            if n in (4, 9):
                closed = range(4) if n == 4 else range(4, 9)
                await terms.close_days(connection, [BEGIN + k * DAY for k in closed])
            if n == 6:
                await terms.add_bonus(connection, 8, BEGIN, Decimal("2.5"), "person:x")
            is_dark = chance.random() < (0.75 if is_dark else 0.25)
            hows = ["nothing"] if is_dark else ["newest", "oldest", "two", "some", "all", "all"]
            for _ in range(1 if is_dark else 2):
                await collect(connection, registers.batch(hows), ZONE)
                await check(connection, now)

    on(database_url, story)


def plain(accounts: int) -> Site:
    found = Site()
    for number in range(1, accounts + 1):
        kind = {"tariff_id": "tou", "residual_rate": "flat"} if number % 2 else {}
        found.add(number, opened_on=BEGIN, **RICH, **kind)
    return found


@pytest.mark.parametrize(
    ("outage", "hows"),
    [
        (1, ["newest"]),
        (5, ["all"]),
        (5, ["newest"]),
        (12, ["all"]),
        (5, ["newest", "oldest", "two", "oldest"]),
        (12, ["newest", "oldest", "two", "all"]),
    ],
    ids=[
        "first days",
        "several days at once",
        "a span",
        "many days at once",
        "a span that is filled",
        "a held span that is filled",
    ],
)
def test_what_is_typical_is_settled_by_columns(
    database_url: str, outage: int, hows: list[str]
) -> None:
    chance = Random(outage)

    async def story(connection: AsyncConnection[Any]) -> None:
        await add_tariffs(connection)
        found = await plain(6).take_over(connection)
        registers = Registers(found, BEGIN, chance)
        await settle_marked(connection, ARMED, noon(BEGIN))
        with counted(connection) as given:
            for n in range(3):
                registers.day_comes(n)
                await collect(connection, registers.batch(["all"]), ZONE)
                await settle_marked(connection, ARMED, noon(BEGIN + n * DAY))
            for n in range(3, 3 + outage):
                registers.day_comes(n)
            for how in hows:
                await collect(connection, registers.batch([how]), ZONE)
                await settle_marked(connection, ARMED, noon(BEGIN + n * DAY))
        assert not any(BY_ACCOUNT in it for it in given)
        assert await rows(connection, "SELECT count(*) FROM to_settle") == [0]

    on(database_url, story)


def test_who_gets_a_point_is_not_billed_for_the_day_before(database_url: str) -> None:
    """The freeze of the day on which it changes hands comes when everybody knows that."""

    async def story(connection: AsyncConnection[Any]) -> None:
        site = plain(2)
        site.tariffs.append(("tou", date(2026, 1, 1), Decimal(1)))
        del site.points[1], site.meters[1]
        meter = (await site.take_over(connection))["P1"]
        for n in range(6):
            if n == 3:
                await filed(connection, Assignment("P1", "A2", BEGIN + n * DAY))
            await collect(connection, [freeze(meter, BEGIN + n * DAY, 100 + n)], ZONE)
            await check(connection, noon(BEGIN + n * DAY))
        holders = "SELECT account_id, from_day - %s FROM link ORDER BY 2"
        assert await rows(connection, holders, BEGIN) == [(1, 0), (1, 1), (1, 2), (2, 3), (2, 4)]

    on(database_url, story)


def test_use_that_waits_for_rates_goes_on_to_the_value_that_has_them(database_url: str) -> None:
    """Also where a version began meanwhile that asks for none."""
    by_rates = {name: told for name, told in TOU.items() if name != "ladder"}
    flat = {"effective_from": str(BEGIN + 3 * DAY), "energy": {"mode": "flat", "price": "0.5"}}

    async def story(connection: AsyncConnection[Any]) -> None:
        await add_tariffs(connection, ("tou", by_rates), ("tou", flat))
        meter = (await plain(1).take_over(connection))["P1"]
        for n in range(6):
            rates = [] if n in (3, 4) else [Decimal(25 + n)] * 4
            value = freeze(meter, BEGIN + n * DAY, 100 + 4 * n, rates=rates)
            await collect(connection, [value], ZONE)
            await check(connection, noon(BEGIN + n * DAY))
        spans = "SELECT from_day - %s, to_day - %s, hold FROM link ORDER BY 1"
        assert (await rows(connection, spans, BEGIN, BEGIN))[-1] == (2, 5, None)

    on(database_url, story)


def test_whatever_statement_breaks_a_back_fill_is_settled_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await add_tariffs(connection)
        found = await plain(3).take_over(connection)
        registers = Registers(found, BEGIN, Random(1))
        for n in range(8):
            registers.day_comes(n)
            if n in (0, 1, 7):
                hows = ["newest"] if n == 7 else ["all"]
                await collect(connection, registers.batch(hows), ZONE)
                await settle_marked(connection, ARMED, noon(BEGIN + n * DAY))
        await collect(connection, registers.batch(["two"]), ZONE)
        now = noon(BEGIN + 7 * DAY)
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
            assert at > 15, "each statement broke once"

    on(database_url, story)
