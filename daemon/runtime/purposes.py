"""What a daemon is there for, and when it last achieved each: a loop that turns proves nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Purpose:
    """`within_s`: so long after it was achieved it must be achieved again. `word`: what is said
    when it is not."""

    within_s: float
    word: str


PURPOSES: Final[Mapping[str, Purpose]] = {
    "sweep": Purpose(30, "nobody looks who is to be cut or restored"),
    "alarms": Purpose(60, "nobody looks whose supply is not as it should be"),
    "seal": Purpose(5 * 60, "the ledger is not sealed"),
    "day_close": Purpose(5 * 60, "days that are over are not closed"),
    "standstill": Purpose(20 * 60, "nobody looks who is not billed"),
    "gap_scan": Purpose(40 * 60, "nobody looks for gaps"),
}
"""By the name of the tick that is for it."""


@dataclass(slots=True)
class Achieved:
    """When each purpose was last achieved; of one that never was, when it began to be wanted.

    `command_waits_s`: how long the supply command that waits longest has been due."""

    command_waits_s: float = 0.0
    _at: dict[str, float] = field(default_factory=dict)
    """Monotonic; empty until something is wanted."""

    def begin(self) -> None:
        """All of them are wanted from now on."""
        now = time.monotonic()
        self._at = dict.fromkeys(PURPOSES, now)

    def note(self, name: str) -> None:
        """It was achieved now; nothing where it is no purpose."""
        if name in PURPOSES:
            self._at[name] = time.monotonic()

    def ages_s(self) -> dict[str, float]:
        """How long ago, by purpose."""
        now = time.monotonic()
        return {name: round(now - at, 1) for name, at in self._at.items()}

    def late(self) -> list[str]:
        """The words of those that are not achieved in time."""
        return [
            PURPOSES[name].word
            for name, age_s in self.ages_s().items()
            if age_s > PURPOSES[name].within_s
        ]
