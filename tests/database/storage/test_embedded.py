"""The embedded server after it died: it may need longer than its starter waits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from storage.database import Database, open_database

RESTORE_S = 12
"""Its starter waits for 10 s."""


@pytest.fixture
def data() -> Iterator[Path]:
    # Short enough for a socket, and another OS user's who must reach it.
    with TemporaryDirectory(prefix="meterd-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def recovers_slowly(data: Path, name: str) -> None:
    """Let its next start be a recovery that asks slowly, once, for what is not there."""
    cluster = data / "postgresql"
    owner = cluster.stat()
    (cluster / "recovery.signal").touch()
    os.chown(cluster / "recovery.signal", owner.st_uid, owner.st_gid)
    with (cluster / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"restore_command = 'mkdir {name} && sleep {RESTORE_S}; false'\n")


def kill(data: Path) -> None:
    postmaster = int((data / "postgresql/postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGKILL)


def answers(database: Database) -> bool:
    try:
        with psycopg.connect(database.url) as connection:
            return connection.execute("SELECT true").fetchone() == (True,)
    except psycopg.OperationalError:
        return False


@pytest.mark.timeout(300)
def test_a_server_that_recovers_slowly_is_waited_for(data: Path) -> None:
    with open_database(None, data) as database:
        assert answers(database)
        recovers_slowly(data, "first")
        kill(data)
        refused = 0
        while not answers(database):
            try:
                database.revive()
            except OSError as error:
                refused += "not up yet" in str(error)
            time.sleep(0.2)  # a server that is starting tells nobody when it is up
        assert refused
        database.revive()
        recovers_slowly(data, "second")
    with open_database(None, data) as database:
        assert answers(database)
