"""Registers in their smallest step."""

from __future__ import annotations

from decimal import Decimal

import pytest

from daemon.quality.register import in_steps


@pytest.mark.parametrize(
    ("registers", "decimals", "steps"),
    [
        (["1234.56"], 2, (123456, ())),
        (["10.00", "4", "6.00"], 2, (1000, (400, 600))),
        (["1234.5600", "1234.5600"], 4, (12345600, (12345600,))),
        (["7"], 0, (7, ())),
    ],
)
def test_kilowatt_hours_become_steps(
    registers: list[str], decimals: int, steps: tuple[int, tuple[int, ...]]
) -> None:
    assert in_steps([Decimal(kwh) for kwh in registers], decimals) == steps


def test_one_rate_that_is_not_known_makes_all_of_them_unknown() -> None:
    assert in_steps([Decimal("10"), Decimal("4"), None], 2) == (1000, ())


@pytest.mark.parametrize(
    ("total", "why"), [("0.001", "more than 2 decimals"), (None, "without a total")]
)
def test_what_cannot_be_a_step_is_a_mistake_of_the_caller(total: str | None, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        in_steps([None if total is None else Decimal(total)], 2)
