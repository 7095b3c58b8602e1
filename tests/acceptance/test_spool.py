"""A database that cannot store: what meters told waits on disk, and is stored once it can.

The installed program, a real PostgreSQL that is taken away in several ways, and kills in between.
While the database is away the meters tell all that they have; then their lines are cut, so that
whatever is stored afterwards came out of the spool."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storage.database import DAEMON, OWNER
from tests.acceptance.stage import ADDRESSES, METERS, Stage, stage
from tests.servers.postgres import Server

pytestmark = [
    pytest.mark.acceptance,
    # It is about the daemon and its disk: one server is enough.
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
FEW_DAYS = 6
OWED = FEW_DAYS * len(ADDRESSES)


@pytest.fixture
def staged(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    """A daemon that is ready and has read nothing yet, because its lines are cut."""
    with stage(tmp_path, database_url, days=FEW_DAYS) as staged:
        for line in METERS:
            staged.bench.cut(line)
        staged.start_daemon()
        staged.until("it is ready", lambda: staged.health()["database"] == "ok")
        yield staged


def name_of(staged: Stage) -> str:
    return str(conninfo_to_dict(staged.url)["dbname"])


def statement(staged: Stage, *statements: str) -> None:
    """As the superuser, past every limit of the database."""
    url = make_conninfo(
        staged.url,
        user="postgres",
        options="-c default_transaction_read_only=off -c statement_timeout=0",
    )
    with psycopg.connect(url, autocommit=True) as connection:
        for text in statements:
            connection.execute(text.encode())


OTHERS_OUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@contextmanager
def read_only(staged: Stage, server: Server) -> Iterator[None]:
    name = name_of(staged)
    statement(staged, f"ALTER DATABASE {name} SET default_transaction_read_only = on", OTHERS_OUT)
    yield
    statement(staged, f"ALTER DATABASE {name} RESET default_transaction_read_only", OTHERS_OUT)


@contextmanager
def away(staged: Stage, server: Server) -> Iterator[None]:
    name = name_of(staged)
    server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    yield
    server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")


@contextmanager
def impatient(staged: Stage, server: Server) -> Iterator[None]:
    name = name_of(staged)
    statement(staged, f"ALTER DATABASE {name} SET statement_timeout = '1ms'", OTHERS_OUT)
    yield
    statement(staged, f"ALTER DATABASE {name} RESET statement_timeout", OTHERS_OUT)


@contextmanager
def without_privilege(staged: Stage, server: Server) -> Iterator[None]:
    statement(staged, f"REVOKE INSERT ON reading FROM {DAEMON}")
    yield
    statement(staged, f"GRANT INSERT ON reading TO {DAEMON}")


@contextmanager
def locked(staged: Stage, server: Server) -> Iterator[None]:
    """Somebody holds a table, as a careless session does."""
    with psycopg.connect(make_conninfo(staged.url, user=OWNER)) as connection:
        connection.execute("LOCK TABLE reading IN ACCESS EXCLUSIVE MODE")
        yield


Trouble = Callable[[Stage, Server], AbstractContextManager[None]]


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


@pytest.mark.parametrize("trouble", [read_only, away, impatient, without_privilege, locked])
def test_a_database_that_cannot_store_gets_everything_afterwards(
    staged: Stage, server: Server, trouble: Trouble
) -> None:
    with trouble(staged, server):
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
    staged: Stage, server: Server
) -> None:
    with away(staged, server):
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
    staged: Stage, server: Server
) -> None:
    assert staged.stop_daemon() == 0
    with away(staged, server):
        staged.start_daemon()
        staged.until("it collects", lambda: staged.health()["database"] == "away")
        for line in METERS:
            staged.bench.mend(line)
        staged.until(
            "today's freezes are kept", lambda: storing(staged)["spooled"] >= len(ADDRESSES)
        )
        staged.meterd("reload", code=1)
    nothing_lost_nothing_doubled(staged)
    assert staged.health()["status"] == "ok"


def test_a_stop_with_much_that_waits_is_quick_and_loses_nothing(
    staged: Stage, server: Server
) -> None:
    with away(staged, server):
        spool_all(staged)
        began = time.monotonic()
        assert staged.stop_daemon(within_s=5) == 0
        assert time.monotonic() - began < 5
        staged.start_daemon()
        staged.until("it collects", lambda: staged.health()["database"] == "away")
    nothing_lost_nothing_doubled(staged)


def test_a_database_that_does_not_answer_keeps_neither_readings_nor_the_stop_waiting(
    staged: Stage, server: Server
) -> None:
    """Its processes are stopped, as behind a fail-over that tells nobody: nothing is refused."""
    with hanging(staged, server):
        for line in METERS:
            staged.bench.mend(line)
        staged.until("it is seen", lambda: staged.health()["database"] != "ok")
        staged.until("readings go to disk", lambda: storing(staged)["spooled"] > 0)
        began = time.monotonic()
        assert staged.stop_daemon(within_s=5) == 0
        assert time.monotonic() - began < 5
    staged.start_daemon()
    nothing_lost_nothing_doubled(staged)


@contextmanager
def hanging(staged: Stage, server: Server) -> Iterator[None]:
    """Every process of the server stands still; the kernel still takes connections for it."""
    with psycopg.connect(server.url()) as connection:
        # While it is connected: a backend ends with its connection.
        backend = Path(f"/proc/{connection.info.backend_pid}/stat").read_text()
    postmaster = int(backend.rpartition(")")[2].split()[1])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    processes = [postmaster, *map(int, children)]
    send(signal.SIGSTOP, processes)
    try:
        yield
    finally:
        send(signal.SIGCONT, processes)


def send(number: signal.Signals, processes: Iterable[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):  # our own question's was about to end
            os.kill(process, number)
