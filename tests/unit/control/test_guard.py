"""The guard against a second statement of its rules, one reason at a time."""

import dataclasses
import json
from collections.abc import Collection
from datetime import date, datetime, time, timedelta
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.control.guard import Facts, Notice, Policy, evaluate, snapshot
from tests.examples import examples

NOW = datetime(2026, 3, 11, 10, 0)  # a Wednesday
HOUR = timedelta(hours=1)
ALLOWED = Facts(
    now=NOW,
    balance_fen=-1250,
    trip_threshold_fen=0,
    last_reading_at=datetime(2026, 3, 11),
    episode_started_at=datetime(2026, 3, 6, 1, 10),
    notices=(
        Notice("written", datetime(2026, 3, 7, 9)),
        Notice("final", datetime(2026, 3, 11, 9, 20)),
    ),
    approved_by=("op-1",),
)

moments = st.sampled_from(
    [
        NOW,
        datetime(2026, 3, 11, 8, 59, 59),
        datetime(2026, 3, 11, 9),
        datetime(2026, 3, 11, 15),
        datetime(2026, 3, 12, 14, 59, 59),
        datetime(2026, 3, 13, 10),  # Friday
        datetime(2026, 3, 14, 10),  # Saturday
        datetime(2026, 9, 30, 10),  # the eve of a holiday
        datetime(2026, 10, 10, 10),  # a Saturday that is worked
    ]
)
policies = st.builds(
    Policy,
    max_reading_age=st.sampled_from([10 * HOUR, 36 * HOUR]),
    window_end=st.sampled_from([time(15), time.max]),
    working_days_only=st.booleans(),
    holidays=st.just(frozenset({date(2026, 10, 1)})),
    makeup_workdays=st.sampled_from([frozenset[date](), frozenset({date(2026, 10, 10)})]),
    no_trip_on_eve=st.booleans(),
    written_required=st.booleans(),
    final_required=st.booleans(),
    approvals_required=st.integers(0, 2),
    min_debt_fen=st.sampled_from([0, 500]),
    startup_hold=st.sampled_from([timedelta(0), HOUR]),
)


@st.composite
def some_facts(draw: st.DrawFn) -> Facts:
    now = draw(moments)
    ages = st.sampled_from(
        [
            -HOUR,
            timedelta(0),
            HOUR / 2,
            HOUR / 2 - HOUR / 60,
            *(HOUR * h for h in (24, 72, 168, 169)),
        ]
    )
    ago = st.one_of(st.none(), ages.map(lambda age: now - age))
    rarely = st.sampled_from([False, False, False, False, True])
    return Facts(
        now=now,
        balance_fen=draw(st.sampled_from([-1600, -1000, -501, -500, -1, 0, 1])),
        trip_threshold_fen=draw(st.sampled_from([0, 0, 1])),
        credit_limit_fen=draw(st.sampled_from([0, 1000])),
        emergency_available_fen=draw(st.sampled_from([0, 500])),
        account_state=draw(st.sampled_from(["active", "active", "closing", "pending"])),
        has_agreement=not draw(rarely),
        reading_state=draw(
            st.sampled_from(["published", "substituted_approved", "suspect", "missing"])
        ),
        last_reading_at=draw(
            st.sampled_from([None, now - 10 * HOUR, now - 36 * HOUR, now - 37 * HOUR])
        ),
        span_grace_until=draw(st.sampled_from([None, now - HOUR, now, now + HOUR])),
        episode_started_at=draw(st.sampled_from([None, now, now - 72 * HOUR, now - 200 * HOUR])),
        notices=tuple(
            draw(
                st.lists(st.builds(Notice, st.sampled_from(["written", "final"]), ago), max_size=4)
            )
        ),
        **{flag: draw(rarely) for flag in FLAGS},
        running_for=draw(st.sampled_from([None, timedelta(0), HOUR])),
        requested_by=draw(st.sampled_from(["daemon", "op-1"])),
        approved_by=draw(
            st.sampled_from([(), ("op-1",), ("op-1", "op-1"), ("op-1", "op-2"), ("op-2", "op-3")])
        ),
    )


FLAGS = {
    "protected": "PROTECTED",
    "life_support": "LIFE_SUPPORT",
    "dispute_open": "DISPUTE",
    "payment_in_flight": "PAYMENT_IN_FLIGHT",
    "reconnect_pending": "RECONNECT_PENDING",
    "relay_open": "ALREADY_OPEN",
    "device_keep_power": "DEVICE_KEEP_POWER",
    "weather_hold": "WEATHER",
    "breaker_open": "BREAKER_OPEN",
    "shadow_mode": "SHADOW_MODE",
}


