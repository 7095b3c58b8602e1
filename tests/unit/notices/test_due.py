"""Which notices are due: each rule by itself, and what holds whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.notice_texts import shipped_texts
from daemon.control.guard import Policy
from daemon.notices.due import (
    MENDS_ITSELF,
    AccountToTell,
    AskPerson,
    CallBack,
    Contact,
    Due,
    Occasion,
    PersonAsked,
    SendPerson,
    Terms,
    ToldNotice,
    due,
    is_still_due,
    occasions,
)
from daemon.notices.windows import next_window
from daemon.notices.wording import SiteWords, notice_text

ZONE = ZoneInfo("Asia/Shanghai")
TERMS = Terms(ZONE)
STRICT = Policy()
SILENT = Policy(written_required=False, final_required=False)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
CONTACTS = (Contact(1, "sms", "zh"), Contact(2, "app", "zh"))


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    """Of March 2026, whose 9th is a Monday, by the site's clock."""
    return datetime(2026, 3, day, hour, minute, tzinfo=ZONE).astimezone(UTC)


NOW = at(9, 10)
PAID = at(1, 9)
ONLY_NOTICES = frozenset({"NOTICE_MISSING", "FINAL_NOTICE_MISSING", "APPROVAL_MISSING"})
GOOD = AccountToTell(
    account_id=1,
    account="A1",
    state="active",
    balance_fen=10_000,
    warn_fen=3000,
    reconnect_fen=0,
    credit_state="good",
    episode_id=None,
    episode_started_at=None,
    last_payment_at=PAID,
    supply="on",
    supply_since=None,
    reconnect="allow_close",
    is_paying=False,
    is_muted=False,
    days_left=None,
    reasons=(),
    contacts=CONTACTS,
)
LOW = replace(GOOD, balance_fen=2000, credit_state="low")
BROKE = replace(
    GOOD,
    balance_fen=-1000,
    credit_state="exhausted",
    episode_id=7,
    episode_started_at=at(8, 3),
    reasons=(ONLY_NOTICES,),
)
CUT = replace(BROKE, supply="cut", supply_since=at(9, 9))
READY = replace(GOOD, supply="button", supply_since=at(9, 9))


def told(occasion: str, contact: int | None, made_at: datetime, **more: Any) -> ToldNotice:
    kind = {"low": "warning", "few": "warning", "cut": "restore", "button": "restore"}
    name = occasion.split(" ")[0]
    plain: Any = kind.get(name, name)
    return ToldNotice(int(made_at.timestamp()), plain, occasion, contact, made_at, **more)


def delivered(occasion: str, contact: int | None, when: datetime, **more: Any) -> ToldNotice:
    return told(occasion, contact, when, sent_at=when, delivered_at=when, **more)


def steps(
    account: AccountToTell, now: datetime = NOW, policy: Policy = STRICT
) -> list[tuple[str, int | None]]:
    """(text, contact) of what is due; no contact: a person is asked."""
    return [
        (it.occasion.text, it.contact.id if isinstance(it, Due) else None)
        for it in due(account, policy, TERMS, now)
        if isinstance(it, Due | AskPerson)
    ]


def having(account: AccountToTell, *notices: ToldNotice) -> AccountToTell:
    return replace(account, told=notices)


@pytest.mark.parametrize(
    ("account", "policy", "expected"),
    [
        (GOOD, STRICT, []),
        (LOW, STRICT, [("low", 1)]),
        (replace(LOW, credit_state="emergency"), STRICT, [("low", 1)]),
        (BROKE, STRICT, [("written", 1)]),
        (BROKE, SILENT, [("low", 1)]),
        (BROKE, replace(STRICT, written_required=False), [("final", 1)]),
        (replace(BROKE, state="closing"), STRICT, []),
        (CUT, STRICT, [("cut", 1)]),
        (replace(CUT, balance_fen=0), STRICT, []),
        (READY, STRICT, [("button", 1)]),
        (replace(BROKE, supply="moving"), STRICT, []),
        (replace(GOOD, days_left=5), STRICT, [("few_days", 1)]),
        (replace(GOOD, days_left=6), STRICT, []),
        (replace(LOW, days_left=2), STRICT, [("low", 1)]),
    ],
)
def test_what_is_due_in_a_state(
    account: AccountToTell, policy: Policy, expected: list[tuple[str, int]]
) -> None:
    assert steps(account, policy=policy) == expected


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (1, [("arrears", "arrears 7.0")]),
        (5, [("arrears", "arrears 7.0")]),
        (6, [("arrears", "arrears 7.5")]),
        (10, [("arrears", "arrears 7.5")]),
        (11, [("written", "written 7.1")]),
    ],
)
@pytest.mark.parametrize("began", [at(1, 0, 1), at(1, 23, 59)])
def test_arrears_of_the_first_are_dunned_on_the_first_the_sixth_and_the_eleventh(
    began: datetime, day: int, expected: list[tuple[str, str]]
) -> None:
    terms = replace(TERMS, dunning_days=(0, 5, 10))
    account = replace(BROKE, episode_started_at=began)
    found = occasions(account, STRICT, terms, at(day, 23, 59))
    told_so = [(it.kind, it.text, it.key) for it in found]
    kinds = {"arrears": "warning", "written": "written"}
    assert told_so == [(kinds[text], text, key) for text, key in expected]


