"""The guard against a second statement of its rules, one reason at a time."""

import dataclasses
import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.control.guard import (
    AFTER_A_STEP,
    ANNOUNCED_FOR,
    APPROVAL_LASTS,
    MAX_TRIPS_PER_MINUTE,
    SPAN_GRACE,
    Approval,
    Cause,
    Facts,
    Notice,
    Policy,
    evaluate,
    snapshot,
)
from tests.examples import examples

NOW = datetime(2026, 3, 11, 10, 0)  # a Wednesday
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def approval(
    approver: str = "op-1",
    debt_fen: int = 1250,
    given: timedelta = timedelta(0),
    now: datetime = NOW,
    hours: int = 4,
) -> Approval:
    """Of so long ago."""
    return Approval(approver, now - given, now - given + hours * HOUR, debt_fen)


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
    approvals=(approval(),),
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
    approvals_of_several=st.integers(0, 2),
    min_debt_fen=st.sampled_from([0, 500]),
    startup_hold=st.sampled_from([timedelta(0), HOUR]),
    max_relay_age=st.sampled_from([None, 36 * HOUR]),
    max_failed_restores=st.sampled_from([0, 5]),
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
    planned = st.one_of(
        st.none(),
        st.sampled_from([-HOUR, timedelta(0), 4 * HOUR, 5 * HOUR]).map(lambda it: now - it),
    )
    rarely = st.sampled_from([False, False, False, False, True])
    flags: dict[str, Any] = {flag: draw(rarely) for flag in FLAGS}
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
                st.lists(
                    st.builds(Notice, st.sampled_from(["written", "final"]), ago, planned),
                    max_size=4,
                )
            )
        ),
        tariff_from=draw(st.sampled_from([None, now.date(), now.date() - 2 * DAY])),
        has_relay=not draw(rarely),
        relay_seen_at=draw(st.sampled_from([None, now, now - 36 * HOUR, now - 37 * HOUR])),
        relay_moves=draw(
            st.sampled_from(
                [(), (now,), (now, now - HOUR), (now, now), (now - HOUR,) * 5, (now - HOUR,) * 6]
            )
        ),
        clocks_apart=draw(st.sampled_from([SECOND * it for it in (0, 5, -5, 6, -6)])),
        clock_stepped_at=draw(st.sampled_from([None, now - HOUR, now - HOUR / 2])),
        failed_restores=draw(st.sampled_from([0, 5, 6])),
        **flags,
        running_for=draw(st.sampled_from([None, timedelta(0), HOUR])),
        cause=draw(
            st.sampled_from(
                ["arrears", "arrears", "arrears", "safety", "theft", "customer_request"]
            )
        ),
        requested_by=draw(st.sampled_from(["daemon", "op-1", "op-4", " "])),
        approvals=tuple(
            draw(
                st.lists(
                    st.builds(
                        approval,
                        st.sampled_from(["op-1", "OP-1", "op-2", "op-3", "Daemon"]),
                        st.sampled_from([1, 501, 1500, 1600, 1700]),
                        st.sampled_from([-HOUR, timedelta(0), 3 * HOUR, 4 * HOUR]),
                        st.just(now),
                        st.sampled_from([4, 5]),
                    ),
                    max_size=3,
                )
            )
        ),
    )


