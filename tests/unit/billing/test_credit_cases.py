"""Worked cases of money that is no charge: what the runner answers, without seeing what is expected."""

from typing import Any

import pytest

from daemon.billing.credit_cases import KINDS, run_case
from tests.unit.golden_cases import CASES

NAMES = [name for name, case in CASES.items() if case["kind"] in KINDS]


@pytest.mark.parametrize("name", NAMES)
def test_an_open_case_comes_out_as_expected(name: str) -> None:
    case = CASES[name]
    assert run_case(case["kind"], case["input"]) == case["expected"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [1.5, True, "100"])
def test_an_amount_that_is_no_integer_of_fen_is_refused(name: str, bad: object) -> None:
    with pytest.raises(ValueError, match="integer in fen"):
        run_case(CASES[name]["kind"], with_amounts(CASES[name]["input"], bad))


def test_a_price_that_is_a_number_of_json_is_refused() -> None:
    with pytest.raises(ValueError, match="string of digits"):
        run_case("conversion", {"remaining_kwh": 83.47, "price": "0.5283"})


def test_a_deferral_is_read_with_its_days_and_mode() -> None:
    case = CASES["O15"]["input"]
    frozen = {"from": "2026-04-26", "to": "2026-05-05", "mode": "freeze_accrual"}
    assert run_case("penalty", {**case, "deferrals": [frozen]})["penalty_total_fen"] == 0


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
