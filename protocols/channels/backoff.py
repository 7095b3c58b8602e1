"""How long to wait before the next try."""

from __future__ import annotations

import random


def reconnect_pause_s(failures: int, longest_s: float) -> float:
    """How long to wait after so many failures in a row: full jitter, so that many clients do not
    come back at once."""
    return random.uniform(0, min(longest_s, 2.0 ** min(failures, 20)))