def test_before_the_first_day_of_dunning_and_without_a_notice_nothing_is_announced() -> None:
    terms = replace(TERMS, dunning_days=(3, 10))
    assert list(occasions(BROKE, STRICT, terms, at(10, 10))) == []
    assert [it.text for it in occasions(BROKE, STRICT, terms, at(11, 10))] == ["arrears"]
    assert [it.text for it in occasions(BROKE, SILENT, terms, at(11, 10))] == ["low"]


LADDER = replace(TERMS, dunning_days=(0, 5, 10), personal_contact=True)
OLD = replace(BROKE, episode_started_at=at(1, 3))
TENTH_DAY = at(11, 8)
ON_THE_WAY = PersonAsked(at(11, 8), is_open=True)
HANDED_OVER = ToldNotice(9, "written", "", None, at(4, 9), sent_at=at(4, 9), delivered_at=at(4, 9))


def visits(account: AccountToTell, now: datetime = TENTH_DAY, **terms: Any) -> list[str]:
    """Key of the notice that somebody goes there with; why he is called back."""
    return [
        it.occasion.key if isinstance(it, SendPerson) else it.why
        for it in due(account, STRICT, replace(LADDER, **terms), now)
        if isinstance(it, SendPerson | CallBack)
    ]


def test_on_the_last_day_of_dunning_somebody_goes_there_with_the_written_notice() -> None:
    assert visits(OLD, at(10, 20, 59)) == []
    assert visits(OLD, at(11, 7, 59)) == []
    assert visits(OLD) == visits(OLD, at(20, 20)) == ["visit 7.1"]
    (sent,) = [it for it in due(OLD, STRICT, LADDER, TENTH_DAY) if isinstance(it, SendPerson)]
    assert (sent.occasion.kind, sent.occasion.text) == ("written", "visit")
    # 72 hours later, in a window.
    assert (sent.occasion.planned_at, sent.occasion.deadline_at) == (None, at(16, 9))
    # The contacts are told all the same.
    assert [type(it) for it in due(OLD, STRICT, LADDER, TENTH_DAY)] == [SendPerson, Due]
    assert visits(OLD, personal_contact=False) == []
    # What a person delivered in arrears before these is none of them.
    before = replace(HANDED_OVER, made_at=at(1, 2))
    assert visits(having(OLD, before)) == ["visit 7.1"]
    # Nor is what reached a contact, or a final notice that a person served.
    for other in (replace(HANDED_OVER, contact_id=1), replace(HANDED_OVER, kind="final")):
        assert visits(having(OLD, other)) == ["visit 7.1"]
    at_once = replace(HANDED_OVER, made_at=at(1, 3))
    assert visits(having(OLD, at_once)) == []
    assert visits(OLD, dunning_days=()) == ["visit 7.1"]


@pytest.mark.parametrize(
    "change",
    [
        {"is_paying": True},
        {"is_muted": True},
        {"state": "closing"},
        {"supply": "moving"},
        {"supply": "cut"},
        {"credit_state": "emergency"},
        {"episode_id": None, "episode_started_at": None},
        {"reasons": (ONLY_NOTICES | {"WEATHER"},)},
        {"reasons": (ONLY_NOTICES | {"DISPUTE"},)},
        {"reasons": ()},
        {"told": (HANDED_OVER,)},
    ],
)
def test_nobody_goes_there_where_no_notice_would_be_given(change: dict[str, Any]) -> None:
    assert visits(replace(OLD, **change)) == []


def test_somebody_goes_there_once_in_an_episode_whatever_came_of_it() -> None:
    for last in (PersonAsked(at(11, 8), is_open=True), PersonAsked(at(11, 8), is_open=False)):
        assert visits(replace(OLD, visited=last), at(20, 8)) == []
    assert visits(replace(OLD, visited=PersonAsked(at(1, 3), is_open=False))) == []
    of_another = replace(OLD, visited=PersonAsked(at(1, 2), is_open=False))
    assert visits(of_another) == ["visit 7.1"]
    # Whom we called back goes again when it is due again, with another notice.
    called_back = PersonAsked(at(11, 8), is_open=False, is_called_back=True)
    withdrawn = ToldNotice(3, "written", "visit 7.1", None, at(11, 8), failed_at=at(11, 9))
    again = replace(OLD, visited=called_back, told=(withdrawn,))
    assert visits(again, at(11, 10)) == ["visit 7.2"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"is_paying": True}, "a payment is under way"),
        ({"state": "closing"}, "not in arrears any more"),
        (
            {"credit_state": "good", "episode_id": None, "episode_started_at": None},
            "those arrears are over",
        ),
        ({"episode_id": 8, "episode_started_at": at(11, 9)}, "those arrears are over"),
        ({"credit_state": "emergency"}, "not in arrears any more"),
        ({"supply": "cut"}, "it is cut, or a trip or reconnect is under way"),
        *(
            ({"reasons": (frozenset({it, "WEATHER"}),)}, f"not to be cut: {it}")
            for it in (
                "ACCOUNT_NOT_ACTIVE",
                "DEBT_TOO_SMALL",
                "PROTECTED",
                "LIFE_SUPPORT",
                "DISPUTE",
                "PAYMENT_IN_FLIGHT",
                "SHADOW_MODE",
            )
        ),
        (
            {"reasons": (frozenset({"SHADOW_MODE"}), frozenset({"DISPUTE"}))},
            "not to be cut: DISPUTE SHADOW_MODE",
        ),
        ({"reasons": ()}, "not to be cut: it has no point that is on"),
        ({"told": (HANDED_OVER,)}, "a person delivered a written notice"),
    ],
)
def test_whoever_is_on_his_way_is_called_back_when_it_is_not_due_any_more(
    change: dict[str, Any], reason: str
) -> None:
    account = replace(OLD, visited=ON_THE_WAY)
    assert visits(account, at(12, 10)) == []
    for hour in (3, 10):
        assert visits(replace(account, **change), at(12, hour)) == [reason]
    told_so = "the last of the dunning days is not today or before"
    assert visits(account, at(12, 10), personal_contact=False) == [told_so]