def model(p: Policy, f: Facts) -> set[str]:
    """The table of the rules, said once more."""
    found = {code for flag, code in FLAGS.items() if getattr(f, flag)}
    debt = f.trip_threshold_fen - f.credit_limit_fen - f.emergency_available_fen - f.balance_fen
    found |= {"BALANCE_OK"} if debt <= 0 else {"DEBT_TOO_SMALL"} if debt < p.min_debt_fen else set()
    found |= set() if f.account_state == "active" else {"ACCOUNT_NOT_ACTIVE"}
    found |= set() if f.has_agreement else {"NO_AGREEMENT"}
    found |= (
        set()
        if f.reading_state in {"published", "substituted_approved"}
        else {"READING_NOT_PUBLISHED"}
    )
    is_fresh = f.last_reading_at is not None and f.last_reading_at >= f.now - p.max_reading_age
    found |= set() if is_fresh else {"STALE_READING"}
    found |= (
        {"SPAN_GRACE"} if f.span_grace_until is not None and f.span_grace_until > f.now else set()
    )
    found |= (
        {"STARTUP_HOLD"} if f.running_for is not None and f.running_for < p.startup_hold else set()
    )
    seconds = (f.now - f.now.replace(hour=0, minute=0, second=0, microsecond=0)) / timedelta(
        seconds=1
    )
    end = 86_400 if p.window_end == time.max else p.window_end.hour * 3600
    found |= set() if p.window_start.hour * 3600 <= seconds < end else {"WINDOW_CLOSED"}
    free = [is_free(p, f.now.date()), is_free(p, f.now.date() + timedelta(days=1))]
    found |= {"NONWORKING_DAY"} if p.working_days_only and free[0] else set()
    found |= {"EVE_OF_NONWORKING"} if p.no_trip_on_eve and free[1] else set()
    found |= notice_reason(p.written_required, "NOTICE", p.written_min, p.written_max, "written", f)
    found |= notice_reason(p.final_required, "FINAL_NOTICE", p.final_min, p.final_max, "final", f)
    approvals = {who for who in f.approved_by if who != f.requested_by}
    return found | ({"APPROVAL_MISSING"} if len(approvals) < p.approvals_required else set())


def is_free(p: Policy, day: date) -> bool:
    return day not in p.makeup_workdays and (day.isoweekday() in (6, 7) or day in p.holidays)


def notice_reason(
    required: bool, name: str, low: timedelta, high: timedelta, kind: str, f: Facts
) -> set[str]:
    ages = []
    for notice in f.notices:
        if (
            notice.kind == kind
            and notice.delivered_at is not None
            and f.episode_started_at is not None
        ):
            age = f.now - notice.delivered_at
            if timedelta(0) <= age <= f.now - f.episode_started_at:
                ages.append(age)
    if not required or any(low <= age <= high for age in ages):
        return set()
    if not ages:
        return {f"{name}_MISSING"}
    return {f"{name}_EXPIRED"} if min(ages) > high else {f"{name}_TOO_RECENT"}


def cured(code: str, p: Policy, f: Facts) -> tuple[Policy, Facts]:
    """The same question with the one fact (or rule) changed that `code` complains about."""
    flags = {reason: flag for flag, reason in FLAGS.items()}
    if code in flags:
        change: dict[str, Any] = {flags[code]: False}
        return p, dataclasses.replace(f, **change)
    facts: dict[str, dict[str, Any]] = {
        "BALANCE_OK": {"balance_fen": f.floor_fen - max(1, p.min_debt_fen)},
        "DEBT_TOO_SMALL": {"balance_fen": f.floor_fen - p.min_debt_fen},
        "ACCOUNT_NOT_ACTIVE": {"account_state": "active"},
        "NO_AGREEMENT": {"has_agreement": True},
        "READING_NOT_PUBLISHED": {"reading_state": "published"},
        "STALE_READING": {"last_reading_at": f.now},
        "SPAN_GRACE": {"span_grace_until": f.now},
        "STARTUP_HOLD": {"running_for": p.startup_hold},
        "APPROVAL_MISSING": {"approved_by": ("a", "b")},
    }
    if code in facts:
        return p, dataclasses.replace(f, **facts[code])
    policy: dict[str, dict[str, Any]] = {
        "WINDOW_CLOSED": {"window_start": time(0), "window_end": time.max},
        "NONWORKING_DAY": {"working_days_only": False},
        "EVE_OF_NONWORKING": {"no_trip_on_eve": False},
        "NOTICE": {"written_required": False},
        "FINAL_NOTICE": {"final_required": False},
    }
    return dataclasses.replace(
        p, **policy[code if code in policy else code.partition("NOTICE")[0] + "NOTICE"]
    ), f


@given(policies, some_facts())
@examples(300)
def test_the_verdict_is_that_of_the_rules_said_once_more(policy: Policy, facts: Facts) -> None:
    verdict, expected = evaluate(policy, facts), model(policy, facts)
    assert verdict.reasons == tuple(sorted(expected))
    decision = (
        "deny" if expected - {"APPROVAL_MISSING"} else "needs_approval" if expected else "allow"
    )
    assert verdict.decision == decision


