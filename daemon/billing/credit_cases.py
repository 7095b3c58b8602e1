"""Worked cases of penalties, waterfalls, suggestions and conversions: JSON in, JSON out.

The shapes are those of the open cases (money, schema of the cases)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from daemon.billing import suggestion
from daemon.billing.conversion import converted_fen
from daemon.billing.penalty import Arrears, Deferral, Payment, PenaltyTerms, Rates, penalty
from daemon.billing.rounding import exact
from daemon.billing.waterfall import Recovery, allocate, is_restored

Case = Mapping[str, Any]


def run_case(kind: str, case: Case) -> dict[str, Any]:
    """The result of a case of one of the KINDS; `case` is what it calls its input.

    KeyError for another kind or a field that lacks, ValueError for a value that can not be."""
    return KINDS[kind](case)


def _penalty(case: Case) -> dict[str, Any]:
    rates = {name: exact(rate) for name, rate in case.get("rates", {}).items()}
    terms = PenaltyTerms(
        rates=Rates(**rates),
        allocation=case.get("allocation", "penalty_first"),
        min_fen=_fen(case.get("min_fen", 0)),
        cap_ratio=exact(case.get("cap_ratio", "1")),
    )
    due_on = date.fromisoformat(case["due_date"])
    arrears = Arrears(
        principal_fen=_fen(case["principal_fen"]),
        due_on=due_on,
        is_residential=case["category"] == "residential",
        year=case.get("arrears_year", due_on.year),
    )
    payments = [
        Payment(date.fromisoformat(made["date"]), _fen(made["amount_fen"]))
        for made in case.get("payments", ())
    ]
    deferrals = [_deferral(granted) for granted in case.get("deferrals", ())]
    result = penalty(arrears, terms, date.fromisoformat(case["as_of"]), payments, deferrals)
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


def _deferral(granted: Case) -> Deferral:
    amount = granted.get("amount_fen")
    return Deferral(
        from_day=date.fromisoformat(granted["from"]),
        to_day=date.fromisoformat(granted["to"]),
        mode=granted["mode"],
        amount_fen=None if amount is None else _fen(amount),
    )


def _waterfall(case: Case) -> dict[str, Any]:
    stated = case["state"]
    cap = stated.get("payment_debt_weekly_cap_fen")
    threshold_fen = _fen(stated.get("disconnect_threshold_fen", 0))
    state = Recovery(
        balance_fen=_fen(stated["balance_fen"]),
        week_of=date.fromisoformat(stated["week_of"]) if "week_of" in stated else date.min,
        emergency_used_fen=_fen(stated.get("emergency_used_fen", 0)),
        accumulated_debt_fen=_fen(stated.get("accumulated_debt_fen", 0)),
        payment_debt_fen=_fen(stated.get("payment_debt_fen", 0)),
        payment_debt_share=exact(stated.get("payment_debt_percent", "0")) / 100,
        payment_debt_weekly_cap_fen=None if cap is None else _fen(cap),
        taken_this_week_fen=_fen(stated.get("taken_this_week_fen", 0)),
        disconnect_threshold_fen=threshold_fen,
    )
    reconnect_fen = _fen(stated.get("reconnect_threshold_fen", threshold_fen))
    allocations = []
    for payment in case["payments"]:
        allocation, state = allocate(
            state, date.fromisoformat(payment["date"]), _fen(payment["amount_fen"])
        )
        allocations.append(
            {
                "date": payment["date"],
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


def _suggestion(case: Case) -> dict[str, Any]:
    costs = [None if cost is None else _fen(cost) for cost in case["daily_costs_fen"]]
    average = suggestion.average_fen(costs)
    balance_fen = _fen(case["balance_fen"])
    terms = suggestion.SuggestionTerms(
        cycle_days=case["cycle_days"],
        margin=exact(case["margin_percent"]) / 100,
        round_up_to_fen=_fen(case["round_up_to_fen"]),
        min_fen=_fen(case["min_fen"]),
    )
    warn_fen = suggestion.warning_threshold_fen(
        average, _fen(case["warn_min_fen"]), case["warn_days"]
    )
    trip_fen = _fen(case["trip_threshold_fen"])
    return {
        "suggest_fen": suggestion.suggested_fen(average, balance_fen, terms),
        "days_left": suggestion.days_left(average, balance_fen, trip_fen),
        "warn_threshold_fen": warn_fen,
        "should_warn": balance_fen < warn_fen,
    }


def _conversion(case: Case) -> dict[str, Any]:
    credit_fen = converted_fen(
        exact(case["remaining_kwh"]),
        exact(case["price"]),
        remaining_fen=_fen(case.get("remaining_fen", 0)),
        unloaded_orders_fen=_fen(case.get("unloaded_orders_fen", 0)),
        overdraft_fen=_fen(case.get("overdraft_fen", 0)),
    )
    return {"credit_fen": credit_fen}


def _fen(value: object) -> int:
    # Money is integer fen; a boolean is an int to Python and a slip to everybody else.
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"an amount must be an integer in fen, not {value!r}")
    return value


KINDS: Mapping[str, Callable[[Case], dict[str, Any]]] = {
    "penalty": _penalty,
    "waterfall": _waterfall,
    "suggestion": _suggestion,
    "conversion": _conversion,
}
