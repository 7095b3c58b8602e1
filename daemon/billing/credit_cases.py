"""Worked cases of penalties, waterfalls, suggestions and conversions.

The shapes are those of the open cases (money, schema of the cases). CaseError: not understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from fractions import Fraction
from typing import Any, Final

from daemon.billing import suggestion
from daemon.billing.conversion import converted_fen
from daemon.billing.penalty import (
    Allocation,
    Arrears,
    Deferral,
    DeferralMode,
    Payment,
    PenaltyTerms,
    Rates,
    penalty,
)
from daemon.billing.waterfall import Recovery, allocate, is_restored
from daemon.quality.case_fields import Fields

ALLOCATIONS: Final[tuple[Allocation, ...]] = ("penalty_first", "principal_first")
MODES: Final[tuple[DeferralMode, ...]] = ("defer_collection", "freeze_accrual", "waive")
RATES: Final = ("residential", "other_same_year", "other_cross_year")


def _penalty(given: Fields) -> dict[str, Any]:
    terms = PenaltyTerms(
        rates=_rates(given),
        allocation=given.choice("allocation", ALLOCATIONS, "penalty_first"),
        min_fen=given.count("min_fen", 0),
        cap_ratio=Fraction(given.not_below_0("cap_ratio", "1")),
    )
    due_on = given.day("due_date")
    arrears = Arrears(
        principal_fen=given.count("principal_fen"),
        due_on=due_on,
        is_residential=given.text("category") == "residential",
        year=given.integer("arrears_year", due_on.year),
    )
    payments = [
        Payment(made.day("date"), made.count("amount_fen")) for made in given.each("payments", [])
    ]
    deferrals = [_deferral(granted) for granted in given.each("deferrals", [])]
    result = penalty(arrears, terms, given.day("as_of"), payments, deferrals)
    return {
        "penalty_total_fen": result.total_fen,
        "penalty_paid_fen": result.paid_fen,
        "penalty_collectible_fen": result.collectible_fen,
        "principal_left_fen": result.principal_left_fen,
        "after_payments": [
            {
                "date": taken.on.isoformat(),
                "principal_left_fen": taken.principal_left_fen,
                "penalty_paid_fen": taken.penalty_paid_fen,
                "to_balance_fen": taken.to_balance_fen,
            }
            for taken in result.taken
        ],
    }


def _rates(given: Fields) -> Rates:
    if "rates" not in given.names():
        return Rates()
    rates = given.inside("rates")
    for name in rates.names():
        if name not in RATES:
            raise rates.error(name, f"is none of {', '.join(RATES)}")
    return Rates(**{name: Fraction(rates.not_below_0(name)) for name in rates.names()})


def _deferral(granted: Fields) -> Deferral:
    first, last = granted.span_of_days("from", "to")
    amount_fen = granted.count("amount_fen", None)
    return Deferral(first, last, granted.choice("mode", MODES), amount_fen)


def _waterfall(given: Fields) -> dict[str, Any]:
    stated = given.inside("state")
    threshold_fen = stated.integer("disconnect_threshold_fen", 0)
    state = Recovery(
        balance_fen=stated.integer("balance_fen"),
        week_of=stated.day("week_of") if "week_of" in stated.names() else date.min,
        emergency_used_fen=stated.count("emergency_used_fen", 0),
        accumulated_debt_fen=stated.count("accumulated_debt_fen", 0),
        payment_debt_fen=stated.count("payment_debt_fen", 0),
        payment_debt_share=Fraction(stated.not_below_0("payment_debt_percent", "0")) / 100,
        payment_debt_weekly_cap_fen=stated.count("payment_debt_weekly_cap_fen", None),
        taken_this_week_fen=stated.count("taken_this_week_fen", 0),
        disconnect_threshold_fen=threshold_fen,
    )
    reconnect_fen = stated.integer("reconnect_threshold_fen", threshold_fen)
    allocations = []
    for payment in given.each("payments"):
        on = payment.day("date")
        allocation, state = allocate(state, on, payment.count("amount_fen"))
        allocations.append(
            {
                "date": on.isoformat(),
                "payment_debt_fen": allocation.payment_debt_fen,
                "accumulated_debt_fen": allocation.accumulated_debt_fen,
                "to_threshold_fen": allocation.to_threshold_fen,
                "emergency_repaid_fen": allocation.emergency_repaid_fen,
                "to_balance_fen": allocation.to_balance_fen,
                "balance_fen": state.balance_fen,
                "emergency_used_fen": state.emergency_used_fen,
                "payment_debt_left_fen": state.payment_debt_fen,
                "accumulated_debt_left_fen": state.accumulated_debt_fen,
                "reconnect": is_restored(state, reconnect_fen),
            }
        )
    return {"allocations": allocations}


def _suggestion(given: Fields) -> dict[str, Any]:
    average = suggestion.average_fen(given.integers_or_none("daily_costs_fen"))
    balance_fen = given.integer("balance_fen")
    terms = suggestion.SuggestionTerms(
        cycle_days=given.count("cycle_days"),
        margin=Fraction(given.not_below_0("margin_percent")) / 100,
        round_up_to_fen=given.count("round_up_to_fen", least=1),
        min_fen=given.count("min_fen"),
    )
    warn_fen = suggestion.warning_threshold_fen(
        average, given.integer("warn_min_fen"), given.count("warn_days")
    )
    trip_fen = given.integer("trip_threshold_fen")
    return {
        "suggest_fen": suggestion.suggested_fen(average, balance_fen, terms),
        "days_left": suggestion.days_left(average, balance_fen, trip_fen),
        "warn_threshold_fen": warn_fen,
        "should_warn": balance_fen < warn_fen,
    }


def _conversion(given: Fields) -> dict[str, Any]:
    credit_fen = converted_fen(
        Fraction(given.not_below_0("remaining_kwh")),
        Fraction(given.not_below_0("price")),
        remaining_fen=given.integer("remaining_fen", 0),
        unloaded_orders_fen=given.count("unloaded_orders_fen", 0),
        overdraft_fen=given.count("overdraft_fen", 0),
    )
    return {"credit_fen": credit_fen}


KINDS: Final[Mapping[str, Callable[[Fields], dict[str, Any]]]] = {
    "penalty": _penalty,
    "waterfall": _waterfall,
    "suggestion": _suggestion,
    "conversion": _conversion,
}
