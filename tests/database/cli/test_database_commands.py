"""The commands about the database itself: its schema and roles, and how long rows are kept."""

import json
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from storage.database import DAEMON, OWNER
from storage.site_lock import SITE_LOCK
from tests.servers import commands

SITE = """
[site]
name = "s"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "archive"
tariffs = "tariffs.toml"

[database]
url = { file = "url" }
migration_url = { file = "migration-url" }
"""


@pytest.fixture
def empty(empty_database_url: str, tmp_path: Path) -> Path:
    """A site whose database has nothing in it, and the URLs of both roles."""
    (tmp_path / "meterd.toml").write_text(SITE)
    (tmp_path / "url").write_text(make_conninfo(empty_database_url, user=DAEMON))
    (tmp_path / "migration-url").write_text(make_conninfo(empty_database_url, user=OWNER))
    return tmp_path


def meterd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run(*arguments, "-c", folder / "meterd.toml")


def test_migrate_makes_the_tables_as_their_owner_and_again_changes_nothing(empty: Path) -> None:
    for _ in range(2):
        done = meterd(empty, "migrate")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "schema 1; the daemon's role cannot change it\n"
    with psycopg.connect((empty / "url").read_text()) as connection:
        typed = connection.execute("SELECT command FROM act").fetchall()
    assert [command.split(" -c ")[0] for (command,) in typed] == ["meterd migrate"] * 2


def test_with_one_role_migrate_says_that_nothing_is_guarded(empty: Path) -> None:
    (empty / "url").write_text((empty / "migration-url").read_text())
    (empty / "meterd.toml").write_text(SITE.replace("migration_url", "#migration_url"))
    done = meterd(empty, "migrate")
    assert done.stdout == "schema 1; the daemon's role can change it: set database.migration_url\n"


def test_migrate_as_the_daemon_s_role_alone_says_what_is_missing(empty: Path) -> None:
    (empty / "meterd.toml").write_text(SITE.replace("migration_url", "#migration_url"))
    done = meterd(empty, "migrate")
    assert done.returncode == 1
    assert "set database.migration_url" in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_is_refused_while_a_daemon_acts_on_the_database(empty: Path) -> None:
    url = make_conninfo((empty / "url").read_text(), application_name="meterd 17 on gate")
    with psycopg.connect(url, autocommit=True) as daemon:
        daemon.execute("SELECT pg_advisory_lock(%s)", (SITE_LOCK,))
        process = daemon.info.backend_pid
        words = [commands.METERD, "migrate", "-c", str(empty / "meterd.toml")]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as refused:
            while refused.poll() is None:
                daemon.execute("SELECT pg_sleep(0.1)")  # it lives
            assert refused.stderr is not None
            told = refused.stderr.read()
    assert refused.returncode == 1
    who = f"(meterd 17 on gate, database process {process}, since "
    assert f"another meterd acts on this database {who}" in told


def test_a_command_needs_no_secret_of_the_owner(empty: Path) -> None:
    meterd(empty, "migrate")
    (empty / "migration-url").unlink()
    assert meterd(empty, "deadletter", "list").returncode == 0
    assert meterd(empty, "migrate").returncode == 78


def test_retention_shows_every_table_with_its_time_and_reason(empty: Path) -> None:
    meterd(empty, "migrate")
    shown = [json.loads(line) for line in meterd(empty, "retention", "--json").stdout.splitlines()]
    kept = {row["table_name"]: row["keep"] for row in shown}
    assert kept["reading"] == kept["slot"] == "6 years"
    assert kept["journal"] is kept["document"] is kept["decision"] is None
    assert all(row["reason"] for row in shown)
    table = meterd(empty, "retention").stdout
    assert "attempt\t400 days\t-\t-\twhy a day was missing" in table
    assert "journal\tfor ever\t-\t-\tbooks are kept" in table
