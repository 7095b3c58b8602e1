"""Not in it: meters, lines, settlement, payments, and a disk that is waited for. What a look of control
at all accounts costs whose money has run out, in shadow mode, by their number and by the history.

Run it: `PYTHONPATH=. .venv/bin/python tests/bench/bench_control.py [--accounts 1000 10000 100000]`.
Every account owes, has a point of its own and a freeze of today; the events are those of commands of
years, with verdicts, notices and episodes that are over, half as many payments. `first` finds a new
verdict of everybody and keeps it, `again` is a round of sweeps while nothing changes, `morning` the one
after every point got a new freeze: of many that owe each sweep asks about some. CPU is that of this
process and of PostgreSQL's backend together; the goal is for one sweep of `again`."""

from __future__ import annotations

import argparse
import asyncio
import os
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
import structlog

from daemon.control.authority import Authority
from daemon.control.guard import Policy
from daemon.transactions.control_facts import control_facts
from daemon.transactions.sweep import sweep
from storage.database import connect
from tests.bench.bench_ingest import DAY, TODAY, ZONE, Cost, Costs, database
from tests.servers.postgres import Server, embedded_server

GOAL_S: Final = 2.0
GOAL_ACCOUNTS: Final = 100_000
MOST_GROWTH: Final = 1.1
ROUNDS: Final = 5
ON_A_LINE: Final = 1_000
SITE: Final = """
SET session_replication_role = replica;
INSERT INTO site (name, zone) VALUES ('bench', 'Asia/Shanghai');
INSERT INTO tariff_version (tariff_id, effective_from, revision, form)
    VALUES ('T', '2020-01-01', 0, '{{"id": "T", "effective_from": "2020-01-01", "energy": {{"mode": "flat", "price": "0.5"}}}}');
INSERT INTO account (number, tariff_id, state, agreement, opened_on, warn_fen, trip_fen, reconnect_fen, credit_state)
    SELECT 'A' || n, 'T', 'active', 'signed', '2024-01-01', 3000, 0, 0, 'exhausted' FROM generate_series(1, {accounts}) n;
INSERT INTO ledger_account (name, class, balance_fen, place)
    SELECT 'customer:A' || n || ':prepaid', 'prepaid', -1000 - n % 50000, n FROM generate_series(1, {accounts}) n;
INSERT INTO point (number, area) SELECT 'P' || n, 'area ' || n % 50 FROM generate_series(1, {accounts}) n;
INSERT INTO point_supply (point_id, relay_observed, relay_observed_at, relay_evidence)
    SELECT n, 'closed', now() - n % 86400 * interval '1 second', 'A' FROM generate_series(1, {accounts}) n;
INSERT INTO point_account (point_id, account_id, from_day) SELECT n, n, '2024-01-01' FROM generate_series(1, {accounts}) n;
INSERT INTO meter (address, line, protocol)
    SELECT lpad(n::text, 12, '0'), 'line ' || n / {on_a_line}, 'dlt645-2007' FROM generate_series(1, {accounts}) n;
INSERT INTO installation (point_id, meter_id, from_at, first_day, modulus, decimals, wire_decimals)
    SELECT n, n, '2024-01-01', '2024-01-01', 100000000, 2, 2 FROM generate_series(1, {accounts}) n;
INSERT INTO chain (point_id, kind, first_day) SELECT n, 1, '2024-01-01' FROM generate_series(1, {accounts}) n;
INSERT INTO teller (line, address, terminal, certificate, identity, first_at, proof)
    SELECT 'line ' || n, '', '', '', 'line ' || n, '2024-01-01', 3 FROM generate_series(0, {accounts} / {on_a_line}) n;
"""
DAY_OF_SLOTS: Final = """
SET session_replication_role = replica;
INSERT INTO slot (day, point_id, meter_id, kind, rule_set, link_days, reading_id, total)
    SELECT '{day}', n, n, 1, 1, 1, n, 100000 FROM generate_series(1, {accounts}) n;
"""
HISTORY: Final = """
INSERT INTO command (id, point_id, meter_id, address, line, action, cause, state, guard, created_at, expires_at, next_at, sends,
                     sent_at)
    SELECT md5(n::text)::uuid, 1 + n % {accounts}, 1 + n % {accounts}, 'x', 'x', (ARRAY['trip', 'close'])[1 + n % 2], 'past',
           'verified', '{{}}', at, at, at, 1, at
    FROM generate_series(1, {events} / 4) n, LATERAL (SELECT now() - interval '2 days' - n * interval '2 minutes') t (at);
INSERT INTO command_event (command_id, at, state, detail, place)
    SELECT md5(n::text)::uuid, now() - interval '2 days' - n * interval '2 minutes', s.state, '', {accounts} + 4 * n + s.step
    FROM generate_series(1, {events} / 4) n, (VALUES (0, 'persisted'), (1, 'sent'), (2, 'acked'), (3, 'verified')) s (step, state);
INSERT INTO guard_verdict (point_id, at, decision, reasons, facts)
    SELECT 1 + n % {accounts}, now() - interval '2 days' - n * interval '2 minutes', 'deny', '{{WINDOW_CLOSED}}', '{{}}'
    FROM generate_series(1, {events} / 4) n;
INSERT INTO arrears_episode (account_id, started_at, ended_at)
    SELECT 1 + n % {accounts}, at - interval '1 hour', at
    FROM generate_series(1, {events} / 4) n, LATERAL (SELECT now() - interval '40 days' - n * interval '2 minutes') t (at);
INSERT INTO notice (account_id, episode_id, kind, channel, language, text, amount_fen, actor, made_at, sent_at, delivered_at,
                    receipt_actor)
    SELECT account_id, id, 'written', 'paper', 'zh', 'text', 1000, 'role:office', started_at, started_at, started_at, 'role:office'
    FROM arrears_episode;
INSERT INTO journal (id, recorded_at, value_date, kind, account, other_account, fen, actor, key, channel, content)
    SELECT 10 * {accounts} + 2 * {events} + n, now() - n * interval '1 minute', current_date, 11, 1 + n % {accounts}, -1, 100,
           'role:channel', 'pay:bench:' || n, 'bench', '{{}}'
    FROM generate_series(1, {events} / 2) n;
INSERT INTO arrears_episode (account_id, started_at)
    SELECT n, now() - interval '3 days' - n * interval '1 second' FROM generate_series(1, {accounts}) n;
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--accounts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    arguments.add_argument("--events", type=int, default=1_000_000)
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print(
        "| accounts | events | what | s CPU | daemon | PostgreSQL | s clock | sweeps | statements |"
    )
    print("|---:|---:|---|---:|---:|---:|---:|---:|---:|")
    with embedded_server() as server:
        for accounts in given.accounts:
            few, many = (
                asyncio.run(measured(server, accounts, events))
                for events in (given.events // 10, given.events)
            )
            print(
                f"{accounts:,}: {many / few:.2f} times with ten times the history (goal {MOST_GROWTH})"
            )
            if accounts == GOAL_ACCOUNTS:
                print(
                    f"{'reached' if many <= GOAL_S else 'MISSED'}: {many:.2f} s a sweep, goal {GOAL_S}"
                )
    print(f"load {os.getloadavg()[0]:.1f}")


async def measured(server: Server, accounts: int, events: int) -> float:
    """CPU seconds of one sweep that finds nothing new."""
    with database(server, f"control_{accounts}_{events}") as url:
        make_site(url, accounts, events)
        statements: list[str] = []
        async with await connect(url) as connection:
            connection.cursor_factory = counting(statements)
            costs = Costs(connection.info.backend_pid)
            authority = Authority(Policy(), ZONE, shadow_mode=True, running_for=lambda: DAY)
            numbers = [*range(1, accounts + 1)]

            async def measure(name: str, rounds: int = 1) -> float:
                """CPU seconds of one sweep, or of the facts of everybody."""
                for _ in range(rounds):
                    statements.clear()
                    sweeps = 0
                    with costs.of(name, 1):
                        if name == "facts":
                            await control_facts(connection, numbers, datetime.now(UTC))
                        after = 0
                        while name != "facts" and (after or not sweeps):
                            after = await sweep(connection, authority, datetime.now(UTC), after)
                            sweeps += 1
                show(accounts, events, name, costs.median(name), sweeps, len(statements))
                return costs.median(name).cpu / 1e6 / max(1, sweeps)

            await measure("first")
            again = await measure("again", ROUNDS)
            await measure("facts", ROUNDS)
            with psycopg.connect(url, autocommit=True) as other:
                said = {"day": TODAY, "accounts": accounts}
                other.execute(DAY_OF_SLOTS.format(**said).encode())
            await measure("morning")
            await measure("again after it", ROUNDS)
        return again


NOW: Final = datetime.now(UTC)


def show(accounts: int, events: int, name: str, cost: Cost, sweeps: int, statements: int) -> None:
    parts = " | ".join(f"{it / 1e6:.2f}" for it in (cost.cpu, cost.ours, cost.database, cost.wall))
    print(f"| {accounts:,} | {events:,} | {name} | {parts} | {sweeps} | {statements} |", flush=True)


def make_site(url: str, accounts: int, events: int) -> None:
    """Accounts in arrears, their freezes until yesterday, and what happened before."""
    said = {"accounts": accounts, "events": events, "on_a_line": ON_A_LINE}
    with psycopg.connect(url, autocommit=True) as connection:
        months = sorted({(TODAY - n * DAY).replace(day=1) for n in range(-2, 5)})
        connection.execute("SELECT make_partitions(%s)", (months,))
        connection.execute(SITE.format(**said).encode())
        for n in range(1, 4):
            connection.execute(DAY_OF_SLOTS.format(day=TODAY - n * DAY, **said).encode())
        connection.execute(HISTORY.format(**said).encode())
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def counting(statements: list[str]) -> type[psycopg.AsyncCursor[Any]]:
    """Cursors that note what they are given."""

    class CountingCursor(psycopg.AsyncCursor[Any]):
        async def execute(self, query: Any, *given: Any, **named: Any) -> Any:
            statements.append(str(query))
            return await super().execute(query, *given, **named)

        async def executemany(self, query: Any, *given: Any, **named: Any) -> None:
            statements.append(str(query))
            await super().executemany(query, *given, **named)

    return CountingCursor


if __name__ == "__main__":
    main()
