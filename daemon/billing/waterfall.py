"""What a top-up pays first where a contract has a plan to recover debt (R64). Pure.

Money, prepaid account: 1 a share for the debt that is paid off by payments, capped a week; 2 debt
that grew in protected hours; 3 the balance up to the disconnection threshold; 4 emergency credit
that was used; 5 the balance. Without debts and credit all of it goes to the balance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction

from daemon.billing.rounding import nearest_fen


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is owed and what there is, before a payment or behind it.

    `balance_fen` does not hold the emergency credit that was used: that is owed beside it.
    `taken_this_week_fen` of `payment_debt_weekly_cap_fen` (None: no cap) was taken in the week that
    holds `week_of`; a week begins on Monday. `payment_debt_share` is that of a payment, 0 to 1."""

    balance_fen: int
    week_of: date
    emergency_used_fen: int = 0
    accumulated_debt_fen: int = 0
    payment_debt_fen: int = 0
    payment_debt_share: Fraction = Fraction(0)
    payment_debt_weekly_cap_fen: int | None = None
    taken_this_week_fen: int = 0
    disconnect_threshold_fen: int = 0


@dataclass(frozen=True, slots=True)
class Allocation:
    """Where a payment went, in the order of the waterfall; the parts add up to the payment."""

    payment_debt_fen: int
    accumulated_debt_fen: int
    to_threshold_fen: int
    emergency_repaid_fen: int
    to_balance_fen: int


def allocate(before: Recovery, on: date, amount_fen: int) -> tuple[Allocation, Recovery]:
    """Where a payment of that day goes, and what there is behind it."""
    taken_fen = before.taken_this_week_fen if _monday(on) <= _monday(before.week_of) else 0
    payment_debt_fen = _share_of_payment(before, taken_fen, amount_fen)
    left_fen = amount_fen - payment_debt_fen
    accumulated_debt_fen = min(left_fen, before.accumulated_debt_fen)
    left_fen -= accumulated_debt_fen
    missing_fen = max(0, before.disconnect_threshold_fen - before.balance_fen)
    to_threshold_fen = min(left_fen, missing_fen)
    left_fen -= to_threshold_fen
    emergency_repaid_fen = min(left_fen, before.emergency_used_fen)
    left_fen -= emergency_repaid_fen
    allocation = Allocation(
        payment_debt_fen=payment_debt_fen,
        accumulated_debt_fen=accumulated_debt_fen,
        to_threshold_fen=to_threshold_fen,
        emergency_repaid_fen=emergency_repaid_fen,
        to_balance_fen=left_fen,
    )
    behind = replace(
        before,
        balance_fen=before.balance_fen + to_threshold_fen + left_fen,
        week_of=max(_monday(on), _monday(before.week_of)),
        emergency_used_fen=before.emergency_used_fen - emergency_repaid_fen,
        accumulated_debt_fen=before.accumulated_debt_fen - accumulated_debt_fen,
        payment_debt_fen=before.payment_debt_fen - payment_debt_fen,
        taken_this_week_fen=taken_fen + payment_debt_fen,
    )
    return allocation, behind


def is_restored(
    behind: Recovery, reconnect_threshold_fen: int, *, needs_full_repayment: bool = False
) -> bool:
    """Whether the supply comes back: at the reconnect threshold.

    With all emergency credit repaid only where the contract says so: never more than it asks."""
    is_repaid = behind.emergency_used_fen == 0 or not needs_full_repayment
    return behind.balance_fen >= reconnect_threshold_fen and is_repaid


def _share_of_payment(before: Recovery, taken_fen: int, amount_fen: int) -> int:
    share_fen = nearest_fen(amount_fen * before.payment_debt_share)
    most_fen = min(share_fen, before.payment_debt_fen, amount_fen)
    if before.payment_debt_weekly_cap_fen is None:
        return most_fen
    return min(most_fen, max(0, before.payment_debt_weekly_cap_fen - taken_fen))


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())
