"""meterd audit, as a process on a database in which customers were cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from tests.database.cli.test_ledger_commands import FILES, meterd
from tests.database.small_site import Site, as_owner, on
from tests.guard_snapshot import NOW, SECOND, good, told

pytestmark = pytest.mark.acceptance


def site(folder: Path, url: str) -> None:
    for name, text in {**FILES, "url": url}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def cut(url: str, *guards: dict[str, Any], again: int = 0) -> None:
    """A trip sent for each document, a second after that; `again` times more with the same."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(len(guards)).take_over(connection)
        for number, guard in enumerate(guards, 1):
            await connection.execute(
                "INSERT INTO command (id, point_id, meter_id, address, line, action, cause, state,"
                " guard, created_at, expires_at, next_at) SELECT gen_random_uuid(), p.id, m.id, '1',"
                " 'a', 'trip', 'debt', 'persisted', %s, now(), now(), now()"
                " FROM point p JOIN meter m ON m.address = %s WHERE p.number = %s",
                (Jsonb(guard), f"{number:012d}", f"P{number}"),
            )
        for sends in range(1, 2 + again):
            await connection.execute(
                "UPDATE command SET state = 'sent', sends = %s, sent_at = now(), guard = CASE %s"
                " WHEN 1 THEN jsonb_set(guard, '{facts,now}', %s, false) ELSE guard END",
                (sends, sends, Jsonb(told(NOW + SECOND))),
            )

    on(url, story)


def test_who_was_cut_by_the_rules_would_be_cut_again(database_url: str, tmp_path: Path) -> None:
    site(tmp_path, database_url)
    cut(database_url, good(), good())
    done = meterd(tmp_path, "audit", "trips")
    assert (done.returncode, done.stdout) == (0, "2 of 2 would be cut again\n")


def test_a_repetition_of_which_the_guard_was_not_asked_is_named(
    database_url: str, tmp_path: Path
) -> None:
    site(tmp_path, database_url)
    cut(database_url, good(), again=1)
    done = meterd(tmp_path, "audit", "trips", "--json")
    first, last = map(json.loads, done.stdout.splitlines())
    assert first["objection"] == "the guard was not heard anew before it was sent"
    assert last == {"trips": 2, "would_be_cut_again": 1}


def test_who_was_not_is_named(database_url: str, tmp_path: Path) -> None:
    site(tmp_path, database_url)
    wrong = good()
    wrong["facts"]["life_support"] = True
    cut(database_url, good(), wrong, {"verdict": "allow"})
    done = meterd(tmp_path, "audit", "trips", "--json")
    *objections, last = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 1
    assert [(it["point"], it["objection"]) for it in objections] == [
        ("P2", "kept allow, but deny: LIFE_SUPPORT"),
        ("P3", "what was kept is no snapshot: KeyError 'policy'"),
    ]
    assert last == {"trips": 3, "would_be_cut_again": 1}
    shown = meterd(tmp_path, "audit", "trips").stdout
    assert "P2" in shown
    assert shown.endswith("1 of 3 would be cut again\n")


def test_a_frame_that_the_journal_does_not_tell_is_named(database_url: str, tmp_path: Path) -> None:
    site(tmp_path, database_url)
    cut(database_url, good())

    async def story(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute("UPDATE command SET sends = 2")

    on(as_owner(database_url), story)
    done = meterd(tmp_path, "audit", "trips")
    assert done.returncode == 1
    assert "2 frames were counted, 1 journalled" in done.stdout
