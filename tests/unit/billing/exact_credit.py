"""Penalties and waterfalls day by day, in fractions: money.md sections 10 and 13 said a second time.

For tests to compare `credit_cases` with. They work on cases as they are written."""

from collections.abc import Mapping
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from tests.unit.exact_money import rounded

DAY = timedelta(days=1)
Case = Mapping[str, Any]


class Arrears:
    """One item, from its due date on."""

    def __init__(self, given: Case) -> None:
        self.given = given
        self.left = given["principal_fen"]
        self.yuan = Fraction(0)
        self.paid = 0
        self.waived = [Fraction(0) for _ in given["deferrals"]]

    def open_on(self, day: date, mode: str) -> list[tuple[int, int | None]]:
        """(which deferral, how much it covers) of those of a mode whose range holds the day."""
        return [
            (number, it.get("amount_fen"))
            for number, it in enumerate(self.given["deferrals"])
            if it["mode"] == mode and it["from"] <= str(day) <= it["to"]
        ]

    def accrue(self, day: date) -> None:
        if str(day) <= self.given["due_date"] or self.open_on(day, "freeze_accrual"):
            return
        kind = "residential"
        if self.given["category"] != kind:
            is_later = day.year > self.given["arrears_year"]
            kind = "other_cross_year" if is_later else "other_same_year"
        fen = self.left * Fraction(self.given["rates"][kind])
        for number, most in self.open_on(day, "waive"):
            part = fen if most is None else min(fen, most - self.waived[number])
            self.waived[number] += part
            fen -= part
        self.yuan += fen / 100

    def owed(self, day: date) -> tuple[int, int]:
        """The penalty, and what of it may be demanded on a day."""
        total = 0
        if self.yuan:
            most = rounded(Fraction(self.given["cap_ratio"]) * self.given["principal_fen"] / 100)
            total = min(most, max(self.given["min_fen"], rounded(self.yuan)))
        unpaid = total - self.paid
        deferred = sum(
            unpaid if most is None else most for _, most in self.open_on(day, "defer_collection")
        )
        return total, unpaid - min(unpaid, deferred)

    def pay(self, day: date, fen: int) -> int:
        """What is left of the money."""
        order = ["penalty", "principal"]
        if self.given["allocation"] == "principal_first":
            order.reverse()
        for what in order:
            part = min(fen, self.owed(day)[1] if what == "penalty" else self.left)
            fen -= part
            if what == "penalty":
                self.paid += part
            else:
                self.left -= part
        return fen


def penalty(given: Case) -> dict[str, Any]:
    arrears = Arrears(given)
    as_of = date.fromisoformat(given["as_of"])
    after = []
    days = [given["due_date"], *(payment["date"] for payment in given["payments"])]
    day = date.fromisoformat(min(days))
    while day <= as_of:
        arrears.accrue(day)
        for payment in given["payments"]:
            if payment["date"] == str(day):
                left = arrears.pay(day, payment["amount_fen"])
                after.append(
                    {
                        "date": str(day),
                        "principal_left_fen": arrears.left,
                        "penalty_paid_fen": arrears.paid,
                        "to_balance_fen": left,
                    }
                )
        day += DAY
    total, collectible = arrears.owed(as_of)
    return {
        "penalty_total_fen": total,
        "penalty_paid_fen": arrears.paid,
        "penalty_collectible_fen": collectible,
        "principal_left_fen": arrears.left,
        "after_payments": after,
    }


def waterfall(given: Case) -> dict[str, Any]:
    state = dict(given["state"])
    week = monday(state["week_of"])
    threshold = state["disconnect_threshold_fen"]
    allocations = []
    for payment in given["payments"]:
        left = payment["amount_fen"]
        if monday(payment["date"]) > week:
            week, state["taken_this_week_fen"] = monday(payment["date"]), 0
        share = rounded(Fraction(state["payment_debt_percent"]) / 100 * left / 100)
        cap = state.get("payment_debt_weekly_cap_fen")
        within = left if cap is None else max(0, cap - state["taken_this_week_fen"])
        parts = {}
        for name, most in (
            ("payment_debt", min(share, state["payment_debt_fen"], within)),
            ("accumulated_debt", state["accumulated_debt_fen"]),
            ("to_threshold", max(0, threshold - state["balance_fen"])),
            ("emergency_repaid", state["emergency_used_fen"]),
            ("to_balance", left),
        ):
            parts[f"{name}_fen"] = min(left, most)
            left -= parts[f"{name}_fen"]
        state["taken_this_week_fen"] += parts["payment_debt_fen"]
        state["payment_debt_fen"] -= parts["payment_debt_fen"]
        state["accumulated_debt_fen"] -= parts["accumulated_debt_fen"]
        state["emergency_used_fen"] -= parts["emergency_repaid_fen"]
        state["balance_fen"] += parts["to_threshold_fen"] + parts["to_balance_fen"]
        allocations.append(
            {
                "date": payment["date"],
                **parts,
                "balance_fen": state["balance_fen"],
                "emergency_used_fen": state["emergency_used_fen"],
                "payment_debt_left_fen": state["payment_debt_fen"],
                "accumulated_debt_left_fen": state["accumulated_debt_fen"],
                "reconnect": state["balance_fen"]
                >= state.get("reconnect_threshold_fen", threshold),
            }
        )
    return {"allocations": allocations}


def monday(day: str) -> date:
    told = date.fromisoformat(day)
    return told - told.weekday() * DAY
