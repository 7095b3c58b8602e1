"""Closed periods: what moves in them is posted in the current one, as an adjustment. Pure.

Money, corrections: a period that was invoiced or exported is not opened again. The total over all
time is what it would have been."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

from daemon.billing.posting import Stream

PREFIX: Final = "adjustment"


def into_open_period(
    moved_fen: Mapping[Stream, int], open_from: date, current: date
) -> dict[Stream, int]:
    """The postings with those of closed months as adjustments of the current month.

    `open_from`: the first month that is not closed; `current`: the first day of the month of the
    posting. An adjustment's component is `adjustment:<old month>:<component>`."""
    assert open_from <= current, "money is never posted in a closed period"
    return {
        stream if stream.period >= open_from else _adjustment(stream, current): fen
        for stream, fen in moved_fen.items()
    }


def with_adjustments(posted_fen: Mapping[Stream, int]) -> dict[Stream, int]:
    """What was posted of each month, wherever it was posted: what `postings` is told.

    So an adjustment that was made is not made again, and one that was wrong is taken back."""
    total: dict[Stream, int] = {}
    for stream, fen in posted_fen.items():
        of = _adjusted(stream)
        total[of] = total.get(of, 0) + fen
    return total


def _adjustment(stream: Stream, current: date) -> Stream:
    return Stream(current, f"{PREFIX}:{stream.period:%Y-%m}:{stream.component}")


def _adjusted(stream: Stream) -> Stream:
    prefix, _, rest = stream.component.partition(":")
    if prefix != PREFIX:
        return stream
    month, _, component = rest.partition(":")
    return Stream(date.fromisoformat(f"{month}-01"), component)
