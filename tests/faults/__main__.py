"""Every fault of the database and of disks while meters are read, callers that flood, meters that
lie, and the verdict.

Run it: `make faults`, or `python -m tests.faults --only hang --seed 7`. The installed daemon reads
simulated meters; somebody pays meanwhile. After each fault raw rows, slots, links and money are
compared with what the meters say; then the same fault again, with a SIGTERM in it. The exit code is
1 where anything was lost or doubled, or took longer than it may. Tables are Markdown, as
docs/reliability.md has them."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from daemon.runtime import logs
from tests.faults import callers, liars
from tests.faults import database_faults as faults
from tests.faults.database_faults import Fault
from tests.faults.scene import own_database
from tests.faults.small_disk import MayNotMount, small_disk
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
    faults.hasty: 20,
    faults.without_names: 20,
    faults.strict: 20,
    faults.without_login: 20,
    faults.without_table: 20,
    faults.without_standby: 60,
    faults.cancelled: 20,
    faults.ended: 20,
    faults.standing_still: 30,
    faults.crash: 20,
}
NEED_SMALL_DISKS: Final[dict[Fault, float]] = {
    faults.full_disk: 20,
    faults.full_disk_of_the_log: 20,
    faults.full_disk_of_the_daemon: 20,
}
STOP_AFTER_S: Final = 3.0
SERVER_MIB: Final = 400
DAEMON_MIB: Final = 64
HEAD: Final = (
    "fault",
    "lasted",
    "noticed",
    "stores again",
    "well again",
    "SIGTERM",
    "SIGTERM in it",
    "`/healthz`, 99 of 100",
)
OTHERS: Final[dict[str, Callable[[], list[str]]]] = {
    "floods": callers.main,
    "liars": liars.main,
}


def tried(
    server: Server, fault: Fault, lasts_s: float, seed: int, disk: Path
) -> tuple[Outcome, Outcome]:
    """What came of it, and of a SIGTERM in it. `disk`: where the daemon's files are."""
    with tempfile.TemporaryDirectory(prefix="meterd-", dir=disk) as folder:
        with own_database(server, "healed") as url:
            healed = heal(server, url, Path(folder, "healed"), fault, lasts_s, seed=seed)
        with own_database(server, "stopped") as url:
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
    return f"| `{healed.fault}` | {' | '.join(cells)} |"


def try_all(server: Server, some: Mapping[Fault, float], seed: int, disk: Path) -> list[str]:
    """Print a line of each; what was lost, doubled or late, in words."""
    complaints = []
    for fault, lasts_s in some.items():
        outcomes = tried(server, fault, lasts_s, seed, disk)
        print(row(*outcomes), flush=True)
        for it in outcomes:
            complaints += [f"{it.fault}: {words}" for words in it.untruths + it.late]
    return complaints


def try_on_small_disks(some: Mapping[Fault, float], seed: int) -> list[str]:
    """Those that fill one."""
    if not some:
        return []
    try:
        with (
            small_disk(SERVER_MIB) as of_server,
            small_disk(DAEMON_MIB) as of_daemon,
            embedded_server(disk=of_server) as server,
        ):
            return try_all(server, some, seed, of_daemon)
    except MayNotMount as why:
        print(f"not tried, because no disk may be mounted: {', '.join(map(name_of, some))}: {why}")
        return []


def name_of(fault: Fault) -> str:
    """As it is asked for."""
    return fault.__name__


def main() -> None:
    """Try them, and print the verdict."""
    names = [name_of(fault) for fault in (*LASTS_S, *NEED_SMALL_DISKS)]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=[*names, *OTHERS], action="append")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    wanted = asked.only or [*names, *OTHERS]
    logs.configure(level="warning")

    def chosen(some: Mapping[Fault, float]) -> dict[Fault, float]:
        return {fault: lasts_s for fault, lasts_s in some.items() if name_of(fault) in wanted}

    print(f"| {' | '.join(HEAD)} |\n" + "|---" * len(HEAD) + "|")
    with embedded_server() as server:
        complaints = try_all(server, chosen(LASTS_S), asked.seed, Path("/tmp"))
    complaints += try_on_small_disks(chosen(NEED_SMALL_DISKS), asked.seed)
    for name, run in OTHERS.items():
        if name in wanted:
            print()
            complaints += run()
    for words in complaints:
        print(f"FAULT: {words}")
    print("\nnothing lost, doubled or late" if not complaints else f"NOT WELL: {len(complaints)}")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
