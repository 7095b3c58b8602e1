"""What the daemon's role may do in the database, and what it may not."""

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storage import SchemaError, is_guarded, migrate
from storage.database import DAEMON, OWNER
from storage.migrations import migrations
from tests.servers.postgres import Server

pytestmark = pytest.mark.hypertables

VERSION = migrations()[-1].version
ARRANGED = """
SELECT make_partitions(ARRAY[date '2026-03-01']);
INSERT INTO reading (id, arrived_at, day, meter_id, kind, source, decode_version, total)
VALUES (1, now(), '2026-03-01', 1, 1, 1, 1, 100);
INSERT INTO document (id, kind, point, actor, reason, waits, content)
VALUES (1, 'ratio', 'P1', 'li', 'as found', true, '{}');
INSERT INTO ledger_account (name) VALUES ('customer:A:prepaid'), ('customer:B:prepaid');
INSERT INTO journal (key, kind, actor, value_date, account, leg_accounts, leg_amounts)
VALUES ('k', 1, 'role:test', '2026-03-01', 1, '{1,2}', '{500,-500}')
"""
APPEND_ONLY = (
    "document",
    "document_review",
    "decision_review",
    "closing",
    "finding",
    "clock_finding",
    "clock_setting",
    "reading",
    "slot_journal",
    "account_journal",
    "act",
    "household_bonus",
    "used_elsewhere",
    "closed_day",
    "journal",
    "posting_stream",
    "chart_of_accounts",
    "transaction_kind",
    "closed_month",
    "sealed_block",
    "sealed_balance",
    "old_charge",
    "command_event",
    "meter_order_event",
    "guard_verdict",
    "schema_version",
    "retention",
    "daemon_privilege",
)
BY_TRIGGERS_ALONE = (
    "INSERT INTO slot_journal SELECT * FROM slot_journal",
    "INSERT INTO account_journal SELECT * FROM account_journal",
    "INSERT INTO command_event SELECT * FROM command_event",
    "INSERT INTO meter_order_event (meter_id) VALUES (1)",
    "UPDATE ledger_account SET balance_fen = 0",
    "UPDATE link SET end_total = 0",
    "UPDATE decision SET reason = 'another'",
    "UPDATE decision SET total = 0",
    "DELETE FROM decision",
    "INSERT INTO past_link SELECT * FROM past_link",
    "DELETE FROM past_link",
    "DELETE FROM command",
    "DELETE FROM account",
    "DELETE FROM dead_letter",
)
SCHEMA = (
    "ALTER TABLE journal DISABLE TRIGGER journal_is_never_changed",
    "ALTER TABLE journal DISABLE TRIGGER ALL",
    "DROP TRIGGER journal_is_never_changed ON journal",
    "CREATE TRIGGER mine BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "ALTER TABLE journal ADD COLUMN mine integer",
    "ALTER TABLE journal OWNER TO meterd",
    "DROP TABLE journal CASCADE",
    "DROP TABLE reading",
    "CREATE TABLE mine (x integer)",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN RETURN NEW; END'",
    "DROP FUNCTION refuse_change CASCADE",
    "SET session_replication_role = replica",
    "SET ROLE meterd_owner",
    "SET SESSION AUTHORIZATION meterd_owner",
    "SET ROLE postgres",
)
REFUSED = [
    *SCHEMA,
    *BY_TRIGGERS_ALONE,
    *(f"DELETE FROM {table}" for table in APPEND_ONLY),
    *(f"TRUNCATE {table} CASCADE" for table in APPEND_ONLY),
    "TRUNCATE slot",
    "UPDATE journal SET fen = fen",
    "UPDATE reading SET total = 0",
    "UPDATE document SET reason = 'x'",
    "UPDATE sealed_block SET hash = '\\x00'",
    "UPDATE transaction_kind SET debits = credits",
    "INSERT INTO journal (id, key, kind, actor, value_date, account, leg_accounts, leg_amounts) "
    "VALUES (9, 'x', 1, 'role:test', '2026-03-01', 1, '{1,2}', '{500,-500}')",
    "INSERT INTO journal (recorded_at, key, kind, actor, value_date, account, leg_accounts, leg_amounts) "
    "VALUES (now(), 'x', 1, 'role:test', '2026-03-01', 1, '{1,2}', '{500,-500}')",
    "INSERT INTO ledger_account (name, place) VALUES ('customer:C:prepaid', 9)",
    "INSERT INTO posting_stream (period, component, place) VALUES ('2026-03-01', 'tax', 9)",
    "SELECT setval('journal_place', 1)",
    "UPDATE slot_journal SET actor = 'x'",
    "UPDATE retention SET keep = interval '1 day'",
]