def test_whoever_is_on_his_way_goes_on_for_what_is_over_when_he_comes() -> None:
    account = replace(OLD, visited=ON_THE_WAY)
    for reasons in (
        (frozenset({"WEATHER", "COMM_UNSTABLE"}),),
        (frozenset({"DISPUTE"}), ONLY_NOTICES),
    ):
        assert visits(replace(account, reasons=reasons), at(12, 10)) == []
    assert visits(replace(account, is_muted=True), at(12, 10)) == []


def test_who_brings_the_written_notice_is_the_person_that_tells_it() -> None:
    # Nobody is reached by any contact: no second task for it, and no alarm of it.
    alone = replace(OLD, contacts=())
    assert [type(it) for it in due(alone, STRICT, LADDER, TENTH_DAY)] == [SendPerson]
    on_the_way = replace(alone, visited=ON_THE_WAY)
    assert list(due(on_the_way, STRICT, LADDER, at(12, 10))) == []
    # He was there, and nobody got it: from now on the task is another's.
    in_vain = replace(alone, visited=replace(ON_THE_WAY, is_open=False))
    assert [type(it) for it in due(in_vain, STRICT, LADDER, at(12, 10))] == [AskPerson]


def test_a_notice_delivered_in_person_counts_as_the_written_one() -> None:
    paper = ToldNotice(3, "written", "visit 7.1", None, at(11, 8))
    gone = replace(OLD, told=(paper,), visited=ON_THE_WAY)
    # What is on its way is no round of contacts: these are told by themselves.
    assert [it.key for it in occasions(gone, STRICT, LADDER, at(11, 9))] == ["written 7.1"]
    signed = replace(paper, sent_at=at(11, 9), delivered_at=at(11, 9))
    done = replace(gone, told=(signed,), visited=replace(ON_THE_WAY, is_open=False))
    assert list(due(done, STRICT, LADDER, at(11, 10))) == []


def reminders(now: datetime, account: AccountToTell, **terms: Any) -> list[tuple[str, int]]:
    return [
        (it.key, it.suggested_fen)
        for it in occasions(account, STRICT, replace(TERMS, **terms), now)
        if (it.kind, it.text) == ("warning", "cycle_end")
    ]


PAYS_IN = replace(GOOD, balance_fen=2950, days_left=7, usual_day_fen=Fraction(384))


@pytest.mark.parametrize(
    ("cycle", "day", "expected"),
    [
        (None, date(2026, 6, 30), []),
        ("quarter", date(2026, 6, 24), []),
        # 92 days of 3.84 yuan and a tenth, less 29.50.
        ("quarter", date(2026, 6, 25), [("cycle 2026-06-30", 36_000)]),
        ("quarter", date(2026, 6, 30), [("cycle 2026-06-30", 36_000)]),
        ("quarter", date(2026, 7, 1), []),
        ("month", date(2026, 3, 26), [("cycle 2026-03-31", 10_000)]),
        ("month", date(2026, 3, 25), []),
        ("year", date(2026, 12, 26), [("cycle 2026-12-31", 152_000)]),
        ("year", date(2026, 6, 30), []),
    ],
)
def test_before_a_cycle_ends_it_is_told_what_to_pay_in_for_the_next(
    cycle: str | None, day: date, expected: list[tuple[str, int]]
) -> None:
    now = datetime.combine(day, time(10), ZONE).astimezone(UTC)
    assert reminders(now, PAYS_IN, cycle=cycle) == expected


