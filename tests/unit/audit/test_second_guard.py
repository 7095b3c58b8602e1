"""The second guard against the rules: each reason, at its edges, alone and with the others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from daemon.audit.second_guard import second_opinion
from daemon.audit.trips import objection
from tests.guard_snapshot import HOUR, NOW, SECOND, good, told
from tests.unit.golden_cases import CASES

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def facts(**changes: Any) -> Change:
    return lambda of_facts, _: of_facts.update(changes)


def policy(**changes: Any) -> Change:
    return lambda _, of_policy: of_policy.update(changes)


def both(*changes: Change) -> Change:
    def change(of_facts: dict[str, Any], of_policy: dict[str, Any]) -> None:
        for it in changes:
            it(of_facts, of_policy)

    return change


def notice(number: int, **changes: Any) -> Change:
    return lambda of_facts, _: of_facts["notices"][number].update(changes)


def approval(**changes: Any) -> Change:
    return lambda of_facts, _: of_facts["approvals"][1].update(changes)


def no_notice(number: int) -> Change:
    return lambda of_facts, _: of_facts["notices"].pop(number)


def local(day: date, at: time) -> Change:
    """The same minute for everything that has an age: only the calendar moves."""
    moved = datetime.combine(day, at, ZoneInfo("Asia/Shanghai")).astimezone(UTC) - NOW

    def change(of_facts: dict[str, Any], _: dict[str, Any]) -> None:
        def later(value: str) -> str:
            return told(datetime.fromisoformat(value) + moved)

        for key in ("now", "last_reading_at", "episode_started_at", "relay_seen_at"):
            of_facts[key] = later(of_facts[key])
        for it in of_facts["notices"]:
            it["delivered_at"] = later(it["delivered_at"])
        for it in of_facts["approvals"]:
            it["approved_at"], it["expires_at"] = later(it["approved_at"]), later(it["expires_at"])

    return change


def opinion(change: Change) -> tuple[str, tuple[str, ...]]:
    document = copy.deepcopy(good())
    change(document["facts"], document["policy"])
    found = second_opinion(document)
    return found.decision, found.reasons


WEDNESDAY: Final = date(2026, 3, 11)
AGAINST: Final[list[tuple[Change, str]]] = [
    (facts(balance_fen=0), "BALANCE_OK"),
    (facts(balance_fen=-999, credit_limit_fen=999), "BALANCE_OK"),
    (facts(balance_fen=-999, emergency_available_fen=1000), "BALANCE_OK"),
    (facts(account_state="closing"), "ACCOUNT_NOT_ACTIVE"),
    (facts(has_agreement=False), "NO_AGREEMENT"),
    (facts(reading_state="suspect"), "READING_NOT_PUBLISHED"),
    (facts(last_reading_at=None), "STALE_READING"),
    (facts(last_reading_at=told(NOW - 36 * HOUR - SECOND)), "STALE_READING"),
    (facts(span_grace_until=told(NOW + SECOND)), "SPAN_GRACE"),
    (facts(use_jump=True), "USE_JUMP"),
    (facts(correction_open=True), "CORRECTION_OPEN"),
    (facts(tariff_from="2026-03-11"), "TARIFF_UNAPPROVED"),
    (facts(tariff_from="2026-03-10"), "TARIFF_UNAPPROVED"),
    (facts(tariff_from="2026-03-12"), "TARIFF_UNAPPROVED"),
    (facts(source_changed=True), "SOURCE_CHANGED"),
    (facts(protected=True), "PROTECTED"),
    (facts(life_support=True), "LIFE_SUPPORT"),
    (facts(held=True), "HOLD"),
    (facts(locked=True), "LOCKED"),
    (facts(dispute_open=True), "DISPUTE"),
    (facts(payment_in_flight=True), "PAYMENT_IN_FLIGHT"),
    (facts(weather_hold=True), "WEATHER"),
    (facts(reconnect_pending=True), "RECONNECT_PENDING"),
    (facts(failed_restores=6), "RESTORE_CAPACITY"),
    (facts(has_relay=False), "NO_RELAY"),
    (facts(relay_open=True), "ALREADY_OPEN"),
    (facts(device_keep_power=True), "DEVICE_KEEP_POWER"),
    (facts(planned_outage=True), "COMM_UNSTABLE"),
    (both(policy(max_relay_age=3599.0)), "COMM_UNSTABLE"),
    (both(policy(max_relay_age=3600.0), facts(relay_seen_at=None)), "COMM_UNSTABLE"),
    (facts(relay_moves=[told(NOW - HOUR + SECOND)] * 2), "RELAY_WEAR"),
    (facts(relay_moves=[told(NOW - 24 * HOUR + SECOND)] * 6), "RELAY_WEAR"),
    (facts(clocks_apart=-5.1), "CLOCK_UNSURE"),
    (facts(clocks_apart=5.1), "CLOCK_UNSURE"),
    (facts(clock_stepped_at=told(NOW - HOUR + SECOND)), "CLOCK_UNSURE"),
    (facts(last_reading_at=told(NOW + SECOND)), "CLOCK_UNSURE"),
    (facts(breaker_open=True), "BREAKER_OPEN"),
    (policy(shadow=True), "SHADOW_MODE"),
    (facts(shadow_mode=True), "SHADOW_MODE"),
    (facts(running_for=899.9), "STARTUP_HOLD"),
    (local(WEDNESDAY, time(8, 59, 59)), "WINDOW_CLOSED"),
    (local(WEDNESDAY, time(15)), "WINDOW_CLOSED"),
    (both(local(date(2026, 3, 15), time(10)), policy(no_trip_on_eve=False)), "NONWORKING_DAY"),
    (both(local(date(2026, 3, 20), time(10)), policy(no_trip_on_eve=False)), "NONWORKING_DAY"),
    (local(date(2026, 3, 19), time(10)), "EVE_OF_NONWORKING"),
    (local(date(2026, 3, 14), time(10)), "EVE_OF_NONWORKING"),
    (no_notice(0), "NOTICE_MISSING"),
    (notice(0, delivered_at=None), "NOTICE_MISSING"),
    (notice(0, delivered_at=told(NOW - 120 * HOUR - SECOND)), "NOTICE_MISSING"),
    (notice(0, delivered_at=told(NOW + SECOND)), "NOTICE_MISSING"),
    (notice(0, delivered_at=told(NOW - 72 * HOUR + SECOND)), "NOTICE_TOO_RECENT"),
    (notice(0, planned_at=told(NOW + SECOND)), "NOTICE_TOO_RECENT"),
    (
        both(
            facts(episode_started_at=told(NOW - 200 * HOUR)),
            notice(0, delivered_at=told(NOW - 168 * HOUR - SECOND)),
        ),
        "NOTICE_EXPIRED",
    ),
    (notice(0, planned_at=told(NOW - 4 * HOUR - SECOND)), "NOTICE_EXPIRED"),
    (no_notice(1), "FINAL_NOTICE_MISSING"),
    (notice(1, delivered_at=told(NOW - HOUR / 2 + SECOND)), "FINAL_NOTICE_TOO_RECENT"),
    (notice(1, delivered_at=told(NOW - 24 * HOUR - SECOND)), "FINAL_NOTICE_EXPIRED"),
    (notice(1, planned_at=told(NOW - 4 * HOUR - SECOND)), "FINAL_NOTICE_EXPIRED"),
]
FOR: Final[list[Change]] = [
    facts(balance_fen=-501, trip_threshold_fen=0, approvals=[]),
    facts(reading_state="substituted_approved"),
    facts(last_reading_at=told(NOW - 36 * HOUR)),
    facts(last_reading_at=told(NOW)),
    facts(span_grace_until=told(NOW)),
    facts(tariff_from="2026-03-09"),
    facts(tariff_from=None),
    facts(failed_restores=5),
    policy(max_relay_age=3600.0),
    facts(relay_moves=[told(NOW - HOUR)] * 5 + [told(NOW - 24 * HOUR)] * 9),
    facts(clocks_apart=5.0),
    facts(clock_stepped_at=told(NOW - HOUR)),
    facts(running_for=900.0),
    facts(running_for=None),
    local(WEDNESDAY, time(9)),
    local(WEDNESDAY, time(14, 59, 59)),
    both(local(WEDNESDAY, time(23, 59, 59, 999_999)), policy(window_end="23:59:59.999999")),
    both(local(date(2026, 3, 15), time(10)), policy(working_days_only=False)),
    both(local(date(2026, 3, 14), time(10)), policy(no_trip_on_eve=False)),
    local(date(2026, 3, 13), time(10)),
    notice(0, delivered_at=told(NOW - 72 * HOUR)),
    notice(0, delivered_at=told(NOW - 120 * HOUR)),
    notice(0, planned_at=told(NOW)),
    notice(0, planned_at=told(NOW - 4 * HOUR)),
    both(no_notice(0), policy(written_required=False)),
    both(no_notice(1), policy(final_required=False)),
    notice(1, delivered_at=told(NOW - HOUR / 2)),
    notice(1, delivered_at=told(NOW - 24 * HOUR)),
]
NO_NOTICES: Final = {"written_required": False, "final_required": False}
UNAPPROVED: Final[list[Change]] = [
    policy(approvals_required=3),
    approval(approver="LI"),
    both(facts(requested_by="Wang")),
    approval(approved_at=told(NOW + SECOND)),
    approval(expires_at=told(NOW)),
    approval(approved_at=told(NOW - 4 * HOUR)),
    approval(approver="Daemon"),
    both(facts(episode_started_at=told(NOW - HOUR + SECOND)), policy(**NO_NOTICES)),
    approval(debt_fen=1136),
    approval(debt_fen=1389),
]
APPROVED: Final[list[Change]] = [
    policy(approvals_required=0),
    approval(approved_at=told(NOW)),
    approval(approved_at=told(NOW - 4 * HOUR + SECOND)),
    both(facts(episode_started_at=told(NOW - HOUR)), policy(**NO_NOTICES)),
    both(facts(episode_started_at=None), policy(**NO_NOTICES)),
    approval(debt_fen=1137),
    approval(debt_fen=1388),
]


def test_without_a_reason_it_is_allowed() -> None:
    assert opinion(lambda *_: None) == ("allow", ())


@pytest.mark.parametrize(("change", "reason"), AGAINST)
def test_a_reason_denies_by_itself(change: Change, reason: str) -> None:
    approved = both(change, policy(approvals_required=0))
    assert opinion(approved) == ("deny", (reason,))
    # With another it is named as well.
    both_hold = both(approved, facts(shadow_mode=True))
    assert opinion(both_hold) == ("deny", tuple(sorted({reason, "SHADOW_MODE"})))


def test_a_small_debt_is_none() -> None:
    change = both(facts(balance_fen=-499), policy(approvals_required=0))
    assert opinion(change) == ("deny", ("DEBT_TOO_SMALL",))
    assert opinion(both(change, facts(balance_fen=-500))) == ("allow", ())


@pytest.mark.parametrize("change", FOR)
def test_up_to_its_edge_no_reason_holds(change: Change) -> None:
    assert opinion(both(change, policy(approvals_required=0))) == ("allow", ())


@pytest.mark.parametrize("change", UNAPPROVED)
def test_without_the_persons_it_needs_approval(change: Change) -> None:
    assert opinion(change) == ("needs_approval", ("APPROVAL_MISSING",))
    with_another = both(change, facts(held=True))
    assert opinion(with_another) == ("deny", ("APPROVAL_MISSING", "HOLD"))


@pytest.mark.parametrize("change", APPROVED)
def test_with_the_persons_it_is_allowed(change: Change) -> None:
    assert opinion(change) == ("allow", ())


ORDERS: Final = ("safety", "theft", "customer_request")
COUNTS_ALWAYS: Final = {
    *("PROTECTED", "LIFE_SUPPORT", "HOLD", "LOCKED", "BREAKER_OPEN", "SHADOW_MODE"),
    *("RECONNECT_PENDING", "RESTORE_CAPACITY", "SOURCE_CHANGED", "CLOCK_UNSURE"),
    *("NO_RELAY", "ALREADY_OPEN", "DEVICE_KEEP_POWER", "COMM_UNSTABLE"),
}
"""Of docs/supply.md, "Ordered off"."""
COUNTS_BUT_FOR_SAFETY: Final = {
    *("WINDOW_CLOSED", "NONWORKING_DAY", "EVE_OF_NONWORKING", "WEATHER", "DISPUTE"),
    "STARTUP_HOLD",
}


@pytest.mark.parametrize("cause", ORDERS)
@pytest.mark.parametrize(("change", "reason"), AGAINST)
def test_of_what_is_ordered_off_money_says_nothing(change: Change, reason: str, cause: str) -> None:
    ordered = both(change, facts(cause=cause, requested_by="zhao"))
    counts = reason in COUNTS_ALWAYS or (cause != "safety" and reason in COUNTS_BUT_FOR_SAFETY)
    assert opinion(ordered) == (("deny", (reason,)) if counts else ("allow", ()))


@pytest.mark.parametrize("cause", ORDERS)
def test_an_order_is_the_word_of_two_persons_of_the_last_four_hours(cause: str) -> None:
    def with_two(**changes: Any) -> Change:
        def change(of_facts: dict[str, Any], _: dict[str, Any]) -> None:
            of_facts.update(cause=cause, requested_by="zhao")
            # Neither the debt nor an episode says anything of it.
            of_facts["approvals"] = [of_facts["approvals"][0] | {"debt_fen": 0}]
            of_facts["approvals"][0].update(changes)

        return both(change, policy(approvals_required=2), facts(meters=3))

    assert opinion(with_two()) == ("allow", ())
    assert opinion(with_two(approved_at=told(NOW - 4 * HOUR + SECOND))) == ("allow", ())
    assert opinion(both(with_two(), facts(episode_started_at=told(NOW)))) == ("allow", ())
    for missing in (
        with_two(approved_at=told(NOW - 4 * HOUR)),
        with_two(approved_at=told(NOW + SECOND)),
        with_two(expires_at=told(NOW)),
        with_two(approver="\uff3ahao "),
        with_two(approver="daemon"),
        with_two(approver=" "),
        both(with_two(), facts(requested_by="daemon")),
        both(with_two(), facts(requested_by=" ")),
        both(with_two(), facts(approvals=[])),
    ):
        assert opinion(missing) == ("needs_approval", ("APPROVAL_MISSING",))


def test_of_a_cause_that_nobody_knows_there_is_no_opinion() -> None:
    with pytest.raises(ValueError, match="nobody is cut for spite"):
        opinion(facts(cause="spite"))


class Watched(dict[str, Any]):
    """A table that knows which of its fields were looked at."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.unread = set(fields)

    def __getitem__(self, key: str) -> Any:
        self.unread.discard(key)
        return super().__getitem__(key)


