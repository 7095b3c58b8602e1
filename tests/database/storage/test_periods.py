"""Periods of one key never overlap, whoever writes them: who is billed for a point, and which meter
serves it."""

import threading
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import combinations
from typing import Any, Final, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.examples import examples

pytestmark = pytest.mark.hypertables

KEYS: Final = 3
FIRST: Final = date(2026, 3, 1)
ARRANGED: Final = """
INSERT INTO account (number, tariff_id, warn_fen, trip_fen, reconnect_fen)
    SELECT 'A' || n, 'T', 0, 0, 0 FROM generate_series(1, 3) n;
INSERT INTO point (number) SELECT 'P' || n FROM generate_series(1, 3) n;
INSERT INTO meter (address, line, protocol)
    SELECT lpad(n::text, 12, '0'), 'line', 'dlt645-2007' FROM generate_series(1, 3) n;
"""
HOLDING: Final = "INSERT INTO point_account (point_id, account_id, from_day, to_day) VALUES "
INSTALLATION: Final = (
    "INSERT INTO installation (point_id, meter_id, from_at, to_at, first_day, modulus, decimals, "
    "wire_decimals) VALUES "
)
REFUSED: Final = (
    psycopg.errors.ExclusionViolation,
    psycopg.errors.UniqueViolation,
)
OVERLAPPING: Final = """
SELECT count(*) FROM point_account a JOIN point_account b USING (point_id)
WHERE a.ctid < b.ctid AND daterange(a.from_day, a.to_day) && daterange(b.from_day, b.to_day)
UNION ALL
SELECT count(*) FROM installation a JOIN installation b ON a.id < b.id
    AND (a.point_id = b.point_id OR a.meter_id = b.meter_id)
WHERE tstzrange(a.from_at, a.to_at) && tstzrange(b.from_at, b.to_at)
"""


class Period(NamedTuple):
    """Of point `key` and its partner `other`, an account or a meter; days since FIRST."""

    key: int
    other: int
    begins: int
    ends: int | None

    def days(self) -> tuple[date, date | None]:
        """Its first day, and the first behind it."""
        begins = FIRST + timedelta(days=self.begins)
        return begins, None if self.ends is None else FIRST + timedelta(days=self.ends)

    def meets(self, another: "Period") -> bool:
        """Some moment is in both."""
        end = 10**6 if self.ends is None else self.ends
        end_of_another = 10**6 if another.ends is None else another.ends
        return max(self.begins, another.begins) < min(end, end_of_another)


def periods(least: int) -> st.SearchStrategy[Period]:
    """Periods of at least so many days, or without an end."""
    number = st.integers(1, KEYS)
    return st.builds(
        lambda key, other, begins, length: Period(
            key, other, begins, None if length is None else begins + length
        ),
        number,
        number,
        st.integers(0, 6),
        st.none() | st.integers(least, 4),
    )


WITHOUT_NOTES: Final = """
DO $$
DECLARE
    noted record;
BEGIN
    FOR noted IN SELECT tgname, tgrelid::regclass AS of_table FROM pg_trigger WHERE tgname LIKE 'noted_%' LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', noted.tgname, noted.of_table);
    END LOOP;
END $$
"""
"""What notes changes of facts takes the same lock: the rule must hold without it."""


@pytest.fixture
def connection(database_url: str, owner_url: str) -> Any:
    with psycopg.connect(owner_url) as owner:
        owner.execute(WITHOUT_NOTES)
    with psycopg.connect(database_url, autocommit=True) as connected:
        connected.execute(ARRANGED)
        yield connected


def insert_holdings(connection: psycopg.Connection[Any], rows: Sequence[Period]) -> None:
    """Give points to accounts, in one statement."""
    values = [(row.key, row.other, *row.days()) for row in rows]
    _insert(connection, HOLDING, values)