def test_whose_balance_suffices_or_who_uses_nothing_is_not_reminded() -> None:
    last = at(31, 10)
    assert reminders(last, PAYS_IN, cycle="month") != []
    assert reminders(at(20, 10), PAYS_IN, cycle="month", remind_days=11) != []
    for account in (
        replace(PAYS_IN, balance_fen=12_672),
        replace(PAYS_IN, days_left=None, usual_day_fen=Fraction(0)),
        replace(BROKE, days_left=-3, usual_day_fen=Fraction(384)),
        replace(PAYS_IN, supply="moving"),
    ):
        assert reminders(last, account, cycle="month") == []
    assert reminders(last, replace(PAYS_IN, balance_fen=12_671), cycle="month")[0][1] == 1000


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("2026-03-31", "29.50 yuan", "about 7 days", "100.00 yuan")),
        ("zh", ("2026-03-31", "29.50 元", "7 天", "100.00 元")),
    ],
)
def test_the_reminder_says_until_when_the_balance_lasts_and_how_much(
    language: str, words: tuple[str, ...]
) -> None:
    terms = replace(TERMS, cycle="month")
    (occasion,) = [
        it for it in occasions(PAYS_IN, STRICT, terms, at(31, 10)) if it.text == "cycle_end"
    ]
    site = SiteWords("the counter", "12345")
    told_so = notice_text(PAYS_IN, occasion, shipped_texts()[language], site, ZONE)
    for it in words:
        assert it in told_so
    on_credit = replace(PAYS_IN, balance_fen=-100, days_left=-1, credit_state="emergency")
    (occasion,) = [
        it for it in occasions(on_credit, STRICT, terms, at(31, 10)) if it.text == "cycle_end"
    ]
    told_so = notice_text(on_credit, occasion, shipped_texts()[language], site, ZONE)
    assert words[2].replace("7", "0") in told_so


@pytest.mark.parametrize(
    ("hour", "minute", "is_told"), [(7, 59, 0), (8, 0, 1), (20, 59, 1), (21, 0, 0), (0, 0, 0)]
)
def test_nobody_is_told_anything_at_night(hour: int, minute: int, is_told: int) -> None:
    assert len(steps(LOW, at(9, hour, minute))) == is_told


def test_who_is_paying_or_out_as_planned_is_left_alone() -> None:
    # R77, R111.
    for account in (LOW, BROKE, CUT, READY):
        assert steps(replace(account, is_paying=True)) == []
        assert steps(replace(account, is_muted=True)) == []


@pytest.mark.parametrize(
    "reason", ["DISPUTE", "LIFE_SUPPORT", "PROTECTED", "SHADOW_MODE", "NO_RELAY", "DEBT_TOO_SMALL"]
)
def test_no_cut_is_announced_that_would_not_come(reason: str) -> None:
    never = ONLY_NOTICES | {reason}
    assert steps(replace(BROKE, reasons=(never,))) == []
    assert steps(replace(BROKE, reasons=())) == []
    assert steps(replace(BROKE, reasons=(never, ONLY_NOTICES))) == [("written", 1)]


@pytest.mark.parametrize(
    "reason",
    [
        "WINDOW_CLOSED",
        "NONWORKING_DAY",
        "EVE_OF_NONWORKING",
        "NOTICE_MISSING",
        "NOTICE_TOO_RECENT",
        "NOTICE_EXPIRED",
        "FINAL_NOTICE_MISSING",
        "FINAL_NOTICE_TOO_RECENT",
        "FINAL_NOTICE_EXPIRED",
        "APPROVAL_MISSING",
        "STARTUP_HOLD",
    ],
)
def test_a_cut_is_announced_that_only_waits(reason: str) -> None:
    assert steps(replace(BROKE, reasons=(frozenset({reason}),))) == [("written", 1)]
    assert steps(replace(BROKE, reasons=(MENDS_ITSELF,))) == [("written", 1)]


def test_each_occasion_has_its_kind_and_key() -> None:
    never_paid = replace(LOW, last_payment_at=None)
    for account, kind, key in (
        (LOW, "warning", "low 2026-03-01 01:00:00"),
        (never_paid, "warning", "low -"),
        (replace(GOOD, days_left=5), "warning", "few days 2026-03-01 01:00:00"),
        (BROKE, "written", "written 7.1"),
        (CUT, "restore", "cut 2026-03-09 01:00:00"),
        (replace(CUT, last_payment_at=at(9, 9, 30)), "restore", "cut 2026-03-09 01:30:00"),
        (replace(CUT, last_payment_at=None), "restore", "cut 2026-03-09 01:00:00"),
        (replace(CUT, last_payment_at=None, supply_since=None), "restore", "cut -"),
        (READY, "restore", "button 2026-03-09 01:00:00"),
    ):
        found = occasions(account, STRICT, TERMS, NOW)
        assert [(it.kind, it.key) for it in found] == [(kind, key)]


def test_what_is_missing_is_up_to_where_it_is_reconnected() -> None:
    assert replace(CUT, reconnect_fen=500).missing_fen == 1500
    assert replace(CUT, reconnect_fen=500, balance_fen=501).missing_fen == 0


def test_what_nobody_said_of_an_account_a_contact_and_a_site() -> None:
    assert Terms(ZONE) == Terms(ZONE, 5, None, 5, (), personal_contact=False)
    assert Contact(1, "sms", "zh") == Contact(1, "sms", "zh", has_consent=True, is_usable=True)
    assert Occasion("warning", "low", "k") == Occasion(
        "warning", "low", "k", None, None, False, None, 0
    )
    needed = [it.name for it in fields(AccountToTell) if it.default is MISSING]
    bare = AccountToTell(**{name: getattr(GOOD, name) for name in needed})
    assert bare == replace(GOOD, contacts=())
    assert bare.usual_day_fen == 0
    assert bare.contacts == ()
    assert bare.told == ()
    assert (bare.profile, bare.asked, bare.visited) == (None, None, None)