@given(policies, some_facts())
@examples(100)
def test_mending_one_fact_removes_exactly_its_reason(policy: Policy, facts: Facts) -> None:
    reasons = set(evaluate(policy, facts).reasons)
    for code in reasons:
        assert set(evaluate(*cured(code, policy, facts)).reasons) == reasons - {code}


@given(policies, some_facts())
@examples(100)
def test_a_stored_snapshot_replays_to_the_same_verdict(policy: Policy, facts: Facts) -> None:
    stored = json.loads(json.dumps(snapshot(policy, facts, evaluate(policy, facts))))
    replayed = evaluate(rebuilt(Policy, stored["policy"]), rebuilt(Facts, stored["facts"]))
    assert (replayed.decision, list(replayed.reasons)) == (stored["decision"], stored["reasons"])


@pytest.mark.parametrize(("kind", "part"), [(Policy, "policy"), (Facts, "facts")])
def test_every_input_of_the_guard_is_in_the_snapshot(kind: type[Policy | Facts], part: str) -> None:
    stored = snapshot(Policy(), ALLOWED, evaluate(Policy(), ALLOWED))
    inputs = stored[part]
    assert isinstance(inputs, dict)
    assert set(inputs) == {field.name for field in dataclasses.fields(kind)}


def rebuilt(kind: type, stored: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    return kind(**{name: typed(hints[name], value) for name, value in stored.items()})


def typed(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if hint in (timedelta, timedelta | None):
        return timedelta(seconds=value)
    if hint == time:
        return time.fromisoformat(value)
    if hint in (datetime, datetime | None):
        return datetime.fromisoformat(value)
    if hint == frozenset[date]:
        return frozenset(map(date.fromisoformat, value))
    if hint == tuple[Notice, ...]:
        return tuple(rebuilt(Notice, notice) for notice in value)
    assert hint in (int, str, bool, Collection[str]) or "Literal" in str(hint), hint
    return value


def final_notices(*ages: timedelta) -> list[Notice]:
    return [Notice("final", NOW - age) for age in ages]


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, ()),
        ({"balance_fen": 0}, ("BALANCE_OK",)),
        ({"balance_fen": -1}, ()),
        ({"balance_fen": -1, "credit_limit_fen": 1}, ("BALANCE_OK",)),
        ({"last_reading_at": NOW - 36 * HOUR}, ()),
        ({"last_reading_at": NOW - 36 * HOUR - timedelta(seconds=1)}, ("STALE_READING",)),
        ({"last_reading_at": None}, ("STALE_READING",)),
        ({"span_grace_until": NOW}, ()),
        ({"span_grace_until": NOW + timedelta(seconds=1)}, ("SPAN_GRACE",)),
        ({"notices": ALLOWED.notices[:1]}, ("FINAL_NOTICE_MISSING",)),
        ({"notices": (Notice("written"), ALLOWED.notices[1])}, ("NOTICE_MISSING",)),
        ({"notices": (Notice("written", NOW - 72 * HOUR), ALLOWED.notices[1])}, ()),
        (
            {"notices": (Notice("written", NOW - 71 * HOUR), ALLOWED.notices[1])},
            ("NOTICE_TOO_RECENT",),
        ),
        ({"notices": (ALLOWED.notices[0], Notice("final", NOW - HOUR / 2))}, ()),
        (
            {"notices": (ALLOWED.notices[0], Notice("final", NOW - HOUR / 3))},
            ("FINAL_NOTICE_TOO_RECENT",),
        ),
        (
            {"notices": (ALLOWED.notices[0], Notice("final", NOW - 25 * HOUR))},
            ("FINAL_NOTICE_EXPIRED",),
        ),
        ({"notices": (ALLOWED.notices[0], Notice("final", NOW + HOUR))}, ("FINAL_NOTICE_MISSING",)),
        (
            {"notices": (ALLOWED.notices[0], *final_notices(25 * HOUR, HOUR / 6))},
            ("FINAL_NOTICE_TOO_RECENT",),
        ),
        ({"notices": (ALLOWED.notices[0], *final_notices(25 * HOUR, HOUR / 6, HOUR))}, ()),
        ({"approved_by": ("daemon",)}, ("APPROVAL_MISSING",)),
        ({"shadow_mode": True, "approved_by": ()}, ("APPROVAL_MISSING", "SHADOW_MODE")),
    ],
)
def test_one_fact_changed_at_a_time(change: dict[str, Any], reasons: tuple[str, ...]) -> None:
    assert evaluate(Policy(), dataclasses.replace(ALLOWED, **change)).reasons == reasons
