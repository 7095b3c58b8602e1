"""V28: what is set in the meter against what the archive says of it."""

from __future__ import annotations

from decimal import Decimal


def differs_ratio(told: int, ratio: Decimal) -> bool:
    """Whether the transformers' ratio that is set in a meter is another one than the archive's.

    1 is what a meter says in which nothing was set: it proves nothing."""
    return told not in (1, ratio)
