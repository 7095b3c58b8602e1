"""Worked cases of the guard: each field of one means what it says, and what none means is told.

`golden_open.json` is the project's own file of worked cases (domain/golden_open.json, schema
version 1.0), copied unchanged; its results were computed exactly and independently of this program.
"""

from typing import Any

import pytest

from daemon.control.guard_cases import decided
from daemon.quality.case_fields import CaseError, Fields
from tests.unit.golden_cases import CASES

ALLOWED = CASES["O25"]["input"]


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if case["kind"] == "trip_guard"]
)
def test_an_open_case_comes_out_as_expected(name: str) -> None:
    assert decided(Fields(CASES[name]["input"])) == CASES[name]["expected"]


def changed(config: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """The case in which all is in order, with what differs."""
    both = {"config": {**ALLOWED["config"], **config}, "facts": {**ALLOWED["facts"], **facts}}
    return decided(Fields(both, "input"))


def told(kind: str, **moments: str) -> dict[str, Any]:
    """The notices of the case with one of them in another way."""
    kept = [it for it in ALLOWED["facts"]["notices"] if it["kind"] != kind]
    return {"notices": [*kept, {"kind": kind, **moments}]}


@pytest.mark.parametrize(
    ("config", "facts", "reasons"),
    [
        ({"max_reading_age_h": 10}, {}, []),
        ({"max_reading_age_h": 9}, {}, ["STALE_READING"]),
        ({"written_min_h": 97}, {}, []),
        ({"written_min_h": 98}, {}, ["NOTICE_TOO_RECENT"]),
        ({"written_max_h": 97}, {}, []),
        ({"written_max_h": 96}, {}, ["NOTICE_EXPIRED"]),
        ({"final_min_min": 40}, {}, []),
        ({"final_min_min": 41}, {}, ["FINAL_NOTICE_TOO_RECENT"]),
        ({"final_max_h": 1}, {}, []),
        ({"final_max_h": 0}, {}, ["FINAL_NOTICE_EXPIRED"]),
        ({"written_required": False}, {"notices": ALLOWED["facts"]["notices"][1:]}, []),
        ({"final_required": False}, {"notices": ALLOWED["facts"]["notices"][:1]}, []),
        ({"window": {"start": "10:00", "end": "10:01"}}, {}, []),
        ({"window": {"start": "10:01", "end": "15:00"}}, {}, ["WINDOW_CLOSED"]),
        ({"window": {"start": "09:00", "end": "10:00"}}, {}, ["WINDOW_CLOSED"]),
        ({"window": {"start": "09:00", "end": "24:00"}}, {}, []),
        ({"holidays": ["2026-03-11"]}, {}, ["NONWORKING_DAY"]),
        ({"holidays": ["2026-03-11"], "makeup_workdays": ["2026-03-11"]}, {}, []),
        ({"holidays": ["2026-03-11"], "working_days_only": False}, {}, []),
        ({"holidays": ["2026-03-12"]}, {}, ["EVE_OF_NONWORKING"]),
        ({"holidays": ["2026-03-12"], "no_trip_on_eve": False}, {}, []),
        ({"approvals_required": 2}, {}, ["APPROVAL_MISSING"]),
        ({"approvals_required": 2}, {"approved_by": ["op-1", "op-2"]}, []),
        ({"approvals_of_several": 2}, {"meters": 2}, ["APPROVAL_MISSING"]),
        ({}, {"approved_by": ["op-1"], "requested_by": "op-1"}, ["APPROVAL_MISSING"]),
        ({"min_debt_fen": 1250}, {}, []),
        ({"min_debt_fen": 1251}, {}, ["DEBT_TOO_SMALL"]),
        ({"shadow": True}, {}, ["SHADOW_MODE"]),
        ({"max_failed_restores": 0}, {"failed_restores": 1}, ["RESTORE_CAPACITY"]),
        ({"max_failed_restores": 6}, {"failed_restores": 6}, []),
        ({"max_moves_per_hour": 0}, {}, ["RELAY_WEAR"]),
        ({"max_moves_per_day": 0}, {}, ["RELAY_WEAR"]),
        # No case has to tell since when a daemon runs, nor can it what day a tariff is of.
        ({"startup_hold_min": 15, "new_tariff_days": 3}, {}, []),
        ({"startup_hold_min": 15}, {"running_for_min": 14}, ["STARTUP_HOLD"]),
        ({"startup_hold_min": 15}, {"running_for_min": 15}, []),
        ({}, {"relay_seen_at": "2026-03-11T09:00"}, []),
        ({}, {"balance_fen": 0}, ["BALANCE_OK"]),
        ({}, {"trip_threshold_fen": -1250}, ["BALANCE_OK"]),
        ({}, {"credit_limit_fen": 1250}, ["BALANCE_OK"]),
        ({}, {"emergency_available_fen": 1250}, ["BALANCE_OK"]),
        ({}, {"account_state": "closing"}, ["ACCOUNT_NOT_ACTIVE"]),
        ({}, {"account_state": None}, ["ACCOUNT_NOT_ACTIVE"]),
        ({}, {"reading_state": "suspect"}, ["READING_NOT_PUBLISHED"]),
        ({}, {"reading_state": None}, ["READING_NOT_PUBLISHED"]),
        ({}, {"last_reading_at": None}, ["STALE_READING"]),
        ({}, {"last_reading_at": "2026-03-11T10:01"}, ["CLOCK_UNSURE"]),
        ({}, {"span_grace_until": "2026-03-11T10:01"}, ["SPAN_GRACE"]),
        ({}, {"clock_stepped_at": "2026-03-11T09:01"}, ["CLOCK_UNSURE"]),
        (
            {},
            {"episode_started_at": "2026-03-11T09:21"},
            ["FINAL_NOTICE_MISSING", "NOTICE_MISSING"],
        ),
        ({}, told("final"), ["FINAL_NOTICE_MISSING"]),
        (
            {},
            told("final", delivered_at="2026-03-11T08:00", planned_at="2026-03-11T10:01"),
            ["FINAL_NOTICE_TOO_RECENT"],
        ),
        ({}, told("written", delivered_at="2026-03-10T10:00"), ["NOTICE_TOO_RECENT"]),
        ({}, {"protected": True}, ["PROTECTED"]),
        ({}, {"protected": None}, []),
        ({}, {"has_relay": False}, ["NO_RELAY"]),
    ],
)
def test_each_field_means_what_it_says(
    config: dict[str, Any], facts: dict[str, Any], reasons: list[str]
) -> None:
    assert changed(config, facts)["reasons"] == reasons


def test_a_case_without_notices_or_approvals_has_none() -> None:
    silent = {
        it: ALLOWED["facts"][it] for it in ALLOWED["facts"] if it not in ("notices", "approved_by")
    }
    assert decided(Fields({"config": ALLOWED["config"], "facts": silent}))["reasons"] == [
        "APPROVAL_MISSING",
        "FINAL_NOTICE_MISSING",
        "NOTICE_MISSING",
    ]


def test_what_a_case_leaves_out_is_what_the_strict_profile_says() -> None:
    given = {"config": {}, "facts": {**ALLOWED["facts"], "approved_by": []}}
    assert decided(Fields(given)) == {
        "decision": "needs_approval",
        "reasons": ["APPROVAL_MISSING"],
    }


@pytest.mark.parametrize(
    ("part", "field", "bad", "message"),
    [
        ("config", "grace", 1, r"\.grace: is not known"),
        ("config", "max_relay_age", 1, r"\.max_relay_age: is not known"),
        ("config", "written_min_h", -1, r"\.written_min_h: -1 is less than 0"),
        ("config", "written_min_h", 10**6 + 1, r"\.written_min_h: 1000001 is more than 1000000$"),
        ("config", "final_min_min", 10**6 + 1, r"\.final_min_min: 1000001 is more than 1000000$"),
        ("config", "approvals_required", -1, r"\.approvals_required: -1 is less than 0"),
        ("config", "approvals_required", "1", r"\.approvals_required: must be a whole number"),
        ("config", "shadow", 1, r"\.shadow: must be true or false"),
        ("config", "holidays", ["1 May"], r": '1 May' is not a day, as 2026-03-01$"),
        ("config", "makeup_workdays", ["1 May"], r": '1 May' is not a day"),
        ("config", "window", {"end": "15:00"}, r"\.window\.start: is missing"),
        ("config", "window", {"start": "09:00"}, r"\.window\.end: is missing"),
        ("config", "window", {"start": "9", "end": "15:00"}, r"\.window\.start: '9' is no time of day"),
        ("facts", "mood", 1, r"\.mood: is not known"),
        ("facts", "zone", "UTC", r"\.zone: is not known"),
        ("facts", "now", None, r"\.now: is missing"),
        ("facts", "trip_threshold_fen", "0", r"\.trip_threshold_fen: must be a whole number"),
        ("facts", "credit_limit_fen", -1, r"\.credit_limit_fen: -1 is less than 0"),
        ("facts", "now", "2026-03-11T10:00Z", r"\.now: has an offset and other times have none"),
        ("facts", "notices", told("final", delivered_at="2026-03-11T09:20Z")["notices"], r"\.now: has an offset"),
        ("facts", "protected", 1, r"\.protected: must be true or false"),
        ("facts", "account_state", 1, r"\.account_state: must be a text"),
        ("facts", "requested_by", 1, r"\.requested_by: must be a text"),
        ("facts", "approved_by", [1], r"\.approved_by\[0\]: must be a text"),
        ("facts", "notices", [{"kind": "oral"}], r"\.notices\[0\]\.kind: 'oral' is none of written, final$"),
        ("facts", "relay_seen_at", "1 May", r"\.relay_seen_at: '1 May' is not a moment"),
    ],
)  # fmt: skip
def test_what_can_not_be_says_where_and_what(
    part: str, field: str, bad: object, message: str
) -> None:
    with pytest.raises(CaseError, match=rf"^input\.{part}{message}"):
        changed(**{"config": {}, "facts": {}, part: {field: bad}})


@pytest.mark.parametrize("field", ["now", "balance_fen", "trip_threshold_fen"])
def test_a_moment_a_balance_and_a_threshold_have_to_be_there(field: str) -> None:
    facts = {name: value for name, value in ALLOWED["facts"].items() if name != field}
    with pytest.raises(CaseError, match=rf"^facts\.{field}: is missing$"):
        decided(Fields({"config": {}, "facts": facts}))


@pytest.mark.parametrize(
    ("field", "reason"),
    [("account_state", "ACCOUNT_NOT_ACTIVE"), ("reading_state", "READING_NOT_PUBLISHED")],
)
def test_what_is_not_said_of_a_state_speaks_against_a_cut(field: str, reason: str) -> None:
    facts = {name: value for name, value in ALLOWED["facts"].items() if name != field}
    assert decided(Fields({"config": {}, "facts": facts}))["reasons"] == [reason]


def test_times_with_offsets_are_moments_and_the_window_is_that_of_now() -> None:
    """A final notice of 09:20 where it was delivered is one of 17:20 where its customer lives."""
    zoned = {
        name: f"{ALLOWED['facts'][name]}+08:00"
        for name in ("now", "last_reading_at", "episode_started_at")
    }
    notices = [
        {"kind": it["kind"], "delivered_at": f"{it['delivered_at']}+08:00"}
        for it in ALLOWED["facts"]["notices"]
    ]
    assert changed({}, {**zoned, "notices": notices})["reasons"] == []
    later = [notices[0], {"kind": "final", "delivered_at": "2026-03-11T09:20+00:00"}]
    assert changed({}, {**zoned, "notices": later})["reasons"] == ["FINAL_NOTICE_MISSING"]


def test_hours_of_a_century_are_no_slip_yet() -> None:
    assert changed({"max_reading_age_h": 10**6}, {})["reasons"] == []
