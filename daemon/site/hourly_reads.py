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
HOUR_S: Final = 3600.0
MINUTE_OF_HOUR_S: Final = 600.0
"""Behind midnight's freezes, which come first."""
WITHIN_S: Final = 2700.0
"""What was not asked by then is asked in the next hour."""
AGAIN_S: Final = 60.0
"""Before a database that could not tell is asked again."""


async def read_hourly(
    pool: Pool, lines: Lines, on_demand: OnDemand, now: Callable[[], float] = time.time
) -> None:
    """Read them at the start and ten minutes behind each hour, until cancelled.

    As whatever is requested they share the line with what is due there. Who did not answer is
    asked in the next hour; their estimate says of when it is."""
    while True:
        try:
            async with pool.connection() as connection:
                meters = await near_real_time_meters(connection)
        except psycopg.Error:
            await asyncio.sleep(AGAIN_S)
            continue
        found = [line_and_meter for it in meters if (line_and_meter := lines.with_meter(it))]
        reads = [MeterRead(line, meter, "registers", None) for line, meter in found]
        if reads:
            outcomes: Counter[str] = Counter()
            async for result in on_demand.results(reads, WITHIN_S):
                outcomes[result.outcome] += 1
            log.info("read for estimates", meters=len(reads), **outcomes)
        await asyncio.sleep(HOUR_S - (now() - MINUTE_OF_HOUR_S) % HOUR_S)
