"""SPAN_GRACE: a large sum for days long past cuts nobody on the day it is posted. Pure.

Money, amendment 2: defined on sums, so it does not matter how many links or days they lie in, nor
whether a reading came late, a slab was reached or an account was opened with past days."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import groupby
from zoneinfo import ZoneInfo

GRACE = timedelta(hours=24)
OLD_AFTER = timedelta(days=2)
LEAST_FEN = 500
USUAL_DAYS = 3


@dataclass(frozen=True, slots=True)
class PastCharge:
    """Money taken at an instant for use from `first_day` on; negative where it was given back.

    Of a posting that covers several days the first one counts, for the whole of it."""

    posted_at: datetime
    first_day: date
    fen: int


def grace_until(
    charges: Iterable[PastCharge], usual_fen: Fraction, zone: ZoneInfo
) -> datetime | None:
    """Until when no trip happens by itself, excluded; None where nothing large was posted.

    `charges`: those of the last 48 hours suffice; `usual_fen` is the usual cost of a day. What is
    given back later does not end a grace that was begun."""
    limit = max(Fraction(LEAST_FEN), USUAL_DAYS * usual_fen)
    within: deque[PastCharge] = deque()
    until = None
    old = sorted((charge for charge in charges if is_old(charge, zone)), key=_posted_at)
    # What is posted at one instant is one act: a link replaced by its days is no large sum.
    for posted_at, together in groupby(old, key=_posted_at):
        within.extend(together)
        while within[0].posted_at <= posted_at - GRACE:
            within.popleft()
        if sum(charge.fen for charge in within) > limit:
            until = posted_at + GRACE
    return until


def is_old(charge: PastCharge, zone: ZoneInfo) -> bool:
    """Whether it is for a day older than two days, seen from the local day of its posting."""
    return charge.posted_at.astimezone(zone).date() - charge.first_day > OLD_AFTER


def _posted_at(charge: PastCharge) -> datetime:
    return charge.posted_at
