"""Seeded sites under control, without a database and without a clock: `make simulate-control`.

PYTHONPATH=. .venv/bin/python tests/simulation/control/simulate.py [SEEDS] [FIRST_SEED] [PROCESSES]

With `SEED=n make simulate-control` one of them. Exit code 1 if anything happened that must not."""

from __future__ import annotations

import sys
import time
from collections import Counter
from multiprocessing import Pool

from tests.simulation.control.lives import Life, live

MOST_SHOWN = 40


def main() -> int:
    """Exit code."""
    given = [int(it) for it in sys.argv[1:]]
    seeds, first, processes = [*given, *(1_000, 0, 2)[len(given) :]]
    began = time.monotonic()
    lives = live_all(seeds, first, processes)
    took_s = time.monotonic() - began
    for what, count in sorted(told(lives).items()):
        print(f"{count:9} {what}")
    mistakes = [f"seed {life.seed}, {it}" for life in lives for it in life.mistakes]
    print(*mistakes[:MOST_SHOWN], sep="\n")
    steps = sum(life.steps for life in lives)
    print(f"{seeds} seeds from {first}: {steps} steps, {len(mistakes)} mistakes, {took_s:.0f} s")
    return 1 if mistakes else 0


def live_all(seeds: int, first: int = 0, processes: int = 2) -> list[Life]:
    """So many seeds."""
    if processes == 1:
        return [live(seed) for seed in range(first, first + seeds)]
    with Pool(processes) as pool:
        return pool.map(live, range(first, first + seeds), chunksize=5)


def told(lives: list[Life]) -> Counter[str]:
    """How often what happened."""
    return sum((Counter(life.told) for life in lives), Counter())


if __name__ == "__main__":
    sys.exit(main())
