"""Not in it: reading facts from a database and writing verdicts to one. What judging itself costs:
a million clean points of two months as arrays, and single points in dispute.

PYTHONPATH=. .venv/bin/python tests/bench/bench_judgement.py [POINTS]"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np

from daemon.quality.facts import Facts, Installation, Limit, Read, Registers
from daemon.quality.fleet import Freezes, clean_points
from daemon.quality.judge import judge

DAYS = 62
FIRST = date(2026, 3, 1)
ZONE = ZoneInfo("Asia/Shanghai")
MODULUS = 100_000_000
MAX_DAILY = 38_000
GOAL_CLEAN_S = 10.0
GOAL_DISPUTE_MS = 20.0


def main() -> None:
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    random = np.random.default_rng(1)
    for rates in (0, 4):
        clean_fleet(points, rates, random)
    for title, facts in disputes().items():
        took_ms = median_ms(partial(judge, facts))
        print(f"a point in dispute, {title}: {took_ms:.1f} ms (goal {GOAL_DISPUTE_MS:.0f} ms)")


def clean_fleet(points: int, rates: int, random: np.random.Generator) -> None:
    """Every tenth value of each point is missing."""
    freezes = fleet(points, rates, random)
    plain_s = timed(lambda: plain_pass(freezes))
    taken_s = timed(lambda: clean_points(freezes))
    proved = clean_points(freezes)
    assert proved.clean.all()
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    held_gib = (
        freezes.totals.nbytes + (0 if freezes.rates is None else freezes.rates.nbytes)
    ) / 2**30
    print(
        f"{points} clean points x {DAYS} days, {rates} rates: {taken_s:.2f} s"
        f" (goal {GOAL_CLEAN_S:.0f} s), {taken_s / plain_s:.1f} x a plain diff and compare"
        f" ({plain_s:.2f} s); peak {peak_gib:.2f} GiB with {held_gib:.2f} GiB of registers"
    )


def fleet(points: int, rates: int, random: np.random.Generator) -> Freezes:
    use = random.integers(0, 3_000, size=(points, DAYS), dtype=np.int64)
    first = random.integers(0, MODULUS, size=(points, 1), dtype=np.int64)
    totals = (first + use.cumsum(axis=1)) % MODULUS
    missing = random.random((points, DAYS), dtype=np.float32) < 0.1
    told = None
    if rates:
        # Parts that add up: each rate has its share of the advance, the last one the rest.
        first_rates = random.integers(0, 1_000, size=(rates, points, 1), dtype=np.int64)
        shares = np.stack([use // rates] * (rates - 1) + [use - use // rates * (rates - 1)])
        told = first_rates + shares.cumsum(axis=2)
        totals = told.sum(axis=0)
        told[:, missing] = -1
    totals[missing] = -1
    every = np.ones(points, dtype=np.int64)
    return Freezes(
        totals=totals,
        modulus=every * MODULUS,
        max_daily=every * MAX_DAILY,
        wire_steps=every,
        midnight_s=np.arange(DAYS, dtype=np.int64) * 86_400,
        plain=np.ones(points, dtype=bool),
        confirmed=np.zeros(points, dtype=bool),
        unchanged_days=np.zeros(points, dtype=np.int64),
        rates=told,
    )


def plain_pass(freezes: Freezes) -> int:
    """The limit: one difference and one comparison, gaps and turns of the register ignored."""
    found = 0
    for first in range(0, len(freezes.totals), 8192):
        block = freezes.totals[first : first + 8192]
        found += int((np.diff(block, axis=1) <= MAX_DAILY).sum())
    return found


def disputes() -> dict[str, Facts]:
    return {
        "one candidate a day, one of four wrong": dispute(1),
        "five candidates a day": dispute(5),
        "five candidates a day with four rates": dispute(5, rates=4),
    }


def dispute(candidates: int, rates: int = 0) -> Facts:
    random = np.random.default_rng(2)
    reads = []
    for number in range(DAYS):
        day = FIRST + timedelta(days=number)
        for place in range(candidates):
            is_wrong = place > 0 or number % 4 == 3
            total = 1_000 + 5 * number + (int(random.integers(-300, 300)) if is_wrong else 0)
            told = tuple((f"rate{n}", Decimal(total) / 4) for n in range(rates))
            read_at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=number, hours=place)
            reads.append(Read(day, Registers(Decimal(total), told), read_at))
    installation = Installation(
        at=datetime(2026, 3, 1, tzinfo=ZONE),
        serial="A",
        modulus=Decimal(1_000_000),
        decimals=2,
        wire_decimals=2,
    )
    return Facts(ZONE, (installation,), (Limit(FIRST, Decimal(380)),), reads=tuple(reads))


def timed(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def median_ms(run: Callable[[], object]) -> float:
    run()
    return sorted(timed(run) for _ in range(15))[7] * 1000


if __name__ == "__main__":
    main()
