"""The embedded server after it died: it may need longer than its starter waits."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psycopg
import pytest

from protocols.errors import MeterdError
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


PROGRAM: Final = """
import sys
from pathlib import Path
import psycopg
from protocols.errors import MeterdError
from storage.database import open_database
try:
    with open_database(None, Path(sys.argv[1])) as database, psycopg.connect(database.url) as it:
        print(it.execute("SELECT 'works'").fetchone()[0])
except MeterdError as error:
    print(error)
"""
ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")


def opened_by(folder: Path, *before: str) -> str:
    """What a process of its own says that opens the database there, behind these words."""
    words = [*before, sys.executable, "-c", PROGRAM, str(folder / "data")]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.fixture
def private(data: Path) -> Path:
    folder = data / "of-root" / "site"
    folder.mkdir(parents=True)
    for it in (folder, folder.parent):
        it.chmod(0o700)
    return folder


@ONLY_ROOT
def test_a_private_folder_of_root_stays_private(private: Path) -> None:
    assert [opened_by(private) for _ in range(2)] == ["works", "works"]
    rights = [stat.S_IMODE(it.stat().st_mode) for it in (private, private.parent)]
    assert rights == [0o700, 0o700]


@ONLY_ROOT
def test_where_no_view_can_be_had_root_is_told_what_to_open(private: Path) -> None:
    told = opened_by(private, "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    assert f"may not enter {private.parent}" in told
    assert "chmod o+x" in told
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_a_path_that_a_shell_would_take_apart_is_refused(data: Path) -> None:
    with (
        pytest.raises(MeterdError, match=r"no blanks, quotes or signs of a shell"),
        open_database(None, data / "my data"),
    ):
        pass
    assert list(data.iterdir()) == []


def test_a_server_that_cannot_start_is_told_with_its_log(data: Path) -> None:
    assert opened_by(data) == "works"
    (data / "data/postgresql/postgresql.conf").write_text("no such = setting")
    told = opened_by(data)
    assert "does not start: see" in told
    assert "postgresql/log" in told
