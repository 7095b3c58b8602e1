"""A handful of ticks. None holds a rule or a state; a missed one is made up for by the next."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from psycopg import AsyncConnection

from daemon import metrics
from daemon.acquisition.line import Line
from daemon.acquisition.lines import Lines
from daemon.billing.standstill import REASONS, REMEMBERED, oldest_unwanted
from daemon.control.alarms import ALARMS, alarms_of, news
from daemon.control.authority import Authority
from daemon.figures import LEVELS, Recent, show_totals
from daemon.health import WorkDone
from daemon.quality.gap import gap_day
from daemon.runtime.purposes import Achieved
from daemon.runtime.supervision import Supervisor
from daemon.sending.outbox import Outbox
from daemon.site.assembly import staff_of
from daemon.site.listeners import Listener
from daemon.site.reload import Configuration, thresholds_of
from daemon.transactions.day_close import close_days, first_open_day
from daemon.transactions.disputes import judge_waiting
from daemon.transactions.forget import forget
from daemon.transactions.meter_orders import Ordering
from daemon.transactions.sealing import Verified, audit, seal
from daemon.transactions.soft_findings import (
    look_at_equal_registers,
    look_at_settings,
    look_at_uses,
)
from daemon.transactions.staff_alarms import Untaken, call_staff
from daemon.transactions.supply_cases import open_cases, supply_alarms
from daemon.transactions.sweep import sweep
from storage import figures, gaps, ledger, retention, settling, standstill, supply
from storage.database import LONG_USE_S, Pool

log = structlog.get_logger("daemon")

FIRST_S = 1
SWEEP_S = 10
FIGURES_S = 15
TOTALS_S = 60
DOUBTS_S = 15
FAILURES_S = 5
"""Whoever asks why it is dark hears of a line that is down, or of a silent meter, at once."""
DAY_CLOSE_S = 60
SEAL_S = 10
NOTICES_S = 10
CALLS_S = 5
ALARMS_S = 15
ORDERS_S = 10
WARNINGS_S = 60 * 60
AUDIT_S = 60 * 60
GAP_SCAN_S = 15 * 60
STANDSTILL_S = 5 * 60
DAY_S = 24 * 60 * 60
UNWANTED_S = 10.0
UNWANTED_SHARE = 0.1
"""Of the time, at the most, for looks that come before their period."""
AGAIN_S = 5.0
"""Before what the database failed is done again: a fault that is over is not felt for a period, or
a day, more."""
RESTS: Final = 9
"""What is done once a day rests so many times as long as it took to fail."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What is done every so many seconds.

    `run` may say in how many seconds it wants to be done again already."""

    name: str
    run: Callable[[], Awaitable[float | None]]
    period_s: int
    first_after_s: float = FIRST_S
    again_s: float = AGAIN_S


@dataclass(frozen=True, slots=True)
class Daily:
    """What is done once a day, at an hour of the site at which it disturbs nobody.

    `first_after_s`: and so long after a start, for a daemon that never runs at that hour."""

    name: str
    run: Callable[[], Awaitable[float | None]]
    at: time
    first_after_s: int
    again_s: float = AGAIN_S

    def trigger(self, zone: ZoneInfo, started: datetime) -> OrTrigger:
        """When it is due."""
        first = DateTrigger(started + timedelta(seconds=self.first_after_s))
        hour = CronTrigger(hour=self.at.hour, minute=self.at.minute, timezone=zone)
        return OrTrigger([first, hour])


async def forget_old(pool: Pool, now: datetime) -> None:
    """What was kept long enough at `now` goes; what could not go now goes with the next tick."""
    gone: Counter[str] = Counter()
    try:
        async for table, rows in forget(pool, now):
            metrics.RETENTION_DELETED.labels(table).inc(rows)
            gone[table] += rows
    finally:
        log.info("retention", deleted=gone.total(), **+gone)
    async with pool.connection(lasts_s=LONG_USE_S) as connection:
        kept = await retention.kept(connection)
    for row in kept:
        if row.keep is not None:
            age = timedelta(0) if row.oldest is None else now - row.oldest
            metrics.RETENTION_OLDEST.labels(row.table_name).set(age.total_seconds())
    metrics.RETENTION_SUCCESS.set(now.timestamp())


@asynccontextmanager
async def ticking(
    pool: Pool,
    authority: Authority,
    lines: Lines,
    listeners: Collection[Listener],
    configuration: Configuration,
    settle_soon: Callable[[], None],
    work: WorkDone,
) -> AsyncIterator[Callable[[], None]]:
    """Run the ticks while the context is open.

    Yields what is to be called when the wall clock was stepped: what is due at an hour of the site
    is planned anew."""
    work.achieved.begin()
    ticks = [
        Tick("sweep", _Sweep(pool, authority, settle_soon).run, SWEEP_S),
        Tick("figures", Recent(pool, lines, listeners, work.achieved).look, FIGURES_S),
        Tick("totals", partial(show_totals, pool, authority), TOTALS_S),
        Tick("doubts", configuration.look_for_doubts, DOUBTS_S),
        Tick("orders", partial(_order, pool, Ordering(authority)), ORDERS_S),
        Tick("alarms", _Alarms(pool, authority, lines, configuration, work).run, ALARMS_S),
        Tick("failures", partial(_write_failures, pool, lines), FAILURES_S),
        Tick("seal", partial(_seal, pool), SEAL_S),
        Tick(
            "day_close",
            partial(close_over_days, pool, authority, work, settle_soon),
            DAY_CLOSE_S,
        ),
        Tick("audit", _Audit(pool).run, AUDIT_S),
        Tick(
            "standstill",
            partial(_show_standstill, pool, authority, lines, work),
            STANDSTILL_S,
            # What was missing while the daemon was away comes first.
            first_after_s=60,
        ),
        # The start has just rebuilt what is present; there is no gap to look for yet.
        Tick("gap_scan", configuration.refresh, GAP_SCAN_S, first_after_s=GAP_SCAN_S),
    ]
    dailies = [
        Daily("books", partial(_look_at_books, pool), time(3, 5), first_after_s=FIRST_S),
        # The freezes of the day are there, and can still be looked at before anybody is cut.
        Daily(
            "uses",
            partial(_look_at_uses, pool, authority, configuration),
            time(6),
            first_after_s=10 * 60,
        ),
        Daily("retention", partial(_forget, pool), time(4, 5), first_after_s=15 * 60),
    ]
    failing: set[str] = set()
    async with repeating(ticks, failing, work.achieved):
        scheduler = scheduled(dailies, authority.zone, failing, work.achieved)
        try:
            yield scheduler.wakeup
        finally:
            scheduler.shutdown(wait=False)


@asynccontextmanager
async def telling(outbox: Outbox, work: WorkDone) -> AsyncIterator[None]:
    """Run the ticks that tell customers and staff something while the context is open."""
    ticks = [
        Tick("notices", outbox.look, NOTICES_S),
        # By itself: whoever is on call does not wait until all customers were told.
        Tick("calls", outbox.send_calls, CALLS_S),
        # Of all accounts, when the start is over.
        Tick("warnings", outbox.look_ahead, WARNINGS_S, first_after_s=5 * 60),
    ]
    async with repeating(ticks, set(), work.achieved):
        yield


@asynccontextmanager
async def repeating(
    ticks: Iterable[Tick], failing: set[str], achieved: Achieved
) -> AsyncIterator[None]:
    """Run them while the context is open."""
    async with Supervisor() as running:
        for tick in ticks:
            _begin(tick.name, tick.period_s)
            repeat = partial(_repeat, tick, failing, achieved)
            running.start(f"tick {tick.name}", repeat, kind="tick")
        yield


def scheduled(
    dailies: Iterable[Daily], zone: ZoneInfo, failing: set[str], achieved: Achieved
) -> AsyncIOScheduler:
    """The scheduler that calls them, started: calendars and zones with summer time are its work."""
    scheduler = AsyncIOScheduler(
        timezone=zone, job_defaults={"misfire_grace_time": None, "coalesce": True}
    )
    for daily in dailies:
        _begin(daily.name, DAY_S)
        trigger = daily.trigger(zone, datetime.now(UTC))
        scheduler.add_job(_once, trigger, args=[daily, failing, achieved], id=daily.name)
    scheduler.start()
    return scheduler


def _begin(name: str, period_s: int) -> None:
    metrics.TICK_PERIOD.labels(name).set(period_s)
    metrics.born(metrics.TICKS, [name], ("ok", "failed"))
    metrics.born(metrics.TICK_SECONDS, [name])
    metrics.born(metrics.TICK_SUCCESS, [name])


async def _repeat(tick: Tick, failing: set[str], achieved: Achieved) -> None:
    """Until cancelled, by the monotonic clock: no step of the wall clock keeps a tick waiting (B7).

    One that takes longer than its period begins anew at once, and what it missed is not made up
    for."""
    due_s = monotonic() + tick.first_after_s
    while True:
        await asyncio.sleep(due_s - monotonic())
        again_in_s = await _run(tick, failing, achieved)
        due_s = max(due_s + tick.period_s, monotonic())
        if again_in_s is not None:
            due_s = min(due_s, monotonic() + again_in_s)


async def _once(daily: Daily, failing: set[str], achieved: Achieved) -> None:
    # Cancelled is the end of the daemon, which the scheduler would log as a fault.
    with suppress(asyncio.CancelledError):
        began_s = monotonic()
        while (again_in_s := await _run(daily, failing, achieved)) is not None:
            # It may read whole tables, and fail for good.
            await asyncio.sleep(max(again_in_s, RESTS * (monotonic() - began_s)))
            began_s = monotonic()


async def _run(tick: Tick | Daily, failing: set[str], achieved: Achieved) -> float | None:
    """In how many seconds it is to be done again, where that is sooner than its period.

    `failing`: the ticks that the database failed the last time, each told once."""
    began_s = monotonic()
    try:
        with metrics.TICK_SECONDS.labels(tick.name).time():
            again_in_s = await tick.run()
    except psycopg.Error as error:
        if tick.name not in failing:
            log.warning("tick failed, the next tries again", tick=tick.name, error=str(error))
            failing.add(tick.name)
        metrics.TICKS.labels(tick.name, "failed").inc()
        # Half of the time at least is left to others, however long it takes to fail.
        return max(tick.again_s, monotonic() - began_s)
    except Exception:
        log.exception("tick failed", tick=tick.name)
        metrics.TICKS.labels(tick.name, "failed").inc()
    else:
        failing.discard(tick.name)
        achieved.note(tick.name)
        metrics.TICK_SUCCESS.labels(tick.name).set_to_current_time()
        metrics.TICKS.labels(tick.name, "ok").inc()
        return again_in_s
    return None


@dataclass(slots=True)
class _Sweep:
    """Looks whether money and supply fit together."""

    pool: Pool
    authority: Authority
    settle_soon: Callable[[], None]
    asked_about: int = 0
    """Up to which of the accounts that owe the last sweep came."""

    async def run(self) -> None:
        async with self.pool.connection(lasts_s=LONG_USE_S) as connection:
            await judge_waiting(connection, self.authority.zone)
            # Whoever settles knows when money has to wait for readings.
            self.settle_soon()
            await _compare_clocks(connection, self.authority)
            now = await supply.database_clock(connection)
            self.asked_about = await sweep(connection, self.authority, now, self.asked_about)


async def _order(pool: Pool, ordering: Ordering) -> None:
    async with pool.connection(lasts_s=LONG_USE_S) as connection:
        await ordering.look(connection)


async def _compare_clocks(connection: AsyncConnection[Any], authority: Authority) -> None:
    before = datetime.now(UTC)
    database = await supply.database_clock(connection)
    after = datetime.now(UTC)
    # Where between both it was that the database looked is not known: only what is outside is off.
    authority.clocks.see(min(max(database, before), after), database)


async def _look_at_uses(pool: Pool, authority: Authority, configuration: Configuration) -> None:
    async with pool.connection(lasts_s=LONG_USE_S) as connection:
        now = datetime.now(UTC)
        await look_at_uses(connection, authority.zone, now, thresholds_of(configuration.site))
        await look_at_equal_registers(connection, authority.zone, now)
        await look_at_settings(connection, authority.zone, now)


async def _forget(pool: Pool) -> None:
    await forget_old(pool, datetime.now(UTC))


async def _show_standstill(
    pool: Pool, authority: Authority, lines: Iterable[Line], work: WorkDone
) -> float | None:
    """Billed or named: whoever is not billed to yesterday is counted with the reason.

    What makes health bad is looked for again soon: it may be settled."""
    began_s = monotonic()
    asked = standstill.Question(
        due=gap_day(datetime.now(authority.zone)),
        lines=[line.name for line in lines],
        kept_days=REMEMBERED,
    )
    async with pool.connection(lasts_s=LONG_USE_S) as connection:
        counts = await standstill.counts(connection, asked, list(metrics.DAYS.values()))
        points = await figures.points(connection)
    work.counts = counts.of_reasons
    ages = dict(zip(metrics.DAYS, counts.of_ages, strict=True))
    ages["0"] += points - sum(count for count, _ in counts.of_reasons.values())
    for days, count in ages.items():
        metrics.BALANCE_AGE.labels(days).set(count)
    for reason in REASONS:
        points, age_days = work.counts.get(reason, (0, 0))
        metrics.STANDSTILL.labels(reason).set(points)
        metrics.STANDSTILL_AGE.labels(reason).set(age_days)
    if oldest_unwanted(work.counts) <= work.most_days:
        return None
    return max(UNWANTED_S, (monotonic() - began_s) / UNWANTED_SHARE)


async def _write_failures(pool: Pool, lines: Lines) -> None:
    """Why slots are missing, so that it is known without the daemon and after a restart."""
    failures = lines.drain_failures()
    try:
        async with pool.connection() as connection:
            await gaps.write_down(connection, failures)
    except psycopg.Error:
        lines.put_back(failures)
        raise


async def _seal(pool: Pool) -> None:
    async with pool.connection(lasts_s=LONG_USE_S) as connection:
        await seal(connection, datetime.now(UTC))


@dataclass(slots=True)
class _Alarms:
    """What a person has to know of supply, told when there is more of it, and when it is over."""

    pool: Pool
    authority: Authority
    lines: Lines
    configuration: Configuration
    work: WorkDone

    async def run(self) -> None:
        staff = staff_of(self.configuration.site)
        async with self.pool.connection(lasts_s=LONG_USE_S) as connection:
            now = await supply.database_clock(connection)
            await open_cases(connection, now)
            rows = await supply_alarms(
                connection,
                [line.name for line in self.lines],
                now,
                shadow_mode=self.authority.shadow_mode,
            )
            if staff.persons:
                untaken = await call_staff(connection, staff, rows, now)
            else:
                untaken = Untaken()
        found = alarms_of(rows, now)
        more, over = news(self.work.alarms, found)
        self.work.alarms = found
        for alarm in more:
            log.error(alarm.word, alarm=alarm.kind, count=alarm.count, first=alarm.first)
        for kind in over:
            log.info("alarm is over", alarm=kind)
        for kind in ALARMS:
            alarm_now = found.get(kind)
            metrics.ALARMS.labels(kind).set(alarm_now.count if alarm_now else 0)
            metrics.ALARM_AGE.labels(kind).set(alarm_now.oldest_s if alarm_now else 0)
        for level in LEVELS:
            metrics.STAFF_ALARMS.labels(level).set(untaken.levels.get(int(level), 0))
        oldest_at = untaken.oldest_at or now
        metrics.STAFF_ALARM_AGE.set((now - oldest_at).total_seconds())


async def close_over_days(
    pool: Pool, authority: Authority, work: WorkDone, settle_soon: Callable[[], None]
) -> None:
    """Days whose end has come; whoever pays by the day is settled at once."""
    try:
        async with pool.connection(lasts_s=LONG_USE_S) as connection:
            now = await settling.latest_mark(connection)
            if work.next_day is None:
                # Days that are late are shown too where none could be closed since the start.
                work.next_day = await first_open_day(connection)
            next_day = await close_days(connection, authority.zone, now)
        if next_day != work.next_day:
            settle_soon()
        work.next_day = next_day
    finally:
        metrics.DAYS_NOT_CLOSED.set(work.late_days(datetime.now(UTC), authority.zone))


@dataclass(slots=True)
class _Audit:
    """The blocks that were sealed since the last look: what it costs does not grow with history."""

    pool: Pool
    before: Verified | None = None
    """What the last look found that found no fault; None: the daemon has just begun."""

    async def run(self) -> None:
        since = datetime.now(UTC) - timedelta(seconds=2 * AUDIT_S)
        async with self.pool.connection(lasts_s=LONG_USE_S) as connection:
            found = await audit(connection, self.before, since)
        fault = found.fault if found else None
        metrics.LEDGER_FAULTS.labels("changed_rows").set(fault is not None)
        if fault is not None:
            log.error("ledger was changed", block=fault.block, told=fault.told)
        elif found is not None:
            self.before = found


async def _look_at_books(pool: Pool) -> None:
    """All of the ledger, once a day."""
    async with pool.connection(lasts_s=LONG_USE_S) as connection:
        found = await ledger.integrity(connection)
    for kind in ("unbalanced_transactions", "wrong_balances", "wrong_months", "misdated_charges"):
        metrics.LEDGER_FAULTS.labels(kind).set(found[kind])
    sizes = ("transactions", "postings")
    faults = {kind: count for kind, count in found.items() if count and kind not in sizes}
    if faults:
        log.error("ledger is wrong", **faults)
