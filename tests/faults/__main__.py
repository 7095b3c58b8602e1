"""Every fault of the database while meters are read, and the verdict.

Run it: `make faults`, or `python -m tests.faults --only hang --seed 7`. The installed daemon reads
simulated meters; somebody pays meanwhile. After each fault raw rows, slots, links and money are
compared with what the meters say; then the same fault again, with a SIGTERM in it. The exit code is
1 where anything was lost or doubled, or took longer than it may."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from daemon.runtime import logs
from storage import migrate
from storage.database import DAEMON, OWNER
from tests.faults import database_faults as faults
from tests.faults.database_faults import Fault
from tests.faults.trial import Outcome, heal, stop
from tests.servers.postgres import Server, embedded_server

LASTS_S: Final[dict[Fault, float]] = {
    faults.hang: 30,
    faults.fail_over: 0,
    faults.reset: 0,
    faults.half_close: 0,
    faults.refuse: 180,
    faults.slow: 30,
    faults.read_only: 20,
    faults.read_only_in_silence: 20,
    faults.away: 20,
    faults.too_many: 20,
    faults.impatient: 20,
    faults.without_privilege: 20,
    faults.locked: 20,
    faults.standing_still: 30,
    faults.crash: 20,
}
STOP_AFTER_S: Final = 3.0
HEAD: Final = ("fault", "lasted", "noticed", "stores", "well", "SIGTERM", "in it", "/healthz p99")


@contextmanager
def database(server: Server, name: str) -> Iterator[str]:
    """The URL of a migrated database of its own."""
    server.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    migrate(server.url(name, DAEMON), server.url(name, OWNER))
    yield server.url(name, DAEMON)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def tried(server: Server, fault: Fault, lasts_s: float, seed: int) -> tuple[Outcome, Outcome]:
    """What came of it, and of a SIGTERM in it."""
    with tempfile.TemporaryDirectory(prefix="meterd-", dir="/tmp") as folder:
        with database(server, "healed") as url:
            healed = heal(server, url, Path(folder, "healed"), fault, lasts_s, seed=seed)
        with database(server, "stopped") as url:
            stopped = stop(server, url, Path(folder, "stopped"), fault, STOP_AFTER_S, seed=seed)
    return healed, stopped


def row(healed: Outcome, stopped: Outcome) -> str:
    """One line of the table; seconds."""
    figures = [
        healed.lasted_s,
        healed.noticed_s,
        healed.stores_again_s,
        healed.well_again_s,
        healed.stop_s,
        stopped.stop_s,
        healed.healthz_p99_s,
    ]
    cells = ["-" if figure is None else f"{figure:.2f}" for figure in figures]
    return f"{healed.fault:22}" + "".join(f"{cell:>9}" for cell in cells)


def main() -> None:
    """Try them, and print the verdict."""
    names = [fault.__name__ for fault in LASTS_S]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=names, action="append")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    logs.configure(level="warning")
    bad = 0
    print(f"{HEAD[0]:22}" + "".join(f"{word[:8]:>9}" for word in HEAD[1:]))
    with embedded_server() as server:
        for fault, lasts_s in LASTS_S.items():
            if asked.only and fault.__name__ not in asked.only:
                continue
            healed, stopped = tried(server, fault, lasts_s, asked.seed)
            print(row(healed, stopped), flush=True)
            for found in (healed, stopped):
                complaints = found.untruths + found.late
                bad += len(complaints)
                for complaint in complaints:
                    print(f"  FAULT: {complaint}", flush=True)
    print("nothing lost, doubled or late" if not bad else f"NOT WELL: {bad}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