def test_a_contact_without_consent_or_that_bounced_is_not_used() -> None:
    changes: list[dict[str, Any]] = [{"has_consent": False}, {"is_usable": False}]
    for change in changes:
        first = replace(CONTACTS[0], **change)
        assert steps(replace(LOW, contacts=(first, CONTACTS[1]))) == [("low", 2)]
        assert steps(replace(LOW, contacts=(first,))) == []
        assert steps(replace(BROKE, contacts=(first,))) == [("written", None)]


def test_what_was_told_is_not_told_again() -> None:
    key = next(occasions(LOW, STRICT, TERMS, NOW)).key
    for notice in (told(key, 1, NOW), delivered(key, 1, NOW)):
        assert steps(having(LOW, notice), NOW + 3 * HOUR) == []
    # After a payment that was too small, once more.
    paid = replace(LOW, last_payment_at=NOW)
    assert steps(having(paid, delivered(key, 1, NOW)), NOW + MINUTE) == [("low", 1)]


def test_without_a_receipt_the_next_contact_is_tried_after_two_hours() -> None:
    key = next(occasions(LOW, STRICT, TERMS, NOW)).key
    sent = told(key, 1, NOW, sent_at=NOW)
    assert steps(having(LOW, sent), NOW + 2 * HOUR - MINUTE) == []
    assert steps(having(LOW, sent), NOW + 2 * HOUR) == [("low", 2)]
    failed = told(key, 1, NOW, failed_at=NOW)
    assert steps(having(LOW, failed), NOW) == [("low", 2)]
    # That a warning reached nobody is no person's task.
    both = (sent, told(key, 2, NOW + 2 * HOUR, failed_at=NOW + 2 * HOUR))
    assert steps(having(LOW, *both), NOW + 3 * HOUR) == []


def failed_round(key: str, since: datetime, **more: Any) -> tuple[ToldNotice, ...]:
    return tuple(
        told(key, contact.id, since + n * HOUR, failed_at=since + n * HOUR, **more)
        for n, contact in enumerate(CONTACTS)
    )


def test_when_all_contacts_failed_a_person_is_asked_once() -> None:
    tried = having(BROKE, *failed_round("written 7.1", NOW))
    later = NOW + 2 * HOUR
    assert steps(tried, later) == [("written", None)]
    asked = replace(tried, asked=PersonAsked(later, is_open=True))
    assert steps(asked, later + HOUR) == []
    # The task is done, and nothing was recorded: from the beginning.
    done = replace(tried, asked=PersonAsked(later, is_open=False))
    assert steps(done, later + HOUR) == [("written", 1)]
    assert [it.key for it in occasions(done, STRICT, TERMS, later)] == ["written 7.2"]
    at_last = replace(tried, asked=PersonAsked(NOW + HOUR, is_open=False))
    assert [it.key for it in occasions(at_last, STRICT, TERMS, later)] == ["written 7.2"]
    # One that was done before the last contact was tried is none of that.
    third = told("written 7.1", 3, NOW + 2 * HOUR, failed_at=NOW + 2 * HOUR)
    more = having(replace(BROKE, contacts=(*CONTACTS, Contact(3, "tty", "zh"))), *tried.told, third)
    early = replace(more, asked=PersonAsked(NOW + HOUR + MINUTE, is_open=False))
    assert steps(early, NOW + 3 * HOUR) == [("written", None)]
    # Whom nobody can reach, and of whom a person was asked: once.
    alone = replace(BROKE, contacts=(), asked=PersonAsked(NOW, is_open=False))
    assert steps(alone, later) == []
    # A task that was done before a round began does not end it.
    second = (*failed_round("written 7.1", NOW), told("written 7.2", 1, later + HOUR))
    again = replace(having(BROKE, *second), asked=PersonAsked(later, is_open=False))
    assert [it.key for it in occasions(again, STRICT, TERMS, later)] == ["written 7.2"]


def test_a_final_notice_follows_a_written_one_that_is_old_enough() -> None:
    written = delivered("written 7.1", 1, at(9, 10))
    # From the 9th 10:00 72 hours are over on Thursday, the 12th, at 10:00.
    for now, expected in (
        (at(11, 10), []),  # the window of the 12th is more than 24 hours away, or too early
        (at(12, 8), [("final", 1)]),
        (at(12, 12), []),  # today it is too late, and tomorrow is the eve of a weekend
        (at(13, 8), []),
        (at(16, 8), []),  # at the moment that would be announced the written one is too old
        (at(16, 10), []),
        (at(16, 10, 1), [("written", 1)]),
    ):
        assert steps(having(BROKE, written), now) == expected, now


