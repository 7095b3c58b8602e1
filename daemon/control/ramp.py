"""How many supplies come back at once after an amnesty. Pure.

A transformer that gets everybody's load in the same minute is dark again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

T = TypeVar("T")
WINDOW: Final = timedelta(minutes=1)
_CAUSE: Final = "amnesty "


@dataclass(frozen=True, slots=True)
class Ramp:
    """`kw_per_minute`: what may come back within any minute, at `kw_per_point` each."""

    kw_per_minute: int
    kw_per_point: int

    @property
    def points_per_minute(self) -> int:
        """So many reconnects may leave within any minute."""
        return self.kw_per_minute // self.kw_per_point


def cause_of(number: int) -> str:
    """Why a command restores whom an amnesty restores."""
    return f"{_CAUSE}{number}"


def amnesty_of(cause: str) -> int | None:
    """The amnesty's number; None of a command that has another cause."""
    return int(cause.removeprefix(_CAUSE)) if cause.startswith(_CAUSE) else None


def next_portion(ramp: Ramp, under_way: int, waiting: Sequence[T]) -> Sequence[T]:
    """Those that may be restored now, of those that wait.

    `under_way`: reconnects of the same places that were sent within WINDOW, whatever for, and when
    they are asked for also those that are to be sent soon. It is asked once more before each is
    sent, so that no line that was down for a while and sends all at once exceeds the ramp."""
    return waiting[: max(0, ramp.points_per_minute - under_way)]
