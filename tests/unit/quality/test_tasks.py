"""The text of a task names the reason, the owner, and a command that settles it."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from daemon.quality.candidates import NOT_THIS_DAY
from daemon.quality.codes import CODES, HOLDS, NOT_SHOWN, in_words
from daemon.quality.doubt_runs import runs_of
from daemon.quality.tasks import Beside, Doubtful, Waiting, task_of

DAY = date(2026, 3, 3)
BEFORE = Beside(DAY - timedelta(days=1), "105.00")
SPIKE = Doubtful("P1", DAY, DAY, "suspect", "9105.00", ("V08",), "person", before=BEFORE)


@pytest.mark.parametrize(
    ("changes", "owner", "command"),
    [
        ({}, "operator", "meterd quality release P1 2026-03-03 9105.00"),
        ({}, "operator", "meterd quality reject P1 2026-03-03 9105.00"),
        ({}, "operator", "max_daily_kwh of P1 in points.csv"),
        (
            {"limit_basis": "i_max_a 60, u_n_v 220, phases 1"},
            "operator",
            "i_max_a or max_daily_kwh of P1 in points.csv, then meterd reload (if the limit that "
            "follows from i_max_a 60, u_n_v 220, phases 1 is too small",
        ),
        (
            {"limit_basis": "contract_kw 8, ratio 1"},
            "operator",
            "contract_kw or max_daily_kwh of P1 in points.csv",
        ),
        (
            {"limit_basis": "quality.max_daily_kwh"},
            "operator",
            "i_max_a or max_daily_kwh of P1 in points.csv, then meterd reload (if the limit that "
            "follows from quality.max_daily_kwh is too small",
        ),
        (
            {},
            "operator",
            "meterd quality reject P1 2026-03-02 105.00",
        ),
        (
            {
                "state": "published",
                "hold": "spike",
                "held_from": date(2026, 3, 1),
                "before": replace(BEFORE, day=date(2026, 3, 1)),
            },
            "two persons",
            "meterd quality reject P1 2026-03-01 105.00",
        ),
        (
            {"waiting": Waiting(7, "Li", "substitute", "12.50")},
            "two persons",
            "meterd quality approve 7",
        ),
        (
            {"waiting": Waiting(7, "Li", "release_link"), "hold": "span"},
            "two persons",
            "meterd quality refuse 7",
        ),
        ({"codes": ("V36", "V07"), "total": "0.50"}, "operator", "--same-serial"),
        ({"codes": ("V36", "V07"), "total": "77.00"}, "operator", "meterd meter exchange P1"),
        ({"codes": ("V05",), "skew_s": -3600}, "operator", "--clock standard"),
        ({"codes": ("V05",), "skew_s": 420}, "operator", "meterd quality release P1"),
        (
            {"codes": ("V07", "V35"), "confirmed": (date(2026, 3, 1), "480.00")},
            "operator",
            "meterd quality withdraw P1 2026-03-01 480.00",
        ),
        ({"codes": ("V38",)}, "operator", "meterd quality substitute P1 2026-03-03"),
        ({"state": "rejected", "codes": ()}, "operator", "meterd quality substitute P1"),
        ({"next_step": "wait", "codes": ("V32",)}, "daemon", "meterd collect P1"),
        ({"next_step": "wait", "codes": ("V32",)}, "daemon", "reject P1 2026-03-03 9105.00"),
        (
            {"codes": ("V08", "V36")},
            "operator",
            "meterd quality reject P1 2026-03-02 105.00",
        ),
        ({"next_step": "reread"}, "daemon", "meterd collect P1 --day 2026-03-03"),
        ({"next_step": "recollect", "codes": ("V04",)}, "daemon", "meterd collect P1"),
        (
            {"state": "published", "next_step": None, "codes": ("V33",)},
            "daemon",
            "meterd quality reject P1 2026-03-03 9105.00",
        ),
        (
            {"state": "published", "hold": "span", "held_from": date(2026, 2, 20)},
            "two persons",
            "meterd quality release-link P1 2026-02-20 2026-03-03",
        ),
        (
            {"state": "published", "hold": "final_lost", "held_from": date(2026, 2, 20)},
            "three persons",
            "meterd quality release-link P1 2026-02-20 2026-03-03 --agreed KWH --evidence WHAT",
        ),
        (
            {"state": "published", "hold": "ratio", "held_from": date(2026, 2, 20)},
            "two persons",
            "meterd meter ratio P1 --from DAY --ratio RATIO --register",
        ),
        (
            {"state": "published", "hold": "ratio", "held_from": date(2026, 2, 20)},
            "two persons",
            "meterd quality release-link P1 2026-02-20 2026-03-03",
        ),
        (
            {"state": "published", "hold": "spike", "held_from": date(2026, 2, 20)},
            "two persons",
            "meterd quality release-link P1 2026-02-20 2026-03-03",
        ),
        (
            {"hold": "spike", "held_from": date(2026, 2, 20), "document": 7},
            "two persons",
            "meterd document show 7 (if a register of it is wrong, tell it again",
        ),
        (
            {"state": "rejected", "codes": (), "next_step": "recollect"},
            "daemon",
            "meterd collect P1 --day 2026-03-03",
        ),
        (
            {"state": "published", "codes": ("V25",), "next_step": None},
            "operator",
            "meterd quality show P1 2026-03-03",
        ),
    ],
)
def test_a_task_names_its_owner_and_the_command_that_settles_it(
    changes: dict[str, object], owner: str, command: str
) -> None:
    task = task_of(replace(SPIKE, **changes))  # type: ignore[arg-type]
    assert task.owner == owner
    assert any(command in it for it in task.commands), task.commands


@pytest.mark.parametrize("next_step", ["recollect", "wait", "reread", "person", None])
@pytest.mark.parametrize("code", sorted(CODES))
def test_whatever_is_doubted_its_reason_and_a_command_are_told(
    code: str, next_step: str | None
) -> None:
    # judgement.md section 7.4
    for state in ("suspect", "published"):
        task = task_of(replace(SPIKE, state=state, codes=(code,), next_step=next_step))
        assert in_words([code]) in task.text
        assert any(it.startswith("meterd ") and "P1" in it for it in task.commands)


@pytest.mark.parametrize("hold", sorted(HOLDS))
def test_whatever_is_held_its_reason_and_a_command_are_told(hold: str) -> None:
    held = replace(SPIKE, state="published", hold=hold, held_from=DAY - timedelta(days=9))
    task = task_of(held)
    assert task.owner == ("three persons" if hold in NOT_SHOWN else "two persons")
    assert HOLDS[hold] in task.text
    assert any(it.startswith("meterd ") and "P1" in it for it in task.commands)


def test_a_day_that_a_person_rejected_is_told_as_that_while_it_is_read_again() -> None:
    task = task_of(replace(SPIKE, state="rejected", codes=(), next_step="recollect"))
    assert task.text == "a person rejected it: the day is read again"


def test_days_that_are_missing_inside_a_held_span_are_read_from_its_second_day_on() -> None:
    held = replace(SPIKE, state="published", hold="span", held_from=date(2026, 2, 20))
    assert "meterd collect P1 --day 2026-02-21" in task_of(held).commands


def test_a_value_that_fails_its_clock_asks_whether_the_clock_is_wrong_still() -> None:
    task = task_of(replace(SPIKE, codes=("V05",), skew_s=420))
    assert any(it.startswith("meterd collect P1 --what clock") for it in task.commands)


@pytest.mark.parametrize(("total", "is_restart"), [("5.24", True), ("5.25", False)])
def test_a_register_that_fell_to_a_twentieth_is_no_restart(total: str, *, is_restart: bool) -> None:
    task = task_of(replace(SPIKE, codes=("V36",), total=total))
    assert any("--same-serial" in it for it in task.commands) is is_restart


def test_every_code_that_forbids_a_day_has_words() -> None:
    assert set(CODES) >= NOT_THIS_DAY
    assert in_words(["V08 spike", "V27"]) == (
        "V08 more than the limit allows; V27 more than the value behind it"
    )


def test_neighbouring_days_of_which_the_same_is_to_be_said_are_one_run() -> None:
    days = [replace(SPIKE, first_day=it, last_day=it) for it in (DAY, DAY + timedelta(days=1))]
    other = replace(SPIKE, point="P2", first_day=DAY + timedelta(days=2))
    later = replace(SPIKE, first_day=DAY + timedelta(days=3), last_day=DAY + timedelta(days=3))
    assert [(it.first_day, it.last_day) for it in runs_of([*days, later, other])] == [
        (DAY, DAY + timedelta(days=1)),
        (later.first_day, later.last_day),
        (other.first_day, other.last_day),
    ]


def test_what_a_person_confirmed_is_taken_back_before_what_contradicts_it_is_released() -> None:
    confirmed = (date(2026, 3, 1), "480.00")
    task = task_of(replace(SPIKE, codes=("V08", "V35"), confirmed=confirmed))
    assert not any("quality release" in it for it in task.commands)
    assert any("quality withdraw P1 2026-03-01 480.00" in it for it in task.commands)


def test_what_a_later_value_contradicts_is_not_released_as_long_as_that_stands() -> None:
    behind = Beside(DAY + timedelta(days=1), "110.00")
    task = task_of(replace(SPIKE, codes=("V08", "V27"), behind=behind))
    assert not any("quality release" in it for it in task.commands)
    assert any("quality reject P1 2026-03-04 110.00" in it for it in task.commands)


def test_a_release_names_both_ends_of_what_it_bills() -> None:
    (release,) = [it for it in task_of(SPIKE).commands if "quality release" in it]
    assert release.endswith(
        "(if 105.00 of 2026-03-02 and 9105.00 of 2026-03-03 are right "
        "and no exchange between them is untold)"
    )


def test_a_substitute_that_is_wrong_is_withdrawn_and_not_rejected() -> None:
    before = replace(BEFORE, is_substitute=True)
    commands = task_of(replace(SPIKE, before=before)).commands
    assert any("quality withdraw P1 2026-03-02 105.00" in it for it in commands)


@pytest.mark.parametrize("hold", sorted({*HOLDS} - NOT_SHOWN))
def test_held_use_is_released_only_if_both_ends_are_right_and_each_can_be_taken_back(
    hold: str,
) -> None:
    start = Beside(DAY - timedelta(days=9), "105.00")
    held = replace(SPIKE, state="published", hold=hold, held_from=start.day, before=start)
    *_, release = [it for it in task_of(held).steps if "release-link" in it.command]
    assert release.right == ((start.day, "105.00"), (DAY, "9105.00"))
    wrong = {it.wrong for it in task_of(held).steps if it.wrong is not None}
    assert wrong == set(release.right)


def test_who_agrees_is_told_what_was_decided() -> None:
    start = Beside(DAY - timedelta(days=9), "105.00")
    held = replace(SPIKE, state="published", hold="span", held_from=start.day, before=start)
    task = task_of(replace(held, waiting=Waiting(7, "Li", "release_link")))
    assert "release-link 9000.00 kWh of the register, from 2026-02-22 to 2026-03-03" in task.text
    said = Waiting(8, "Li", "substitute", "12.50")
    assert "substitute 12.50" in task_of(replace(SPIKE, waiting=said)).text


def test_held_use_says_how_far_the_register_went() -> None:
    held = replace(SPIKE, state="published", hold="span", held_from=DAY - timedelta(days=9))
    start = replace(BEFORE, day=DAY - timedelta(days=9))
    assert "9000.00 kWh of the register" in task_of(replace(held, before=start)).text
    assert "kWh" not in task_of(held).text


def test_held_spans_are_never_drawn_together() -> None:
    span = replace(SPIKE, state="published", hold="span", held_from=DAY - timedelta(days=9))
    after = replace(span, first_day=DAY + timedelta(days=1), last_day=DAY + timedelta(days=1))
    assert len(runs_of([span, after])) == 2
