"""What does not fit between a point as we hold it and as its meter tells it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.control.cases import CASE_LASTS, Case, HeldSupply, case_of, is_proven_dark

SEEN = datetime(2026, 3, 11, 2, 30, tzinfo=UTC)
CUT = HeldSupply(
    point_id=1,
    point="P1",
    account_id=1,
    address="000000000001",
    line="line",
    supply_state="disconnected",
    relay_observed="open",
    relay_observed_at=SEEN,
    relay_evidence="B",
    decimals=2,
    used=None,
)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, None),
        ({"supply_state": "energised"}, "foreign_open"),
        ({"supply_state": "energised", "relay_observed": "closed"}, None),
        ({"supply_state": "energised", "relay_observed": "unknown"}, None),
        ({"relay_observed": "closed"}, "foreign_closed"),
        ({"relay_observed": "unknown"}, None),
        ({"used": 10}, None),
        ({"used": 11}, "foreign_closed"),
        ({"used": 1, "decimals": 0}, "foreign_closed"),
        ({"supply_state": "trip_commanded", "relay_observed": "closed"}, None),
        ({"supply_state": "reconnect_commanded"}, None),
        ({"supply_state": "wait_customer_button", "used": 500}, None),
    ],
)
def test_a_relay_or_a_register_that_contradicts_us_is_a_case(
    change: dict[str, Any], kind: str | None
) -> None:
    case = case_of(replace(CUT, **change))
    assert (case and case.kind) == kind


def test_a_case_of_a_relay_says_when_it_was_seen_and_one_of_a_register_what_was_used() -> None:
    relay = case_of(replace(CUT, relay_observed="closed"))
    told = "the relay is closed although we hold it open"
    assert relay == Case("foreign_closed", told, SEEN)
    relay = case_of(replace(CUT, supply_state="energised"))
    assert relay == Case("foreign_open", "the relay is open, and not by us", SEEN)
    used = case_of(replace(CUT, used=1250))
    assert used is not None
    assert (used.cause, used.seen_at) == ("12.50 kWh were used while it is cut", None)
    assert timedelta(hours=24) == CASE_LASTS


@pytest.mark.parametrize(
    ("change", "is_proven"),
    [
        ({"used": 0}, True),
        ({"used": 10}, True),
        ({"used": 11}, False),
        ({"used": None}, False),
        ({"used": 0, "relay_evidence": "C"}, True),
        ({"used": 0, "relay_evidence": "A"}, False),
        ({"used": 0, "relay_observed": "closed"}, False),
        ({"used": 0, "supply_state": "energised"}, False),
    ],
)
def test_a_relay_that_is_open_and_a_register_that_stands_still_prove_each_other(
    change: dict[str, Any], is_proven: bool
) -> None:
    assert is_proven_dark(replace(CUT, **change)) is is_proven