def test_the_daemon_can_neither_change_the_schema_nor_what_is_only_added_to(
    database_url: str,
) -> None:
    allowed = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(ARRANGED.encode())
        for statement in REFUSED:
            try:
                connection.execute(statement.encode())
            except psycopg.errors.InsufficientPrivilege:
                continue
            allowed.append(statement)
    assert allowed == []


def test_a_trigger_of_the_daemons_own_moves_no_balance(database_url: str) -> None:
    """A trigger of a temporary table runs as deep as the one that may."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(ARRANGED.encode())
        connection.execute("CREATE TEMP TABLE mine (x integer)")
        connection.execute(
            "CREATE FUNCTION pg_temp.mine() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN UPDATE ledger_account SET balance_fen = 0; RETURN NEW; END'"
        )
        connection.execute(
            "CREATE TRIGGER mine BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION pg_temp.mine()"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO mine VALUES (1)")
        balances = connection.execute("SELECT balance_fen FROM ledger_account ORDER BY 1")
        assert balances.fetchall() == [(-500,), (500,)]


FORGED = (
    "CREATE TRIGGER mine AFTER INSERT ON mine REFERENCING NEW TABLE AS new_journal "
    "FOR EACH STATEMENT EXECUTE FUNCTION move_balances()",
    "CREATE TRIGGER mine AFTER DELETE ON mine FOR EACH ROW EXECUTE FUNCTION journal_slot()",
    "CREATE TRIGGER mine AFTER UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION journal_account()",
    "CREATE TRIGGER mine AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION journal_command()",
)


@pytest.mark.parametrize("trigger", FORGED)
def test_what_runs_as_the_owner_runs_for_no_table_of_the_daemons_own(
    database_url: str, trigger: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE mine (x integer)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(trigger.encode())


HIDDEN = {
    "the kind of a transaction": (
        "CREATE TEMP TABLE transaction_kind AS SELECT id, kind, '{prepaid}'::text[] AS debits, "
        "'{prepaid}'::text[] AS credits, NULL::text AS reversed_by "
        "FROM public.transaction_kind",
        "INSERT INTO journal (key, kind, actor, value_date, account, leg_accounts, leg_amounts) "
        "VALUES ('one', 11, 'role:test', '2026-03-01', 1, '{1,2}', '{500,-500}')",
    ),
    "a document": (
        "CREATE TEMP TABLE document (id integer, actor text)",
        "INSERT INTO document_review (document_id, verdict, actor) VALUES (1, 'approved', 'li')",
    ),
    "a decision": (
        "CREATE TEMP TABLE decision (id bigint, maker text)",
        "INSERT INTO decision_review (decision_id, verdict, actor) VALUES (1, 'approved', 'li')",
    ),
}
"""What hides a table by its name, and what must be refused nevertheless."""
DECIDED = """
INSERT INTO point (number) VALUES ('P1');
INSERT INTO decision (point_id, day, action, maker, reason, rev, takes_effect)
VALUES (1, '2026-03-01', 'release', 'li', 'as seen', 1, false)
"""


@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_temporary_table_hides_nothing_from_what_checks(database_url: str, hidden: str) -> None:
    hides, refused = HIDDEN[hidden]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute((ARRANGED + ";" + DECIDED).encode())
        connection.execute(hides.encode())
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(refused.encode())


HOME_TARIFF = """
INSERT INTO tariff_version (tariff_id, effective_from, revision, form) VALUES
    ('home', '2026-01-01', 0, '{"effective_from": "2026-01-01", "price": "0.5"}')
"""


@pytest.mark.parametrize(
    "change",
    [
        'SET form = form || \'{"price": "0.6"}\'',
        "SET effective_from = '2026-01-02', form = form || '{\"effective_from\": \"2026-01-02\"}'",
        "SET is_used = false",
        "SET state = 'withdrawn'",
    ],
)
def test_a_version_that_use_was_billed_by_stays(owner_url: str, change: str) -> None:
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(HOME_TARIFF)
        connection.execute("UPDATE tariff_version SET is_used = true")
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            connection.execute(f"UPDATE tariff_version {change}".encode())
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            connection.execute("DELETE FROM tariff_version")


LATER = """
INSERT INTO document (id, kind, actor, reason, waits, content) VALUES (1, 'tariff_version', 'li', 'decree', true, '{}');
INSERT INTO tariff_version (tariff_id, effective_from, revision, form, state, document_id) VALUES
    ('home', '2026-07-01', 0, '{"effective_from": "2026-07-01", "price": "0.6"}', 'waits', 1)