def insert_installations(connection: psycopg.Connection[Any], rows: Sequence[Period]) -> None:
    """Put meters at points, in one statement."""
    values = [(row.key, row.other, *row.days(), FIRST, 10**8, 2, 2) for row in rows]
    _insert(connection, INSTALLATION, values)


def _insert(
    connection: psycopg.Connection[Any], statement: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    row = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(rows[0])))
    values = [value for of_row in rows for value in of_row]
    connection.execute(sql.SQL(statement) + sql.SQL(", ").join([row] * len(rows)), values)


def overlapping(connection: psycopg.Connection[Any]) -> int:
    """How many pairs overlap, as ranges have it."""
    return sum(count for (count,) in connection.execute(OVERLAPPING))


# What an example writes is taken back: one database does for all of them.
IN_ONE_DATABASE = settings(
    examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@given(st.lists(st.lists(periods(0), min_size=1, max_size=3), max_size=6))
@IN_ONE_DATABASE
def test_holdings_are_refused_exactly_if_two_of_a_point_overlap(
    connection: psycopg.Connection[Any], statements: list[list[Period]]
) -> None:
    kept: list[Period] = []
    with connection.transaction(force_rollback=True):
        for rows in statements:
            wanted = kept + rows
            keys = {(row.key, row.begins, row.other) for row in wanted}
            is_fine = len(keys) == len(wanted) and not any(
                one.key == other.key and one.meets(other) for one, other in combinations(wanted, 2)
            )
            try:
                with connection.transaction():
                    insert_holdings(connection, rows)
                assert is_fine
                kept = wanted
            except REFUSED:
                assert not is_fine


@given(st.lists(st.lists(periods(1), min_size=1, max_size=3), max_size=6))
@IN_ONE_DATABASE
def test_installations_are_refused_exactly_if_two_of_a_point_or_of_a_meter_overlap(
    connection: psycopg.Connection[Any], statements: list[list[Period]]
) -> None:
    kept: list[Period] = []
    with connection.transaction(force_rollback=True):
        for rows in statements:
            wanted = kept + rows
            is_fine = not any(
                (one.key == other.key or one.other == other.other) and one.meets(other)
                for one, other in combinations(wanted, 2)
            )
            try:
                with connection.transaction():
                    insert_installations(connection, rows)
                assert is_fine
                kept = wanted
            except REFUSED:
                assert not is_fine


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE point_account SET to_day = NULL WHERE point_id = 1 AND from_day = '2026-03-01'",
        "UPDATE point_account SET to_day = '2026-03-04' WHERE point_id = 1 AND from_day = '2026-03-01'",
        "UPDATE point_account SET from_day = '2026-03-02' WHERE from_day = '2026-03-03'",
        "UPDATE point_account SET point_id = 1 WHERE point_id = 2",
        "UPDATE point_account SET to_day = 'infinity' WHERE point_id = 1 AND from_day = '2026-03-01'",
        "UPDATE installation SET to_at = NULL",
        "UPDATE installation SET to_at = '2026-03-03Z'::timestamptz + interval '1 microsecond' WHERE to_at IS NOT NULL",
        "UPDATE installation SET from_at = '2026-03-02Z' WHERE to_at IS NULL AND point_id = 1",
        "UPDATE installation SET point_id = 1 WHERE point_id = 2",
        "UPDATE installation SET meter_id = 1 WHERE meter_id = 2",
    ],
)
def test_a_change_that_makes_two_overlap_is_refused(
    connection: psycopg.Connection[Any], change: str
) -> None:
    rows = [Period(1, 1, 0, 2), Period(1, 1, 2, None), Period(2, 2, 1, None)]
    insert_holdings(connection, rows)
    insert_installations(connection, rows)

    with pytest.raises(psycopg.errors.ExclusionViolation, match="overlap"):
        connection.execute(change)
    assert overlapping(connection) == 0


