"""How the cost of some work grows with its size, told by the processor.

A wall clock says how busy the machine is. The processor's time of this thread does nearly not; what
is left (shared caches, a lowered clock) comes and goes, so the sizes take turns and the best round
of each counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def growth(work: Callable[[int], object], small: int, large: int, *, rounds: int = 5) -> float:
    """Processor time of `work(large)` over that of `work(small)`."""
    costs: dict[int, list[int]] = {small: [], large: []}
    for _ in range(rounds):
        for size, spent in costs.items():
            began = time.thread_time_ns()
            work(size)
            spent.append(time.thread_time_ns() - began)
    return min(costs[large]) / min(costs[small])
