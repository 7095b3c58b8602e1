"""Run the suite at the hours, and in a zone, where days begin and end. The arguments are pytest's.

A program: `python -m tests.at_hours tests/unit -q`. The wall clock is libfaketime's, of this process and of all that it
starts, servers included; the monotonic clock stays the kernel's, so that waits are as long as they are.
"""

import os
import subprocess
import sys
from datetime import UTC, datetime

from tests.servers.packages import program

# 00:00 and 16:00 UTC are midnight in UTC and in Asia/Shanghai; 12:30 UTC is past noon and still the same day in both;
# 23:59 UTC lets midnight happen while the suite runs. The zone of the machine has summer time in one of them.
MOMENTS = [
    ("2026-11-28 00:00:00", "UTC"),
    ("2026-11-28 12:30:00", "UTC"),
    ("2026-11-28 16:00:00", "UTC"),
    ("2026-11-28 23:59:00", "UTC"),
    ("2026-10-24 23:59:00", "Europe/Berlin"),
]


def main() -> int:
    """The number of moments at which the suite was red."""
    faketime = program("faketime", ["faketime"])
    arguments = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    red = 0
    for moment, zone in MOMENTS:
        print(f"== {moment} UTC, machine in {zone}", flush=True)
        start = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        # An offset, not a moment: every process that is started later goes on from the same clock.
        offset_s = round((start - datetime.now(UTC)).total_seconds())
        environment = os.environ | {"TZ": zone, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        done = subprocess.run(
            [faketime, "-f", f"{offset_s:+d}s", *arguments], env=environment, check=False
        )
        red += done.returncode != 0
    return red


if __name__ == "__main__":
    sys.exit(main())
