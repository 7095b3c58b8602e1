"""The time of a bench: the site's own, or one that begins where it is told and runs faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from simulators.bench.scenario import Clock, site_clock


def bench_clock(
    zone: ZoneInfo,
    start: datetime | None,
    speed: Decimal,
    monotonic: Callable[[], float] = time.monotonic,
) -> Clock:
    """The site's wall clock without zone: the host's, unless it starts elsewhere or runs faster.

    It goes on from `start` (now) `speed` times as fast as `monotonic`."""
    if start is None and speed == 1:
        return site_clock(zone)
    begins = start or site_clock(zone)()
    began_s = monotonic()

    def site_time() -> datetime:
        passed_us = Decimal(monotonic() - began_s) * speed * 1_000_000
        return begins + timedelta(microseconds=int(passed_us))

    return site_time
