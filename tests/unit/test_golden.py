"""Worked cases of the rules of control through the pure guard.

`golden_open.json` is the project's own file of worked cases (domain/golden_open.json, schema
version 1.0), copied unchanged; its results were computed exactly and independently of this program.
The same cases go through pipeline and database in tests/database/transactions/test_golden_cases.py;
all of the file's cases go through `meterd tariff try` in tests/unit/cli/test_tariff_try.py.
"""

from datetime import date, datetime, time, timedelta

import pytest

from daemon.control.guard import APPROVAL_LASTS, Approval, Facts, Notice, Policy, evaluate
from tests.unit.golden_cases import CASES

GUARDED = ("O25", "O26", "O27", "O28", "O29", "O30")


@pytest.mark.parametrize("name", GUARDED)
def test_the_guard_decides_as_the_case_says(name: str) -> None:
    given, expected = CASES[name]["input"], CASES[name]["expected"]
    config, facts = given["config"], dict(given["facts"])
    policy = Policy(
        max_reading_age=timedelta(hours=config["max_reading_age_h"]),
        window_start=time.fromisoformat(config["window"]["start"]),
        window_end=time.fromisoformat(config["window"]["end"]),
        holidays=frozenset(map(date.fromisoformat, config["holidays"])),
        makeup_workdays=frozenset(map(date.fromisoformat, config.get("makeup_workdays", []))),
        no_trip_on_eve=config["no_trip_on_eve"],
        written_required=config["written_required"],
        written_min=timedelta(hours=config["written_min_h"]),
        written_max=timedelta(hours=config["written_max_h"]),
        final_min=timedelta(minutes=config["final_min_min"]),
        final_max=timedelta(hours=config["final_max_h"]),
        approvals_required=config["approvals_required"],
    )
    for moment in ("now", "last_reading_at", "episode_started_at"):
        facts[moment] = datetime.fromisoformat(facts[moment])
    facts["notices"] = tuple(
        Notice(
            notice["kind"],
            datetime.fromisoformat(notice["delivered_at"]) if "delivered_at" in notice else None,
        )
        for notice in facts["notices"]
    )
    now = facts["now"]
    debt = facts["trip_threshold_fen"] - facts["balance_fen"] - facts["emergency_available_fen"]
    facts["approvals"] = tuple(
        Approval(approver, now, now + APPROVAL_LASTS, debt) for approver in facts.pop("approved_by")
    )
    verdict = evaluate(policy, Facts(**facts))
    assert (verdict.decision, list(verdict.reasons)) == (expected["decision"], expected["reasons"])
