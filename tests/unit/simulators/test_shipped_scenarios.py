"""The scenarios that come with the program: each says what it shows, and what it says is true."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from simulators.bench.scenario import parse_scenario, shipped_scenarios
from simulators.bench.truth import untrue

NAMES = [
    "first-morning",
    "midnight-outage",
    "standard-time",
    "storm-of-terminals",
    "swapped-meters",
    "theft",
    "wrong-tariff",
]


def test_these_come_with_the_program() -> None:
    assert list(shipped_scenarios()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_a_scenario_says_is_true_is_true(name: str) -> None:
    scenario = parse_scenario(shipped_scenarios()[name])
    assert scenario.about
    assert scenario.truth
    assert asyncio.run(untrue(scenario)) == []


@pytest.mark.parametrize("name", NAMES)
def test_another_time_makes_another_truth(name: str) -> None:
    """The truths are of this scenario, not of any: a day later each has something to say."""
    scenario = parse_scenario(shipped_scenarios()[name])
    assert scenario.start is not None
    later = replace(scenario, start=scenario.start + timedelta(days=1))
    assert asyncio.run(untrue(later)) != []


@pytest.mark.parametrize("name", ["midnight-outage", "swapped-meters", "theft"])
def test_without_what_happens_in_it_a_truth_is_none(name: str) -> None:
    scenario = parse_scenario(shipped_scenarios()[name])
    assert asyncio.run(untrue(replace(scenario, actions=()))) != []


def test_a_truth_of_nobody_is_told() -> None:
    text = shipped_scenarios()["theft"] + '[[truth]]\nafter_s = 0\naddress = "000000000999"\n'
    assert asyncio.run(untrue(parse_scenario(text))) == [
        "000000000999 at 2026-03-02 20:00:00: there is no such meter"
    ]
