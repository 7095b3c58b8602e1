"""Which meter it is: compared with what is registered, with its neighbours, and with who bills."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.quality.identity import KnownMeter, judge_identity
from protocols.reading import MeterIdentity

ADDRESS = "000000001600"
SERIAL = "202600000007"


def known(serial: str | None = SERIAL, *, is_billed: bool = False) -> KnownMeter:
    return KnownMeter(ADDRESS, "P1", serial, is_billed)


def codes(*args: Any) -> list[str]:
    return [finding.code for finding in judge_identity(*args).findings]


def test_what_a_meter_tells_at_first_contact_is_what_it_must_tell_afterwards() -> None:
    verdict = judge_identity(known(None), MeterIdentity(SERIAL), ())
    assert (verdict.serial, verdict.other, verdict.findings) == (SERIAL, None, ())


def test_another_serial_is_another_meter() -> None:
    verdict = judge_identity(known(), MeterIdentity("202600000009"), ())
    assert (verdict.serial, verdict.other) == (SERIAL, "202600000009")
    (finding,) = verdict.findings
    assert finding.code == "V03"
    assert f"{ADDRESS} tells serial 202600000009, not {SERIAL}" in finding.text
    assert finding.command == 'meterd meter exchange P1 --at "DAY HH:MM" --new-address ADDRESS'


def test_the_registered_serial_ends_it() -> None:
    verdict = judge_identity(known(), MeterIdentity(SERIAL), ())
    assert (verdict.other, verdict.findings) == (None, ())


@pytest.mark.parametrize("serial", [None, SERIAL])
def test_a_meter_without_a_number_proves_nothing(serial: str | None) -> None:
    verdict = judge_identity(known(serial), MeterIdentity(None), ())
    assert (verdict.serial, verdict.other, verdict.findings) == (serial, None, ())


def test_one_serial_at_two_addresses_is_told_with_both() -> None:
    (finding,) = judge_identity(known(), MeterIdentity(SERIAL), ["000000001601"]).findings
    assert finding.code == "V25"
    assert f"at {ADDRESS} and at 000000001601" in finding.text


def test_crossed_meters_are_both_another_meter_and_there_twice() -> None:
    assert codes(known(), MeterIdentity("202600000008"), ["000000001601"]) == ["V03", "V25"]


@pytest.mark.parametrize(
    ("mode", "is_billed", "is_told"),
    [
        ("money", True, True),
        ("energy", True, True),
        ("none", True, False),
        (None, True, False),
        ("money", False, False),
    ],
)
def test_a_meter_that_deducts_by_itself_is_told_where_it_is_billed_too(
    mode: Any, is_billed: bool, is_told: bool
) -> None:
    told = MeterIdentity(SERIAL, mode)
    assert codes(known(is_billed=is_billed), told, ()) == (["R18"] if is_told else [])


@given(
    st.sampled_from([None, "1", "2"]),
    st.lists(st.sampled_from([None, "1", "2"]), max_size=6),
)
def test_the_same_facts_give_the_same_verdict_however_often_they_come(
    registered: str | None, told: list[str | None]
) -> None:
    """The serial that counts is the registered one, or the first that was told."""
    serial = registered
    for number in told:
        verdict = judge_identity(known(serial), MeterIdentity(number), ())
        again = judge_identity(known(verdict.serial), MeterIdentity(number), ())
        assert again == verdict
        serial = verdict.serial
    first = next((number for number in told if number), None)
    assert serial == (registered or first)
