"""How much of what waits on disk is stored at once. Pure."""

from __future__ import annotations

from typing import Final

LEAST_DRAINED: Final = 100
MOST_DRAINED: Final = 10_000
QUICK_S: Final = 0.5
SLOW_S: Final = 1.5
"""What is drained at once grows while a batch is quick and shrinks when it is slow: live readings
wait for one."""


def next_portion(portion: int, drained: int, took_s: float) -> int:
    """How many readings are drained at once, after `drained` took so long."""
    if took_s > SLOW_S:
        return max(LEAST_DRAINED, portion // 2)
    is_quick = took_s < QUICK_S and drained == portion
    return min(MOST_DRAINED, portion * 2) if is_quick else portion
