"""Seeded sites against the judgement, without a database and without a clock: `make simulate`.

PYTHONPATH=. .venv/bin/python tests/simulation/simulate.py [SEEDS] [FIRST_SEED] [PROCESSES]

Exit code 1 if anything untrue was published that could have been told, or a day had no next step.
"""

from __future__ import annotations

import sys
import time
from multiprocessing import Pool

from tests.simulation.lives import Told, simulate


def main() -> int:
    given = [int(it) for it in sys.argv[1:]]
    seeds, first, processes = [*given, *(200, 0, 2)[len(given) :]]
    began = time.monotonic()
    told = Told()
    with Pool(processes) as pool:
        for done in pool.imap_unordered(simulate, range(first, first + seeds)):
            told.add(done)
    for words, count in sorted(told.counts.items()):
        print(f"{count:9} {words}")
    print(*told.mistakes[:100], sep="\n")
    took_s = time.monotonic() - began
    print(f"{seeds} seeds from {first}: {len(told.mistakes)} mistakes, {took_s:.0f} s")
    return 1 if told.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
