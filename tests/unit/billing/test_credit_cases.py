"""Worked cases of money that is no charge: what the runner answers, without seeing what is expected."""

from typing import Any

import pytest

from daemon.billing.credit_cases import KINDS
from daemon.quality.case_fields import CaseError, Fields
from tests.unit.golden_cases import CASES

NAMES = [name for name, case in CASES.items() if case["kind"] in KINDS]


def run(kind: str, given: Any) -> dict[str, Any]:
    return KINDS[kind](Fields(given, "input"))


@pytest.mark.parametrize("name", NAMES)
def test_an_open_case_comes_out_as_expected(name: str) -> None:
    case = CASES[name]
    assert run(case["kind"], case["input"]) == case["expected"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [1.5, True, "100"])
def test_an_amount_that_is_no_integer_of_fen_is_refused(name: str, bad: object) -> None:
    with pytest.raises(CaseError, match=r"input\..*_fen.*: must be a whole number"):
        run(CASES[name]["kind"], with_amounts(CASES[name]["input"], bad))


@pytest.mark.parametrize(
    ("name", "field", "bad", "message"),
    [
        ("O22", "remaining_kwh", 83.47, "must be a decimal number in a text"),
        ("O22", "remaining_kwh", "-1", "-1 is below 0"),
        ("O22", "price", "0,5", "'0,5' is not a decimal number"),
        ("O22", "price", None, "is null"),
        ("O22", "overdraft_fen", -1, "-1 is less than 0"),
        ("O15", "allocation", "principle_first", "is none of penalty_first, principal_first"),
        ("O15", "rates", {"resident": "0.1"}, "resident: is none of residential, "),
        ("O15", "rates", {"residential": "-0.1"}, "-0.1 is below 0"),
        ("O15", "category", 7, "must be a text"),
        ("O15", "arrears_year", "2026", "must be a whole number"),
        ("O15", "principal_fen", -1, "-1 is less than 0"),
        ("O15", "payments", [{"date": "2026-5-5", "amount_fen": 1}], "is not a day"),
        ("O15", "deferrals", [{"from": "2026-05-01", "to": "2026-05-02", "mode": "x"}], "mode: 'x'"),
        ("O15", "deferrals", [{"from": "2026-05-02", "to": "2026-05-01", "mode": "waive"}], "is before"),
        ("O17", "state", {"balance_fen": 0, "taken_this_week_fen": -1}, "-1 is less than 0"),
        ("O17", "payments", {}, "must be a list"),
        ("O23", "daily_costs_fen", [412, "398"], r"\[1\]: must be a whole number"),
        ("O23", "round_up_to_fen", 0, "0 is less than 1"),
        ("O23", "cycle_days", 30.5, "must be a whole number"),
        ("O23", "margin_percent", 10, "must be a decimal number in a text"),
    ],
)  # fmt: skip
def test_what_can_not_be_says_where_and_what(
    name: str, field: str, bad: object, message: str
) -> None:
    with pytest.raises(CaseError, match=rf"^input\.{field}.*{message}"):
        run(CASES[name]["kind"], {**CASES[name]["input"], field: bad})


def test_a_deferral_is_read_with_its_days_mode_and_amount() -> None:
    case = CASES["O15"]["input"] | {"payments": []}
    days = {"from": "2026-04-26", "to": "2026-05-05"}

    def result(**keys: object) -> dict[str, Any]:
        return run("penalty", {**case, "deferrals": [{**days, **keys}]})

    assert result(mode="freeze_accrual")["penalty_total_fen"] == 0
    assert result(mode="waive", amount_fen=100)["penalty_total_fen"] == 135
    assert result(mode="defer_collection", amount_fen=100)["penalty_collectible_fen"] == 135
    assert result(mode="defer_collection")["penalty_collectible_fen"] == 0


