"""What may happen to a database, each as a context in which it is so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from storage.database import DAEMON, OWNER
from tests.faults.scene import Scene
from tests.faults.small_disk import filled

Fault = Callable[[Scene], AbstractContextManager[None]]
OTHERS_OUT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
SLOW_S: Final = 0.15
AGAIN_S: Final = 0.05
ROWS_NEED_PAGES: Final = """
DO $$ DECLARE part regclass; BEGIN
  FOR part IN SELECT relid FROM pg_partition_tree('reading') WHERE isleaf LOOP
    EXECUTE format('ALTER TABLE %s SET (fillfactor = 10)', part);
  END LOOP;
END $$
"""
"""Else one may find room for long in a page that is there."""
SEGMENTS: Final = 100
"""More of its log than a small disk can hold."""


def statement(played: Scene, *statements: str) -> None:
    """As the superuser, past every limit of the database."""
    url = make_conninfo(
        played.staged.url,
        user="postgres",
        options="-c default_transaction_read_only=off -c statement_timeout=0",
    )
    with psycopg.connect(url, autocommit=True) as connection:
        for text in statements:
            connection.execute(text.encode())


# --- the way to it


@contextmanager
def hang(played: Scene) -> Iterator[None]:
    """Nothing arrives, and nobody is told."""
    played.database.hang()
    yield
    played.database.mend()


@contextmanager
def fail_over(played: Scene) -> Iterator[None]:
    """Old connections are silent for ever, without RST; new ones work at once."""
    played.database.strand()
    yield


@contextmanager
def reset(played: Scene) -> Iterator[None]:
    """Every connection ends with RST; new ones work at once."""
    played.database.reset()
    yield


@contextmanager
def half_close(played: Scene) -> Iterator[None]:
    """The server says no more on any connection, and does not know it; new ones work at once."""
    played.database.half_close()
    yield


@contextmanager
def refuse(played: Scene) -> Iterator[None]:
    """Nobody listens at its port."""
    played.database.refuse()
    yield
    played.database.mend()


@contextmanager
def slow(played: Scene) -> Iterator[None]:
    """Far away: every answer takes its time."""
    played.database.delay_s = SLOW_S
    yield
    played.database.delay_s = 0.0


# --- the server


@contextmanager
def setting(
    played: Scene, of: str, name: str, value: str, *, last: Sequence[str] = (OTHERS_OUT,)
) -> Iterator[None]:
    """Meanwhile it is so for new sessions of a role or database; those that are there end.
    `last`: what is done besides when it is over."""
    statement(played, f"ALTER {of} SET {name} = {value}", OTHERS_OUT)
    yield
    statement(played, f"ALTER {of} RESET {name}", *last)


def whole(played: Scene) -> str:
    """The database, for `setting`."""
    return f"DATABASE {played.database_name}"


def role(played: Scene) -> str:
    """The daemon's role in it, likewise."""
    return f"ROLE {DAEMON} IN {whole(played)}"


def read_only(played: Scene) -> AbstractContextManager[None]:
    """As its administrator, or a fail-over to a standby, makes it."""
    return setting(played, whole(played), "default_transaction_read_only", "on")


def read_only_in_silence(played: Scene) -> AbstractContextManager[None]:
    """Likewise, but nobody ends the sessions that began while it was read-only."""
    return setting(played, whole(played), "default_transaction_read_only", "on", last=())


@contextmanager
def away(played: Scene) -> Iterator[None]:
    """Connections are refused by name, as while it is restored."""
    name = played.database_name
    played.server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    played.server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    yield
    played.server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")


@contextmanager
def too_many(played: Scene) -> Iterator[None]:
    """Others have taken every connection of the role."""
    played.server.execute(f"ALTER ROLE {DAEMON} CONNECTION LIMIT 0")
    statement(played, OTHERS_OUT)
    yield
    played.server.execute(f"ALTER ROLE {DAEMON} CONNECTION LIMIT -1")


def impatient(played: Scene) -> AbstractContextManager[None]:
    """Its statement_timeout is too short for anything."""
    return setting(played, whole(played), "statement_timeout", "'1ms'")


@contextmanager
def without_privilege(played: Scene) -> Iterator[None]:
    """A privilege was taken away."""
    statement(played, f"REVOKE INSERT ON reading FROM {DAEMON}")
    yield
    statement(played, f"GRANT INSERT ON reading TO {DAEMON}")


