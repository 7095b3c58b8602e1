"""Any arrears and any recovery plan come to what the rules say."""

from collections.abc import Callable
from datetime import date, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings

from daemon.billing.credit_cases import KINDS
from daemon.quality.case_fields import Fields
from tests.unit.billing import exact_credit
from tests.unit.billing.stories import seeds

DAY = timedelta(days=1)
Case = dict[str, Any]


def arrears(chance: Random) -> Case:
    due = date(2025, chance.randint(9, 12), chance.randint(1, 28))

    def payment() -> Case:
        on = due + chance.randint(-5, 140) * DAY
        return {"date": str(on), "amount_fen": chance.choice([0, 1, 100, 3000, 10**6])}

    def deferral() -> Case:
        first = due + chance.randint(-5, 80) * DAY
        last = first + chance.randint(0, 60) * DAY
        mode = chance.choice(["defer_collection", "freeze_accrual", "waive"])
        amount = {"amount_fen": chance.choice([0, 5, 50, 1000])} if chance.random() < 0.4 else {}
        return {"from": str(first), "to": str(last), "mode": mode, **amount}

    deferrals = [deferral() for _ in range(chance.randint(0, 3))]
    if chance.random() < 0.2:
        deferrals += deferrals[:1]  # granted twice
    return {
        "principal_fen": chance.choice([0, 1, 99, 5000, 23_456, 10**9]),
        "due_date": str(due),
        "as_of": str(due + chance.randint(-3, 150) * DAY),
        "category": chance.choice(["residential", "other"]),
        "arrears_year": chance.choice([2024, 2025, 2025, 2026]),
        "rates": {
            "residential": "0.001",
            "other_same_year": "0.002",
            "other_cross_year": chance.choice(["0.003", "0.0305"]),
        },
        "allocation": chance.choice(["penalty_first", "principal_first"]),
        "min_fen": chance.choice([0, 100]),
        "cap_ratio": chance.choice(["1", "0.3", "0.05", "0"]),
        "payments": [payment() for _ in range(chance.randint(0, 4))],
        "deferrals": deferrals,
    }


def recovery(chance: Random) -> Case:
    first = date(2026, 3, 1) + chance.randint(0, 10) * DAY
    state = {
        "balance_fen": chance.randint(-2000, 500),
        "emergency_used_fen": chance.choice([0, 640]),
        "accumulated_debt_fen": chance.choice([0, 210, 3000]),
        "payment_debt_fen": chance.choice([0, 30, 5000]),
        "payment_debt_percent": chance.choice(["0", "10", "33.3", "12.5", "100"]),
        "disconnect_threshold_fen": chance.choice([0, -500, 300]),
        "week_of": str(first),
        "taken_this_week_fen": chance.choice([0, 450, 700]),
    }
    if chance.random() < 0.7:
        state["payment_debt_weekly_cap_fen"] = chance.choice([0, 500, 501])
    if chance.random() < 0.4:
        state["reconnect_threshold_fen"] = chance.choice([0, 500])
    days = [first + chance.randint(0, 20) * DAY for _ in range(chance.randint(1, 5))]
    amounts = [0, 1, 999, 1000, 2500]
    payments = [{"date": str(on), "amount_fen": chance.choice(amounts)} for on in sorted(days)]
    return {"state": state, "payments": payments}


@pytest.mark.parametrize(
    ("kind", "case", "exact"),
    [
        ("penalty", arrears, exact_credit.penalty),
        ("waterfall", recovery, exact_credit.waterfall),
    ],
)
@settings(max_examples=100, deadline=None)
@example(seed=26)  # a waiver that was granted twice
@given(seed=seeds)
def test_it_comes_to_what_the_rules_say(
    kind: str, case: Callable[[Random], Case], exact: Callable[[Case], Case], seed: int
) -> None:
    told = case(Random(seed))
    assert KINDS[kind](Fields(told, "input")) == exact(told)
