"""Whether the host's clock can be believed (A11). No clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta


@dataclass(slots=True)
class Clocks:
    """How the host's wall clock goes beside the database's, and what else speaks against it."""

    apart: timedelta = timedelta(0)
    """How far it is ahead of the database's."""
    doubt: Callable[[], str] = lambda: ""
    """What speaks against it otherwise, a step within the hour among it; empty when nothing
    does."""

    def beside(self, host: datetime, database: datetime) -> Clocks:
        """The same, with what both show at this moment: a step since they were compared last would
        be believed."""
        return replace(self, apart=max(self.apart, host - database, key=abs))

    def see(self, host: datetime, database: datetime) -> None:
        """What both show at one moment."""
        self.apart = host - database
