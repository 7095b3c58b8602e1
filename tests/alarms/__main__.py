"""Every alert is made to fire and to end by a fault, on the installed daemon.

Run it: `make alarms`, or `python -m tests.alarms --only notices`. Meters are simulated; daemon,
database and Prometheus are real. The rules are those that are shipped with every time in them
shortened (tests/alarms/shortened.py). Two stories at once, each a process with a server of its own.
The table is Markdown, as docs/monitoring.md has it; the exit code is 1 where an alert did not fire,
or did not end."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from tests.alarms.shortened import alerts
from tests.alarms.stories import MIDNIGHTS, STORIES, before_midnight
from tests.alarms.watch import Alarm

AT_ONCE: Final = 2


def told(folder: Path, story: str) -> list[Alarm]:
    """What came of a story; what went wrong with it stands on standard error."""
    faked = before_midnight(folder) if story in MIDNIGHTS else {}
    done = subprocess.run(
        [sys.executable, "-m", "tests.alarms.stories", story],
        stdout=subprocess.PIPE,
        env=os.environ | faked,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"the story {story} ended with {done.returncode}", file=sys.stderr)
    return [msgspec.json.decode(line, type=Alarm) for line in done.stdout.splitlines()]


def row(alarm: Alarm) -> str:
    """One line of the table."""
    times = (alarm.fired_after_s, alarm.ended_after_s)
    cells = ["never" if it is None else f"{it:.0f} s" for it in times]
    return f"| {alarm.alert} | {alarm.fault} | {' | '.join(cells)} |"


def verdict(found: Iterable[Alarm], wanted: Iterable[str]) -> list[str]:
    """What of these did not fire and end, in words."""
    by_alert = {it.alert: it for it in found}
    wrong = []
    for alert in wanted:
        alarm = by_alert.get(alert)
        if alarm is None or alarm.fired_after_s is None:
            wrong.append(f"{alert} did not fire")
        elif alarm.ended_after_s is None:
            wrong.append(f"{alert} did not end")
    return wrong


def main() -> None:
    """Play the stories, and print the verdict."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=STORIES, action="append")
    asked = parser.parse_args()
    began = time.monotonic()
    found: list[Alarm] = []
    print("| alert | caused by | fires after | is over after |\n|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory(prefix="meterd-", dir="/tmp") as folder,
        ThreadPoolExecutor(AT_ONCE) as playing,
    ):
        Path(folder).chmod(0o755)
        for alarms in playing.map(partial(told, Path(folder)), asked.only or STORIES):
            print("\n".join(map(row, alarms)), flush=True)
            found += alarms
    wrong = verdict(found, [it.alert for it in found] if asked.only else alerts())
    print(f"\n{len(found)} of {len(alerts())} alerts in {time.monotonic() - began:.0f} s")
    for words in wrong:
        print(f"NOT WELL: {words}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
