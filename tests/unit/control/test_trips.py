"""Trips and restores as money and supply ask for them, and what the guard is told."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.control.authority import Authority, SiteHold
from daemon.control.breaker import Limits
from daemon.control.clocks import Clocks
from daemon.control.commands import RECONNECT_EXPIRY, TRIP_EXPIRY
from daemon.control.facts import NOTHING_SAID, PointFacts, Said, facts_for_guard
from daemon.control.guard import MAX_TRIPS_PER_MINUTE, Approval, Cause, Notice, Policy
from daemon.control.restoration import (
    is_to_be_restored,
    missing_fen,
    needs_job,
    renewed_expiry,
    restorations,
    restore_step,
)
from daemon.control.sources import FarEnd
from daemon.control.trips import (
    guard_trip,
    is_any_possible,
    is_trip_due,
    trip_expires_at,
    waits_for_settling,
)
from protocols.peer import Peer, Proof

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 3, 11, 2, 30, tzinfo=UTC)  # 10:30 in Shanghai, a Wednesday
MIDNIGHT = datetime(2026, 3, 11, tzinfo=SHANGHAI)
LENIENT = Policy(written_required=False, final_required=False, approvals_required=0)
AUTHORITY = Authority(LENIENT, SHANGHAI, shadow_mode=False, running_for=lambda: timedelta(hours=1))
EXHAUSTED = PointFacts(
    point_id=1,
    point="P1",
    account_id=1,
    account="A1",
    supply_state="energised",
    relay_observed="closed",
    relay_observed_at=NOW,
    keep_power_observed=False,
    has_relay=True,
    relay_moves=(),
    protected=False,
    life_support=False,
    reconnect="close",
    meter_id=1,
    address="000000000001",
    line="line",
    account_state="active",
    has_agreement=True,
    trip_fen=0,
    credit_limit_fen=0,
    reconnect_fen=500,
    credit_state="exhausted",
    episode_id=1,
    episode_started_at=NOW - timedelta(days=1),
    profile=None,
    balance_fen=-100,
    newest_state="published",
    last_published_day=date(2026, 3, 11),
    span_grace_until=None,
    use_jump=False,
    correction_open=False,
    tariff_from=None,
    reconnect_pending=False,
    breaker_open=False,
    failed_restores=0,
    trips_last_minute=0,
    source_identity=None,
    sources=(),
)
CUT = replace(EXHAUSTED, supply_state="disconnected")


AGREED = (Approval("op-1", NOW, NOW + timedelta(hours=4), 100),)


def marked(kind: str) -> dict[str, Said]:
    return {"said": Said(marks=frozenset({kind}))}


@pytest.mark.parametrize(
    ("change", "is_due"),
    [
        ({}, True),
        ({"credit_state": "emergency"}, False),
        ({"supply_state": "trip_commanded"}, False),
        ({"supply_state": "disconnected"}, False),
    ],
)
def test_money_asks_for_a_trip_of_an_energised_point_of_an_exhausted_account(
    change: dict[str, Any], is_due: bool
) -> None:
    assert is_trip_due(replace(EXHAUSTED, **change)) is is_due


def test_the_guard_is_told_the_sites_time_and_what_is_missing() -> None:
    facts = facts_for_guard(EXHAUSTED, AUTHORITY, NOW)
    assert facts.local_now.replace(tzinfo=None) == datetime(2026, 3, 11, 10, 30)
    assert facts.last_reading_at == MIDNIGHT
    assert facts.episode_started_at == NOW - timedelta(days=1)
    assert {at.tzinfo for at in (facts.last_reading_at, facts.episode_started_at) if at} == {UTC}
    assert facts.running_for == timedelta(hours=1)
    assert facts.requested_by == "daemon"
    here = NOW.astimezone(SHANGHAI)
    moments = replace(EXHAUSTED, relay_observed_at=here, relay_moves=(here,), span_grace_until=here)
    facts = facts_for_guard(moments, AUTHORITY, here)
    told = (facts.now, facts.relay_seen_at, *facts.relay_moves, facts.span_grace_until)
    assert told == (NOW,) * 4
    assert {at.tzinfo for at in told if at} == {UTC}
    unknown = replace(
        EXHAUSTED, newest_state=None, last_published_day=None, episode_started_at=None
    )
    facts = facts_for_guard(unknown, AUTHORITY, NOW - timedelta(days=1))
    assert facts.reading_state == "missing"
    assert (facts.last_reading_at, facts.episode_started_at) == (None, None)
    assert facts.running_for == timedelta(hours=1)  # whatever clocks show


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, ()),
        ({"relay_observed": "open"}, ("ALREADY_OPEN",)),
        ({"keep_power_observed": True}, ("DEVICE_KEEP_POWER",)),
        ({"trips_last_minute": MAX_TRIPS_PER_MINUTE - 1}, ()),
        ({"trips_last_minute": MAX_TRIPS_PER_MINUTE}, ("BREAKER_OPEN",)),
        ({"newest_state": "suspect"}, ("READING_NOT_PUBLISHED",)),
        ({"credit_limit_fen": 100}, ("BALANCE_OK",)),
        ({"has_relay": False}, ("NO_RELAY",)),
        ({"relay_moves": (NOW, NOW)}, ("RELAY_WEAR",)),
        ({"use_jump": True}, ("USE_JUMP",)),
        ({"correction_open": True}, ("CORRECTION_OPEN",)),
        ({"tariff_from": date(2026, 3, 11)}, ("TARIFF_UNAPPROVED",)),
        ({"breaker_open": True}, ("BREAKER_OPEN",)),
        ({"failed_restores": 6}, ("RESTORE_CAPACITY",)),
        ({"protected": True}, ("PROTECTED",)),
        ({"life_support": True}, ("LIFE_SUPPORT",)),
        ({"reconnect_pending": True}, ("RECONNECT_PENDING",)),
        ({"has_agreement": False}, ("NO_AGREEMENT",)),
        ({"account_state": "closing"}, ("ACCOUNT_NOT_ACTIVE",)),
        ({"span_grace_until": NOW + timedelta(hours=1)}, ("SPAN_GRACE",)),
        ({"sources": ((Proof.NONE, 0, 0),)}, ("SOURCE_CHANGED",)),
        ({"sources": ((Proof.NETWORK, 1, 0),)}, ("SOURCE_CHANGED",)),
        ({"sources": ((Proof.NETWORK, 0, 1),)}, ("SOURCE_CHANGED",)),
        ({"sources": ((Proof.NETWORK, 0, 0), (Proof.CERTIFICATE, 1, 0))}, ()),
        ({"meters": 2}, ("APPROVAL_MISSING",)),
        ({"meters": 2, "said": Said(approvals=AGREED)}, ()),
        ({"meters": 2, "said": Said(approvals=AGREED, requester="op-1")}, ("APPROVAL_MISSING",)),
        (marked("protected"), ("PROTECTED",)),
        (marked("life_support"), ("LIFE_SUPPORT",)),
        (marked("hold"), ("HOLD",)),
        (marked("amnesty"), ("HOLD",)),
        (marked("keep_power"), ("LOCKED",)),
        (marked("dispute"), ("DISPUTE",)),
        (marked("wrongful_cut"), ("DISPUTE",)),
        (marked("payment_in_flight"), ("PAYMENT_IN_FLIGHT",)),
        (marked("weather"), ("WEATHER",)),
        (marked("planned_outage"), ("COMM_UNSTABLE",)),
    ],
)
def test_each_fact_of_a_point_reaches_the_guard(
    change: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    trip = guard_trip(replace(EXHAUSTED, **change), AUTHORITY, NOW)
    assert trip.point == replace(EXHAUSTED, **change)
    assert trip.verdict.reasons == reasons
    assert trip.is_allowed == (not reasons)
    assert trip.snapshot["reasons"] == list(reasons)
    facts = trip.snapshot["facts"]
    assert isinstance(facts, dict)
    assert facts["balance_fen"] == -100


@pytest.mark.parametrize(
    ("known", "reasons"),
    [
        ({"shadow_mode": True}, ("SHADOW_MODE",)),
        ({"clocks": Clocks(apart=timedelta(seconds=6))}, ("CLOCK_UNSURE",)),
        ({"policy": replace(LENIENT, startup_hold=timedelta(minutes=61))}, ("STARTUP_HOLD",)),
    ],
)
def test_each_fact_of_the_site_reaches_the_guard(
    known: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    assert guard_trip(EXHAUSTED, replace(AUTHORITY, **known), NOW).verdict.reasons == reasons


def test_nobody_is_cut_over_a_session_that_did_not_tell_his_reading() -> None:
    session = Peer("10.0.0.7", Proof.NETWORK, "T1", "", NOW)
    for identity, reasons in ((session.identity, ()), ("10.0.0.8", ("SOURCE_CHANGED",))):
        point = replace(EXHAUSTED, source_identity=identity)
        assert guard_trip(point, AUTHORITY, NOW, FarEnd(session)).verdict.reasons == reasons


@pytest.mark.parametrize("doubt", ["", "3 of 4 meters' clocks show +3600 s"])
def test_no_trip_is_asked_for_while_the_host_clock_is_doubted(doubt: str) -> None:
    authority = replace(AUTHORITY, clocks=Clocks(doubt=lambda: doubt))
    reasons = guard_trip(EXHAUSTED, authority, NOW).verdict.reasons
    assert ("CLOCK_UNSURE" in reasons) == bool(doubt)


def test_a_trip_expires_after_ten_minutes_and_never_after_the_window() -> None:
    at_window_end = datetime(2026, 3, 11, 15, tzinfo=SHANGHAI)
    for before_end, expires_at in (
        (timedelta(hours=1), at_window_end - timedelta(hours=1) + TRIP_EXPIRY),
        (timedelta(minutes=4), at_window_end),
    ):
        assert expiry(at_window_end - before_end) == expires_at
    late = datetime(2026, 3, 11, 23, 59, tzinfo=SHANGHAI)
    assert expiry(late, replace(LENIENT, window_end=time.max)) == late + TRIP_EXPIRY


def expiry(now: datetime, policy: Policy = LENIENT, said: Said = NOTHING_SAID) -> datetime:
    authority = replace(AUTHORITY, policy=policy)
    trip = guard_trip(replace(EXHAUSTED, said=said), authority, now)
    return trip_expires_at(trip, SHANGHAI, now)


def test_a_trip_expires_with_its_approvals_and_its_final_notice() -> None:
    soon = timedelta(minutes=3)
    approvals = tuple(
        Approval(f"op-{number}", NOW - timedelta(hours=1), NOW + soon * number, 100)
        for number in (0, 1, 2)
    )
    approved = Said(approvals=approvals)
    assert expiry(NOW, replace(LENIENT, approvals_required=1), approved) == NOW + soon
    assert expiry(NOW, LENIENT, approved) == NOW + TRIP_EXPIRY
    day_ago, sooner = NOW - timedelta(hours=24) + soon, NOW - timedelta(hours=24) + soon / 3
    told = Said(notices=(Notice("final", day_ago), Notice("final", sooner), Notice("final")))
    warned = replace(LENIENT, final_required=True)
    assert expiry(NOW, warned, told) == NOW + soon
    old = Said(notices=(Notice("final", NOW - timedelta(hours=24)),))
    assert expiry(NOW, warned, old) == NOW
    for newer in (
        Notice("final", NOW - timedelta(minutes=29)),
        Notice("final", NOW - timedelta(hours=1), NOW + soon / 3),
    ):
        assert expiry(NOW, warned, Said(notices=(*told.notices, newer))) == NOW + soon
    just_good = (*told.notices, Notice("final", NOW - timedelta(minutes=30)))
    assert expiry(NOW, warned, Said(notices=just_good)) == NOW + TRIP_EXPIRY
    assert expiry(NOW, LENIENT, told) == NOW + TRIP_EXPIRY
    planned = Notice("final", NOW - timedelta(hours=5), NOW - timedelta(hours=4) + soon)
    assert expiry(NOW, warned, Said(notices=(planned,))) == NOW + soon


def test_who_acts_without_a_rival_has_the_limits_of_everybody_and_holds_nothing() -> None:
    assert SiteHold() == SiteHold(0, None)
    assert AUTHORITY.hold is None
    assert AUTHORITY.limits == Limits()


def test_an_account_is_cut_by_its_own_policy() -> None:
    strict = replace(AUTHORITY, profiles={"strict": Policy()})
    assert guard_trip(replace(EXHAUSTED, profile="strict"), strict, NOW).policy == Policy()
    assert guard_trip(replace(EXHAUSTED, profile="other"), strict, NOW).policy == LENIENT
    assert guard_trip(EXHAUSTED, strict, NOW).policy == LENIENT
    assert guard_trip(replace(EXHAUSTED, profile="other"), AUTHORITY, NOW).policy == LENIENT


@pytest.mark.parametrize(
    ("change", "is_restored"),
    [
        ({}, False),
        ({"balance_fen": 499}, False),
        ({"balance_fen": 500}, True),
        ({"protected": True}, True),
        ({"life_support": True}, True),
        (marked("protected"), True),
        (marked("life_support"), True),
        (marked("hold"), False),
        ({"balance_fen": 500, "supply_state": "trip_commanded"}, True),
        ({"balance_fen": 500, "supply_state": "energised"}, False),
        ({"balance_fen": 500, "supply_state": "reconnect_commanded"}, False),
        ({"balance_fen": 500, "supply_state": "wait_customer_button"}, False),
    ],
)
def test_what_is_cut_is_restored_at_the_threshold_or_under_protection(
    change: dict[str, Any], is_restored: bool
) -> None:
    assert is_to_be_restored(replace(CUT, **change)) is is_restored


OPENED_BY_OTHERS = replace(
    EXHAUSTED,
    relay_observed="open",
    balance_fen=100,
    credit_state="low",
    episode_started_at=None,
    reconnect_fen=500,
)


@pytest.mark.parametrize(
    ("change", "is_restored"),
    [
        ({}, True),
        ({"relay_observed": "closed"}, False),
        ({"relay_observed": "unknown"}, False),
        ({"has_relay": False}, False),
        ({"supply_state": "wait_customer_button"}, False),
        ({"episode_started_at": NOW}, False),
        ({"episode_started_at": NOW, "balance_fen": 500}, True),
        ({"episode_started_at": NOW, "protected": True}, True),
        ({"account_state": "closing"}, False),
        ({"account_state": "closing", "life_support": True}, True),
        (marked("planned_outage"), False),
        ({**marked("planned_outage"), "protected": True}, False),
        (marked("hold"), True),
    ],
)
def test_who_was_opened_by_somebody_else_and_owes_nothing_is_restored(
    change: dict[str, Any], is_restored: bool
) -> None:
    assert is_to_be_restored(replace(OPENED_BY_OTHERS, **change)) is is_restored


@pytest.mark.parametrize(
    ("supply_state", "trip_sends", "was_just_tried", "step"),
    [
        ("trip_commanded", 0, False, "cancel"),
        ("trip_commanded", 0, True, "cancel"),
        ("trip_commanded", 1, False, "reconnect"),
        ("trip_commanded", None, False, "reconnect"),
        ("disconnected", 0, False, "reconnect"),
        ("disconnected", None, False, "reconnect"),
        ("disconnected", None, True, "wait"),
        ("trip_commanded", 2, True, "wait"),
    ],
)
def test_whatever_may_have_reached_the_meter_is_followed_by_a_reconnect(
    supply_state: str, trip_sends: int | None, was_just_tried: bool, step: str
) -> None:
    point = replace(EXHAUSTED, supply_state=supply_state)
    assert restore_step(point, trip_sends=trip_sends, was_just_tried=was_just_tried) == step


def test_who_works_at_a_supply_that_is_off_is_not_closed_in_upon() -> None:
    kept_off = replace(CUT, said=Said(marks=frozenset({"keep_off"})), balance_fen=10_000)
    assert is_to_be_restored(kept_off)
    assert restore_step(kept_off, trip_sends=None, was_just_tried=False) == "wait"
    unsent = replace(kept_off, supply_state="trip_commanded")
    assert restore_step(unsent, trip_sends=0, was_just_tried=False) == "cancel"


@pytest.mark.parametrize("cause", ["safety", "theft", "customer_request"])
def test_whatever_two_persons_ordered_a_supply_off_for_no_payment_closes_it(cause: Cause) -> None:
    ordered = replace(CUT, said=Said(marks=frozenset({cause})), cut_for=cause, balance_fen=10_000)
    assert ordered.ordered == cause
    assert restore_step(ordered, trip_sends=None, was_just_tried=False) == "wait"


@pytest.mark.parametrize(
    ("supply_state", "age_s", "needs"),
    [
        ("reconnect_commanded", 599, False),
        ("reconnect_commanded", 600, True),
        ("disconnected", 600, True),
        ("wait_customer_button", 599, False),
        ("wait_customer_button", 6000, False),
    ],
)
def test_somebody_goes_where_a_reconnect_has_not_come_in_ten_minutes(
    supply_state: str, age_s: int, needs: bool
) -> None:
    assert needs_job(supply_state, timedelta(seconds=age_s)) is needs


def test_the_points_of_an_account_are_restored_each_by_what_became_of_its_trip() -> None:
    unsent, sent, cut, tried = (
        replace(EXHAUSTED, point_id=number, supply_state=state)
        for number, state in (
            (1, "trip_commanded"),
            (2, "trip_commanded"),
            (3, "disconnected"),
            (4, "disconnected"),
        )
    )
    sends = {1: 0, 2: 1}
    assert restorations([unsent, sent, cut, tried], sends, {4}) == ([unsent], [sent, cut])


def test_a_reconnect_is_renewed_when_it_expires() -> None:
    assert renewed_expiry(NOW + timedelta(seconds=1), NOW) == NOW + timedelta(seconds=1)
    assert renewed_expiry(NOW, NOW) == NOW + RECONNECT_EXPIRY


@pytest.mark.parametrize("state", ["unsettled", "unjudged", "suspect"])
def test_a_trip_waits_while_its_account_is_settled_and_for_nothing_else(state: str) -> None:
    asked = guard_trip(replace(EXHAUSTED, newest_state=state), AUTHORITY, NOW)
    assert waits_for_settling(asked) is (state != "suspect")
    paid = guard_trip(replace(EXHAUSTED, newest_state=state, balance_fen=0), AUTHORITY, NOW)
    assert not waits_for_settling(paid)


def test_what_is_missing_is_told_to_customers_who_are_cut() -> None:
    assert missing_fen([]) == 0
    assert missing_fen([EXHAUSTED]) == 0
    assert missing_fen([EXHAUSTED, CUT]) == 600
    assert missing_fen([replace(CUT, balance_fen=700)]) == 0


@pytest.mark.parametrize(
    ("policy", "now", "authority"),
    [
        (LENIENT, NOW, {}),
        (Policy(), NOW, {}),
        (Policy(), NOW - timedelta(hours=3), {}),  # before the window
        (Policy(), NOW + timedelta(hours=6), {}),
        (Policy(), NOW + timedelta(days=2), {}),  # a Friday
        (Policy(), NOW + timedelta(days=3), {}),
        (Policy(holidays=frozenset({date(2026, 3, 11)})), NOW, {}),
        (replace(LENIENT, startup_hold=timedelta(minutes=61)), NOW, {}),
        (replace(LENIENT, startup_hold=timedelta(minutes=60)), NOW, {}),
        (LENIENT, NOW, {"clocks": Clocks(apart=timedelta(seconds=6))}),
        (LENIENT, NOW, {"clocks": Clocks(apart=timedelta(seconds=5))}),
        (LENIENT, NOW, {"clocks": Clocks(doubt=lambda: "stepped")}),
        (LENIENT, NOW, {"shadow_mode": True}),
        (replace(LENIENT, shadow=True), NOW, {}),
        (replace(LENIENT, min_debt_fen=1_000), NOW, {}),
        (replace(LENIENT, max_relay_age=timedelta(0)), NOW, {}),
        (replace(LENIENT, max_moves_per_day=0), NOW, {}),
        (replace(LENIENT, new_tariff_days=30), NOW, {}),
        (replace(Policy(), final_min=timedelta(hours=25)), NOW, {}),
    ],
)
def test_nobody_is_looked_at_only_while_the_guard_denies_everybody(
    policy: Policy, now: datetime, authority: dict[str, Any]
) -> None:
    """The one who is most in order to be cut is let be cut exactly when anybody may be."""
    known = replace(AUTHORITY, policy=policy, **authority)
    notices = (Notice("written", now - policy.written_min), Notice("final", now - policy.final_min))
    worst = replace(
        EXHAUSTED,
        balance_fen=-100_000,
        relay_observed_at=now,
        last_published_day=now.astimezone(SHANGHAI).date(),
        episode_started_at=now - timedelta(days=10),
        said=replace(NOTHING_SAID, notices=notices),
    )
    against = {*guard_trip(worst, known, now).verdict.reasons}
    is_open = not against - {"SHADOW_MODE", "APPROVAL_MISSING"}
    assert is_any_possible(policy, known, now) == is_open


ORDERED = replace(
    EXHAUSTED,
    credit_state="good",
    balance_fen=10_000,
    said=Said(
        marks=frozenset({"safety"}),
        requester="li",
        approvals=(Approval("wang", NOW, NOW + timedelta(hours=4), 0),),
    ),
)


def test_what_two_persons_ordered_off_is_cut_whatever_the_balance() -> None:
    assert is_trip_due(ORDERED)
    trip = guard_trip(ORDERED, AUTHORITY, NOW)
    assert trip.is_allowed
    assert trip.facts.cause == "safety"
    by_one = replace(ORDERED.said, requester="Wang")
    assert guard_trip(replace(ORDERED, said=by_one), AUTHORITY, NOW).verdict.reasons == (
        "APPROVAL_MISSING",
    )
    assert guard_trip(replace(ORDERED, life_support=True), AUTHORITY, NOW).verdict.reasons == (
        "LIFE_SUPPORT",
    )


def test_for_safety_a_trip_outlasts_the_window_and_no_notice_ends_it() -> None:
    late = datetime(2026, 3, 11, 14, 55, tzinfo=SHANGHAI)
    said = replace(ORDERED.said, approvals=(Approval("wang", late, late + timedelta(hours=4), 0),))
    final = Notice("final", late - timedelta(hours=23, minutes=58))
    strict = replace(AUTHORITY, policy=Policy())
    for cause, lasts in (("safety", TRIP_EXPIRY), ("theft", timedelta(minutes=5))):
        told = replace(said, marks=frozenset({cause}), notices=(final,))
        trip = guard_trip(replace(ORDERED, said=told), strict, late)
        assert trip.is_allowed
        assert trip_expires_at(trip, SHANGHAI, late) == late + lasts


def test_paying_restores_nobody_who_is_ordered_off_and_the_end_of_the_order_does() -> None:
    dark = replace(ORDERED, supply_state="disconnected", cut_for="safety")
    assert not is_to_be_restored(dark)
    assert not is_to_be_restored(replace(dark, protected=True))
    assert not is_to_be_restored(replace(ORDERED, relay_observed="open"))
    owing = replace(dark, balance_fen=-100, said=NOTHING_SAID)
    assert is_to_be_restored(owing)
    assert not is_to_be_restored(replace(owing, cut_for="arrears"))
    assert missing_fen([owing]) == 0
    assert missing_fen([replace(owing, cut_for="arrears")]) == 600
    assert missing_fen([replace(dark, balance_fen=-100, cut_for="arrears")]) == 0
    assert restore_step(dark, trip_sends=None, was_just_tried=False) == "wait"
