"""A database that cannot store: what meters told waits on disk, and is stored once it can.

The installed program, a real PostgreSQL that is taken away in several ways, and kills in between.
While the database is away the meters tell all that they have; then their lines are cut, so that
whatever is stored afterwards came out of the spool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stage import ADDRESSES, METERS, Stage
from tests.faults.database_faults import (
    Fault,
    away,
    impatient,
    locked,
    read_only,
    standing_still,
    without_privilege,
)
from tests.faults.scene import Scene, scene
from tests.servers.postgres import Server

pytestmark = [
    pytest.mark.acceptance,
    # It is about the daemon and its disk: one server is enough.
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
FEW_DAYS = 6
OWED = FEW_DAYS * len(ADDRESSES)


@pytest.fixture
def played(server: Server, database_url: str, tmp_path: Path) -> Iterator[Scene]:
    """A daemon that is ready and has read nothing yet, because its lines are cut."""
    with scene(server, database_url, tmp_path, days=FEW_DAYS) as played:
        staged = played.staged
        for line in METERS:
            staged.bench.cut(line)
        staged.start_daemon()
        staged.until("it is ready", lambda: staged.health()["database"] == "ok")
        yield played


@pytest.fixture
def staged(played: Scene) -> Stage:
    return played.staged


def said(staged: Stage, event: str) -> int:
    return staged.log().count(event)


def storing(staged: Stage) -> dict[str, Any]:
    found: dict[str, Any] = staged.health()["storing"]
    return found


def spool_all(staged: Stage) -> None:
    """The lines are mended, everything is read and kept, and the lines are cut again."""
    for line in METERS:
        staged.bench.mend(line)
    staged.until("every reading is kept", lambda: storing(staged)["spooled"] >= OWED)
    for line in METERS:
        staged.bench.cut(line)


def nothing_lost_nothing_doubled(staged: Stage) -> None:
    staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
    staged.until("the spool is empty", lambda: storing(staged)["spooled"] == 0)
    assert staged.balance_faults({}) == []
    assert staged.ask("SELECT count(*) FROM dead_letter") == [(0,)]
    assert staged.ask("SELECT count(*) FROM reading WHERE kind = 1") == [(OWED,)]


@pytest.mark.parametrize("fault", [read_only, away, impatient, without_privilege, locked])
def test_a_database_that_cannot_store_gets_everything_afterwards(
    staged: Stage, played: Scene, fault: Fault
) -> None:
    with fault(played):
        spool_all(staged)
        shown = staged.health()
        assert shown["status"] == "degraded"
        assert shown["database"] != "ok"
        assert shown["storing"]["oldest_unstored_s"] > 0
    nothing_lost_nothing_doubled(staged)
    staged.until("it is well again", lambda: staged.health()["database"] == "ok", patience_s=20)
    assert said(staged, "the database cannot store") == 1
    assert said(staged, "the database stores again") == 1
    assert said(staged, "task died") == 0
    assert said(staged, "dead letter") == 0
    assert said(staged, "Traceback") == 0


def test_what_waits_survives_kills_and_starts_without_a_database(
    staged: Stage, played: Scene
) -> None:
    with away(played):
        spool_all(staged)
        staged.kill_daemon()
        for _ in range(2):
            staged.start_daemon()
            staged.until("it collects", lambda: staged.health()["database"] == "away")
            assert storing(staged)["spooled"] == OWED
            staged.kill_daemon()
        staged.start_daemon()
        staged.until("it collects", lambda: staged.health()["database"] == "away")
    nothing_lost_nothing_doubled(staged)


def test_a_start_without_a_database_reads_today_s_freezes_and_later_the_rest(
    staged: Stage, played: Scene
) -> None:
    assert staged.stop_daemon() == 0
    with away(played):
        staged.start_daemon()
        staged.until("it collects", lambda: staged.health()["database"] == "away")
        for line in METERS:
            staged.bench.mend(line)
        staged.until(
            "today's freezes are kept", lambda: storing(staged)["spooled"] >= len(ADDRESSES)
        )
        staged.meterd("reload", code=1)
    nothing_lost_nothing_doubled(staged)
    staged.until("it is well", lambda: staged.health()["status"] == "ok")


def test_a_stop_with_much_that_waits_is_quick_and_loses_nothing(
    staged: Stage, played: Scene
) -> None:
    with away(played):
        spool_all(staged)
        assert staged.stop_daemon(within_s=30) == 0
        staged.start_daemon()
        staged.until("it collects", lambda: staged.health()["database"] == "away")
    nothing_lost_nothing_doubled(staged)


def test_a_database_that_does_not_answer_keeps_neither_readings_nor_the_stop_waiting(
    staged: Stage, played: Scene
) -> None:
    """Its processes are stopped, as behind a fail-over that tells nobody: nothing is refused."""
    with standing_still(played):
        for line in METERS:
            staged.bench.mend(line)
        staged.until("it is seen", lambda: staged.health()["database"] != "ok")
        staged.until("readings go to disk", lambda: storing(staged)["spooled"] > 0)
        assert staged.stop_daemon(within_s=30) == 0
    staged.start_daemon()
    nothing_lost_nothing_doubled(staged)
