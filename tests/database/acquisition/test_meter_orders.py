"""Keep power and warnings in simulated meters on a socket, by real rows: from the mark, or the
money, to the bit of the status word, and back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg import AsyncConnection

from config.secret import Secret
from daemon.acquisition.drivers import Credentials, driver_of
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.wire_line import WireLine, WireParts
from daemon.control.authority import Authority, SiteHold
from daemon.transactions.line_commands import LineCommands
from daemon.transactions.meter_orders import LineOrders, LineOrderStep, Ordering
from daemon.transactions.supply_marks import Marked, agree_to_lift, lift_mark, set_mark
from protocols.channels.conversation import Timing
from protocols.channels.tcp import TcpChannel
from protocols.reading import RelayState
from simulators.bench.running import Bench
from simulators.bench.scenario import parse_scenario
from storage import meter_orders
from storage.database import Pool
from storage.documents import Said
from storage.supply import database_clock
from tests.database.small_site import ARMED, SHADOW, Site, connect, pay, rows
from tests.line_parts import line_parts

ZONE = ZoneInfo("Asia/Shanghai")
METER = "000000000001"
PATIENCE_S = 20
SCENARIO = """
zone = "Asia/Shanghai"
[lines.line]
port = 0
[[meters]]
line = "line"
address = "000000000001"
password = "{password}"
"""
CREDENTIALS = Credentials("02", "00000000", Secret("000000"))
WARNS = replace(ARMED, meter_alarm=True)
SEEN_CLOSED = (
    "UPDATE point_supply SET relay_observed = 'closed', command_observed = 'closed',"
    " relay_observed_at = clock_timestamp()"
)
ORDERS = "SELECT what, is_on, state, may_be_on FROM meter_order ORDER BY what"
LATE_ORDERS = b"UPDATE meter_order SET next_at = made_at WHERE next_at > now()"
LATE_COMMANDS = b"UPDATE command SET next_at = created_at WHERE next_at > now()"
OPENED = (
    "INSERT INTO command (id, point_id, meter_id, address, line, action, cause, state, guard,"
    " created_at, expires_at, next_at) SELECT gen_random_uuid(), p.id, m.id, m.address, m.line, %s,"
    " 'test', %s, '{}', now(), now() + interval '1 hour', now() + %s FROM point p, meter m"
)
LI, ZHAO = Said("li", "hospital"), "zhao"


class Orders(LineOrders):
    """They count how often the line looked for them and found that there is no more to be done."""

    looks = 0

    async def serve(self, execute: Any, far_end: Any = None) -> bool:
        is_due = self.is_due()
        is_done = await super().serve(execute, far_end)
        self.looks += is_due and not is_done
        return is_done


@dataclass
class Scene:
    """One account whose meter stands on a line that runs; the test is the tick."""

    connection: AsyncConnection[Any]
    bench: Bench
    authority: Authority
    line: WireLine
    orders: Orders
    told: int = 0
    """Steps of commands that the line was woken for."""

    @property
    def relay(self) -> Any:
        return self.bench.meters[METER].relay

    def frames(self) -> list[str]:
        """N1 of every control frame that reached the meter."""
        return [
            event.detail["action"]
            for _, event in self.bench.log.since(0)
            if event.kind == "control"
        ]

    async def tick(self) -> None:
        await Ordering(self.authority).look(self.connection)
        self.line.wake()

    async def keep_power(self, meanwhile: Callable[[Scene], Awaitable[None]] | None = None) -> int:
        """`meanwhile`: what happens between the order and the line's look for it."""
        number = await set_mark(self.connection, "keep_power", Marked(point="P1"), LI)
        await Ordering(self.authority).look(self.connection)
        if meanwhile is not None:
            await meanwhile(self)
        self.line.wake()
        return number

    async def lift(self, number: int) -> None:
        await lift_mark(self.connection, number, ["keep_power"], LI)
        await agree_to_lift(self.connection, number, ZHAO)
        await self.tick()

    async def until(self, *expected: tuple[Any, ...], question: str = ORDERS) -> None:
        """Until the rows are these; nothing is waited for: what is to be looked at is, at once."""
        found: list[Any] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := await rows(self.connection, question)) != list(expected):
                    await self.hurry()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            assert found == list(expected)

    async def hurry(self) -> None:
        """A wake of nothing would only interrupt what the line is about."""
        for late in (LATE_ORDERS, LATE_COMMANDS):
            if (await self.connection.execute(late)).rowcount:
                self.line.wake()
        # The daemon hears of it by the database's notification.
        (told,) = await rows(self.connection, "SELECT count(*) FROM command_event")
        if told != self.told:
            self.told = told
            self.line.wake()

    async def looked(self, times: int = 2) -> None:
        """Until the line looked for its orders so often, whatever came of it."""
        for _ in range(times):
            await self.connection.execute(LATE_ORDERS)
            before = self.orders.looks
            self.line.wake()
            async with asyncio.timeout(PATIENCE_S):
                while self.orders.looks == before:  # noqa: ASYNC110  a look has no event
                    await asyncio.sleep(0.02)


