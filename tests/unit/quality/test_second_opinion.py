"""The judgement beside one that is written from the text of the rule, on random cases of every kind
of event: states, codes, next steps, refusals, withdrawals, chain and links, after each event."""

from __future__ import annotations

import json

import pytest

from daemon.quality.cases import result_of
from tests.examples import seeds
from tests.unit.quality import plain_rule
from tests.unit.quality.judge_cases import CASES
from tests.unit.quality.random_cases import random_case


@pytest.mark.parametrize("name", CASES)
def test_the_plain_rule_judges_the_worked_cases_as_they_say(name: str) -> None:
    assert plain_rule.result_of(CASES[name]) == CASES[name]["expected"]


@pytest.mark.parametrize("seed", seeds(12))
def test_both_judge_a_random_case_alike(seed: int) -> None:
    case = random_case(seed)
    judged = json.loads(json.dumps(result_of(case)))
    assert judged == plain_rule.result_of(case)
