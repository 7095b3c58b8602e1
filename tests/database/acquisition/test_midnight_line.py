"""A line at midnight: meters without memory are read by the host and their freeze lands in the
database."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from config.profiles import load_profile
from daemon.acquisition.drivers import driver_of
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.wire_line import WireLine, WireParts
from daemon.control.authority import Authority
from daemon.control.guard import Policy
from protocols.channels.conversation import Timing
from protocols.channels.tcp import TcpChannel
from simulators.bench.running import Bench
from simulators.bench.scenario import parse_scenario
from storage.database import Pool
from tests.database.small_site import Site, connect, rows
from tests.line_parts import line_parts
from tests.spooled import a_pipeline

ZONE = ZoneInfo("Asia/Shanghai")
MIDNIGHT = datetime(2026, 3, 2, tzinfo=ZONE)
PROFILES = {"eastron-sdm630": load_profile("eastron-sdm630")}
SCENARIO = """
zone = "Asia/Shanghai"
[lines.gate]
port = 0
reply_delay_ms = 1
modbus = "rtu"
[[meters]]
protocol = "modbus"
line = "gate"
profile = "eastron-sdm630"
unit = 5
[[meters]]
protocol = "dlt645-1997"
line = "gate"
address = "000000000097"
[[meters]]
line = "gate"
address = "000000000007"
"""


def clock_at(start: datetime) -> Callable[[], datetime]:
    """A clock that runs on from `start`."""
    began = datetime.now(UTC)
    return lambda: start.astimezone(UTC) + (datetime.now(UTC) - began)


async def line_around_midnight(url: str) -> tuple[list[Any], dict[str, Decimal]]:
    """Run a line of three protocols from 23:59:59 until both meters without memory are frozen; what
    is in the database (address, day, kWh, state, offset in s, error bound), and the true registers
    at midnight by address."""
    now = clock_at(MIDNIGHT - timedelta(seconds=1))
    scenario = parse_scenario(SCENARIO)
    site = Site()
    installed = date(2026, 3, 1)
    site.add(
        5,
        address="gate/5",
        protocol="modbus-rtu",
        profile="eastron-sdm630",
        line="gate",
        installed_on=installed,
    )
    site.add(
        97, address="000000000097", protocol="dlt645-1997", line="gate", installed_on=installed
    )
    site.add(7, address="000000000007", line="gate", installed_on=installed)
    async with await connect(url) as connection:
        meters = list((await site.take_over(connection)).values())
        local = lambda: now().astimezone(ZONE).replace(tzinfo=None)  # noqa: E731
        async with (
            Bench(scenario, now=local) as bench,
            Pool(url, most=4) as pool,
            AsyncExitStack() as opened,
        ):
            where = bench.lines["gate"].whereabouts()
            authority = Authority(Policy(), ZONE, True, timedelta)
            everything_there = asyncio.Event()
            seen: set[int] = set()

            def stored(slots: Collection[tuple[int, date]]) -> None:
                seen.update(meter for meter, _ in slots)
                if len(seen) >= 2:
                    everything_there.set()

            pipeline = opened.enter_context(
                a_pipeline(pool, authority, batch_readings=10, stored=stored, meters=lambda: meters)
            )
            line = WireLine(
                line_parts("gate", meters, sink=pipeline, now=now),
                WireParts(
                    driver_of=lambda meter: driver_of(meter, PROFILES, has_relay=False),
                    open_channel=lambda: TcpChannel(str(where["host"]), int(where["port"])),
                    timing=Timing(reply_timeout_s=1),
                    batch_poller=BatchPoller(Deadlines()),
                ),
            )
            tasks = [asyncio.create_task(line.run()), asyncio.create_task(pipeline.run())]
            try:
                async with asyncio.timeout(20):
                    await everything_there.wait()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            return await rows(
                connection,
                "SELECT m.address, s.day, s.total / power(10::numeric, i.decimals), s.state::text,"
                " r.host_offset_ms, l.max_daily_kwh"
                " FROM slot s JOIN meter m ON m.id = s.meter_id JOIN installation i ON i.meter_id = m.id"
                " JOIN point_limit l ON l.point_id = s.point_id"
                " JOIN reading r ON (r.meter_id, r.day, r.id) = (s.meter_id, s.day, s.reading_id)"
                " ORDER BY 1, 2",
            ), {
                meter.address: Decimal(meter.true_register(MIDNIGHT.replace(tzinfo=None)))
                for meter in bench.meters.values()
            }


def test_meters_without_memory_are_frozen_by_the_host_at_midnight(database_url: str) -> None:
    found, truth = asyncio.run(line_around_midnight(database_url))
    frozen = [row for row in found if row[4] is not None]
    assert [(address, day, state) for address, day, _, state, _, _ in frozen] == [
        # The first value of a meter waits for its second one.
        ("000000000097", date(2026, 3, 2), "suspect"),
        ("gate/5", date(2026, 3, 2), "suspect"),
    ]
    for address, _, kwh, _, offset_ms, max_daily_kwh in frozen:
        assert abs(offset_ms) < 10_000
        error_bound = max_daily_kwh * abs(offset_ms) / 86_400_000
        assert abs(kwh - truth[address]) <= Decimal("0.02") + error_bound
