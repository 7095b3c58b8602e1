"""The composition root: what is opened, in which order, and closed in reverse."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from config.load import LoadedSite
from config.settings import ControlSection, Site
from daemon import local_socket, metrics, service, web
from daemon.acquisition.on_demand import OnDemand
from daemon.acquisition.route import Route
from daemon.acquisition.routes import Routes
from daemon.acquisition.wanted import due_day
from daemon.assembly import Assembly
from daemon.control import supply as control
from daemon.control.guard import Policy
from daemon.control.supply import Authority, SiteHold
from daemon.garbage import spare_what_is_there
from daemon.hold import hold_site_until, take_site
from daemon.listeners import Listener, open_listeners
from daemon.loop_lag import LoopLag
from daemon.pipeline import Pipeline
from daemon.reload import Configuration
from daemon.requests import Requests
from daemon.supervision import Supervisor, in_thread
from daemon.take_over import take_over_site
from storage import ledger, migrate, supply
from storage.database import open_database

log = structlog.get_logger("daemon")

STUCK_AFTER_S = 60.0
"""A line's task that took no step for so long is stuck: /healthz says so and systemd restarts the daemon."""
LINES_AT_ONCE = 500
"""So many lines are looked at before they have their turn again."""
TERMINALS_AT_ONCE = 8
"""Of the thousands of terminals of a listener so many serve commands at once."""
SWEEP_S = 10
FIGURES_S = 15
AUDIT_S = 60 * 60
GAP_SCAN_S = 15 * 60


async def run(site: LoadedSite) -> None:
    """Run the daemon until SIGTERM or SIGINT; before it is ready these cancel it. SIGHUP reads its files again."""
    stop, reload_asked = asyncio.Event(), asyncio.Event()
    starting = asyncio.current_task()
    assert starting is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, starting.cancel)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_asked.set)
    settings = site.settings
    metrics.BUILD.labels(version("meterd")).set(1)
    async with AsyncExitStack() as opened:
        port = opened.enter_context(web.listen(*settings.http.listen))
        configured = settings.database.url.reveal() if settings.database.url else None
        place = open_database(configured, settings.site.data_directory)
        database = await in_thread(partial(opened.enter_context, place))
        url = database.url
        authority = _authority(settings.control, settings.site.zone)
        assert authority.hold is not None
        holder = await take_site(url, authority.hold)
        opened.push_async_callback(holder.close)
        gate = opened.enter_context(local_socket.listen(settings.site.data_directory))
        log.info("database ready", schema=await in_thread(partial(migrate, url)), embedded=configured is None)
        pool = await opened.enter_async_context(open_pool(url, _lines(settings)))

        # What is opened later is closed earlier: lines may still hand something to the pipeline.
        storing = await opened.enter_async_context(Supervisor())
        listeners = await opened.enter_async_context(open_listeners(site))
        running, lag = Supervisor(), LoopLag()
        routes = Routes(running)
        pipeline = Pipeline(pool, authority, batch_readings=settings.collection.batch_readings, stored=routes.stored)
        opened.push_async_callback(pipeline.finish)
        await opened.enter_async_context(running)
        asking = await opened.enter_async_context(Supervisor())
        assembly = Assembly(
            *(pool, authority, pipeline),
            may_backfill=lambda: not (pipeline.is_behind or lag.is_late),
            listeners=listeners,
        )
        configuration = Configuration(site, routes, assembly, pool, reload_asked)
        on_demand = OnDemand(routes, today=lambda: due_day(datetime.now(authority.zone)))
        requests = Requests(routes, on_demand, configuration, listeners, authority.zone)

        async with pool.connection() as connection:
            meters = await take_over_site(connection, site, authority.zone)
            await control.resume(connection, datetime.now(UTC), shadow_mode=authority.shadow_mode)
            waiting = sum(n for action, state, n in await supply.commands_by_state(connection) if state == "persisted")
            if waiting and authority.shadow_mode:
                log.error("in shadow mode nothing is sent, and commands wait: customers may be dark", commands=waiting)
            storing.start("pipeline", pipeline.run)
            await configuration.start(connection, meters)
        await opened.enter_async_context(_ticking(pool, authority, routes, listeners.values(), configuration.rebuild))
        running.start("lag", lag.run)
        running.start("notifications", lambda: _wake_lines(url, routes))
        running.start("http", lambda: web.serve(port, lambda: health(routes, authority)))
        asking.start("reload", configuration.run)
        asking.start("requests", lambda: local_socket.serve(gate, requests.answer))
        asking.start("watchdog", lambda: _feed_watchdog(routes))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        spare_what_is_there()
        service.notify("READY=1")
        log.info(
            "ready",
            site=settings.site.name,
            lines=len(routes),
            meters=len(meters),
            mode=settings.control.mode,
            http=f"{settings.http.listen[0]}:{port.getsockname()[1]}",
        )
        await hold_site_until(stop, holder, database, authority.hold)
        service.notify("STOPPING=1")
        log.info("stopping")


def open_pool(url: str, lines: int) -> AsyncConnectionPool[Any]:
    """Connections for the pipeline, the ticks and as many lines as may serve commands at once."""
    return AsyncConnectionPool(
        url, min_size=2, max_size=min(20, 4 + lines), open=False, kwargs={"autocommit": True}, timeout=10
    )