def test_no_field_that_is_kept_is_passed_over() -> None:
    document = good()
    document["policy"]["max_relay_age"] = 3600.0
    of_facts, of_policy = Watched(document["facts"]), Watched(document["policy"])
    second_opinion({"facts": of_facts, "policy": of_policy})
    assert of_facts.unread == set()
    # Asked for only of an account with several meters.
    assert of_policy.unread == {"approvals_of_several"}


def of_case(given: dict[str, Any]) -> dict[str, Any]:
    """A worked case as a document; its times are the site's."""

    def at(text: str) -> str:
        return told(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Asia/Shanghai")))

    config, case, document = given["config"], given["facts"], good()
    document["policy"] |= {
        "max_reading_age": config["max_reading_age_h"] * 3600.0,
        "window_start": config["window"]["start"],
        "window_end": config["window"]["end"],
        "holidays": config["holidays"],
        "no_trip_on_eve": config["no_trip_on_eve"],
        "written_required": config["written_required"],
        "written_min": config["written_min_h"] * 3600.0,
        "written_max": config["written_max_h"] * 3600.0,
        "final_min": config["final_min_min"] * 60.0,
        "final_max": config["final_max_h"] * 3600.0,
        "approvals_required": config["approvals_required"],
        "min_debt_fen": 0,
    }
    named = {key: value for key, value in case.items() if key in document["facts"]}
    document["facts"] |= named | {
        **{key: at(case[key]) for key in ("now", "last_reading_at", "episode_started_at")},
        "relay_seen_at": at(case["now"]),
        "notices": [
            {"kind": it["kind"], "delivered_at": at(it["delivered_at"]), "planned_at": None}
            for it in case["notices"]
        ],
        "approvals": [
            {
                "approver": name,
                "approved_at": at(case["now"]),
                "expires_at": told(datetime.fromisoformat(at(case["now"])) + HOUR),
                "debt_fen": case["trip_threshold_fen"]
                - case["credit_limit_fen"]
                - case["emergency_available_fen"]
                - case["balance_fen"],
            }
            for name in case["approved_by"]
        ],
    }
    return document


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if case["kind"] == "trip_guard"]
)
def test_a_worked_case_comes_out_as_expected(name: str) -> None:
    found = second_opinion(of_case(CASES[name]["input"]))
    expected = CASES[name]["expected"]
    assert (found.decision, [*found.reasons]) == (expected["decision"], expected["reasons"])