@given(
    st.sampled_from([insert_holdings, insert_installations]),
    periods(1),
    periods(1),
    st.booleans(),
)
@IN_ONE_DATABASE
def test_who_writes_beside_another_is_refused_exactly_if_that_one_stays_and_they_overlap(
    connection: psycopg.Connection[Any], insert: Any, first: Period, second: Period, stays: bool
) -> None:
    refused: list[BaseException] = []
    with psycopg.connect(connection.info.dsn) as other:

        def write() -> None:
            try:
                insert(other, [second])
                other.commit()
            except psycopg.Error as error:
                refused.append(error)

        writer = threading.Thread(target=write)
        with connection.transaction(force_rollback=not stays):
            insert(connection, [first])
            with psycopg.connect(connection.info.dsn, autocommit=True) as looking:
                writer.start()
                waited = is_locked(looking, other.info.backend_pid, writer)
        writer.join()
    pairs = overlapping(connection)
    connection.execute("DELETE FROM point_account; DELETE FROM installation")

    is_one_point = first.key == second.key
    is_one_meter = insert is insert_installations and first.other == second.other
    is_refused = stays and (is_one_point or is_one_meter) and first.meets(second)
    assert waited
    assert pairs == 0
    assert [isinstance(error, REFUSED) for error in refused] == [True] * is_refused


def is_locked(connection: psycopg.Connection[Any], process: int, writer: threading.Thread) -> bool:
    """True as soon as this backend waits for another; False if its writer got through."""
    blocked = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
    while writer.is_alive():
        if connection.execute(blocked, (process,)).fetchone() == (True,):
            return True
    return False


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("insert", [insert_holdings, insert_installations])
def test_a_transaction_that_would_not_see_the_others_cannot_write(
    connection: psycopg.Connection[Any], insert: Any, level: str
) -> None:
    with connection.transaction():
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        with pytest.raises(psycopg.errors.InvalidTransactionState, match="READ COMMITTED"):
            insert(connection, [Period(1, 1, 0, None)])
        raise psycopg.Rollback


@pytest.mark.parametrize("table", ["point_account", "installation"])
def test_the_writer_cannot_switch_the_rule_off(
    connection: psycopg.Connection[Any], table: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SET session_replication_role = replica")


def test_a_temporary_table_of_the_same_name_does_not_hide_what_overlaps(
    connection: psycopg.Connection[Any],
) -> None:
    insert_holdings(connection, [Period(1, 1, 0, None)])
    connection.execute("CREATE TEMP TABLE point_account (LIKE public.point_account)")
    connection.execute("SET search_path = pg_temp, public")

    with pytest.raises(psycopg.errors.ExclusionViolation):
        connection.execute(
            "INSERT INTO public.point_account (point_id, account_id, from_day) "
            "VALUES (1, 2, '2026-04-01')"
        )


@pytest.mark.parametrize(
    ("many", "insert", "table"),
    [
        (
            "INSERT INTO point_account (point_id, account_id, from_day, to_day) "
            "SELECT 1, 1, d, d + 1 FROM (SELECT date '2000-01-01' + n FROM generate_series(1, 60000) n) x (d)",
            insert_holdings,
            "point_account",
        ),
        (
            "INSERT INTO installation "
            "(point_id, meter_id, from_at, to_at, first_day, modulus, decimals, wire_decimals) "
            "SELECT 1, 1, d, d + 1, d, 100, 2, 2 "
            "FROM (SELECT date '2000-01-01' + n FROM generate_series(1, 60000) n) x (d)",
            insert_installations,
            "installation",
        ),
    ],
)
def test_one_beside_many_is_looked_up_by_index_though_nothing_is_known_of_their_number(
    connection: psycopg.Connection[Any], many: str, insert: Any, table: str
) -> None:
    connection.execute(many.encode())
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = %s"
    with connection.transaction():
        ((before,),) = connection.execute(read, (table,)).fetchall()
        insert(connection, [Period(3, 3, 0, None)])
        ((after,),) = connection.execute(read, (table,)).fetchall()
    assert after - before < 10