def test_a_final_notice_announces_a_moment_in_the_window_that_leaves_time() -> None:
    account = having(BROKE, delivered("written 7.1", 1, at(9, 7)))
    (final,) = occasions(account, STRICT, TERMS, at(12, 8))
    # 30 minutes, two hours for the other contact and one to pay.
    assert final.planned_at == final.deadline_at == at(12, 11, 30)
    assert (final.kind, final.key) == ("final", "final 2026-03-12 03:30:00")
    # With a single contact nobody is waited for.
    (final,) = occasions(replace(account, contacts=CONTACTS[:1]), STRICT, TERMS, at(12, 8))
    assert final.planned_at == at(12, 9, 30)


def test_a_final_notice_is_announced_up_to_both_ends_of_what_a_written_one_allows() -> None:
    planned = at(12, 11, 30)
    for age in (STRICT.written_min, STRICT.written_max):
        account = having(BROKE, delivered("written 7.1", 1, planned - age))
        assert [it.planned_at for it in occasions(account, STRICT, TERMS, at(12, 8))] == [planned]
    # On Sunday for Monday: a day later and no more.
    account = having(BROKE, delivered("written 7.1", 1, at(12, 9)))
    assert [it.planned_at for it in occasions(account, STRICT, TERMS, at(15, 9))] == [at(16, 9)]
    assert list(occasions(account, STRICT, TERMS, at(15, 8, 59))) == []
    # One that announces no moment is no round of these.
    vague = told("final x", 1, at(15, 8), sent_at=at(15, 8))
    (final,) = occasions(having(account, *account.told, vague), STRICT, TERMS, at(15, 9))
    assert final.planned_at == at(16, 9)


def test_a_final_notice_that_was_delivered_is_not_repeated_while_it_counts() -> None:
    written = delivered("written 7.1", 1, at(9, 7))
    final = delivered("final x", 1, at(12, 8), planned_at=at(12, 10))
    account = having(BROKE, written, final)
    assert steps(account, at(12, 12)) == []
    # R82: announced for 10:00; at 14:30 a new one is needed, and on the eve of a weekend none is
    # of use.
    assert steps(account, at(12, 14, 30)) == []


def test_a_final_notice_that_nobody_received_in_time_is_a_persons_task() -> None:
    written = delivered("written 7.1", 1, at(9, 7))
    first = told("final x", 1, at(12, 8), sent_at=at(12, 8), planned_at=at(12, 11, 30))
    account = having(BROKE, written, first)
    assert steps(account, at(12, 9)) == []
    (again,) = occasions(account, STRICT, TERMS, at(12, 9))
    assert (again.kind, again.key, again.is_late) == ("final", "final x", False)
    assert again.planned_at == again.deadline_at == at(12, 11, 30)
    # The task of a person that is done ends the round: another moment is announced.
    done = replace(account, asked=PersonAsked(at(12, 8, 30), is_open=False))
    (anew,) = occasions(done, STRICT, TERMS, at(12, 9))
    assert anew.key != "final x"
    assert steps(account, at(12, 10, 30)) == [("final", 2)]
    # Later than 30 minutes before the moment it would be no notice any more.
    assert steps(account, at(12, 11, 1)) == [("final", None)]
    assert not is_still_due(account, first, STRICT, TERMS, at(12, 11, 1))
    assert is_still_due(account, first, STRICT, TERMS, at(12, 11, 0))


def test_a_notice_that_a_person_served_counts() -> None:
    when = at(9, 9)
    served = ToldNotice(1, "written", "", None, when, sent_at=when, delivered_at=when)
    assert steps(having(BROKE, served), at(9, 10)) == []


@pytest.mark.parametrize(
    ("change", "is_due"),
    [
        ({}, True),
        ({"last_payment_at": NOW}, False),
        ({"credit_state": "good"}, False),
        ({"contacts": CONTACTS[1:]}, False),
        ({"contacts": (replace(CONTACTS[0], has_consent=False),)}, False),
        ({"state": "closed"}, False),
    ],
)
def test_before_it_is_sent_it_is_looked_at_again(change: dict[str, Any], is_due: bool) -> None:
    key = next(occasions(LOW, STRICT, TERMS, NOW)).key
    made = told(key, 1, NOW)
    account = replace(having(LOW, made), **change)
    assert is_still_due(account, made, STRICT, TERMS, NOW + MINUTE) == is_due


def test_an_episode_that_ended_sends_nothing_of_it() -> None:
    made = told("written 7.1", 1, NOW)
    assert is_still_due(having(BROKE, made), made, STRICT, TERMS, NOW)
    other = replace(having(BROKE, made), episode_id=8, told=())
    assert not is_still_due(other, made, STRICT, TERMS, NOW)
    paid = replace(having(GOOD, made), last_payment_at=NOW)
    assert not is_still_due(paid, made, STRICT, TERMS, NOW)


def test_who_pays_too_little_after_a_cut_is_told_what_is_missing_now() -> None:
    key = next(occasions(CUT, STRICT, TERMS, NOW)).key
    account = having(CUT, delivered(key, 1, NOW))
    assert steps(account, NOW + HOUR) == []
    assert steps(replace(account, last_payment_at=NOW + MINUTE), NOW + HOUR) == [("cut", 1)]