"""


@pytest.mark.parametrize(
    "way_round",
    [
        LATER.replace("'waits', 1)", "'counts', 1)"),
        LATER.replace("'waits', 1)", "'counts', NULL)"),
        LATER.replace("'waits', 1)", "'waits', NULL)"),
        f"{LATER}; UPDATE tariff_version SET state = 'counts' WHERE state = 'waits'",
        f"{LATER}; INSERT INTO document_review (document_id, verdict, actor) VALUES (1, 'approved', 'Li')",
    ],
)  # fmt: skip
def test_one_person_alone_changes_no_price_that_somebody_is_billed_by(
    database_url: str, way_round: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(HOME_TARIFF)
        connection.execute("UPDATE tariff_version SET is_used = true")
        with pytest.raises(
            (psycopg.errors.IntegrityConstraintViolation, psycopg.errors.CheckViolation)
        ):
            connection.execute(way_round.encode())
        connection.execute(LATER)
        connection.execute(
            "INSERT INTO document_review (document_id, verdict, actor) VALUES (1, 'approved', 'wang')"
        )
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            connection.execute("UPDATE tariff_version SET state = 'withdrawn' WHERE NOT is_used")
        states = "SELECT state FROM tariff_version ORDER BY number"
        assert connection.execute(states).fetchall() == [("counts",), ("counts",)]


def test_a_version_that_was_withdrawn_bills_nothing(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(HOME_TARIFF)
        connection.execute("UPDATE tariff_version SET state = 'withdrawn'")
        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.execute("UPDATE tariff_version SET is_used = true")
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            connection.execute("UPDATE tariff_version SET state = 'counts'")


def test_what_the_daemon_may_do_is_said_of_every_table(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        tables = {
            row[0]
            for row in connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                "AND relkind IN ('r', 'p', 'v') AND NOT relispartition"
            )
        }
        said = {row[0] for row in connection.execute("SELECT table_name FROM daemon_privilege")}
    assert said == tables


@pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"])
@pytest.mark.parametrize("month", ["2026-03-02", "1970-01-01", "9999-12-01", None])
def test_room_is_made_for_months_alone(
    server: Server, database_url: str, month: str | None
) -> None:
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.DataError):
        connection.execute("SELECT make_partitions(ARRAY[%s::date])", (month,))


def test_a_migration_by_its_owner_and_again_leaves_the_daemon_what_it_needs(
    server: Server, database_url: str, owner_url: str
) -> None:
    assert [migrate(database_url, owner_url) for _ in range(2)] == [VERSION] * 2
    assert migrate(database_url) == VERSION
    with psycopg.connect(database_url) as connection:
        assert is_guarded(connection)
        assert connection.execute("SELECT FROM lacking_privileges(current_user)").rowcount == 0
    with psycopg.connect(owner_url) as connection:
        assert not is_guarded(connection)


def test_a_privilege_that_the_daemon_lacks_is_named_and_granted_again(
    database_url: str, owner_url: str
) -> None:
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(f"REVOKE INSERT ON closing FROM {DAEMON}")
        connection.execute(f"REVOKE DELETE ON link FROM {DAEMON}")
    told = f"{DAEMON} lacks INSERT ON closing, DELETE ON link; `meterd migrate` grants"
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=told):
        migrate(database_url)
    migrate(database_url, owner_url)
    assert migrate(database_url) == VERSION


def test_a_role_that_may_do_more_than_it_needs_loses_that_with_the_next_migration(
    database_url: str, owner_url: str
) -> None:
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(f"GRANT DELETE ON journal TO {DAEMON}")
        connection.execute("SELECT grant_to_daemon(%s)", (DAEMON,))
    with psycopg.connect(database_url) as connection:
        may = connection.execute("SELECT has_table_privilege('journal', 'DELETE')").fetchone()
    assert may == (False,)


def test_a_daemon_that_may_not_migrate_says_who_can(
    server: Server, empty_database_url: str
) -> None:
    url = make_conninfo(empty_database_url, user=DAEMON)
    owner_url = make_conninfo(empty_database_url, user=OWNER)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"database\.migration_url"):
        migrate(url)
    migrate(url, owner_url)
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("DELETE FROM schema_version")
    with pytest.raises(SchemaError, match="`meterd migrate` brings it up to date"):
        migrate(url)


def test_nobody_else_may_call_what_runs_as_the_owner(server: Server, database_url: str) -> None:
    name = conninfo_to_dict(database_url)["dbname"]
    stranger = f"stranger_of_{name}"
    server.execute(f"CREATE ROLE {stranger} LOGIN")
    try:
        with psycopg.connect(make_conninfo(database_url, user=stranger)) as connection:
            callable_ones = connection.execute(
                "SELECT oid::regprocedure::text FROM pg_proc WHERE prosecdef AND "
                "pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype "
                "AND has_function_privilege(oid, 'EXECUTE')"
            ).fetchall()
    finally:
        server.execute(f"DROP ROLE {stranger}")
    assert callable_ones == []