def test_one_notice_that_stands_is_enough() -> None:
    def more(of_facts: dict[str, Any], _: dict[str, Any]) -> None:
        for age in (1, 119):
            late = {"kind": "written", "delivered_at": told(NOW - age * HOUR), "planned_at": None}
            of_facts["notices"].insert(0, late)

    assert opinion(more) == ("allow", ())


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        (None, "nothing was kept"),
        ({}, "is no snapshot: KeyError 'policy'"),
        (good() | {"decision": "deny", "reasons": ["WEATHER"]}, "kept deny WEATHER, and was sent"),
        (good() | {"facts": good()["facts"] | {"held": True}}, "kept allow, but deny: HOLD"),
        (good() | {"facts": good()["facts"] | {"now": "2026-03-11T10:00"}}, "is no snapshot"),
    ],
)
def test_a_trip_that_should_not_have_been_sent_is_objected_to(guard: Any, words: str) -> None:
    assert objection(good()) is None
    assert words in (objection(guard) or "")


@pytest.mark.parametrize(
    ("meters", "of_several", "decision"),
    [(1, 3, "allow"), (2, 2, "allow"), (2, 3, "needs_approval"), (2, 0, "allow")],
)
def test_several_meters_ask_for_more_persons(meters: int, of_several: int, decision: str) -> None:
    document = good()
    document["facts"]["meters"] = meters
    document["policy"]["approvals_of_several"] = of_several
    assert second_opinion(document).decision == decision