def test_a_policy_without_final_notices_gets_none() -> None:
    written = having(BROKE, delivered("written 7.1", 1, at(9, 7)))
    assert steps(written, at(12, 8), replace(STRICT, final_required=False)) == []


def test_who_was_not_cut_as_announced_gets_a_new_final_notice() -> None:
    # R82: announced for 10:00; at 14:30 a new one is needed.
    written = delivered("written 7.1", 1, at(6, 7))
    final = delivered("final x", 1, at(9, 8), planned_at=at(9, 10))
    account = having(BROKE, written, final)
    assert steps(account, at(9, 14)) == []
    assert steps(account, at(9, 14, 1)) == [("final", 1)]
    by_hand = having(BROKE, written, replace(final, planned_at=None, contact_id=None, occasion=""))
    assert steps(by_hand, at(10, 8)) == []
    assert steps(by_hand, at(10, 8, 1)) == [("final", 1)]


def test_many_contacts_do_not_put_a_cut_off_without_end() -> None:
    contacts = [Contact(n, f"way {n}", "en") for n in range(1, 7)]
    account = replace(having(BROKE, delivered("written 7.1", 1, at(9, 7))), contacts=contacts)
    (final,) = occasions(account, STRICT, TERMS, at(12, 8))
    assert final.planned_at == at(12, 13, 30)


# --- windows


@pytest.mark.parametrize(
    ("earliest", "moment"),
    [
        (at(9, 9), at(9, 9)),
        (at(9, 9, 1), at(9, 9, 30)),
        (at(9, 3), at(9, 9)),
        (at(9, 14, 30), at(9, 14, 30)),
        (at(9, 14, 31), at(10, 9)),
        (at(12, 14, 31), at(16, 9)),  # Friday is the eve of a weekend
        (at(13, 10), at(16, 9)),
        (at(14, 10), at(16, 9)),
    ],
)
def test_the_next_window(earliest: datetime, moment: datetime) -> None:
    assert next_window(earliest, STRICT, ZONE) == moment


def test_holidays_and_makeup_workdays_move_it() -> None:
    policy = replace(STRICT, holidays=frozenset({date(2026, 3, 10)}))
    assert next_window(at(9, 9), policy, ZONE) == at(11, 9)
    saturday = replace(STRICT, makeup_workdays=frozenset({date(2026, 3, 14)}))
    assert next_window(at(13, 9), saturday, ZONE) == at(13, 9)


def test_a_moment_that_is_announced_is_round_to_the_second() -> None:
    asked = at(9, 10, 5) + timedelta(seconds=20, microseconds=5)
    assert next_window(asked, STRICT, ZONE) == at(9, 10, 30)


def test_where_nobody_is_ever_cut_what_is_announced_is_two_months_away() -> None:
    never = replace(STRICT, holidays=frozenset(at(1).date() + n * DAY for n in range(99)))
    assert next_window(at(9, 10), never, ZONE) == at(9, 10) + 60 * DAY


def test_a_window_until_midnight() -> None:
    policy = replace(STRICT, window_start=time(0), window_end=time.max)
    assert next_window(at(9, 23, 30), policy, ZONE) == at(9, 23, 30)
    assert next_window(at(9, 23, 31), policy, ZONE) == at(10)


@given(
    earliest=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
    zone=st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York"]),
    start=st.integers(0, 20),
)
def test_a_window_is_where_the_guard_allows_it(earliest: datetime, zone: str, start: int) -> None:
    place = ZoneInfo(zone)
    policy = replace(STRICT, window_start=time(start), window_end=time(start + 2))
    asked = earliest.replace(tzinfo=UTC)
    moment = next_window(asked, policy, place)
    local = moment.astimezone(place)
    assert moment >= asked
    assert time(start) <= local.time() < time(start + 2)
    assert local.weekday() in range(4)


# --- whatever happens

OF_CONTACTS = ["receipt", "fail", "nothing", "pay", "close job", "broke", "silence"]
OF_VISITS = ["handed over", "not met", "paying", "not paying", "dispute", "no dispute"]
EVENTS = st.lists(
    st.tuples(st.sampled_from(OF_CONTACTS + OF_VISITS), st.integers(5, 400)), max_size=60
)
LADDERS = st.sampled_from(
    [TERMS, replace(LADDER, dunning_days=(0,)), replace(LADDER, dunning_days=(0, 1))]
)


