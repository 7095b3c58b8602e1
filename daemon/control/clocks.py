"""Whether the host's clock can be believed (A11). No clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

STEP: Final = timedelta(seconds=60)
"""The wall clock jumped when it moved by so much more, or less, than the monotonic clock."""


@dataclass(slots=True)
class Clocks:
    """How the host's wall clock goes beside its monotonic clock and the database's."""

    apart: timedelta = timedelta(0)
    """How far it is ahead of the database's."""
    stepped_at: datetime | None = None
    doubt: Callable[[], str] = lambda: ""
    """What speaks against it otherwise; empty when nothing does."""
    _last: tuple[datetime, float] | None = field(default=None, repr=False)

    def beside(self, host: datetime, database: datetime) -> Clocks:
        """The same, with what both show at this moment: a step since they were compared last would
        be believed."""
        return replace(self, apart=max(self.apart, host - database, key=abs))

    def see(self, host: datetime, monotonic_s: float, database: datetime) -> None:
        """Compare what the three clocks show at one moment with what they showed before."""
        self.apart = host - database
        if self._last is not None:
            host_before, monotonic_before_s = self._last
            passed = timedelta(seconds=monotonic_s - monotonic_before_s)
            if abs(host - host_before - passed) > STEP:
                self.stepped_at = host
        self._last = (host, monotonic_s)