@asynccontextmanager
async def scene(
    url: str, authority: Authority = ARMED, password: str = "000000"
) -> AsyncIterator[Scene]:
    async with (
        await connect(url) as connection,
        Bench(parse_scenario(SCENARIO.format(password=password))) as bench,
        Pool(url, most=4) as pool,
    ):
        meters = list((await Site.of(1, reconnect="close").take_over(connection)).values())
        await connection.execute(SEEN_CLOSED)
        await connection.execute("UPDATE account SET state = 'active'")
        where = bench.lines["line"].whereabouts()
        orders = Orders("line", pool, authority)
        line = WireLine(
            line_parts(
                "line",
                meters,
                commands=LineCommands("line", pool, authority),
                orders=orders,
                may_control=not authority.shadow_mode,
            ),
            WireParts(
                driver_of=lambda meter: driver_of(
                    meter, {}, has_relay=True, credentials=CREDENTIALS
                ),
                open_channel=lambda: TcpChannel(str(where["host"]), int(where["port"])),
                timing=Timing(reply_timeout_s=0.5),
                batch_poller=BatchPoller(Deadlines()),
            ),
        )
        task = asyncio.create_task(line.run())
        try:
            yield Scene(connection, bench, authority, line, orders)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def run(story: Awaitable[None]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(3 * PATIENCE_S):
            await story

    asyncio.run(timed())


def test_keep_power_is_set_with_its_mark_and_ended_when_two_persons_lifted_it(
    database_url: str,
) -> None:
    async def story() -> None:
        async with scene(database_url) as here:
            mark = await here.keep_power()
            await here.until(("keep_power", True, "verified", True))
            assert here.relay.keeps_power
            observed = "SELECT keep_power_observed FROM point_supply"
            assert await rows(here.connection, observed) == [True]
            await here.tick()
            await here.looked()
            assert here.frames() == ["3A"]
            await here.lift(mark)
            await here.until(("keep_power", False, "verified", False))
            assert not here.relay.keeps_power
            assert await rows(here.connection, observed) == [False]
            await here.tick()
            await here.looked()
            assert here.frames() == ["3A", "3B"]
            told = await rows(
                here.connection, "SELECT is_on, state FROM meter_order_event ORDER BY id"
            )
            steps = ("persisted", "sent", "acked", "verified")
            assert told == [(is_on, state) for is_on in (True, False) for state in steps]

    run(story())


async def _cut(here: Scene) -> None:
    await here.connection.execute(
        "UPDATE point_supply SET supply_state = 'disconnected', relay_observed = 'closed'"
    )


async def _open_trip(here: Scene) -> None:
    await here.connection.execute(OPENED, ("trip", "acked", timedelta(minutes=30)))


async def _reconnect(here: Scene) -> None:
    await here.connection.execute(OPENED, ("close", "persisted", timedelta()))


async def _work(here: Scene) -> None:
    await set_mark(here.connection, "keep_off", Marked(point="P1"), LI)


async def _nothing(here: Scene) -> None:
    """Its relay is open, and nobody here knows yet."""


@pytest.mark.parametrize("way", [_nothing, _cut, _open_trip, _work])
def test_a_meter_that_is_off_or_on_its_way_there_is_never_told_to_keep_power(
    database_url: str, way: Callable[[Scene], Awaitable[None]]
) -> None:
    async def story() -> None:
        async with scene(database_url) as here:
            if way in (_nothing, _cut):
                here.relay.force(here.bench.now(), to_open=True)
            await here.keep_power(way)
            assert len(await rows(here.connection, ORDERS)) == 1
            await here.looked(3)
            assert "3A" not in here.frames()
            assert here.relay.is_open == (way in (_nothing, _cut))

    run(story())


def test_what_no_line_does_is_given_up(database_url: str) -> None:
    async def story() -> None:
        async with scene(database_url) as here:
            await here.connection.execute("UPDATE meter SET line = 'gone'")
            await here.keep_power()
            for days, state in ((1, "persisted"), (3, "failed")):
                age = f"made_at = now() - interval '{days} days'"
                await here.connection.execute(f"UPDATE meter_order SET {age}".encode())
                await here.tick()
                assert await rows(here.connection, ORDERS) == [("keep_power", True, state, False)]
            # It is ordered anew when that is a day ago.
            await here.connection.execute(
                b"UPDATE meter_order SET changed_at = now() - interval '2 days'"
            )
            await here.tick()
            assert await rows(here.connection, ORDERS) == [("keep_power", True, "persisted", False)]

    run(story())


def test_in_shadow_mode_nothing_is_written_down_and_nothing_leaves(database_url: str) -> None:
    async def story() -> None:
        async with scene(database_url, replace(SHADOW, meter_alarm=True)) as here:
            await here.connection.execute("UPDATE account SET credit_state = 'low'")
            await here.keep_power()
            assert await rows(here.connection, ORDERS) == []
            # Nor what was left by a daemon that was in auto.
            await Ordering(WARNS).look(here.connection)
            assert len(await rows(here.connection, ORDERS)) == 2
            await here.looked(3)
            assert here.frames() == []

    run(story())


def test_who_lost_the_site_releases_nothing(database_url: str) -> None:
    async def story() -> None:
        # A token that the database does not confirm.
        async with scene(database_url, replace(ARMED, hold=SiteHold(token=7))) as here:
            await here.keep_power()
            await here.looked(3)
            assert here.frames() == []
            assert await rows(here.connection, ORDERS) == [("keep_power", True, "persisted", False)]

    run(story())


def test_a_reconnect_waits_for_no_order_and_an_order_waits_for_it(database_url: str) -> None:
    async def story() -> None:
        async with scene(database_url) as here:
            here.relay.force(here.bench.now(), to_open=True)
            await here.keep_power(_reconnect)
            await here.until(("keep_power", True, "verified", True))
            assert here.frames() == ["1C", "3A"]
            assert not here.relay.is_open

    run(story())


def test_what_others_set_is_theirs(database_url: str) -> None:
    async def story() -> None:
        async with scene(database_url) as here:
            here.relay.keeps_power = True
            mark = await here.keep_power()
            await here.until(("keep_power", True, "verified", False))
            await here.lift(mark)
            await here.looked()
            assert here.frames() == []
            assert here.relay.keeps_power

    run(story())


def test_the_meter_warns_while_money_is_low_and_no_more_when_it_was_paid(
    database_url: str,
) -> None:
    async def story() -> None:
        async with scene(database_url, WARNS) as here:
            await pay(here.connection, "A1", 100)
            await here.tick()
            await here.until(("alarm", True, "verified", True))
            assert here.relay.pre_trip_alarm
            await here.tick()
            await pay(here.connection, "A1", 10_000, "2")
            await here.tick()
            await here.until(("alarm", False, "verified", False))
            await here.tick()
            await here.looked()
            assert here.frames() == ["2A", "2B"]

    run(story())


def test_no_meter_warns_unless_the_site_says_so_and_what_warns_is_taken_back(
    database_url: str,
) -> None:
    async def story() -> None:
        async with scene(database_url) as here:
            await pay(here.connection, "A1", 100)
            await here.tick()
            assert await rows(here.connection, ORDERS) == []
            await here.connection.execute(
                "INSERT INTO meter_order (meter_id, what, is_on, cause, state, may_be_on, made_at,"
                " changed_at) SELECT id, 'alarm', true, 'before', 'acked', true, now(), now()"
                " FROM meter"
            )
            await here.tick()
            await here.until(("alarm", False, "verified", False))
            assert here.frames() == ["2B"]

    run(story())


def test_a_wrong_password_stops_the_trips_of_the_site_and_is_not_tried_for_a_day(
    database_url: str,
) -> None:
    async def story() -> None:
        async with scene(database_url, password="123456") as here:
            mark = await here.keep_power()
            await here.until(("keep_power", True, "refused", False))
            cause = "SELECT cause FROM breaker WHERE reset_at IS NULL"
            assert await rows(here.connection, cause) == ["wrong_password"]
            await here.tick()
            assert await rows(here.connection, ORDERS) == [("keep_power", True, "refused", False)]
            await here.connection.execute(
                "UPDATE meter_order SET changed_at = changed_at - interval '1 day'"
            )
            await here.tick()
            await here.looked(3)
            # While the breaker is open no meter counts another one.
            assert here.frames() == ["3A"]
            await here.lift(mark)
            await here.looked()
            assert here.frames() == ["3A"]

    run(story())


def test_what_may_have_left_before_a_restart_is_looked_for_first(database_url: str) -> None:
    async def story() -> None:
        async with scene(database_url, WARNS) as here:
            await pay(here.connection, "A1", 100)
            await here.connection.execute(
                "INSERT INTO meter_order (meter_id, what, is_on, cause, state, may_be_on, made_at,"
                " changed_at, next_at, sends) SELECT id, 'alarm', true, 'before', 'sent', true,"
                " now(), now(), now(), 1 FROM meter"
            )
            here.relay.pre_trip_alarm = True
            here.line.wake()
            await here.until(("alarm", True, "verified", True))
            assert here.frames() == []

    run(story())


def test_nothing_is_sent_to_a_meter_whose_clock_cannot_be_trusted(database_url: str) -> None:
    async def story() -> None:
        async with scene(database_url) as here:
            now: datetime = here.bench.now()
            meter = here.bench.meters[METER]
            meter.set_clock(now, now - timedelta(minutes=10), how="test")
            await here.keep_power()
            await here.looked(3)
            assert here.frames() == []
            (detail,) = await rows(here.connection, "SELECT detail FROM meter_order")
            assert detail.startswith("meter clock shows")

    run(story())


@pytest.mark.parametrize("protocol", ["dlt645-1997", "mqtt"])
def test_nothing_is_made_for_meters_that_cannot(database_url: str, protocol: str) -> None:
    async def story() -> None:
        async with await connect(database_url) as connection:
            await Site.of(1, protocol=protocol).take_over(connection)
            await connection.execute(SEEN_CLOSED)
            await connection.execute("UPDATE account SET credit_state = 'low', state = 'active'")
            await set_mark(connection, "keep_power", Marked(point="P1"), LI)
            await Ordering(WARNS).look(connection)
            assert await rows(connection, ORDERS) == []

    run(story())


def test_a_meter_with_an_order_stays_when_the_files_say_that_it_was_another(
    database_url: str,
) -> None:
    async def story() -> None:
        async with await connect(database_url) as connection:
            site = Site.of(1)
            await site.take_over(connection)
            await connection.execute(SEEN_CLOSED)
            await set_mark(connection, "keep_power", Marked(point="P1"), LI)
            await Ordering(ARMED).look(connection)
            site.meters[0]["address"] = "000000000009"
            await site.take_over(connection)
            addresses = await rows(connection, "SELECT address FROM meter ORDER BY 1")
            assert addresses == [METER, "000000000009"]

    run(story())


def test_a_command_that_comes_while_the_meter_is_read_goes_first(database_url: str) -> None:
    async def story() -> None:
        async with await connect(database_url) as connection, Pool(database_url, most=2) as pool:
            await Site.of(1).take_over(connection)
            await connection.execute(SEEN_CLOSED)
            await set_mark(connection, "keep_power", Marked(point="P1"), LI)
            await Ordering(ARMED).look(connection)
            told: list[bool] = []

            async def reads(step: LineOrderStep) -> None:
                await connection.execute(OPENED, ("close", "persisted", timedelta()))
                told.append(await step.release(RelayState(False, False)))

            orders = LineOrders("line", pool, ARMED)
            orders.wake()
            assert await orders.serve(reads)
            assert told == [False]
            # While it is open the meter is not even read for its order.
            await connection.execute("UPDATE meter_order SET next_at = made_at")
            orders.wake()
            assert not await orders.serve(reads)
            assert orders.due_in_s() == inf

    run(story())


async def _cost(connection: AsyncConnection[Any]) -> dict[str, int]:
    """Pages that each look of the tick touched when there was nothing to do."""
    values = {"now": await database_clock(connection), "after": 0, "most": 100, "alarms": True}
    found = {}
    async with connection.transaction():
        await meter_orders.look_up_by_index(connection)
        for look in ("order_keep_power", "order_alarms", "end_alarms"):
            asked = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {meter_orders.SQL[look]}"
            cursor = await connection.execute(asked.encode(), values)
            ((told,),) = await cursor.fetchall()
            found[look] = (
                told[0]["Plan"]["Shared Hit Blocks"] + told[0]["Plan"]["Shared Read Blocks"]
            )
            assert "Seq Scan" not in json.dumps(told)
            # Nothing is compared one by one with all of the others.
            assert not re.search(r"Removed by Join Filter.: [1-9]", json.dumps(told))
    return found


def test_what_the_tick_costs_does_not_grow_with_the_site(database_url: str) -> None:
    async def story() -> None:
        async with await connect(database_url) as connection:
            site = Site.of(20)
            await site.take_over(connection)
            await connection.execute(SEEN_CLOSED)
            await connection.execute("UPDATE account SET state = 'active', credit_state = 'low'")
            for number in range(1, 21):
                await set_mark(connection, "keep_power", Marked(point=f"P{number}"), LI)
            await Ordering(WARNS).look(connection)
            await connection.execute(
                "UPDATE meter_order SET state = 'verified', may_be_on = true, next_at = NULL"
            )
            await connection.execute("UPDATE point_supply SET keep_power_observed = true")
            await connection.execute("ANALYZE")
            small = await _cost(connection)
            for number in range(21, 1500):
                site.add(number)
            await site.take_over(connection)
            await connection.execute("ANALYZE")
            large = await _cost(connection)
            for look, pages in small.items():
                assert large[look] < 2 * pages, look

    run(story())