class Customer:
    """What becomes of an account over a time, with every notice that is made."""

    def __init__(self, consents: Sequence[bool], terms: Terms) -> None:
        self.now = at(2, 0)
        self.terms = terms
        self.account = replace(
            BROKE,
            episode_started_at=self.now,
            contacts=[
                Contact(n, f"way {n}", "zh", has_consent=consent)
                for n, consent in enumerate(consents, 1)
            ],
        )
        self.notices: list[ToldNotice] = []
        self.asked = 0
        self.visits = 0
        self.was_there = False
        """Somebody, in this episode."""
        self.paper: int | None = None
        """Where in the notices that one is which somebody is on his way with."""

    def look(self) -> None:
        for step in list(due(self.account, STRICT, self.terms, self.now)):
            if isinstance(step, AskPerson):
                self.asked += 1
                self.account = replace(self.account, asked=PersonAsked(self.now, is_open=True))
            elif isinstance(step, CallBack):
                self.end_visit(is_called_back=True, failed_at=self.now)
            elif isinstance(step, SendPerson):
                assert self.paper is None
                self.visits += 1
                self.paper = len(self.notices)
                key = step.occasion.key
                self.notices.append(ToldNotice(self.paper + 1, "written", key, None, self.now))
                self.account = replace(self.account, visited=PersonAsked(self.now, is_open=True))
            else:
                made = ToldNotice(
                    len(self.notices) + 1,
                    step.occasion.kind,
                    step.occasion.key,
                    step.contact.id,
                    self.now,
                    planned_at=step.occasion.planned_at,
                )
                assert step.contact.has_consent
                assert is_still_due(
                    having(self.account, *self.notices), made, STRICT, self.terms, self.now
                )
                self.notices.append(replace(made, sent_at=self.now))
        self.account = replace(self.account, told=tuple(self.notices))

    def end_visit(self, *, is_called_back: bool = False, **became: Any) -> None:
        assert self.paper is not None
        assert self.account.visited is not None
        self.notices[self.paper] = replace(self.notices[self.paper], **became)
        self.paper = None
        self.was_there = self.was_there or not is_called_back
        visited = replace(self.account.visited, is_open=False, is_called_back=is_called_back)
        self.account = replace(self.account, visited=visited)

    def happen(self, event: str) -> None:
        sent = [it for it in self.notices if not it.is_of_visit]
        last = sent[-1] if sent else None
        at_last = self.notices.index(last) if last else 0
        match event:
            case "handed over" if self.paper is not None:
                self.end_visit(sent_at=self.now, delivered_at=self.now)
            case "not met" if self.paper is not None:
                self.end_visit(failed_at=self.now)
            case "paying" | "not paying":
                self.account = replace(self.account, is_paying=event == "paying")
            case "dispute" | "no dispute":
                reasons = ONLY_NOTICES | ({"DISPUTE"} if event == "dispute" else set())
                self.account = replace(self.account, reasons=(reasons,))
            case "receipt" if last and last.delivered_at is None and last.failed_at is None:
                self.notices[at_last] = replace(last, delivered_at=self.now)
            case "fail" if last and last.delivered_at is None and last.failed_at is None:
                self.notices[at_last] = replace(last, failed_at=self.now)
            case "pay":
                self.account = replace(
                    self.account,
                    balance_fen=5000,
                    credit_state="good",
                    episode_id=None,
                    last_payment_at=self.now,
                )
            # The tick looks before the next arrears begin, and calls back whoever is on his way.
            case "broke" if self.account.episode_id is None and self.paper is None:
                self.account = replace(
                    self.account,
                    balance_fen=-1000,
                    credit_state="exhausted",
                    episode_id=8,
                    episode_started_at=self.now,
                )
                self.notices.clear()
                self.was_there = False
            case "close job" if self.account.asked:
                self.account = replace(
                    self.account, asked=replace(self.account.asked, is_open=False)
                )
        self.account = replace(self.account, told=tuple(self.notices))


@given(events=EVENTS, consents=st.lists(st.booleans(), max_size=3), terms=LADDERS)
def test_whatever_happens_nobody_is_told_twice_at_night_or_after_paying(
    events: list[tuple[str, int]], consents: list[bool], terms: Terms
) -> None:
    customer = Customer(consents, terms)
    for event, minutes in events:
        before, visits = len(customer.notices), customer.visits
        customer.look()
        new = customer.notices[before:]
        assert len(new) - (customer.visits - visits) <= 1
        holds_for_visits(customer, is_new=customer.visits > visits)
        for notice in new:
            local = notice.made_at.astimezone(ZONE).time()
            assert time(8) <= local < time(21)
            assert customer.account.credit_state == "exhausted"
            if notice.kind == "final":
                assert notice.planned_at is not None
                assert notice.planned_at - notice.made_at >= STRICT.final_min
                assert any(
                    it.kind == "written"
                    and it.delivered_at is not None
                    and STRICT.written_min
                    <= notice.planned_at - it.delivered_at
                    <= STRICT.written_max
                    for it in customer.notices
                )
            if not notice.is_of_visit:
                assert not customer.account.is_paying
        keys = [(it.kind, it.occasion, it.contact_id) for it in customer.notices]
        assert len(keys) == len(set(keys))
        customer.look()
        assert len(customer.notices) == before + len(new)
        customer.happen(event)
        customer.now += timedelta(minutes=minutes)


def holds_for_visits(customer: Customer, *, is_new: bool) -> None:
    """After each look."""
    account = customer.account
    began = account.episode_started_at
    may_be_visited = (
        account.credit_state == "exhausted"
        and not account.is_paying
        and "DISPUTE" not in account.reasons[0]
    )
    if customer.paper is not None:
        assert may_be_visited
        assert began is not None
        local = customer.now.astimezone(ZONE).date()
        days = (local - began.astimezone(ZONE).date()).days
        assert days >= customer.terms.dunning_days[-1]
    if is_new:
        assert customer.terms.personal_contact
        assert not customer.was_there