def test_what_a_case_leaves_out_is_what_money_md_says() -> None:
    """Rates of a day, the paying day, the cap; no debts, no threshold, no cap a week."""
    item = {"principal_fen": 10_000, "due_date": "2025-12-30", "as_of": "2026-01-02"}
    result = run("penalty", {**item, "category": "other"})
    assert result["penalty_total_fen"] == 20 + 30 + 30
    assert run("penalty", {**item, "category": "residential"})["penalty_total_fen"] == 30
    later = {**item, "category": "residential", "as_of": "2029-12-31"}
    assert run("penalty", later)["penalty_total_fen"] == 10_000
    pays = {"date": "2026-01-02", "amount_fen": 10_020}
    paid = run("penalty", {**item, "category": "residential", "payments": [pays]})
    assert (paid["penalty_paid_fen"], paid["principal_left_fen"]) == (30, 10)
    state = {"balance_fen": -100}
    payment = {"date": "2026-03-04", "amount_fen": 100}
    (allocation,) = run("waterfall", {"state": state, "payments": [payment]})["allocations"]
    assert (allocation["to_threshold_fen"], allocation["reconnect"]) == (100, True)


def test_each_field_of_a_case_counts() -> None:
    item = {"principal_fen": 10_000, "due_date": "2026-03-01", "as_of": "2026-04-10"}
    item |= {"category": "residential"}
    assert run("penalty", {**item, "cap_ratio": "0.02"})["penalty_total_fen"] == 200
    assert run("penalty", {**item, "principal_fen": 1})["penalty_total_fen"] == 0
    state = {"balance_fen": -100, "disconnect_threshold_fen": 50, "reconnect_threshold_fen": 300}
    payments = [{"date": "2026-03-04", "amount_fen": it} for it in (200, 199, 1)]
    found = run("waterfall", {"state": state, "payments": payments})["allocations"]
    assert [it["to_threshold_fen"] for it in found] == [150, 0, 0]
    assert [it["reconnect"] for it in found] == [False, False, True]
    card = {"remaining_kwh": "0", "price": "0.5"}
    assert run("conversion", card)["credit_fen"] == 0
    assert run("conversion", {**card, "remaining_fen": -7})["credit_fen"] == -7


def test_what_a_state_leaves_out_is_nothing() -> None:
    week = {"week_of": "2026-03-02", "payment_debt_weekly_cap_fen": 100}
    debts = {"payment_debt_fen": 1000, "payment_debt_percent": "100"}
    given = {"payments": [{"date": "2026-03-04", "amount_fen": 150}]}

    def taken(**state: object) -> dict[str, Any]:
        found = run("waterfall", {**given, "state": {"balance_fen": 0, **state}})
        (allocation,) = found["allocations"]
        return {name: allocation[name] for name in allocation if name != "date"}

    assert taken(**week, **debts)["payment_debt_fen"] == 100
    nothing = taken(payment_debt_percent="100")
    assert (nothing["payment_debt_fen"], nothing["payment_debt_left_fen"]) == (0, 0)
    assert (nothing["emergency_repaid_fen"], nothing["to_balance_fen"]) == (0, 150)


def test_a_suggestion_has_a_margin_in_percent_and_warns_below_its_threshold() -> None:
    case = {
        "daily_costs_fen": [1000], "balance_fen": 2000, "trip_threshold_fen": 0, "cycle_days": 100,
        "margin_percent": "1", "round_up_to_fen": 1, "min_fen": 0, "warn_min_fen": 2000, "warn_days": 1,
    }  # fmt: skip
    assert run("suggestion", case)["suggest_fen"] == 101_000 - 2000
    assert not run("suggestion", case)["should_warn"]
    assert run("suggestion", {**case, "balance_fen": 1999})["should_warn"]


def with_amounts(value: Any, bad: object) -> Any:
    """The same with every amount in fen replaced."""
    if isinstance(value, list):
        return [with_amounts(item, bad) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: bad if key.endswith("_fen") and not isinstance(item, list) else with_amounts(item, bad)
        for key, item in value.items()
    }
