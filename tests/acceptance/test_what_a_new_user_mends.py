"""What goes wrong at a new site is found and mended with what the program itself says: each command
is the one that it named, filled in."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.acquisition.planning.wanted import due_day
from tests.acceptance.stage import ADDRESSES, DAYS, ZONE, Stage, stage
from tests.servers import commands
from tests.servers.commands import METERD

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(900),
    # It is about commands, and takes minutes: one server is enough.
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
DAY = timedelta(days=1)
TODAY = due_day(datetime.now(ZoneInfo(ZONE)))
OPENS = TODAY - (DAYS - 1) * DAY
EXCHANGED_ON = OPENS + 8 * DAY
NO_POWER = [OPENS + n * DAY for n in range(2, 10)]
WRONG_KWH = "4000.0"
MORE_METERS = f"""
[overrides.000000001004]
initial_kwh = 5000
wrong_freezes = {{ {OPENS} = {WRONG_KWH} }}

[overrides.000000001005]
skipped_freezes = [{", ".join(map(str, NO_POWER))}]

[[meters]]
line = "gate-1"
address = "000000001009"
installed = {EXCHANGED_ON}
initial_kwh = 0
"""
TOO_SMALL = ",,0.5"
"""Half an ampere: 3.17 kWh a day."""
PATIENCE_S = 240.0


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    """A mistyped address (P1001), a limit that is too low (P1002), a wrong first value (P1004), a
    held span (P1005), and a meter that somebody has exchanged (P1006)."""
    with stage(tmp_path, database_url, mode="shadow", more_meters=MORE_METERS) as staged:
        edit(staged, "meters.csv", "000000001001,", "000000001901,")
        head, *points = (staged.folder / "points.csv").read_text().splitlines()
        limited = [f"{row}{TOO_SMALL if row.startswith('P1002,') else ',40,'}" for row in points]
        (staged.folder / "points.csv").write_text(
            "\n".join([f"{head},max_daily_kwh,i_max_a", *limited]) + "\n"
        )
        # As if the files had said so from the first: a lower limit holds from its day on only.
        staged.ask(
            "UPDATE point_limit SET max_daily_kwh = CASE number WHEN 'P1002' THEN 3 ELSE 40 END "
            "FROM point WHERE id = point_id RETURNING 1"
        )
        staged.start_daemon()
        until(staged, "what can be read is read", lambda: is_read(staged))
        yield staged


def until(staged: Stage, what: str, holds: Callable[[], bool]) -> None:
    staged.until(what, holds, PATIENCE_S)


def edit(staged: Stage, file: str, old: str, new: str) -> None:
    path = staged.folder / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def is_read(staged: Stage) -> bool:
    """All that can be: of P1001 nothing, of P1005 the midnights with power."""
    ((days,),) = staged.ask("SELECT count(*) FROM slot")
    return bool(days == (len(ADDRESSES) - 1) * DAYS - len(NO_POWER))


def told(staged: Stage, *arguments: str) -> list[dict[str, Any]]:
    done = commands.run(*arguments, "--json", "-c", staged.site)
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def standing(staged: Stage, point: str) -> dict[str, Any]:
    (row,) = [it for it in told(staged, "standstill") if it["point"] == point]
    return row


def task(staged: Stage, point: str, naming: str = "") -> str:
    """The first command that the list of doubts names for the point, or that has these words."""
    rows = told(staged, "quality", "list", "--point", point)
    commands = [command for row in rows for command in row["commands"]]
    return str(next(it for it in commands if naming in it))


def typed(staged: Stage, command: str, actor: str = "Li", **words: str) -> str:
    """What is printed when a person has filled a command in."""
    command = command.split(" (")[0]
    for word, said in {"WHY": "looked", "YOU": actor, "NAME": actor, **words}.items():
        command = command.replace(word, shlex.quote(said))
    return staged.meterd(*shlex.split(command)[1:])


def is_billed(staged: Stage, point: str) -> bool:
    # Asked of the database: a command costs more, and this is asked often.
    rows = staged.ask(
        "SELECT l.to_day FROM link l JOIN point p ON p.id = l.point_id "
        "WHERE p.number = %s AND l.hold IS NULL AND NOT EXISTS ("
        "SELECT FROM link h WHERE h.point_id = p.id AND h.hold IS NOT NULL) "
        "AND NOT EXISTS (SELECT FROM to_settle) ORDER BY 1 DESC LIMIT 1",
        point,
    )
    return rows == [(TODAY,)]


def is_for_a_person(staged: Stage, point: str) -> bool:
    rows = staged.ask(
        "SELECT FROM doubt JOIN point ON id = point_id WHERE number = %s AND next_step = 'person'",
        point,
    )
    return bool(rows)


def kwh_billed(staged: Stage, point: str) -> Decimal:
    rows = staged.ask(
        "SELECT sum(link_kwh(l)) FROM link l "
        "JOIN point p ON p.id = l.point_id WHERE p.number = %s AND l.hold IS NULL",
        point,
    )
    return Decimal(rows[0][0])


def used(staged: Stage, address: str, first: date = OPENS) -> Decimal:
    freezes = staged.bench.truth(address)[address]
    return Decimal(freezes[TODAY]) - Decimal(freezes[first])


def test_what_is_wrong_at_a_new_site_is_mended_with_the_commands_that_it_names(site: Stage) -> None:
    mend_the_mistyped_address(site)
    mend_the_limit(site)
    mend_the_first_value(site)
    release_the_held_span(site)
    tell_the_exchange(site)
    # What the old meter had answered after its exchange is read again from the new one.
    until(site, "nothing is in doubt", lambda: told(site, "quality", "list") == [])
    assert told(site, "standstill") == []
    site.meterd("quality", "list")
    site.meterd("gaps", "--days", "1")


def mend_the_mistyped_address(site: Stage) -> None:
    until(
        site, "it is said", lambda: "never_answered" in {it["cause"] for it in told(site, "gaps")}
    )
    edit(site, "meters.csv", "000000001901,", "000000001001,")
    assert "which was never read" in subprocess.run(
        [METERD, "plan", "-c", str(site.site)], capture_output=True, text=True
    ).stdout  # fmt: skip
    site.meterd("reload")
    until(site, "P1001 is billed", lambda: is_billed(site, "P1001"))
    assert kwh_billed(site, "P1001") == used(site, "000000001001")


def mend_the_limit(site: Stage) -> None:
    until(site, "it was read again", lambda: is_for_a_person(site, "P1002"))
    mends = task(site, "P1002", "max_daily_kwh")
    assert mends.startswith("i_max_a or max_daily_kwh of P1002 in points.csv, then meterd reload")
    assert "follows from i_max_a 0.5, u_n_v 220, phases 1" in mends
    edit(site, "points.csv", "C1002,close,,0.5\n", "C1002,close,,60\n")
    planned = subprocess.run(
        [METERD, "plan", "-c", str(site.site)], capture_output=True, text=True
    ).stdout
    withheld = site.ask(
        "SELECT day FROM slot JOIN point ON id = point_id "
        "WHERE number = 'P1002' AND state = 'suspect' ORDER BY day"
    )
    assert f"{len(withheld)} withheld days are judged again: {withheld[0][0]}" in planned
    seen = told(site, "quality", "revalidate", "--all", "--files", "--dry-run")
    assert [it["point"] for it in seen if "point" in it] == ["P1002"]
    site.meterd("reload")
    until(site, "P1002 is billed", lambda: is_billed(site, "P1002"))
    assert kwh_billed(site, "P1002") == used(site, "000000001002")


def mend_the_first_value(site: Stage) -> None:
    until(site, "it was read again", lambda: is_for_a_person(site, "P1004"))
    reject = task(site, "P1004", f"quality reject P1004 {OPENS} 4000.00")
    typed(site, reject)
    is_rejected = "SELECT FROM slot WHERE state = 'rejected'"
    until(site, "the rest is published", lambda: bool(site.ask(is_rejected)))
    until(site, "it was read again", lambda: is_for_a_person(site, "P1004"))
    true = str(site.bench.truth("000000001004")["000000001004"][OPENS])
    typed(site, task(site, "P1004"), TOTAL=true, WHAT="photo 7")
    typed(site, task(site, "P1004", "approve"), actor="Wang")
    until(site, "P1004 is billed", lambda: is_billed(site, "P1004"))
    assert kwh_billed(site, "P1004") == used(site, "000000001004")


def release_the_held_span(site: Stage) -> None:
    held = standing(site, "P1005")
    assert held["reason"] == "held"
    (release,) = [it for it in held["commands"] if "release-link" in it]
    typed(site, release)
    typed(site, standing(site, "P1005")["next"], actor="Wang")
    until(site, "P1005 is billed", lambda: is_billed(site, "P1005"))
    assert kwh_billed(site, "P1005") == used(site, "000000001005")


def tell_the_exchange(site: Stage) -> None:
    freezes = site.bench.truth("000000001006")["000000001006"]
    old_final = Decimal(freezes[EXCHANGED_ON]) + 1
    said = (
        "meter", "exchange", "P1006", "--at", f"{EXCHANGED_ON} 10:00", "--new-address",
        "000000001009", "--old-final", str(old_final), "--new-initial", "0.50",
        "--reason", "burnt", "--evidence", "form 3",
    )  # fmt: skip
    assert "given back" not in site.meterd(*said, "--dry-run")
    waits = site.meterd(*said, "--actor", "Li").splitlines()
    (approve,) = [line.strip() for line in waits if "document approve" in line]
    typed(site, approve, actor="Wang")
    # The daemon reads the new meter at once; the files are to follow.
    until(site, "P1006 is billed", lambda: is_billed(site, "P1006"))
    cell = "meters.csv, P1006: address: write 000000001009 instead of 000000001006"
    assert cell in site.meterd("plan")
    edit(site, "meters.csv", "000000001006,", "000000001009,")
    assert "meters.csv, P1006" not in site.meterd("reload")
    new = Decimal(site.bench.truth("000000001009")["000000001009"][TODAY])
    before = Decimal(freezes[EXCHANGED_ON]) - Decimal(freezes[OPENS])
    assert kwh_billed(site, "P1006") == before + 1 + new - Decimal("0.50")
