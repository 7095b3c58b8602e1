"""Any account of a case moves, event by event, what the rules say."""

from fractions import Fraction
from typing import Any

from hypothesis import example, given, settings

from daemon.billing.account_case import settled
from daemon.quality.case_fields import Fields
from tests.unit.billing import exact_case
from tests.unit.billing.random_cases import case
from tests.unit.billing.stories import seeds


def found(told: dict[str, Any]) -> dict[str, Any]:
    result = settled(Fields(told, "input"))
    used = result["final"].get("ladder_used_kwh")
    if used is not None:
        result["final"]["ladder_used_kwh"] = {cycle: Fraction(kwh) for cycle, kwh in used.items()}
    return result


@settings(max_examples=40, deadline=None)
@example(case(114))  # billed through a midnight that no clock shows
@given(seeds.map(case))
def test_every_event_of_an_account_moves_what_the_rules_say(told: dict[str, Any]) -> None:
    assert found(told) == exact_case.settled(told)