def _lines(settings: Site) -> int:
    return len(settings.line) + len(settings.gateway) + TERMINALS_AT_ONCE * len(settings.listener)


def policy_of(section: ControlSection) -> Policy:
    """The guard's policy from the site's settings."""
    return Policy(
        max_reading_age=section.max_reading_age_h,
        window_start=section.window_start,
        window_end=section.window_end,
        working_days_only=section.working_days_only,
        holidays=section.holidays,
        makeup_workdays=section.makeup_workdays,
        no_trip_on_eve=section.no_trip_on_eve,
        written_required=section.written_notice_required,
        written_min=section.written_notice_min_h,
        written_max=section.written_notice_max_h,
        final_required=section.final_notice_required,
        final_min=section.final_notice_min_min,
        final_max=section.final_notice_max_h,
        approvals_required=section.approvals_required,
        min_debt_fen=section.min_debt_yuan,
        startup_hold=section.startup_hold_min,
    )


def _authority(section: ControlSection, zone: Any) -> Authority:
    return Authority(policy_of(section), zone, section.mode == "shadow", datetime.now(UTC), SiteHold())


async def _wake_lines(url: str, routes: Routes) -> None:
    """Wake a line as soon as a command for it is committed."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("LISTEN meterd_command")
        routes.wake(await supply.lines_with_commands(connection))
        async for notice in connection.notifies():
            routes.wake([notice.payload])


@asynccontextmanager
async def _ticking(
    pool: AsyncConnectionPool[Any],
    authority: Authority,
    routes: Iterable[Route],
    listeners: Collection[Listener],
    scan_gaps: Callable[[], Awaitable[None]],
) -> AsyncIterator[None]:
    """A handful of ticks. None holds a rule or a state; a missed one is made up for by the next."""

    async def sweep() -> None:
        async with pool.connection() as connection:
            await control.sweep(connection, authority, datetime.now(UTC))

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

    scheduler = AsyncIOScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True})
    ticks: list[tuple[str, Callable[[], Awaitable[None]], int]] = [
        ("sweep", sweep, SWEEP_S),
        ("figures", figures, FIGURES_S),
        ("audit", audit, AUDIT_S),
        ("gap_scan", scan_gaps, GAP_SCAN_S),
    ]
    for name, tick, seconds in ticks:
        first = datetime.now(UTC) + timedelta(seconds=1 if name != "gap_scan" else seconds)
        scheduler.add_job(_tick, "interval", args=[name, tick], seconds=seconds, id=name, next_run_time=first)
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


async def _show_lines(lines: Iterable[Route]) -> None:
    """The lines' figures by the names they are shown as: all terminals of a listener are one."""
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for number, line in enumerate(list(lines)):
        if number % LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
        for place, figure in enumerate((*line.counts(), line.parked, line.is_silent)):
            sums[line.shown_as][place] += figure
    for name in {line.shown_as for line in lines} & sums.keys():
        figures = sums[name]
        for gauge, figure in zip(
            (metrics.WANTED, metrics.PRESENT, metrics.PARKED, metrics.SILENT), figures, strict=True
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
    faults = {kind: count for kind, count in found.items() if count and kind not in ("transactions", "postings")}
    if faults:
        log.error("ledger is wrong", **faults)


def health(lines: Iterable[Route], authority: Authority) -> tuple[bool, dict[str, Any]]:
    """(no line is stuck, what /healthz shows). A line that is down, a listener none of whose terminals is connected, or
    a database that is away, degrades only."""
    now = time.monotonic()
    shown: dict[str, dict[str, Any]] = {}
    listeners: dict[str, dict[str, int]] = {}
    stuck: list[str] = []
    for line in lines:
        is_stuck = _is_stuck(line, now)
        if is_stuck:
            stuck.append(line.name)
        if line.is_one_of_many:
            listener = listeners.setdefault(line.shown_as, {"terminals": 0, "connected": 0})
            listener["terminals"] += 1
            listener["connected"] += line.up
            continue
        wanted, present = line.counts()
        shown[line.name] = {
            "up": line.up,
            "seconds_since_progress": round(now - line.progress, 1),
            "stuck": is_stuck,
            "wanted": wanted,
            "present": present,
        }
    down = [name for name, line in shown.items() if not line["up"]]
    down += [name for name, listener in listeners.items() if not listener["connected"]]
    database = "away" if authority.hold is not None and not authority.hold.database_process else "ok"
    status = "stuck" if stuck else "degraded" if down or database == "away" else "ok"
    mode = "shadow" if authority.shadow_mode else "auto"
    return not stuck, {
        "status": status,
        "mode": mode,
        "database": database,
        "stuck": stuck,
        "down": down,
        "lines": shown,
        "listeners": listeners,
    }


def _is_stuck(line: Route, now: float) -> bool:
    """It gave no sign of life for too long. A terminal's line gives none while it waits for the call."""
    waits = line.is_one_of_many and not line.up
    return not waits and now - line.progress > max(STUCK_AFTER_S, line.longest_step_s)


async def _feed_watchdog(lines: Iterable[Route]) -> None:
    """Tell systemd that we are alive as long as every line makes progress."""
    period_s = service.watchdog_period_s()
    while True:
        now = time.monotonic()
        if not any(_is_stuck(line, now) for line in lines):
            service.notify("WATCHDOG=1")
        await asyncio.sleep(period_s or STUCK_AFTER_S)
