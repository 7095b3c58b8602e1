"""Seeded sites against the judgement, without a database and without a clock: `make simulate`.

PYTHONPATH=. .venv/bin/python tests/simulation/simulate.py [SEEDS] [FIRST_SEED] [PROCESSES]

Exit code 1 if anything untrue stayed published that could have been told, or if at any hour a day
was neither billed nor named."""

from __future__ import annotations

import sys
import time
from multiprocessing import Pool

from tests.simulation.lives import simulate
from tests.simulation.told import Told


def main() -> int:
    given = [int(it) for it in sys.argv[1:]]
    seeds, first, processes = [*given, *(200, 0, 2)[len(given) :]]
    began = time.monotonic()
    told = Told()
    cpu_s = 0.0
    with Pool(processes) as pool:
        for done, took_s in pool.imap_unordered(_timed, range(first, first + seeds)):
            told.add(done)
            cpu_s += took_s
    for words, count in sorted(told.counts.items()):
        print(f"{count:9} {words}")
    print(*told.three_days(), sep="\n")
    print(*told.mistakes[:100], sep="\n")
    took_s = time.monotonic() - began
    print(
        f"{seeds} seeds from {first}: {len(told.mistakes)} mistakes, {took_s:.0f} s,"
        f" {cpu_s / seeds:.1f} s of a processor each"
    )
    return 1 if told.mistakes else 0


def _timed(seed: int) -> tuple[Told, float]:
    began = time.process_time()
    told = simulate(seed)
    return told, time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
