"""Who would have been a candidate for a cut under a policy: the guard over mornings that are past.
Pure.

Notices and approvals are supposed as soon as the policy lets them be: what is told is the earliest
that a customer could have been cut. Holds that come and go with a moment (a weather warning, a
payment on its way, an open relay) are not known any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from daemon.control.guard import Facts, Notice, Policy, evaluate


@dataclass(frozen=True, slots=True)
class Customer:
    """What holds of a point and its account all the time, as it is now."""

    point: str
    account: str
    trip_fen: int
    credit_limit_fen: int
    has_agreement: bool
    protected: bool
    life_support: bool


@dataclass(frozen=True, slots=True)
class Morning:
    """A point when the window opens: the balance at that moment, and the newest published freeze
    of then. Local wall time."""

    at: datetime
    balance_fen: int
    last_reading_at: datetime | None


def candidates(
    policy: Policy, customer: Customer, mornings: Iterable[Morning]
) -> Iterator[Morning]:
    """The first morning of each time without money on which a cut would have been allowed.

    `mornings`: each day's, in order."""
    since: datetime | None = None
    written: list[Notice] = []
    is_told = False
    for morning in mornings:
        if morning.balance_fen >= customer.trip_fen - customer.credit_limit_fen:
            since, written, is_told = None, [], False
            continue
        since = since or morning.at
        # One is written every morning, so that there is one of the right age as soon as may be.
        written.append(Notice("written", morning.at))
        if is_told:
            continue
        if evaluate(policy, _facts(policy, customer, morning, since, written)).decision != "deny":
            is_told = True
            yield morning


def _facts(
    policy: Policy,
    customer: Customer,
    morning: Morning,
    since: datetime,
    written: Iterable[Notice],
) -> Facts:
    final = Notice("final", max(since, morning.at - policy.final_min))
    return Facts(
        now=morning.at,
        balance_fen=morning.balance_fen,
        trip_threshold_fen=customer.trip_fen,
        credit_limit_fen=customer.credit_limit_fen,
        has_agreement=customer.has_agreement,
        last_reading_at=morning.last_reading_at,
        episode_started_at=since,
        notices=(*written, final),
        protected=customer.protected,
        life_support=customer.life_support,
    )
