"""How long to wait before the next try to open a line or a connection."""

from __future__ import annotations

import random
from typing import Final

MAX_DOUBLINGS: Final = 20
"""Twelve days: longer than any bound, and a float for ever."""


def reconnect_pause_s(failures: int, max_pause_s: float) -> float:
    """A random pause below 2 ** `failures` seconds, `max_pause_s` at most.

    The whole of it is random, so that many clients that lost one server do not come back together.
    """
    return random.uniform(0, min(max_pause_s, 2.0 ** min(failures, MAX_DOUBLINGS)))
