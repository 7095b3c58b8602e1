"""From an empty database to the schema, once, whoever asks."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import psycopg
import pytest

from storage import SchemaError, check_version, migrate
from storage.migrations import migrations
from tests.servers.postgres import Server

pytestmark = pytest.mark.hypertables

VERSION = migrations()[-1].version


def schema(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        columns = (
            "SELECT table_name, column_name, data_type, is_nullable FROM "
            "information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY 1, 2"
        )
        return connection.execute(columns).fetchall()


def applied(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT version, name, applied_at FROM schema_version ORDER BY 1"
        ).fetchall()


def test_an_empty_database_is_brought_to_the_version_of_this_program_once(
    empty_database_url: str,
) -> None:
    assert migrate(empty_database_url) == VERSION
    before = (schema(empty_database_url), applied(empty_database_url))
    assert [version for version, _, _ in before[1]] == list(range(1, VERSION + 1))
    assert migrate(empty_database_url) == VERSION
    assert (schema(empty_database_url), applied(empty_database_url)) == before


def test_the_database_of_the_tests_is_the_one_that_migrations_make(
    empty_database_url: str, database_url: str
) -> None:
    migrate(empty_database_url)
    assert schema(empty_database_url) == schema(database_url)


def test_processes_that_migrate_at_once_do_it_once(empty_database_url: str) -> None:
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("forkserver")) as pool:
        assert list(pool.map(migrate, [empty_database_url] * 3)) == [VERSION] * 3
    assert [version for version, _, _ in applied(empty_database_url)] == list(range(1, VERSION + 1))


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "INSERT INTO schema_version VALUES (9999, '9999_future.sql', 'x')",
            r"9999_future\.sql\) is newer than this",
        ),
        (
            "UPDATE schema_version SET checksum = 'x' WHERE version = 1",
            r"0001_\w+\.sql is not the one that was applied",
        ),
    ],
)
def test_a_schema_that_is_not_ours_is_refused(owner_url: str, statement: str, told: str) -> None:
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(statement)
        with pytest.raises(SchemaError, match=told):
            check_version(connection)
    before = (schema(owner_url), applied(owner_url))
    with pytest.raises(SchemaError, match=told):
        migrate(owner_url)
    assert (schema(owner_url), applied(owner_url)) == before


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_in_which_names_cannot_be_compared_is_refused(
    server: Server, encoding: str
) -> None:
    name = f"test_{encoding.lower()}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    try:
        with pytest.raises(SchemaError, match=f"{name} keeps text as {encoding}, and meterd needs"):
            migrate(server.url(name))
        assert schema(server.url(name)) == []
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_database_without_a_schema_says_what_to_do(empty_database_url: str) -> None:
    told = "holds no meterd schema; `meterd migrate` sets it up"
    with psycopg.connect(empty_database_url) as connection, pytest.raises(SchemaError, match=told):
        check_version(connection)


def test_an_older_schema_says_what_to_do(owner_url: str) -> None:
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("DELETE FROM schema_version WHERE version = %s", (VERSION,))
        with pytest.raises(
            SchemaError, match="older than this program; `meterd migrate` brings it"
        ):
            check_version(connection)


@pytest.mark.parametrize(
    ("obstacle", "mended", "error"),
    [
        (
            "CREATE TABLE slot_journal (x int)",
            "DROP TABLE slot_journal",
            psycopg.errors.DuplicateTable,
        ),
        (
            "CREATE TABLE schema_version (version integer PRIMARY KEY CHECK (version <> "
            "1), name text NOT NULL, "
            "checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
            "ALTER TABLE schema_version DROP CONSTRAINT schema_version_version_check",
            psycopg.errors.CheckViolation,
        ),
    ],
    ids=["in the middle", "when it is noted"],
)
def test_a_migration_that_fails_leaves_nothing_of_itself(
    empty_database_url: str, obstacle: str, mended: str, error: type[psycopg.Error]
) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(obstacle)
    before = schema(empty_database_url)
    with pytest.raises(error):
        migrate(empty_database_url)
    assert schema(empty_database_url) == before
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(mended)
    assert migrate(empty_database_url) == VERSION


def test_readings_are_a_hypertable_where_timescaledb_is_there(
    server: Server, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        has_extension = (
            connection.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'").rowcount
            == 1
        )
        assert has_extension == (server.name == "timescaledb")
        if has_extension:
            tables = (
                "SELECT hypertable_name::text, column_name::text FROM "
                "timescaledb_information.dimensions"
            )
            assert sorted(connection.execute(tables).fetchall()) == [
                ("reading", "day"),
                ("slot", "day"),
            ]


def test_a_role_without_privileges_sets_up_the_database_that_it_owns(
    server: Server, empty_database_url: str
) -> None:
    """A site's database belongs to an ordinary role, which may not look at every setting of the
    server."""
    name = psycopg.conninfo.conninfo_to_dict(empty_database_url)["dbname"]
    role = f"owner_of_{name}"
    server.execute(f"CREATE ROLE {role} LOGIN")
    server.execute(f"ALTER DATABASE {name} OWNER TO {role}")
    url = empty_database_url.replace("postgres@", f"{role}@")
    try:
        assert migrate(url) == VERSION
        assert schema(url) != []
    finally:
        server.execute(f"ALTER DATABASE {name} OWNER TO postgres")
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            connection.execute(f"REASSIGN OWNED BY {role} TO postgres")
        server.execute(f"DROP ROLE {role}")


def test_a_site_that_gets_timescaledb_later_goes_on_with_its_partitions(
    server: Server, empty_database_url: str
) -> None:
    """What a site began without it stays as it is laid out: the same tables, keys and rows."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE schema_version (version integer PRIMARY KEY, name text NOT "
            "NULL, checksum text NOT NULL, "
            "applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for migration in migrations():
            connection.execute(migration.text.encode())
            connection.execute(
                "INSERT INTO schema_version VALUES (%s, %s, %s)",
                (migration.version, migration.name, migration.checksum),
            )
        connection.execute("SELECT make_partitions(ARRAY[date '2026-03-01'])")
        insert = "INSERT INTO slot (day, point_id, kind, total, rule_set) VALUES ('2026-03-02', 1, 1, 7, 1)"
        connection.execute(insert)
    migrate(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        assert connection.execute("SELECT total FROM slot").fetchall() == [(7,)]
        connection.execute("SELECT make_partitions(ARRAY[date '2026-03-01', '2026-04-01'])")
        connection.execute(insert.replace("2026-03", "2026-04").encode())
