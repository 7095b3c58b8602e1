"""Slots that have a value, as a database tells a route that starts from them."""

from collections.abc import Iterable
from datetime import date

BITS = 64


def presence(slots: Iterable[tuple[int, date]]) -> tuple[dict[int, int], date]:
    """By meter a bitmap, bit n for the day n before the newest, as far as they go; the newest
    day."""
    slots = list(slots)
    newest = max((day for _, day in slots), default=date(2026, 1, 1))
    bitmaps: dict[int, int] = {}
    for meter, day in slots:
        if (newest - day).days < BITS:
            bitmaps[meter] = bitmaps.get(meter, 0) | 1 << (newest - day).days
    return bitmaps, newest
