"""The registers of near-real-time accounts, every hour (R30): raw readings for their estimate."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import psycopg
import structlog

from daemon.acquisition.lines import Lines
from daemon.acquisition.meter_reads import MeterRead
from daemon.acquisition.on_demand import OnDemand
from storage.database import Pool
from storage.estimates import near_real_time_meters

log = structlog.get_logger("daemon")
HOUR_S: Final = 3600
BEGINS_S: Final = 600
"""Behind the hour: midnight's freezes come first."""
WITHIN_S: Final = 2700.0
"""What was not asked by then is asked in the next hour."""
LOOK_S: Final = 15.0
"""At whose accounts these are now."""


async def read_hourly(
    pool: Pool, lines: Lines, on_demand: OnDemand, now: Callable[[], float] = time.time
) -> None:
    """Read each at once and then every hour, until cancelled.

    As whatever is requested they share the line with what is due there. Who does not answer is
    asked again in the next hour: an estimate tells of when it is."""
    asked: dict[int, int] = {}
    while True:
        try:
            async with pool.connection() as connection:
                meters = await near_real_time_meters(connection)
        except (psycopg.Error, OSError) as error:
            log.debug("hourly reads wait for the database", error=str(error).strip())
        else:
            hour = int(now() - BEGINS_S) // HOUR_S
            due = [meter for meter in meters if asked.get(meter) != hour]
            asked = dict.fromkeys(meters, hour)
            await _read(due, lines, on_demand)
        await asyncio.sleep(LOOK_S)


async def _read(meters: list[int], lines: Lines, on_demand: OnDemand) -> None:
    found = [line_and_meter for it in meters if (line_and_meter := lines.with_meter(it))]
    if not found:
        return
    reads = [MeterRead(line, meter, "registers", None) for line, meter in found]
    outcomes: Counter[str] = Counter()
    async for result in on_demand.results(reads, WITHIN_S):
        outcomes[result.outcome] += 1
    log.info("read for estimates", meters=len(reads), **outcomes)
