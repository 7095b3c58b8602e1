"""V28: what is set in the meter against what the archive says of it."""

from __future__ import annotations

from decimal import Decimal


def differs_ratio(told: int | None, ratio: Decimal) -> bool:
    """Whether the transformers' ratio that is set in a meter is another one than the archive's.

    1 is what a meter says in which nothing was set: it proves nothing."""
    return told not in (None, 1, ratio)


def differs_rates(told: int | None, priced: int | None) -> bool:
    """Whether a meter cuts the day into another number of rates than its point is billed by.

    None: not told, or nobody is billed by rates."""
    return None not in (told, priced) and told != priced
