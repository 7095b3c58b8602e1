"""What clerks decide, with the installed command: who may, what waits, what is refused."""

import json
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from tests.database.cli.test_ledger_commands import FILES
from tests.database.small_site import (
    DAY,
    SHADOW,
    TODAY,
    Site,
    freeze,
    on,
    store,
)
from tests.servers import commands

FIRST = TODAY - 20 * DAY
SPIKE = FIRST + 2 * DAY
HELD_FROM = FIRST + DAY
HELD_TO = FIRST + 19 * DAY
SAID = ("--reason", "seen on site")


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Path:
    """Point P1: a spike on the third day, then nothing until a held span ends yesterday."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(1, opened_on=FIRST).take_over(connection))["P1"]
        await connection.execute("UPDATE installation SET initial = '{0}'")
        for day, kwh in ((FIRST, "100"), (HELD_FROM, "105"), (SPIKE, "605"), (HELD_TO, "200")):
            await store(connection, freeze(meter, day, kwh), authority=SHADOW)

    on(database_url, story)
    for name, text in {**FILES, "url": database_url}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def quality(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return commands.run("quality", *arguments, cwd=site)


def standstill(site: Path) -> subprocess.CompletedProcess[str]:
    return commands.run("standstill", "--json", cwd=site)


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_held_span_is_released_by_two_persons(site: Path) -> None:
    span = ("release-link", "P1", HELD_FROM, HELD_TO)
    (made,) = objects(quality(site, *span, *SAID, "--actor", "Wang", "--json"))
    assert made["state"] == "waits"
    (waits,) = objects(quality(site, "waiting", "--json"))
    assert (waits["from"], waits["kWh"]) == (str(HELD_FROM), "95.00")
    own = quality(site, "approve", made["decision"], "--actor", "Wang")
    assert (own.returncode, "same_person" in own.stderr) == (65, True)
    (done,) = objects(quality(site, "approve", made["decision"], "--actor", "Li", "--json"))
    assert done["state"] == "counts"


def test_who_looks_at_what_is_held_is_told_how_far_it_has_come(site: Path) -> None:
    span = ("release-link", "P1", HELD_FROM, HELD_TO)

    def told() -> tuple[list[str], str]:
        held = [it for it in objects(quality(site, "list", "--json")) if it["hold"]]
        (row,) = objects(standstill(site))
        commands = [command for it in held for command in it["commands"]]
        assert not held or commands == row["commands"], "one question has one answer"
        return commands, row["reason"]

    commands, reason = told()
    assert commands[-1].startswith(f"meterd quality release-link P1 {HELD_FROM} {HELD_TO}")
    assert reason == "held"

    (made,) = objects(quality(site, *span, *SAID, "--actor", "Wang", "--json"))
    approve = f"meterd quality approve {made['decision']}"
    commands, reason = told()
    assert (reason, commands[0].startswith(approve)) == ("held", True)

    assert quality(site, "approve", made["decision"], "--actor", "Li").returncode == 0
    commands, reason = told()
    assert (commands, reason) == ([], "settling"), "the daemon bills it in a moment"
    again = quality(site, *span, *SAID, "--actor", "Zhao", "--json")
    assert objects(again) == [{"refused": "released_already"}]


def test_a_table_in_a_pipe_has_a_line_for_each_row(site: Path) -> None:
    done = quality(site, "list")
    head, *rows = done.stdout.splitlines()
    assert {row.count("\t") for row in rows} == {head.count("\t")}
    assert any("; or meterd quality" in row for row in rows)


def test_what_waits_is_listed_until_somebody_says_no(site: Path) -> None:
    day = FIRST + 9 * DAY
    made = quality(
        site, "substitute", "P1", day, "--method", "S4", "--total", "150", "--evidence", "form 3",
        *SAID, "--actor", "Wang",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "waits for another person" in made.stdout
    (row,) = objects(quality(site, "waiting", "--json"))
    assert (row["point"], row["day"], row["method"], row["maker"]) == ("P1", str(day), "S4", "Wang")
    assert quality(site, "refuse", row["number"], *SAID, "--actor", "Li").returncode == 0
    assert objects(quality(site, "waiting", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("release", "P1", SPIKE, "606"), "no_such_value"),
        (("release", "P1", SPIKE, "605"), "contradicts_published"),
        (("reject", "P9", SPIKE, "605"), "unknown_point"),
        (("release-link", "P1", FIRST, HELD_FROM), "no_held_link"),
    ],
)
def test_what_may_not_be_is_refused_by_name_and_exit_code(
    site: Path, arguments: tuple[str | date, ...], reason: str
) -> None:
    done = quality(site, *arguments, *SAID, "--json")
    assert done.returncode == 65
    assert objects(done) == [{"refused": reason}]
    assert reason in done.stderr
