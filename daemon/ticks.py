"""A handful of ticks. None holds a rule or a state; a missed one is made up for by the next."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from daemon import metrics
from daemon.acquisition.line import Line
from daemon.control.authority import Authority
from daemon.site.listeners import Listener
from daemon.transactions.sweep import sweep
from storage import ledger, supply

log = structlog.get_logger("daemon")

LINES_AT_ONCE = 500
"""So many lines are looked at before they have their turn again."""

SWEEP_S = 10
FIGURES_S = 15
AUDIT_S = 60 * 60
GAP_SCAN_S = 15 * 60


@asynccontextmanager
async def ticking(
    pool: AsyncConnectionPool[Any],
    authority: Authority,
    routes: Iterable[Line],
    listeners: Collection[Listener],
    scan_gaps: Callable[[], Awaitable[None]],
) -> AsyncIterator[None]:
    """A handful of ticks. None holds a rule or a state; a missed one is made up for by the next."""

    async def sweep_accounts() -> None:
        async with pool.connection() as connection:
            await sweep(connection, authority, datetime.now(UTC))

    async def audit() -> None:
        async with pool.connection() as connection:
            await _show_ledger(connection)

    async def figures() -> None:
        await _show_lines(routes)
        for listener in listeners:
            listener.show()
        async with pool.connection() as connection:
            metrics.LEDGER_SUM.set(await ledger.sum_of_balances(connection))
            metrics.COMMANDS.clear()
            for action, state, count in await supply.commands_by_state(connection):
                metrics.COMMANDS.labels(action, state).set(count)

    scheduler = AsyncIOScheduler(
        timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True}
    )
    ticks: list[tuple[str, Callable[[], Awaitable[None]], int]] = [
        ("sweep", sweep_accounts, SWEEP_S),
        ("figures", figures, FIGURES_S),
        ("audit", audit, AUDIT_S),
        ("gap_scan", scan_gaps, GAP_SCAN_S),
    ]
    for name, tick, seconds in ticks:
        first = datetime.now(UTC) + timedelta(seconds=1 if name != "gap_scan" else seconds)
        scheduler.add_job(
            _tick,
            "interval",
            args=[name, tick],
            seconds=seconds,
            id=name,
            next_run_time=first,
        )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


async def _show_lines(lines: Iterable[Line]) -> None:
    """The lines' figures by the names they are shown as: all terminals of a listener are one."""
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for number, line in enumerate(list(lines)):
        if number % LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
        for place, figure in enumerate((*line.counts(), line.backed_off, line.is_silent)):
            sums[line.shown_as][place] += figure
    for name in {line.shown_as for line in lines} & sums.keys():
        figures = sums[name]
        for gauge, figure in zip(
            (metrics.WANTED, metrics.PRESENT, metrics.BACKED_OFF, metrics.SILENT),
            figures,
            strict=True,
        ):
            gauge.labels(name).set(figure)


async def _tick(name: str, tick: Callable[[], Awaitable[None]]) -> None:
    try:
        await tick()
        metrics.TICKS.labels(name, "ok").inc()
    except Exception:
        log.exception("tick failed", tick=name)
        metrics.TICKS.labels(name, "failed").inc()


async def _show_ledger(connection: AsyncConnection[Any]) -> None:
    found = await ledger.integrity(connection)
    metrics.LEDGER_TRANSACTIONS.set(found["transactions"])
    for kind in ("unbalanced_transactions", "wrong_balances", "wrong_streams"):
        metrics.LEDGER_FAULTS.labels(kind).set(found[kind])
    faults = {
        kind: count
        for kind, count in found.items()
        if count and kind not in ("transactions", "postings")
    }
    if faults:
        log.error("ledger is wrong", **faults)