@contextmanager
def locked(played: Scene) -> Iterator[None]:
    """Somebody holds a table, as a careless session does."""
    with psycopg.connect(make_conninfo(played.staged.url, user=OWNER)) as connection:
        connection.execute("LOCK TABLE reading IN ACCESS EXCLUSIVE MODE")
        yield


def hasty(played: Scene) -> AbstractContextManager[None]:
    """No transaction may last."""
    return setting(played, role(played), "transaction_timeout", "'1ms'")


def without_names(played: Scene) -> AbstractContextManager[None]:
    """No table is found by its name."""
    return setting(played, role(played), "search_path", "nowhere")


def strict(played: Scene) -> AbstractContextManager[None]:
    """Every transaction is serializable: many lose a race."""
    return setting(played, role(played), "default_transaction_isolation", "serializable")


@contextmanager
def without_login(played: Scene) -> Iterator[None]:
    """The role may not log in any more."""
    played.server.execute(f"ALTER ROLE {DAEMON} NOLOGIN")
    statement(played, OTHERS_OUT)
    yield
    played.server.execute(f"ALTER ROLE {DAEMON} LOGIN")


@contextmanager
def without_table(played: Scene) -> Iterator[None]:
    """Somebody has given a table another name."""
    statement(played, "ALTER TABLE slot RENAME TO slot_of_before")
    yield
    statement(played, "ALTER TABLE slot_of_before RENAME TO slot")


@contextmanager
def without_standby(played: Scene) -> Iterator[None]:
    """Each commit waits for a standby that is not there: it is done, and nobody is told."""
    played.server.execute("ALTER SYSTEM SET synchronous_standby_names = 'gone'")
    played.server.execute("SELECT pg_reload_conf()")
    yield
    played.server.execute("ALTER SYSTEM RESET synchronous_standby_names")
    played.server.execute("SELECT pg_reload_conf()")


@contextmanager
def everything(played: Scene, done_to: str) -> Iterator[None]:
    """This is done to every session, again and again."""
    over = threading.Event()

    def act() -> None:
        while not over.wait(AGAIN_S):
            with suppress(psycopg.OperationalError):
                statement(played, done_to)

    acting = threading.Thread(target=act)
    acting.start()
    try:
        yield
    finally:
        over.set()
        acting.join()


def cancelled(played: Scene) -> AbstractContextManager[None]:
    """Somebody cancels whatever runs."""
    return everything(played, OTHERS_OUT.replace("terminate", "cancel"))


def ended(played: Scene) -> AbstractContextManager[None]:
    """Somebody ends every session, again and again."""
    return everything(played, OTHERS_OUT)


@contextmanager
def standing_still(played: Scene) -> Iterator[None]:
    """Every process of the server stands still; the kernel still takes connections for it."""
    with psycopg.connect(played.server.url()) as connection:
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
    """A signal to each that is still there."""
    for process in processes:
        with suppress(ProcessLookupError):  # our own question's was about to end
            os.kill(process, number)


@contextmanager
def crash(played: Scene) -> Iterator[None]:
    """The server is killed, and started again only afterwards."""
    played.server.end(signal.SIGQUIT)
    yield
    played.server.start()


# --- a disk without room; server and folder of the scene have small ones of their own


@contextmanager
def full_disk(played: Scene) -> Iterator[None]:
    """The server's disk is full: no table can grow."""
    statement(played, ROWS_NEED_PAGES)
    with filled(played.server.data):
        yield


@contextmanager
def full_disk_of_the_log(played: Scene) -> Iterator[None]:
    """Likewise, and it has nowhere to write its log: it ends, and somebody starts it again."""
    more = "SELECT pg_logical_emit_message(true, 'tests', repeat('x', 1000000)), pg_switch_wal()"
    with filled(played.server.data):
        with suppress(psycopg.Error):
            statement(played, *[more] * SEGMENTS)
        yield
    if played.server.has_ended:
        played.server.start()


@contextmanager
def full_disk_of_the_daemon(played: Scene) -> Iterator[None]:
    """Nobody listens at the database's port, and neither spool nor log can be written."""
    with filled(played.staged.folder), refuse(played):
        yield