FLAGS = {
    "use_jump": "USE_JUMP",
    "correction_open": "CORRECTION_OPEN",
    "held": "HOLD",
    "locked": "LOCKED",
    "source_changed": "SOURCE_CHANGED",
    "planned_outage": "COMM_UNSTABLE",
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
    is_new = f.tariff_from is not None and f.tariff_from > f.now.date() - 2 * DAY
    found |= {"TARIFF_UNAPPROVED"} if is_new else set()
    found |= set() if f.has_relay else {"NO_RELAY"}
    if p.max_relay_age is not None:
        is_seen = f.relay_seen_at is not None and f.relay_seen_at >= f.now - p.max_relay_age
        found |= set() if is_seen else {"COMM_UNSTABLE"}
    lately = [it for it in f.relay_moves if it > f.now - HOUR]
    today = [it for it in f.relay_moves if it > f.now - DAY]
    found |= {"RELAY_WEAR"} if len(lately) > 1 or len(today) > 5 else set()
    has_stepped = f.clock_stepped_at is not None and f.clock_stepped_at > f.now - HOUR
    is_ahead = f.last_reading_at is not None and f.last_reading_at > f.now
    apart_s = abs(f.clocks_apart.total_seconds())
    found |= {"CLOCK_UNSURE"} if has_stepped or is_ahead or apart_s > 5 else set()
    found |= {"RESTORE_CAPACITY"} if f.failed_restores > p.max_failed_restores else set()
    needed = max(p.approvals_required, p.approvals_of_several if f.meters > 1 else 0)
    if f.cause != "arrears":
        found &= OF_ORDERS if f.cause == "safety" else OF_ORDERS | PUT_OFF
        needed = 1
    return found | ({"APPROVAL_MISSING"} if approvals(f, debt) < needed else set())


OF_ORDERS = {
    *("PROTECTED", "LIFE_SUPPORT", "HOLD", "LOCKED", "RECONNECT_PENDING", "SOURCE_CHANGED"),
    *("BREAKER_OPEN", "SHADOW_MODE", "RESTORE_CAPACITY", "NO_RELAY", "ALREADY_OPEN"),
    *("DEVICE_KEEP_POWER", "COMM_UNSTABLE", "CLOCK_UNSURE"),
}
PUT_OFF = {
    *("WINDOW_CLOSED", "NONWORKING_DAY", "EVE_OF_NONWORKING", "WEATHER", "DISPUTE"),
    "STARTUP_HOLD",
}


def approvals(f: Facts, debt: int) -> int:
    """How many persons agreed, within four hours, to an amount that is nearly the same."""
    who = set()
    for it in f.approvals:
        is_near = it.debt_fen * 0.9 <= debt <= it.debt_fen * 1.1
        is_new = f.episode_started_at is None or f.episode_started_at <= it.approved_at
        if f.cause != "arrears" or (is_near and is_new):
            is_lasting = it.approved_at <= f.now < min(it.expires_at, it.approved_at + 4 * HOUR)
            who |= {it.approver.lower()} if is_lasting else set()
    is_asked = f.cause == "arrears" or f.requested_by.startswith("op")
    return len(who - {f.requested_by, "daemon"}) if is_asked else 0


def is_free(p: Policy, day: date) -> bool:
    return day not in p.makeup_workdays and (day.isoweekday() in (6, 7) or day in p.holidays)


def notice_reason(
    required: bool, name: str, low: timedelta, high: timedelta, kind: str, f: Facts
) -> set[str]:
    counts = [
        it
        for it in f.notices
        if it.kind == kind
        and it.delivered_at is not None
        and f.episode_started_at is not None
        and f.episode_started_at <= it.delivered_at <= f.now
    ]
    spans = [when_allowed(it, low, high) for it in counts]
    if not required or any(first <= f.now <= last for first, last in spans):
        return set()
    if not counts:
        return {f"{name}_MISSING"}
    is_over = all(f.now > last for _, last in spans)
    return {f"{name}_EXPIRED"} if is_over else {f"{name}_TOO_RECENT"}


def when_allowed(notice: Notice, low: timedelta, high: timedelta) -> tuple[datetime, datetime]:
    at, planned = notice.delivered_at, notice.planned_at
    assert at is not None
    if planned is None:
        return at + low, at + high
    return max(at + low, planned), min(at + high, planned + 4 * HOUR)


def cured(code: str, p: Policy, f: Facts) -> tuple[Policy, Facts]:
    """The same question with the one fact (or rule) changed that `code` complains about."""
    flags = {reason: flag for flag, reason in FLAGS.items()}
    if code in flags:
        change: dict[str, Any] = {flags[code]: False}
        if code == "COMM_UNSTABLE":
            change["relay_seen_at"] = f.now
        return p, dataclasses.replace(f, **change)
    facts: dict[str, dict[str, Any]] = {
        "BALANCE_OK": owing(f, max(1, p.min_debt_fen)),
        "DEBT_TOO_SMALL": owing(f, p.min_debt_fen),
        "ACCOUNT_NOT_ACTIVE": {"account_state": "active"},
        "NO_AGREEMENT": {"has_agreement": True},
        "READING_NOT_PUBLISHED": {"reading_state": "published"},
        "STALE_READING": {"last_reading_at": f.now},
        "SPAN_GRACE": {"span_grace_until": f.now},
        "STARTUP_HOLD": {"running_for": p.startup_hold},
        "TARIFF_UNAPPROVED": {"tariff_from": None},
        "NO_RELAY": {"has_relay": True},
        "RELAY_WEAR": {"relay_moves": ()},
        "RESTORE_CAPACITY": {"failed_restores": 0},
        "CLOCK_UNSURE": {"clocks_apart": timedelta(0), "clock_stepped_at": None},
        "APPROVAL_MISSING": {
            "requested_by": "c",
            "approvals": tuple(approval(it, f.debt_fen, now=f.now) for it in ("a", "b")),
        },
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


def owing(f: Facts, debt: int) -> dict[str, Any]:
    """Another debt, which those approve who approved this one."""
    near = [it.debt_fen * 0.9 <= f.debt_fen <= it.debt_fen * 1.1 for it in f.approvals]
    return {
        "balance_fen": f.floor_fen - debt,
        "approvals": tuple(
            dataclasses.replace(it, debt_fen=debt if is_near else debt * 2)
            for it, is_near in zip(f.approvals, near, strict=True)
        ),
    }


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


def test_the_defaults_are_the_strict_profile_of_the_specification() -> None:
    """Control, the table of profiles, with the ages of the guard's reasons and the amendments."""
    assert Policy() == Policy(
        max_reading_age=36 * HOUR,
        window_start=time(9),
        window_end=time(15),
        working_days_only=True,
        holidays=frozenset(),
        makeup_workdays=frozenset(),
        no_trip_on_eve=True,
        written_required=True,
        written_min=72 * HOUR,
        written_max=168 * HOUR,
        final_required=True,
        final_min=HOUR / 2,
        final_max=24 * HOUR,
        approvals_required=1,
        approvals_of_several=1,
        shadow=False,
        min_debt_fen=0,
        startup_hold=timedelta(0),
        max_relay_age=None,
        max_failed_restores=5,
        max_moves_per_hour=2,
        max_moves_per_day=6,
        max_clocks_apart=5 * SECOND,
        new_tariff_days=2,
    )
    assert (APPROVAL_LASTS, ANNOUNCED_FOR) == (4 * HOUR, 4 * HOUR)
    assert (SPAN_GRACE, AFTER_A_STEP, MAX_TRIPS_PER_MINUTE) == (24 * HOUR, HOUR, 10)


def test_of_what_nobody_told_nothing_speaks_for_or_against_a_cut() -> None:
    stored = snapshot(Policy(), Facts(NOW, 0, 0), evaluate(Policy(), Facts(NOW, 0, 0)))
    facts: Any = stored["facts"]
    told = {"account_state": "active", "reading_state": "published", "requested_by": "daemon"}
    told["cause"] = "arrears"
    good = {"has_agreement": True, "has_relay": True, "meters": 1, "clocks_apart": 0.0}
    known = {"now": NOW.isoformat(), "balance_fen": 0, "trip_threshold_fen": 0, **told, **good}
    assert {name: it for name, it in facts.items() if name in known} == known
    nothing: dict[Any, Any] = {"bool": False, "int": 0}
    for it in dataclasses.fields(Facts):
        if it.name not in known:
            expected = [] if str(it.type).startswith("tuple") else nothing.get(it.type)
            assert json.dumps(facts[it.name]) == json.dumps(expected), it.name


def test_what_no_snapshot_can_hold_is_not_left_out_of_it() -> None:
    of_a_third: Any = 1 / 3
    facts = dataclasses.replace(ALLOWED, balance_fen=of_a_third)
    with pytest.raises(TypeError, match=r"no plain value of 0\.3"):
        snapshot(Policy(), facts, evaluate(Policy(), facts))


RECORDS: dict[Any, type] = {tuple[Notice, ...]: Notice, tuple[Approval, ...]: Approval}
FROM_TEXT: dict[Any, Any] = {
    time: time.fromisoformat,
    datetime: datetime.fromisoformat,
    datetime | None: datetime.fromisoformat,
    date | None: date.fromisoformat,
    ZoneInfo | None: ZoneInfo,
}


def rebuilt(kind: type, stored: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    return kind(**{name: typed(hints[name], value) for name, value in stored.items()})


def typed(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if hint in (timedelta, timedelta | None):
        return timedelta(seconds=value)
    if hint in FROM_TEXT:
        return FROM_TEXT[hint](value)
    if hint == frozenset[date]:
        return frozenset(map(date.fromisoformat, value))
    if hint == tuple[datetime, ...]:
        return tuple(map(datetime.fromisoformat, value))
    if hint in RECORDS:
        return tuple(rebuilt(RECORDS[hint], it) for it in value)
    assert hint in (int, str, bool) or "Literal" in str(hint), hint
    return value


def announced(at: datetime) -> Notice:
    """A final notice of five hours ago that names the hour of the cut."""
    return Notice("final", NOW - 5 * HOUR, at)


@pytest.mark.parametrize(
    ("seen_at", "reasons"),
    [
        (NOW - 36 * HOUR, ()),
        (NOW - 36 * HOUR - SECOND, ("COMM_UNSTABLE",)),
        (None, ("COMM_UNSTABLE",)),
    ],
)
def test_a_relay_that_was_not_looked_at_is_not_opened(
    seen_at: datetime | None, reasons: tuple[str, ...]
) -> None:
    facts = dataclasses.replace(ALLOWED, relay_seen_at=seen_at)
    assert evaluate(Policy(max_relay_age=36 * HOUR), facts).reasons == reasons


def test_the_window_is_local_and_an_age_is_what_has_passed() -> None:
    # On 29 March 2026 the clocks of Berlin go from 02:00 to 03:00: two hours pass from 01:30 to
    # 04:30.
    berlin = ZoneInfo("Europe/Berlin")
    now = datetime(2026, 3, 29, 2, 30, tzinfo=UTC)
    facts = Facts(
        now=now,
        zone=berlin,
        balance_fen=-1,
        trip_threshold_fen=0,
        last_reading_at=now - 2 * HOUR,
        episode_started_at=now - DAY,
        notices=(Notice("written", now - 2 * HOUR),),
    )
    policy = Policy(
        max_reading_age=2 * HOUR,
        written_min=2 * HOUR,
        window_start=time(4, 30),
        window_end=time(4, 31),
        working_days_only=False,
        final_required=False,
        approvals_required=0,
        no_trip_on_eve=False,
    )
    assert evaluate(policy, facts).reasons == ()
    late = dataclasses.replace(facts, now=now + timedelta(minutes=1))
    assert evaluate(policy, late).reasons == ("STALE_READING", "WINDOW_CLOSED")


def final_notices(*ages: timedelta) -> list[Notice]:
    return [Notice("final", NOW - age) for age in ages]


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, ()),
        ({"balance_fen": 0, "approvals": (approval(debt_fen=0),)}, ("BALANCE_OK",)),
        ({"balance_fen": -1, "approvals": (approval(debt_fen=1),)}, ()),
        (
            {
                "balance_fen": -1,
                "credit_limit_fen": 1,
                "approvals": (approval(debt_fen=0),),
            },
            ("BALANCE_OK",),
        ),
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
        ({"notices": (ALLOWED.notices[0], Notice("final", NOW))}, ("FINAL_NOTICE_TOO_RECENT",)),
        (
            {"notices": (ALLOWED.notices[0], *final_notices(25 * HOUR, HOUR / 6))},
            ("FINAL_NOTICE_TOO_RECENT",),
        ),
        ({"notices": (ALLOWED.notices[0], *final_notices(25 * HOUR, HOUR / 6, HOUR))}, ()),
        ({"approvals": (approval("Daemon"),)}, ("APPROVAL_MISSING",)),
        ({"approvals": (approval(" \uff24aemon "),)}, ("APPROVAL_MISSING",)),  # a wide D
        ({"approvals": (approval(given=4 * HOUR - SECOND),)}, ()),
        ({"approvals": (approval(given=4 * HOUR),)}, ("APPROVAL_MISSING",)),
        ({"approvals": (approval(given=-SECOND),)}, ("APPROVAL_MISSING",)),
        ({"balance_fen": -1375}, ()),
        ({"balance_fen": -1376}, ("APPROVAL_MISSING",)),
        ({"balance_fen": -1125}, ()),
        ({"balance_fen": -1124}, ("APPROVAL_MISSING",)),
        ({"shadow_mode": True, "approvals": ()}, ("APPROVAL_MISSING", "SHADOW_MODE")),
        ({"tariff_from": date(2026, 3, 9)}, ()),
        ({"tariff_from": date(2026, 3, 10)}, ("TARIFF_UNAPPROVED",)),
        ({"has_relay": False}, ("NO_RELAY",)),
        ({"relay_moves": (NOW - HOUR, NOW)}, ()),
        ({"relay_moves": (NOW - HOUR + SECOND, NOW)}, ("RELAY_WEAR",)),
        ({"relay_moves": (NOW - DAY, *(NOW - HOUR for _ in range(5)))}, ()),
        ({"relay_moves": (NOW - DAY + SECOND, *(NOW - HOUR for _ in range(5)))}, ("RELAY_WEAR",)),
        ({"clocks_apart": 5 * SECOND}, ()),
        ({"clocks_apart": -5 * SECOND - SECOND / 10}, ("CLOCK_UNSURE",)),
        ({"clock_stepped_at": NOW - HOUR}, ()),
        ({"clock_stepped_at": NOW - HOUR + SECOND}, ("CLOCK_UNSURE",)),
        ({"last_reading_at": NOW}, ()),
        ({"last_reading_at": NOW + SECOND}, ("CLOCK_UNSURE",)),
        ({"failed_restores": 5}, ()),
        ({"failed_restores": 6}, ("RESTORE_CAPACITY",)),
        ({"planned_outage": True}, ("COMM_UNSTABLE",)),
        ({"use_jump": True}, ("USE_JUMP",)),
        ({"correction_open": True}, ("CORRECTION_OPEN",)),
        ({"held": True}, ("HOLD",)),
        ({"locked": True}, ("LOCKED",)),
        ({"source_changed": True}, ("SOURCE_CHANGED",)),
        ({"notices": (ALLOWED.notices[0], announced(NOW))}, ()),
        ({"notices": (ALLOWED.notices[0], announced(NOW - 4 * HOUR))}, ()),
        (
            {"notices": (ALLOWED.notices[0], announced(NOW + SECOND))},
            ("FINAL_NOTICE_TOO_RECENT",),
        ),
        (
            {"notices": (ALLOWED.notices[0], announced(NOW - 4 * HOUR - SECOND))},
            ("FINAL_NOTICE_EXPIRED",),
        ),
    ],
)
def test_one_fact_changed_at_a_time(change: dict[str, Any], reasons: tuple[str, ...]) -> None:
    assert evaluate(Policy(), dataclasses.replace(ALLOWED, **change)).reasons == reasons


@pytest.mark.parametrize(
    ("meters", "of_several", "given", "decision"),
    [
        (1, 1, 0, "allow"),
        (2, 1, 0, "needs_approval"),
        (2, 1, 1, "allow"),
        (2, 0, 0, "allow"),
        (3, 2, 1, "needs_approval"),
    ],
)
def test_no_machine_alone_cuts_an_account_with_several_meters(
    meters: int, of_several: int, given: int, decision: str
) -> None:
    policy = Policy(approvals_required=0, approvals_of_several=of_several)
    agreed = tuple(approval(f"op-{n}") for n in range(given))
    asked = dataclasses.replace(ALLOWED, meters=meters, approvals=agreed)
    assert evaluate(policy, asked).decision == decision


def test_as_many_approvals_as_the_policy_asks_for_where_that_is_more() -> None:
    policy = Policy(approvals_required=2, approvals_of_several=1)
    assert evaluate(policy, dataclasses.replace(ALLOWED, meters=2)).decision == "needs_approval"


@pytest.mark.parametrize("cause", ["safety", "theft", "customer_request"])
def test_no_notice_of_a_debt_stands_against_an_order(cause: Cause) -> None:
    ordered = dataclasses.replace(ALLOWED, cause=cause, requested_by="op-2")
    for written, final in ((None, None), (NOW - 169 * HOUR, NOW - 25 * HOUR), (NOW, NOW)):
        notices = (Notice("written", written), Notice("final", final))
        told = dataclasses.replace(ordered, episode_started_at=NOW - 9 * DAY, notices=notices)
        assert evaluate(Policy(), told).reasons == ()


def test_a_policy_in_shadow_mode_only_tells() -> None:
    assert evaluate(Policy(shadow=True), ALLOWED).reasons == ("SHADOW_MODE",)
    assert evaluate(Policy(), ALLOWED).reasons == ()


def test_of_the_calendar_the_days_are_kept_that_are_looked_at() -> None:
    days = frozenset(date(2026, 3, day) for day in range(9, 15))
    policy = Policy(holidays=days, makeup_workdays=days)
    kept: Any = snapshot(policy, ALLOWED, evaluate(policy, ALLOWED))
    assert kept["policy"]["holidays"] == ["2026-03-11", "2026-03-12"]
    assert kept["policy"]["makeup_workdays"] == ["2026-03-11", "2026-03-12"]
