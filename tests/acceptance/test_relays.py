"""Relays that somebody else opened before the daemon came, by the installed program over simulated
meters: who owes nothing is lit again; in shadow mode nobody is, and a person is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stage import METERS, POOR, Stage, stage

pytestmark = pytest.mark.acceptance
PAYER, OTHER = METERS["gate-1"][0], METERS["bus-1"][1]


@pytest.fixture
def staged(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path, database_url, days=2) as staged:
        yield staged


@pytest.fixture
def shadow(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path, database_url, mode="shadow", days=2) as staged:
        yield staged


def seen(staged: Stage) -> dict[str, str]:
    """Where each relay was seen, by point."""
    return dict(
        staged.ask(
            "SELECT number, relay_observed FROM point_supply JOIN point ON id = point_id"
            " WHERE relay_observed <> 'unknown'"
        )
    )


def test_who_owes_nothing_and_was_opened_by_somebody_else_is_lit_again(staged: Stage) -> None:
    for address in (PAYER, OTHER):
        staged.bench.force_relay(address, "open")
    staged.start_daemon()
    staged.until(
        "both are lit",
        lambda: not any(map(staged.bench.relay_is_open, (PAYER, OTHER))),
    )
    points = [f"P{int(address)}" for address in (PAYER, OTHER)]
    staged.until("that is seen", lambda: {seen(staged).get(it) for it in points} == {"closed"})
    closed = {event["address"] for event in staged.control_frames() if event["action"] != "1A"}
    assert closed == {PAYER, OTHER}
    causes = staged.ask("SELECT cause FROM command WHERE action <> 'trip'")
    assert all(cause.startswith("opened by somebody else") for (cause,) in causes)


def test_in_shadow_mode_it_is_a_case_and_no_control_frame_leaves(shadow: Stage) -> None:
    for address in (PAYER, POOR):
        shadow.bench.force_relay(address, "open")
    shadow.start_daemon()
    shadow.until("both are cases", lambda: _alarm(shadow).get("count") == 2)
    assert shadow.health()["status"] == "degraded"
    told = [json.loads(line) for line in shadow.meterd("supply", "alarms", "--json").splitlines()]
    assert {(it["kind"], it["point"]) for it in told} == {
        ("foreign_open", f"P{int(address)}") for address in (PAYER, POOR)
    }
    jobs = [json.loads(line) for line in shadow.meterd("job", "list", "--json").splitlines()]
    assert {job["kind"] for job in jobs} == {"foreign_open"}
    assert shadow.control_frames() == []
    assert shadow.bench.relay_is_open(PAYER)


def test_a_mark_is_set_in_the_meter_and_nothing_else_is(staged: Stage) -> None:
    said = ("--point", f"P{int(PAYER)}", "--reason", "hospital", "--actor", "li")
    staged.meterd("protect", "add", "keep-power", *said)
    staged.start_daemon()
    staged.until("the meter keeps power", lambda: bool(staged.control_frames()))
    frames = [(frame["address"], frame["action"]) for frame in staged.control_frames()]
    assert frames == [(PAYER, "3A")]


def _alarm(staged: Stage) -> dict[str, int]:
    found: dict[str, int] = staged.health()["alarms"].get("foreign_open", {})
    return found
