"""What no event tells: figures that are looked at, in memory and in tables, so that a scrape reads
memory only."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, get_args

from prometheus_client import Gauge
from psycopg import AsyncConnection

from config.settings import MOST_LEVELS
from daemon import metrics
from daemon.acquisition.line import Line
from daemon.billing.credit import CreditStatus
from daemon.billing.standstill import REASONS
from daemon.control.alarms import ALARMS
from daemon.control.authority import Authority
from daemon.pipeline.pipeline import Pipeline
from daemon.quality.freeze import MEMORY_DAYS
from daemon.quality.gap import gap_day
from daemon.runtime.loop_lag import LoopLag
from daemon.runtime.purposes import Achieved
from daemon.site.listeners import Listener
from storage import figures, ledger, supply
from storage.database import LONG_USE_S, Pool

LINES_AT_ONCE: Final = 25
"""Maximum of lines whose figures are taken before the lines themselves have their turn again."""
METERS_AT_ONCE: Final = 100_000
"""With more meters one line is looked at in steps: a million of them took 55 ms at once."""
NAMES_AT_ONCE: Final = 100
"""And of names whose figures are shown."""

SUPPLY_STATES: Final = (
    "energised",
    "trip_commanded",
    "disconnected",
    "reconnect_commanded",
    "wait_customer_button",
)
ACTIONS: Final = ("trip", "allow_close", "close")
OPEN_STATES: Final = ("persisted", "sent", "acked", "unknown", "verifying")
END_STATES: Final = ("verified", "refused", "expired", "superseded", "cancelled", "failed")
MARKS: Final = (
    "protected",
    "life_support",
    "keep_power",
    "dispute",
    "hold",
    "amnesty",
    "payment_in_flight",
    "weather",
    "planned_outage",
    "wrongful_cut",
    "keep_off",
)
SCOPES: Final = ("site", "area", "line", "tariff")
JOBS: Final = ("restore", "trip", "foreign_open", "foreign_closed", "notice", "visit")
LEVELS: Final = tuple(str(level) for level in range(MOST_LEVELS + 1))
UNPUBLISHED: Final = ("suspect", "rejected", "lost")
LEDGER_FAULTS: Final = (
    "unbalanced_transactions",
    "wrong_balances",
    "wrong_months",
    "misdated_charges",
    "changed_rows",
)
AGES_S: Final[Mapping[str, float]] = {
    "0-1m": 60,
    "1-10m": 600,
    "10-60m": 3600,
    "1-24h": 86400,
    "24h+": float("inf"),
}
"""Classes of how long somebody has been waiting, with their ends."""


def begin() -> None:
    """Every series that does not belong to a line or a listener is there, at zero."""
    metrics.born(metrics.BATCHES, ("stored", "dead_letter", "database_away"))
    metrics.born(metrics.CLOCKS_SET, ("ok", "not_taken"))
    metrics.born(metrics.IDENTITY_FINDINGS, ("V03", "V25", "R18"))
    metrics.born(metrics.SLOTS_DECIDED, ("published", "suspect", "rejected", "substituted"))
    metrics.born(metrics.SPOOL_DROPPED, ("with_memory", "without_memory"))
    metrics.born(metrics.MISSING, metrics.DAYS)
    metrics.born(metrics.UNPUBLISHED, UNPUBLISHED)
    metrics.born(metrics.STANDSTILL, REASONS)
    metrics.born(metrics.STANDSTILL_AGE, REASONS)
    metrics.born(metrics.BALANCE_AGE, metrics.DAYS)
    metrics.born(metrics.ACCOUNTS, get_args(CreditStatus))
    metrics.born(metrics.BALANCES, ("credit", "debt"))
    metrics.born(metrics.LEDGER_FAULTS, LEDGER_FAULTS)
    metrics.born(metrics.SUPPLIES, SUPPLY_STATES)
    metrics.born(metrics.COMMANDS_OPEN, ACTIONS, OPEN_STATES)
    metrics.born(metrics.COMMAND_STEPS, ACTIONS, OPEN_STATES + END_STATES)
    metrics.born(metrics.RECONNECTS_WAITING, AGES_S)
    metrics.born(metrics.SUPPLY_MARKS, MARKS)
    metrics.born(metrics.BREAKERS, SCOPES)
    metrics.born(metrics.FIELD_JOBS, JOBS)
    metrics.born(metrics.ALARMS, ALARMS)
    metrics.born(metrics.ALARM_AGE, ALARMS)
    metrics.born(metrics.STAFF_ALARMS, LEVELS)


def show_now(pipeline: Pipeline, authority: Authority, lag: LoopLag) -> None:
    """What tells most when nothing moves: looked at when somebody asks."""
    pipeline.show()
    hold = authority.hold
    is_ours = hold is None or bool(hold.token)
    metrics.DATABASE_UP.set(pipeline.stores and is_ours)
    metrics.SHADOW_MODE.set(authority.shadow_mode)
    metrics.LOOP_LAG.set(lag.seconds)


@dataclass(slots=True)
class Recent:
    """What was looked at every 15 s: lines, and of the tables what is open and what was added.

    What was added is counted behind the last sealed place, where nothing can come in between."""

    pool: Pool
    lines: Iterable[Line]
    listeners: Collection[Listener]
    achieved: Achieved
    place: int | None = None
    """Up to where it was counted; None before the first look: what was there is no event."""

    async def look(self) -> None:
        """Show all of it."""
        await show_lines(self.lines)
        for listener in self.listeners:
            listener.show()
        async with self.pool.connection() as connection:
            metrics.LEDGER_SUM.set(await ledger.sum_of_balances(connection))
            self.achieved.command_waits_s = await supply.longest_wait_s(connection)
            metrics.COMMAND_WAITS.set(self.achieved.command_waits_s)
            now = await supply.database_clock(connection)
            await _show_open(connection, now)
            await self._count(connection)

    async def _count(self, connection: AsyncConnection[Any]) -> None:
        up_to = await figures.last_place(connection)
        if self.place is None:
            metrics.born(metrics.POSTED, await figures.kinds(connection))
            metrics.born(metrics.POSTED_FEN, await figures.kinds(connection))
        elif up_to > self.place:
            for step in await figures.steps(connection, self.place, up_to):
                metrics.COMMAND_STEPS.labels(step.action, step.state).inc(step.steps)
                for seconds in step.took_s:
                    metrics.RECONNECT_SECONDS.observe(seconds)
            for posted in await figures.posted(connection, self.place, up_to):
                metrics.POSTED.labels(posted.kind).inc(posted.transactions)
                metrics.POSTED_FEN.labels(posted.kind).inc(posted.fen)
        self.place = up_to


async def _show_open(connection: AsyncConnection[Any], now: datetime) -> None:
    commands = await figures.open_commands(connection)
    for action in ACTIONS:
        for state in OPEN_STATES:
            metrics.COMMANDS_OPEN.labels(action, state).set(commands.get((action, state), 0))
    waiting = await figures.reconnects(connection)
    _show(metrics.RECONNECTS_WAITING, AGES_S, Counter(_age(now - since) for since in waiting))
    _show(metrics.SUPPLY_MARKS, MARKS, await figures.marks(connection, now))
    _show(metrics.BREAKERS, SCOPES, await figures.breakers(connection))
    _show(metrics.FIELD_JOBS, JOBS, await figures.jobs(connection))
    to_settle = await figures.to_settle(connection)
    metrics.TO_SETTLE.set(to_settle.accounts)
    waits = timedelta() if to_settle.since is None else now - to_settle.since
    metrics.TO_SETTLE_AGE.set(max(0.0, waits.total_seconds()))


async def show_totals(pool: Pool, authority: Authority) -> None:
    """What is counted once for each account and point: every minute."""
    newest = gap_day(datetime.now(authority.zone))
    async with pool.connection(lasts_s=LONG_USE_S) as connection:
        _show(metrics.ACCOUNTS, get_args(CreditStatus), await figures.accounts(connection))
        _show(metrics.SUPPLIES, SUPPLY_STATES, await figures.supplies(connection))
        credit, debt = await figures.balances(connection)
        metrics.BALANCES.labels("credit").set(credit)
        metrics.BALANCES.labels("debt").set(debt)
        metrics.POINTS.set(await figures.points(connection))
        since = newest - timedelta(days=MEMORY_DAYS - 1)
        unpublished = await figures.unpublished(connection, since, newest)
        _show(metrics.UNPUBLISHED, UNPUBLISHED, unpublished)


@dataclass(slots=True)
class _Figures:
    """What is shown of all lines with one name. `days`: of the newest day and the one before it
    (owed, stored, stored at the first try)."""

    meters: int = 0
    wanted: int = 0
    present: int = 0
    backed_off: int = 0
    silent: int = 0
    leaving: int = 0
    stored_at: float = 0.0
    longest_step_s: float = 0.0
    days: list[Counter[str]] = field(default_factory=lambda: [Counter(), Counter()])

    def add(self, line: Line) -> None:
        wanted, present = line.counts()
        self.meters += len(line.meters)
        self.wanted += wanted
        self.present += present
        self.backed_off += line.backed_off
        self.silent += line.is_silent
        self.leaving += line.leaving
        self.stored_at = max(self.stored_at, line.stored_at)
        self.longest_step_s = max(self.longest_step_s, line.longest_step_s)

    def add_days(self, line: Line) -> None:
        for age, counts in enumerate(self.days):
            owed, stored, first_try = line.day_counts(age)
            counts.update(owed=owed, stored=stored, first_try=first_try)

    def show(self, name: str) -> None:
        metrics.LINE_METERS.labels(name).set(self.meters)
        metrics.LONGEST_STEP.labels(name).set(self.longest_step_s)
        metrics.WANTED.labels(name).set(self.wanted)
        metrics.PRESENT.labels(name).set(self.present)
        metrics.BACKED_OFF.labels(name).set(self.backed_off)
        metrics.SILENT.labels(name).set(self.silent)
        metrics.LEAVING.labels(name).set(self.leaving)
        metrics.LINE_STORED.labels(name).set(self.stored_at)
        for age, counts in enumerate(self.days):
            for state, count in counts.items():
                metrics.DAY_SLOTS.labels(name, str(age), state).set(count)


async def show_lines(lines: Iterable[Line]) -> None:
    """The lines' figures by the names they are shown as: all terminals of a listener are one."""
    shown: defaultdict[str, _Figures] = defaultdict(_Figures)
    missing: Counter[str] = Counter()
    for number, line in enumerate(list(lines)):
        if number % LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
        shown[line.shown_as].add(line)
        if len(line.meters) > METERS_AT_ONCE:
            await asyncio.sleep(0)
        shown[line.shown_as].add_days(line)
        if len(line.meters) > METERS_AT_ONCE:
            await asyncio.sleep(0)
        counts = line.missing_since(list(metrics.DAYS.values()))
        missing.update(dict(zip(metrics.DAYS, counts, strict=True)))
    names = list(shown)
    for start in range(0, len(names), NAMES_AT_ONCE):
        await asyncio.sleep(0)
        # A reload may have taken lines out meanwhile, and their names out of the metrics.
        for name in {line.shown_as for line in lines}.intersection(
            names[start : start + NAMES_AT_ONCE]
        ):
            shown[name].show(name)
    _show(metrics.MISSING, metrics.DAYS, missing)


def _show(gauge: Gauge, labels: Iterable[str], found: Mapping[str, float]) -> None:
    """What is not found is zero, not what it was."""
    for label in labels:
        gauge.labels(label).set(found.get(label, 0))


def _age(waited: timedelta) -> str:
    return next(name for name, end_s in AGES_S.items() if waited.total_seconds() < end_s)
