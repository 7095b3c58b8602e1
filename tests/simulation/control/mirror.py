"""The same stories on a real server: each statement is put to both, and both have to answer the same.

Sessions, transactions, locks, rollbacks and what a restart finds are PostgreSQL's own; what the
daemon is given is its answer. The server's clock is the simulated one: `now()` and
`clock_timestamp()` of the schema `simulated` are found before those of pg_catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg

from storage import breakers, site_lock, supply, supply_cases
from tests.simulation.control.model import Row, Session
from tests.simulation.control.world import World

PATH: Final = "simulated, public, pg_catalog"
OWN: Final = frozenset(
    {site_lock.SQL["holds_site"], breakers.SQL["breaker_figures"], supply_cases.SQL["alarms"]}
)
"""Of the session that holds the site, and of rows of rooms that the model does not have."""
IN_ORDER: Final = frozenset({supply.SQL["due_command"]})
CLOCK: Final = """
    SELECT make_partitions('{2026-03-01,2026-10-01,2026-12-01}');
    CREATE SCHEMA simulated;
    CREATE FUNCTION simulated.now() RETURNS timestamptz STABLE LANGUAGE sql AS
        $$ SELECT current_setting('simulated.now')::timestamptz $$;
    CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS
        $$ SELECT current_setting('simulated.now')::timestamptz $$;
    -- The schema's own looks back from `current_date`, which is no function.
    CREATE FUNCTION simulated.newest_slot(point integer, of_kind smallint, states slot_state[])
        RETURNS SETOF slot STABLE LANGUAGE sql AS
        $$ SELECT * FROM slot s WHERE s.point_id = point AND s.kind = of_kind AND s.state = ANY (states)
           ORDER BY s.day DESC LIMIT 1 $$;
    ALTER TABLE command_event ALTER COLUMN at SET DEFAULT simulated.clock_timestamp();
    ALTER TABLE cut_order ALTER COLUMN asked_at SET DEFAULT simulated.now();
"""


@dataclass(eq=False)
class Mirror:
    """A server beside the model. `differences`: where they do not agree."""

    url: str
    world: World
    statements: int = 0
    differences: list[str] = field(default_factory=list)
    _idle: list[psycopg.Connection[Any]] = field(default_factory=list)
    _of: dict[Session, psycopg.Connection[Any]] = field(default_factory=dict)

    def begin(self, session: Session) -> None:
        """A transaction begins."""
        self._put(session, "BEGIN")

    def commit(self, session: Session) -> None:
        """It is committed there, too."""
        self._put(session, "COMMIT")

    def roll_back(self, session: Session) -> None:
        """As if nothing had been; the connection is free."""
        connection = self._of.pop(session, None)
        if connection is not None:
            connection.rollback()
            self._idle.append(connection)

    def answer(
        self, session: Session, statement: str, values: Mapping[str, Any], found: list[Any]
    ) -> list[Any]:
        """The server's answer, in the records of the model's; it should be the same."""
        if statement in OWN:
            return found
        self.statements += 1
        cursor = self._put(session, statement, values)
        if cursor.description is None:
            return found
        names = [column.name for column in cursor.description]
        rows = cursor.fetchall()
        told = [_record(found[:1], dict(zip(names, row, strict=True)), row) for row in rows]
        in_order = statement in IN_ORDER
        ours, theirs = _plain(found, in_order=in_order), _plain(told, in_order=in_order)
        if ours != theirs:
            of_model = [it for it in ours if it not in theirs]
            of_server = [it for it in theirs if it not in ours]
            head = " ".join(statement.split())[:70]
            self._differ(f"{head}: the model {of_model[:1]}, the server {of_server[:1]}")
        return told

    def tell(self, session: Session, table: str, number: Any, changes: Row) -> None:
        """A fact that others than control write."""
        values = {**changes, "number": number}
        if table == "teller":
            statement = TELLER
        elif table == "notice":
            statement = NOTICE
        elif table == "point_account":
            self._put(session, LEFT, values)
            statement = GIVEN
        elif "has_relay" in changes:
            statement = (
                "UPDATE installation SET has_relay = %(has_relay)s WHERE point_id = %(number)s"
            )
        else:
            told = ", ".join(f"{name} = %({name})s" for name in changes)
            statement = f"UPDATE {table} SET {told} WHERE id = %(number)s"
        self._put(session, statement, values)

    def close(self) -> None:
        """Nothing is left open."""
        for connection in [*self._idle, *self._of.values()]:
            connection.close()

    def _put(
        self, session: Session, statement: str, values: Mapping[str, Any] | None = None
    ) -> psycopg.Cursor[Any]:
        if session not in self._of:
            self._of[session] = self._idle.pop() if self._idle else self._connect()
        connection = self._of[session]
        now = self.world.database.now().isoformat()
        connection.execute("SELECT set_config('simulated.now', %s, false)", [now])
        try:
            return connection.execute(statement, values)
        except psycopg.Error as error:
            self._differ(f"{' '.join(statement.split())[:70]}: {error}")
            raise

    def _connect(self) -> psycopg.Connection[Any]:
        options = f"-c search_path={PATH.replace(' ', '')} -c lock_timeout=2s"
        return psycopg.connect(self.url, autocommit=True, options=options)

    def _differ(self, told: str) -> None:
        at = f"step {self.world.kernel.steps}, statement {self.statements}"
        self.differences.append(f"{at}: {told}")


def _record(like: list[Any], columns: Mapping[str, Any], row: Any) -> Any:
    """A row as the model's answer has its rows."""
    if like and is_dataclass(like[0]):
        kind: Any = type(like[0])
        return kind(**columns)
    return row


