"""Whose a database is that comes out of a backup, and what it says to whom it cannot serve."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from daemon.backups import folder
from daemon.backups.making import Source, make
from daemon.backups.restoring import Restored, restore
from protocols.errors import MeterdError
from storage import migrate
from storage.database import DAEMON, OWNER, Database
from tests.conftest import new_database
from tests.servers.postgres import Server

OWNERS = """
    SELECT identity, owner::regrole::text
    FROM (
        SELECT 'pg_class'::regclass, oid, relowner FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT 'pg_type'::regclass, oid, typowner FROM pg_type
        WHERE typnamespace = 'public'::regnamespace
    ) AS made (classid, objid, owner)
    CROSS JOIN LATERAL pg_identify_object(classid, objid, 0)
    ORDER BY classid::text, identity
"""


@pytest.fixture
def empty(server: Server) -> Iterator[str]:
    """The name of a database with nothing in it, whose owner is no superuser."""
    with new_database(server, "template1") as name:
        yield name


def backup_of(owner_url: str, place: Path) -> Path:
    settings = place / "meterd.toml"
    settings.touch()
    source = Source("site", settings, [], owner_url, place / "spool")
    return asyncio.run(make(source, place / "backups"))


def restored(made: Path, server: Server, name: str, as_role: str) -> Restored:
    database = Database(server.url(name, DAEMON), server.url(name, as_role), lambda: None)
    return asyncio.run(restore(made, folder.read(made), database))


def owners(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute(OWNERS).fetchall()


@pytest.mark.hypertables
def test_what_a_superuser_restores_is_the_owners_who_migrates_from_then_on(
    server: Server, owner_url: str, empty: str, tmp_path: Path
) -> None:
    restored(backup_of(owner_url, tmp_path), server, empty, "postgres")

    owner = server.url(empty, OWNER)
    assert owners(owner) == owners(owner_url)
    assert migrate(server.url(empty, DAEMON), owner) == migrate(server.url(empty, DAEMON))


@pytest.mark.hypertables
def test_whom_timescaledb_does_not_let_restore_is_told_who_may(
    server: Server, owner_url: str, empty: str, tmp_path: Path
) -> None:
    made = backup_of(owner_url, tmp_path)
    if folder.read(made).server.timescaledb is None:
        restored(made, server, empty, OWNER)
        return
    with pytest.raises(MeterdError, match=r"superuser .* database\.migration_url .* --server"):
        restored(made, server, empty, OWNER)
    # It stayed empty, so that who may has nothing to clear away first.
    restored(made, server, empty, "postgres")
