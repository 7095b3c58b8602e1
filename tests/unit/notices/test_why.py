"""Why a point is dark: the right cause, whatever else is true of it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest

from config.notice_texts import WHY, shipped_texts
from config.translation import LANGUAGES
from daemon.notices.why import Cause, PointSupply, cause_of, missing_fen, why
from storage.migrations import migrations

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 3, 11, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WELL = PointSupply(
    point="P1",
    account="A1",
    area="T7",
    reconnect="allow_close",
    supply_state="energised",
    relay_observed="closed",
    relay_observed_at=NOW - HOUR,
    balance_fen=5000,
    reconnect_fen=0,
    address="000000001101",
    line="bus-1",
    cut_at=None,
    command_at=None,
    command_state=None,
    heard_at=NOW - HOUR,
    asked_at=None,
    area_meters=20,
    area_silent=0,
    line_down_since=None,
    line_down_reason=None,
    outage_from=None,
    outage_to=None,
    outage_reason=None,
    off_since=None,
    off_reason=None,
)
SEEDS = range(50)
Change = Callable[[random.Random], dict[str, Any]]


def ago(chance: random.Random, most_hours: float = 30) -> datetime:
    return NOW - chance.uniform(0.01, most_hours) * HOUR


def command(chance: random.Random) -> dict[str, Any]:
    at = ago(chance)
    return {"command_at": at, "command_state": "verifying", "cut_at": at}


def silent(chance: random.Random) -> dict[str, Any]:
    at = ago(chance, 5)
    return {"asked_at": at, "heard_at": at - HOUR, "area_silent": 1}


def down(chance: random.Random) -> dict[str, Any]:
    return {"line_down_since": ago(chance), "line_down_reason": "refused"}


def planned(chance: random.Random) -> dict[str, Any]:
    return {"outage_from": ago(chance), "outage_to": NOW + HOUR, "outage_reason": "works"}


DEBT = {"balance_fen": -1234, "reconnect_fen": 500}


def ordered(cause: Cause) -> Change:
    def change(chance: random.Random) -> dict[str, Any]:
        states = ("disconnected", "trip_commanded", "reconnect_commanded", "wait_customer_button")
        there = chance.choice(
            [
                {"relay_observed": "open"},
                *({**command(chance), "supply_state": it} for it in states),
            ]
        )
        told = {"ordered": cause, "ordered_at": ago(chance), "order_reason": "wet cable"}
        works = {"off_since": ago(chance), "off_reason": "works"}
        besides: list[dict[str, Any]] = [{}, DEBT, works]
        return chance.choice(besides) | there | told

    return change


CAUSES: dict[Cause, Change] = {
    "safety": ordered("safety"),
    "theft": ordered("theft"),
    "customer_request": ordered("customer_request"),
    "order_over": lambda it: {
        **command(it),
        **it.choice([{}, DEBT]),
        "supply_state": "disconnected",
        "cut_for": it.choice(["safety", "theft", "customer_request"]),
    },
    "former_customer": lambda it: {
        **command(it),
        **it.choice([{}, DEBT]),
        "supply_state": "disconnected",
        "cut_for": "former_customer",
    },
    "cut": lambda it: {**command(it), **DEBT, "supply_state": "disconnected"},
    "kept_off": lambda it: {
        **it.choice(
            (
                {**command(it), "supply_state": "disconnected"},
                {**command(it), "supply_state": "reconnect_commanded"},
                # Whoever holds the button now closes it over somebody's work.
                {**command(it), "supply_state": "wait_customer_button"},
                # No longer ordered off: whatever he owes, paying would not bring it back.
                {**command(it), **DEBT, "supply_state": "disconnected", "cut_for": "theft"},
                {"relay_observed": "open"},
            )
        ),
        "off_since": ago(it),
        "off_reason": "works on the riser",
    },
    "left_dark": lambda it: {
        **command(it),
        **it.choice([{}, DEBT]),
        "supply_state": it.choice(["disconnected", "trip_commanded", "reconnect_commanded"]),
    },
    "restore_due": lambda it: {**command(it), "supply_state": "disconnected"},
    "trip": lambda it: {**command(it), **DEBT, "supply_state": "trip_commanded"},
    "reconnect": lambda it: {**command(it), "supply_state": "reconnect_commanded"},
    "button": lambda it: {**command(it), "supply_state": "wait_customer_button"},
    "foreign_open": lambda _: {"relay_observed": "open"},
    "planned_outage": planned,
    "line_down": down,
    "area_silent": lambda it: {**silent(it), "area_silent": it.randint(16, 20)},
    "meter_silent": silent,
    "on": lambda _: {},
    "never_read": lambda it: {
        "heard_at": None,
        "relay_observed": "unknown",
        "relay_observed_at": None,
        "asked_at": it.choice([None, ago(it)]),
    },
    "no_meter": lambda _: {"address": None, "line": None, "heard_at": None},
    "unknown": lambda it: {"heard_at": NOW - it.uniform(37, 900) * HOUR},
}
LATER: list[Change] = [silent, down, planned]
"""What may be true besides of what we did, or of what was seen at the meter."""


def test_every_cause_is_injected() -> None:
    assert set(CAUSES) == set(get_args(Cause)) == set(WHY)


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_found_with_any_seed(cause: Cause) -> None:
    for seed in SEEDS:
        chance = random.Random(f"{cause} {seed}")
        noise: dict[str, Any] = {"balance_fen": chance.randint(0, 10_000)}
        if list(CAUSES).index(cause) < list(CAUSES).index("planned_outage"):
            for change in chance.sample(LATER, chance.randint(0, 3)):
                noise |= change(chance)
        known = replace(WELL, **noise | CAUSES[cause](chance))
        found = cause_of(known, NOW, shadow_mode=cause == "left_dark")
        assert found == cause, (seed, known)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", CAUSES)
def test_it_is_one_sentence_with_evidence_and_its_time(cause: Cause, language: str) -> None:
    known = replace(WELL, **CAUSES[cause](random.Random(1)))
    told = why(known, shipped_texts()[language], ZONE, NOW, shadow_mode=cause == "left_dark")
    assert told.cause == cause
    assert told.seen_at == NOW
    assert not re.search(r"[{}\n]", told.sentence)
    assert "-" not in re.findall(r"\S+", told.sentence)
    assert told.evidence


def test_who_is_cut_is_told_what_is_missing_and_what_to_do() -> None:
    injected = CAUSES["cut"](random.Random(1)) | {"cut_at": NOW - 2 * HOUR}
    known = replace(WELL, **injected)
    told = why(known, shipped_texts()["en"], ZONE, NOW)
    assert told.missing_fen == missing_fen(known) == 1734
    for words in ("2026-03-11 08:00", "-12.34 yuan", "pay 17.34 yuan", "hold the button"):
        assert words in told.sentence
    without_button = why(replace(known, reconnect="close"), shipped_texts()["en"], ZONE, NOW)
    assert "button" not in without_button.sentence


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_an_order_its_reason_and_beginning_are_told_and_no_money(language: str) -> None:
    known = replace(
        WELL,
        supply_state="disconnected",
        balance_fen=-1234,
        reconnect_fen=500,
        cut_at=NOW - HOUR,
        ordered="theft",
        ordered_at=NOW - 2 * HOUR,
        order_reason="a bridge over the meter",
    )
    told = why(known, shipped_texts()[language], ZONE, NOW)
    assert told.missing_fen == 0
    assert "2026-03-11 08:00" in told.sentence
    assert "a bridge over the meter" in told.sentence
    assert "17.34" not in told.sentence


@pytest.mark.parametrize("language", LANGUAGES)
def test_that_somebody_there_is_protected_is_told_of_what_is_off_for_safety(language: str) -> None:
    texts = shipped_texts()[language]
    off = replace(WELL, supply_state="disconnected", ordered="safety", must_be_on=True)
    told = texts.fill("evidence", "safety_all_the_same", {})
    assert told in why(off, texts, ZONE, NOW).evidence
    for other in (replace(off, must_be_on=False), replace(off, ordered=None)):
        assert told not in why(other, texts, ZONE, NOW).evidence


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_hinders_a_reconnect_is_told_of_who_is_cut(language: str) -> None:
    texts = shipped_texts()[language]
    dark = replace(WELL, supply_state="disconnected", balance_fen=-1, cut_at=NOW - HOUR)
    hindered = replace(dark, line_down_since=NOW, line_down_reason="", off_since=NOW - HOUR)
    told = {
        texts.fill("evidence", "line_down", {"line": "bus-1", "at": "2026-03-11 10:00"}),
        texts.fill("evidence", "kept_off", {"at": "2026-03-11 09:00"}),
    }
    assert told <= set(why(hindered, texts, ZONE, NOW).evidence)
    assert not told & set(why(dark, texts, ZONE, NOW).evidence)
    # What the sentence says is not said twice.
    paid = why(replace(hindered, balance_fen=0), texts, ZONE, NOW)
    assert (paid.cause, len(told & set(paid.evidence))) == ("kept_off", 1)


@pytest.mark.parametrize("supply_state", ["energised", "wait_customer_button"])
def test_who_is_not_dark_by_us_is_not_left_so_in_shadow_mode(supply_state: str) -> None:
    known = replace(WELL, supply_state=supply_state)
    assert cause_of(known, NOW, shadow_mode=True) == cause_of(known, NOW)


def test_an_order_that_was_not_carried_out_makes_nobody_dark() -> None:
    asked = replace(WELL, ordered="safety", ordered_at=NOW - HOUR, order_reason="wet cable")
    assert cause_of(asked, NOW) == "on"


def test_a_balance_at_the_threshold_misses_nothing() -> None:
    at_threshold = replace(WELL, supply_state="disconnected", balance_fen=500, reconnect_fen=500)
    assert cause_of(at_threshold, NOW) == "restore_due"
    assert cause_of(replace(at_threshold, balance_fen=499), NOW) == "cut"


def test_an_outage_that_is_announced_explains_nothing_yet() -> None:
    announced = replace(WELL, outage_from=NOW + HOUR, outage_to=None, outage_reason="works")
    assert cause_of(announced, NOW) == "on"
    assert cause_of(replace(announced, outage_from=NOW), NOW) == "planned_outage"


@pytest.mark.parametrize(
    ("meters", "silent_ones", "cause"),
    [
        (1, 1, "meter_silent"),
        (2, 1, "meter_silent"),
        (2, 2, "area_silent"),
        (10, 7, "meter_silent"),
        (10, 8, "area_silent"),
    ],
)
def test_an_area_is_silent_where_most_of_it_is(meters: int, silent_ones: int, cause: str) -> None:
    known = replace(
        WELL, **silent(random.Random(1)) | {"area_meters": meters, "area_silent": silent_ones}
    )
    assert cause_of(known, NOW) == cause
    assert cause_of(replace(known, area=""), NOW) == "meter_silent"


def test_a_meter_that_was_heard_36_hours_ago_had_power() -> None:
    heard = replace(WELL, heard_at=NOW - 36 * HOUR)
    assert cause_of(heard, NOW) == "on"
    assert cause_of(replace(heard, heard_at=NOW - 36.01 * HOUR), NOW) == "unknown"


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_became_of_a_command_is_told_in_words(language: str) -> None:
    there_is = re.search(r"CHECK \(state IN \(('persisted'[^)]*)\)\)", migrations()[0].text)
    assert there_is is not None
    states = re.findall(r"'(\w+)'", there_is[1])
    texts = shipped_texts()[language]
    told = {
        why(replace(WELL, command_at=NOW, command_state=it), texts, ZONE, NOW).evidence[-1]
        for it in states
    }
    assert len(told) == len(states)
    assert not [line for line in told if line.rpartition(" ")[2].isascii() and language == "zh"]
