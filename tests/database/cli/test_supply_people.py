"""Notices, approvals, protection, disputes, holds and jobs, by the installed command."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from config.notice_texts import shipped_texts
from config.settings import OnCallSection
from daemon.transactions.meter_orders import Ordering
from daemon.transactions.staff_alarms import Staff, call_staff
from daemon.transactions.supply_cases import supply_alarms
from daemon.transactions.sweep import open_restore_jobs, sweep
from storage import field_jobs
from storage.site_lock import SITE_LOCK
from storage.supply import database_clock
from tests.database.cli.test_document_commands import Place, pytestmark
from tests.database.small_site import ARMED, CUT_AT_ANY_TIME, NOW, SHADOW, ZONE, on, pay
from tests.database.transactions.test_control_facts import reasons
from tests.database.transactions.test_supply import exhausted

__all__ = ["pytestmark"]

SAID = ("--reason", "so it is", "--actor", "li")
ON_CALL = """
[[on_call]]
name = "Li"
channel = "sms"
address = "1"
"""
TOLD = ("--channel", "paper", "--text", "pay", *SAID)


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    on(database_url, _in_arrears)
    return Place(tmp_path, database_url)


async def _in_arrears(connection: AsyncConnection[Any]) -> None:
    await exhausted(connection, 2, authority=SHADOW)


def said(place: Place, *arguments: str, code: int = 0) -> str:
    done = place.meterd(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def told(place: Place, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(place, *arguments, "--json"))
    return found


def test_what_protects_is_lifted_by_two_persons(place: Place) -> None:
    mark = str(told(place, "protect", "add", "life-support", "--point", "P1", *SAID)["mark"])
    assert told(place, "protect", "lift", mark, *SAID)["state"] == "waits"
    assert "another person" in said(place, "protect", "agree", mark, "--actor", "LI", code=1)
    assert told(place, "protect", "list")["kind"] == "life_support"
    assert told(place, "protect", "agree", mark, "--actor", "wang")["state"] == "lifted"
    assert "lifted already" in said(place, "protect", "lift", mark, *SAID, code=1)
    assert said(place, "protect", "list", "--json") == ""
    assert told(place, "protect", "list", "--all")["lift_second"] == "wang"


def test_what_is_wrong_with_supply_is_told_from_the_tables(place: Place) -> None:
    assert said(place, "supply", "alarms") == "nothing is wrong with supply\n"
    on(place.url, _p1_is_cut)
    found = told(place, "supply", "alarms")
    assert (found["kind"], found["point"], found["account"]) == ("cut_in_shadow", "P1", "A1")
    words = said(place, "supply", "alarms")
    assert "points are cut, and in shadow mode nobody is restored" in words


def test_who_was_told_is_shown_and_acknowledged_by_the_number(place: Place) -> None:
    staff = Staff(
        [OnCallSection(name="Li", channel="sms", address="1", language="en")],
        timedelta(minutes=10),
        shipped_texts(),
        ZONE,
    )

    async def called(connection: AsyncConnection[Any]) -> None:
        now = await database_clock(connection)
        rows = await supply_alarms(connection, [], now, shadow_mode=True)
        await call_staff(connection, staff, rows, now)

    assert said(place, "supply", "calls", "--json") == ""
    on(place.url, _p1_is_cut)
    on(place.url, called)
    first, second = map(json.loads, said(place, "supply", "calls", "--json").splitlines())
    assert (first["number"], first["level"], first["name"], first["state"]) == (1, 1, "Li", "waits")
    assert (first["about"], first["acknowledged_by"], first["waiting"]) == ("P1", None, 1)
    taken = told(place, "supply", "acknowledge", str(first["number"]), "--actor", "li")
    assert (taken["about"], taken["acknowledged_by"]) == (["P1"], "li")
    again = said(place, "supply", "acknowledge", str(first["number"]), code=1)
    assert "is over, or somebody has it" in again
    assert "no call 99" in said(place, "supply", "acknowledge", "99", code=1)
    shown = said(place, "supply", "calls")
    assert "acknowledged by" in shown
    assert "Li" in shown
    assert second["acknowledged_by"] is None


def test_the_last_verdict_and_look_are_told_with_their_times(place: Place) -> None:
    shown = said(place, "supply", "show", "--point", "P1")
    assert "unknown" in shown
    on(place.url, _p1_is_cut)
    (row,) = map(json.loads, said(place, "supply", "show", "--point", "P1", "--json").splitlines())
    assert row["relay_evidence"] == "C"
    assert row["relay_observed_at"] is not None
    assert row["verdict_at"] is not None
    assert row["answers_for_it"] == []
    site = place.folder / "meterd.toml"
    site.write_text(site.read_text() + ON_CALL)
    assert told(place, "supply", "show", "--point", "P1")["answers_for_it"] == ["Li"]
    assert told(place, "supply", "show", "--point", "P2")["answers_for_it"] == []
    assert "commanded, unproven" in said(place, "supply", "show", "--point", "P1")


async def _p1_is_cut(connection: AsyncConnection[Any]) -> None:
    await connection.execute(
        "UPDATE point_supply SET supply_state = 'disconnected', relay_observed = 'open', "
        "relay_observed_at = now(), relay_evidence = 'C' FROM point WHERE id = point_id AND number = 'P1'"
    )


def test_what_is_set_in_the_meter_is_told_behind_its_commands(place: Place) -> None:
    told(place, "protect", "add", "keep-power", "--point", "P1", *SAID)
    on(place.url, _p1_is_to_keep_power)
    shown = said(place, "supply", "show", "--point", "P1", "--json").splitlines()
    (order,) = [row for row in map(json.loads, shown) if row.get("what") == "keep_power"]
    assert (order["to_be"], order["state"]) == ("on", "persisted")
    assert "keep power is said" in said(place, "supply", "show", "--point", "P1")


async def _p1_is_to_keep_power(connection: AsyncConnection[Any]) -> None:
    await connection.execute(
        "UPDATE point_supply SET relay_observed = 'closed', command_observed = 'closed'"
    )
    await Ordering(ARMED).look(connection)


def test_a_breaker_is_reset_by_two_persons(place: Place) -> None:
    for _ in range(3):
        told(place, "dispute", "open", "A1", "--wrongful-cut", *SAID)
    on(place.url, _looked_at)
    shown = said(place, "supply", "breaker", "show")
    assert "3 cuts called wrongful within a day, 2 are allowed" in shown
    assert told(place, "supply", "breaker", "reset", "1", *SAID)["state"] == "waits"
    assert "another person" in said(
        place, "supply", "breaker", "agree", "1", "--actor", "Li", code=1
    )
    assert told(place, "supply", "breaker", "show")["reset_actor"] == "li"
    assert "is reset" in said(place, "supply", "breaker", "agree", "1", "--actor", "wang")
    assert said(place, "supply", "breaker", "show", "--json") == ""
    assert told(place, "supply", "breaker", "show", "--all")["reset_second"] == "wang"


async def _looked_at(connection: AsyncConnection[Any]) -> None:
    await sweep(connection, SHADOW, NOW)


def test_two_persons_order_a_supply_off_and_one_ends_that(place: Place) -> None:
    asked = said(place, "supply", "order", "ask", "P1", "--cause", "safety", *SAID)
    assert "order 1 waits" in asked
    assert "another person" in said(place, "supply", "order", "agree", "1", "--actor", "Li", code=1)
    done = place.meterd("supply", "order", "agree", "1", "--actor", "wang")
    # The site of the files is in shadow mode.
    assert (done.returncode, "SHADOW_MODE" in done.stdout) == (1, True), done.stderr
    assert "APPROVAL_MISSING" not in done.stdout
    shown = told(place, "supply", "order", "list")
    assert (shown["cause"], shown["second"], shown["supply_state"]) == (
        *("safety", "wang", "energised"),
    )
    assert "is ended" in said(place, "supply", "order", "end", "1", *SAID)
    assert said(place, "supply", "order", "list", "--json") == ""
    assert told(place, "supply", "order", "list", "--all")["ended_by"] == "li"


def test_until_when_a_daemon_that_has_just_started_cuts_nobody_is_told(place: Place) -> None:
    said(place, "supply", "order", "ask", "P1", "--cause", "theft", *SAID)
    with psycopg.connect(place.url, autocommit=True) as daemon:
        daemon.execute("SELECT pg_advisory_lock(%s)", (SITE_LOCK,))
        done = place.meterd("supply", "order", "agree", "1", "--actor", "wang")
        assert (done.returncode, "STARTUP_HOLD" in done.stdout) == (1, True), done.stderr
        assert "(the daemon has just started, until " in done.stdout
        asked = place.meterd("supply", "trip", "A2", *SAID)
        assert (asked.returncode, "has just started" in asked.stdout) == (1, True), asked.stderr
        assert "STARTUP_HOLD" in said(place, "supply", "plan")
    assert "STARTUP_HOLD" not in said(place, "supply", "plan")


def test_a_dispute_and_a_hold_are_ended_by_one(place: Place) -> None:
    dispute = str(told(place, "dispute", "open", "A1", *SAID)["mark"])
    hold = str(told(place, "supply", "hold", "--line", "line", *SAID)["mark"])
    shown = told(place, "supply", "holds")
    assert (shown["kind"], shown["line"]) == ("hold", "line")
    # A slip of a number must not end the hold of a site.
    assert f"mark {hold} is of another kind: hold" in said(
        place, "dispute", "close", hold, *SAID, code=1
    )
    assert told(place, "dispute", "close", dispute, *SAID)["state"] == "lifted"
    assert told(place, "supply", "release", hold, *SAID)["state"] == "lifted"


@pytest.mark.parametrize(
    ("command", "words", "code"),
    [
        (("dispute", "open", "A9"), "no account A9", 1),
        (("protect", "add", "protected", "--point", "P9"), "no point P9", 1),
        (("protect", "add", "protected"), "say one of --account, --point", 2),
        (("supply", "hold", "--line", "a", "--area", "b"), "say one of", 2),
        (("supply", "hold", "--line", "nowhere"), "no meter is on line nowhere", 1),
        (("supply", "hold", "--area", "nowhere"), "no point is in area nowhere", 1),
        (("supply", "hold", "--until", "2026-03-01 10:00"), "is over already", 1),
        (("supply", "release", "7"), "there is no mark 7", 1),
        (("supply", "order", "ask", "P9", "--cause", "theft"), "no point P9", 1),
        (("supply", "order", "end", "7"), "there is no order 7", 1),
        (("approve", "request", "A9"), "no account A9", 1),
        (("approve", "withdraw", "7"), "there is no open request 7", 1),
        (("notice", "record", "A9", "--kind", "written", *TOLD[:4]), "no account A9", 1),
        (
            (
                *("notice", "record", "A1", "--kind", "final", *TOLD[:4]),
                *("--delivered", "2026-03-01 10:00"),
            ),
            "--evidence",
            1,
        ),
        (
            (
                *("notice", "record", "A1", "--kind", "final", *TOLD[:4]),
                *("--delivered", "2199-03-01 10:00", "--evidence", "form 7"),
            ),
            "it has not happened yet",
            1,
        ),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(
    place: Place, command: tuple[str, ...], words: str, code: int
) -> None:
    assert words in said(place, *command, *SAID, code=code)


def test_a_cut_is_approved_by_another_for_what_is_owed_now(place: Place) -> None:
    number = str(told(place, "approve", "request", "A1", *SAID)["request"])
    assert "another person" in said(place, "approve", "give", number, "--actor", "Li", code=1)
    assert told(place, "approve", "give", number, "--actor", "wang")["approver"] == "wang"
    assert [*told(place, "approve", "list")["approved_until"]] == ["wang"]

    async def pays(connection: AsyncConnection[Any]) -> None:
        await pay(connection, "A1", 60)

    on(place.url, pays)
    assert "ask anew" in said(place, "approve", "give", number, "--actor", "zhao", code=1)
    anew = str(told(place, "approve", "request", "A1", *SAID)["request"])
    assert "is over" in said(place, "approve", "give", number, "--actor", "zhao", code=1)
    assert told(place, "approve", "withdraw", anew, *SAID)["state"] == "withdrawn"
    assert said(place, "approve", "list", "--json") == ""
    assert len(said(place, "approve", "list", "--all", "--json").splitlines()) == 2


def test_who_pays_needs_no_approval_any_more(place: Place) -> None:
    async def pays(connection: AsyncConnection[Any]) -> None:
        await pay(connection, "A1", 600)

    on(place.url, pays)
    assert "not in arrears" in said(place, "approve", "request", "A1", *SAID, code=1)
    final = ("notice", "record", "A1", "--kind", "final", *TOLD)
    assert "not in arrears" in said(place, *final, code=1)
    assert told(place, *("notice", "record", "A1", "--kind", "warning"), *TOLD)["notice"] == 1


def test_a_notice_counts_when_it_was_delivered(place: Place) -> None:
    now = NOW.isoformat()

    async def is_missing(connection: AsyncConnection[Any]) -> None:
        asked = replace(CUT_AT_ANY_TIME, written_required=True, written_min=timedelta(0))
        said_now = await reasons(connection, asked)
        assert (said_now["P1"], said_now["P2"]) == expected

    record = ("notice", "record", "A1", "--kind", "written", *TOLD)
    told(place, *record)
    expected = ({"NOTICE_MISSING"}, {"NOTICE_MISSING"})
    on(place.url, is_missing)
    told(place, *record, "--evidence", "form 7", "--delivered", now)
    expected = (set(), {"NOTICE_MISSING"})
    on(place.url, is_missing)
    shown = [json.loads(row) for row in said(place, "notice", "list", "--json").splitlines()]
    assert [row["delivered_at"] is None for row in shown] == [False, True]
    assert [row["amount_fen"] for row in shown] == [500, 500]


def test_a_reconnect_that_does_not_work_is_a_job_for_somebody(place: Place) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await connection.execute(
            "INSERT INTO command (id, point_id, meter_id, address, line, action, cause, state,"
            " created_at, expires_at, next_at) SELECT gen_random_uuid(), p.id, 1, '1', 'line',"
            " 'close', 'paid', 'persisted', now() - interval '11 minutes', now(), now()"
            " FROM point p WHERE p.number = 'P1'"
        )
        for _ in range(2):
            await open_restore_jobs(connection)
        assert len(await field_jobs.field_jobs(connection)) == 1

    on(place.url, story)
    shown = told(place, "job", "list")
    assert (shown["point"], shown["owner"], shown["route"]) == ("P1", None, "line")
    number = str(shown["number"])
    told(place, "job", "assign", number, "zhou", "--actor", "li")
    assert told(place, "job", "list")["owner"] == "zhou"
    done = ("job", "close", number, "--result", "contactor changed", "--actor", "zhou")
    assert told(place, *done)["state"] == "closed"
    assert "no open job" in said(place, *done, code=1)
    assert said(place, "job", "list", "--json") == ""


def test_a_plan_tells_whom_the_guard_would_let_be_cut_and_why_not_the_others(place: Place) -> None:
    told(place, "dispute", "open", "A1", *SAID)
    shown = [json.loads(row) for row in said(place, "supply", "plan", "--json").splitlines()]
    by_point = {row["point"]: row["reasons"] for row in shown}
    assert set(by_point) == {"P1", "P2"}
    assert set(by_point["P1"]) - set(by_point["P2"]) == {"DISPUTE"}
    assert "SHADOW_MODE" in by_point["P2"]
    assert "STARTUP_HOLD" not in by_point["P2"]
    assert "0 of 2 points" in said(place, "supply", "plan")
