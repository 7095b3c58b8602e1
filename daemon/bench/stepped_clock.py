"""One clock for several processes, which goes on from event to event.

libfaketime gives it to the daemon and its database from outside, both the wall's time and the
monotonic one, so what runs is the program as it is installed: every `now()` in Python and in SQL
is this clock's. Between two steps it runs as fast as any other, so a line has its real time to
answer, and what happened in between is a pause of the machine, as a daemon must bear it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from protocols.errors import MeterdError

LIBRARY: Final = "faketime/libfaketime.so.1"
FOLDERS: Final = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/arm-linux-gnueabihf",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)


class NoSteppedClock(MeterdError):
    """The library that hands a clock to other processes is not installed."""


def library(folders: Iterable[str] = FOLDERS) -> Path:
    """Where libfaketime is. NoSteppedClock."""
    for folder in folders:
        if (path := Path(folder) / LIBRARY).exists():
            return path
    raise NoSteppedClock(
        "a bench hands its clock to the daemon and the database through libfaketime, which is not "
        "installed: apt install libfaketime"
    )


class SteppedClock:
    """The host's time, and so much ahead. Other processes read it from a file of `folder`."""

    def __init__(self, folder: Path) -> None:
        self._library = library()
        folder.chmod(0o755)  # an embedded database may be another user's
        self._file = folder / "clock"
        self._ahead = timedelta(0)
        self._show()

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC) + self._ahead

    def step_to(self, at: datetime) -> timedelta:
        """It goes on at `at` where that is still to come; by how much it was moved."""
        by = max(at - self.now(), timedelta(0))
        self._ahead += by
        self._show()
        return by

    def environment(self) -> Mapping[str, str]:
        """Of processes that are to live on it."""
        return {
            **os.environ,
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
        }

    def _show(self) -> None:
        # Whole at every moment.
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"+{self._ahead.total_seconds():.6f}\n", encoding="ascii")
        fresh.chmod(0o644)
        fresh.replace(self._file)
