"""Run the suite at the hours, and in a zone, where days begin and end. The arguments are pytest's.

A program: `python -m tests.at_hours tests/unit -q`. The wall clock is libfaketime's, of this
process and of all that it starts, servers included; the monotonic clock stays the kernel's, so that
waits are as long as they are."""

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.servers.packages import install

PACKAGE = "libfaketime"

# 00:00 and 16:00 UTC are midnight in UTC and in Asia/Shanghai; 12:30 UTC is past noon and still the
# same day in both; 23:59 UTC lets midnight happen while the suite runs. The zone of the machine has
# summer time in one of them.
MOMENTS = [
    ("2026-11-28 00:00:00", "UTC"),
    ("2026-11-28 12:30:00", "UTC"),
    ("2026-11-28 16:00:00", "UTC"),
    ("2026-11-28 23:59:00", "UTC"),
    ("2026-10-24 23:59:00", "Europe/Berlin"),
]


def main() -> int:
    """The number of moments at which the suite was red."""
    with tempfile.TemporaryDirectory() as folder:
        # PostgreSQL of the tests runs as another user, who loads these too.
        Path(folder).chmod(0o755)
        preloaded = f"{real_sleep(Path(folder))} {libfaketime()}"
        return sum(not is_green(moment, zone, preloaded) for moment, zone in MOMENTS)


def is_green(moment: str, zone: str, preloaded: str) -> bool:
    """Run the suite from that moment on."""
    print(f"== {moment} UTC, machine in {zone}", flush=True)
    start = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    # An offset, not a moment: every process that is started later goes on from the same clock.
    offset_s = round((start - datetime.now(UTC)).total_seconds())
    # Not by the program `faketime`: it shares memory that another user's process, the database,
    # may not open.
    environment = os.environ | {
        "FAKETIME": f"{offset_s:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "LD_PRELOAD": preloaded,
        "TZ": zone,
    }
    suite = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    return subprocess.run(suite, env=environment, check=False).returncode == 0


def libfaketime() -> str:
    """The path of the library; its package is installed if it is missing."""
    install([PACKAGE])
    listed = subprocess.run(["dpkg", "-L", PACKAGE], capture_output=True, text=True, check=True)
    return next(path for path in listed.stdout.split() if path.endswith("/libfaketime.so.1"))


def real_sleep(folder: Path) -> Path:
    """The compiled real_sleep.c, which says why it is needed."""
    source, library = Path(__file__).parent / "servers" / "real_sleep.c", folder / "real_sleep.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    return library


if __name__ == "__main__":
    sys.exit(main())
