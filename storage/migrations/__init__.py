"""Migrations: the .sql files of this folder, applied in order, each once.

An advisory lock keeps two that start at once apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from protocols.errors import MeterdError
from storage.sql import Connection, Row, fetch_row, fetch_rows

LOCK = 0x6D657465  # "mete": one migrating process at a time


SCHEMA_VERSION = (
    "CREATE TABLE IF NOT EXISTS schema_version "
    "(version integer PRIMARY KEY, name text NOT NULL, "
    "checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
)

GRANT = "SELECT grant_to_daemon(%s)"


TABLE = "SELECT to_regclass('schema_version')"
IS_THERE = ("schema_version",)
APPLIED = "SELECT version, name, checksum FROM schema_version ORDER BY version"
NO_SCHEMA = (
    "the database holds no meterd schema; `meterd migrate` sets it up, "
    "and so does the first `meterd run`"
)


class SchemaError(MeterdError):
    """The database's schema is not the one this program was written for. Whoever installs acts."""


class Migration(NamedTuple):
    """One .sql file of this folder; the number its name begins with is the version it leads to."""

    version: int
    name: str
    text: str
    checksum: str


def migrations() -> list[Migration]:
    """All migrations in the package, by version."""
    folder = files("storage.migrations")
    names = [file.name for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted(_migration(name, folder.joinpath(name).read_text("utf-8")) for name in names)


def _migration(name: str, text: str) -> Migration:
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return Migration(version=int(name[:4]), name=name, text=text, checksum=checksum)


def migrate(url: str, owner_url: str | None = None) -> int:
    """Bring the database to this program's version and return it.

    `url` is the daemon's. `owner_url` is of the role that the tables belong to; the daemon's role
    is granted what it needs, and no more. Without one the daemon's role makes the tables itself,
    or only compares the version, where they are another's.

    What was already applied is only compared. What was not commits together with its entries in
    `schema_version`. Where TimescaleDB is preloaded at the first time, readings and slots become
    hypertables. SchemaError if the database is newer than the program or a migration was changed
    afterwards, or if it is not of UTF8; psycopg.errors.InsufficientPrivilege, with what to do, if a
    role lacks something."""
    with psycopg.connect(owner_url or url, autocommit=True) as connection:
        _confirm_encoding(connection)
        daemon = None if owner_url is None else _other_role(url, connection)
        if owner_url is None and not _may_change(connection):
            return _check_privileges(connection)
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        connection.execute("SET client_min_messages = warning")
        role = _role(connection)
        # At once, grants and all: whoever looks meanwhile finds no schema, and not half of one.
        with connection.transaction():
            try:
                connection.execute(SCHEMA_VERSION)
            except psycopg.errors.InsufficientPrivilege as error:
                raise psycopg.errors.InsufficientPrivilege(
                    f"{role} may not make tables here ({error}): set "
                    "database.migration_url, or let `meterd migrate` make them"
                ) from None
            _use_timescaledb(connection)
            applied = _ours(connection.execute(APPLIED).fetchall())
            for migration in migrations():
                if migration.version in applied:
                    continue
                connection.execute(sql.SQL(migration.text))
                connection.execute(
                    "INSERT INTO schema_version (version, name, checksum) VALUES (%s, %s, %s)",
                    (migration.version, migration.name, migration.checksum),
                )
                if daemon is not None:
                    connection.execute(GRANT, (daemon,))
        version = check_version(connection)
        if daemon is not None and _lacks(connection, daemon):
            connection.execute(GRANT, (daemon,))
        return version


def is_guarded(connection: psycopg.Connection[TupleRow]) -> bool:
    """True if the role of this connection cannot change the schema, its triggers among it."""
    return not _may_change(connection)


def check_version(connection: psycopg.Connection[TupleRow]) -> int:
    """The database's version.

    SchemaError unless it is exactly what this program was written for."""
    if connection.execute(TABLE).fetchone() != IS_THERE:
        raise SchemaError(NO_SCHEMA)
    return _confirmed(_ours(connection.execute(APPLIED).fetchall()))


async def confirm_version(connection: Connection) -> None:
    """SchemaError unless it is exactly what this program was written for."""
    if await fetch_row(connection, TABLE) != IS_THERE:
        raise SchemaError(NO_SCHEMA)
    _confirmed(_ours(await fetch_rows(connection, APPLIED)))


def _confirm_encoding(connection: psycopg.Connection[TupleRow]) -> None:
    """Names of persons are compared by what their letters mean, and customers are called 王."""
    # Asked in SQL it would be bytes where it is SQL_ASCII.
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        name = connection.info.dbname
        raise SchemaError(
            f"the database {name} keeps text as {encoding}, and meterd needs UTF8: make another "
            "one, CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0, and name it in "
            "database.url"
        )


def _confirmed(applied: set[int]) -> int:
    ours = migrations()
    if len(applied) < len(ours):
        raise SchemaError(
            "the database's schema is older than this program; `meterd migrate` brings it up to "
            "date, and so does `meterd run` where it may"
        )
    return ours[-1].version


def _ours(applied: Sequence[Row]) -> set[int]:
    ours = {migration.version: migration for migration in migrations()}
    for version, name, checksum in applied:
        if version not in ours:
            raise SchemaError(
                f"the database's schema ({name}) is newer than this program; "
                "install the newer meterd"
            )
        if ours[version].checksum != checksum:
            raise SchemaError(
                f"migration {name} is not the one that was applied to this database; "
                "install a release"
            )
    return {version for version, _, _ in applied}


def _may_change(connection: psycopg.Connection[TupleRow]) -> bool:
    """True if the tables are this role's, or could be: there are none yet."""
    row = connection.execute(
        "SELECT coalesce((SELECT pg_has_role(relowner, 'MEMBER') FROM pg_class "
        "WHERE oid = to_regclass('schema_version')), true)"
    ).fetchone()
    assert row is not None
    return bool(row[0])


def _check_privileges(connection: psycopg.Connection[TupleRow]) -> int:
    version = check_version(connection)
    daemon = _role(connection)
    lacking = _lacks(connection, daemon)
    if lacking:
        raise psycopg.errors.InsufficientPrivilege(
            f"{daemon} lacks {', '.join(lacking)}; `meterd migrate` grants what it needs"
        )
    return version


def _lacks(connection: psycopg.Connection[TupleRow], daemon: str) -> list[str]:
    lacking = connection.execute(
        "SELECT format('%%s ON %%s', privilege, table_name) FROM lacking_privileges(%s) "
        "ORDER BY table_name, privilege",
        (daemon,),
    )
    return [row[0] for row in lacking]


def _other_role(url: str, connection: psycopg.Connection[TupleRow]) -> str | None:
    """Who works as `url`; None if it is who is connected."""
    with psycopg.connect(url) as asking:
        role = _role(asking)
    return None if role == _role(connection) else role


def _role(connection: psycopg.Connection[TupleRow]) -> str:
    row = connection.execute("SELECT current_user").fetchone()
    assert row is not None
    return str(row[0])


def _use_timescaledb(connection: psycopg.Connection[TupleRow]) -> None:
    # It is preloaded where its settings are known; an ordinary role may not read the list of
    # preloaded libraries.
    preloaded = "SELECT FROM pg_settings WHERE name = 'timescaledb.disable_load'"
    if connection.execute(preloaded).rowcount == 0:
        return
    connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
