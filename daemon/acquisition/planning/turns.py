"""Which meters have had more than their turn of a line: a turn is time, not a question, so that one
that is slow and right costs the others no more than one that is quick. Pure."""

from __future__ import annotations

from array import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

TURN_S: Final = 0.05
"""Whoever has had so much more than the one that has had the least, of those that wait, waits
too."""


MOST_AHEAD_S: Final = 30.0
"""No further ahead is anybody counted: one that was silent for a day is no slow meter."""
QUESTIONS_OF_A_POLL: Final = 2
"""For the stamp and for the energies."""


class Turns:
    """Meters are numbered from 0."""

    __slots__ = ("_had", "are_uneven")

    def __init__(self, count: int) -> None:
        self._had = array("d", bytes(8 * count))
        """The seconds of the line that each has had."""
        self.are_uneven = False
        """True from the first time on that a meter had more than its turn: as of the last look."""

    def had(self, meter: int, seconds: float) -> None:
        """The line did nothing but wait for this meter for so long; NaN: nobody knows how long."""
        if seconds > 0:
            self._had[meter] += seconds

    def look(self) -> bool:
        """Whether a meter has had more than its turn, whoever waits."""
        is_uneven = len(self._had) > 1 and max(self._had) - min(self._had) > TURN_S
        self.are_uneven |= is_uneven
        return is_uneven

    def left(self, waiting: NDArray[np.bool_], takes_s: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Of the meters that wait, those that would not have had more than their turn with a slot
        more, which takes so long; one of them at least."""
        had = np.frombuffer(self._had)
        least = had[waiting].min(initial=np.inf)
        # Whoever wanted nothing, or did not answer, has nothing saved up.
        np.maximum(had, least, out=had, where=~waiting & np.isfinite(least))
        np.minimum(had, least + MOST_AHEAD_S, out=had)
        would_have = had + takes_s
        left: NDArray[np.bool_] = would_have <= would_have[waiting].min(initial=np.inf) + TURN_S
        return waiting & left