def _plain(rows: list[Any], *, in_order: bool) -> list[str]:
    told = [json.dumps(_value(row), sort_keys=True, default=str) for row in rows]
    return told if in_order else sorted(told)


def _value(it: Any) -> Any:
    """Without what differs in form only."""
    if is_dataclass(it) and not isinstance(it, type):
        return [_value(part) for part in astuple(it)]
    match it:
        case datetime():
            return it.astimezone(UTC).isoformat()
        case UUID():
            return str(it)
        case dict():
            return {key: _value(part) for key, part in it.items() if part is not None}
        case list() | tuple() | set() | frozenset():
            return sorted((_value(part) for part in it), key=str)
        case int() | float():
            return float(it)
        case _:
            return it


def found_site(owner_url: str, world: World) -> None:
    """The rows of the world's site on the server, as its files would have made them."""
    tables, began = world.database.tables, world.database.began
    long_ago = began - timedelta(days=90)
    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute(CLOCK)
        owner.execute("INSERT INTO site (name, zone) VALUES ('small', %s)", [world.terms.zone.key])
        form = json.dumps({"effective_from": "2026-01-01"})
        owner.execute(
            "INSERT INTO tariff_version (tariff_id, effective_from, revision, form) "
            "VALUES ('T', '2026-01-01', 1, %s)",
            [form],
        )
        for number, account in tables["account"].items():
            owner.execute(
                "INSERT INTO account (id, number, tariff_id, state, agreement, opened_on, warn_fen, "
                "trip_fen, reconnect_fen, credit_limit_fen) OVERRIDING SYSTEM VALUE "
                "VALUES (%s, %s, 'T', 'active', 'signed', %s, %s, %s, %s, %s)",
                [number, account["number"], long_ago.date()]
                + [account[f"{it}_fen"] for it in ("warn", "trip", "reconnect", "credit_limit")],
            )
            account["opened_on"] = long_ago.date()
        for number, point in tables["point"].items():
            _found_point(owner, number, point, long_ago, tables["supply"][number])
        for told in tables["teller"].values():
            owner.execute(TELLER, {**told, "number": None})


NOTICE: Final = """
    INSERT INTO notice (account_id, episode_id, kind, channel, language, text, amount_fen, actor, made_at, sent_at,
                        delivered_at, receipt_actor, planned_at)
    SELECT account_id, id, %(kind)s, 'paper', 'en', 'due', 1, 'li', now(),
           least(now(), %(delivered_at)s), %(delivered_at)s,
           CASE WHEN %(delivered_at)s::timestamptz IS NOT NULL THEN 'li' END, %(planned_at)s
    FROM arrears_episode WHERE id = %(number)s"""
LEFT: Final = """
    UPDATE point_account SET to_day = greatest(from_day, %(day)s) WHERE point_id = %(number)s AND to_day IS NULL"""
GIVEN: Final = """
    INSERT INTO point_account (point_id, account_id, from_day) VALUES (%(number)s, %(account_id)s, %(day)s)
    ON CONFLICT (point_id, from_day, account_id) DO UPDATE SET to_day = NULL"""
TELLER: Final = (
    "INSERT INTO teller (line, address, terminal, certificate, identity, session_at, first_at, proof) "
    "VALUES (%(line)s, %(identity)s, '', '', %(identity)s, now(), %(first_at)s, %(proof)s)"
)


def _found_point(
    owner: psycopg.Connection[Any], number: int, point: Row, long_ago: datetime, there: Row
) -> None:
    values = {**point, **there, "id": number, "long_ago": long_ago, "day": long_ago.date()}
    for statement in (
        "INSERT INTO point (id, number, area, reconnect) OVERRIDING SYSTEM VALUE "
        "VALUES (%(id)s, %(number)s, %(area)s, %(reconnect)s)",
        "INSERT INTO meter (id, address, line, protocol) OVERRIDING SYSTEM VALUE "
        "VALUES (%(id)s, %(address)s, %(line)s, 'dlt645-2007')",
        "INSERT INTO installation (point_id, meter_id, from_at, first_day, modulus, decimals, "
        "wire_decimals) VALUES (%(id)s, %(id)s, %(long_ago)s, %(day)s, 100000000, 2, 2)",
        "INSERT INTO point_account (point_id, account_id, from_day) "
        "VALUES (%(id)s, %(account_id)s, %(day)s)",
        "UPDATE point_supply SET relay_observed = 'closed', relay_observed_at = "
        "%(relay_observed_at)s WHERE point_id = %(id)s",
        "INSERT INTO slot (point_id, day, meter_id, kind, rule_set, total) "
        "VALUES (%(id)s, %(last_published_day)s, %(id)s, 1, 1, 100)",
    ):
        owner.execute(statement, values)
