"""The composition root: what is opened, in which order, and closed in reverse."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from typing import Any

import psycopg
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from config.load import LoadedSite
from config.settings import ControlSection, LineSection
from daemon import metrics, service, web
from daemon.acquisition.conversation import Timing
from daemon.acquisition.drivers import Credentials, driver_of
from daemon.acquisition.line import Line, Pace
from daemon.acquisition.wanted import due_day, first_day
from daemon.billing.accounts import billed_point, open_accounts
from daemon.control import supply as control
from daemon.control.guard import Policy
from daemon.control.supply import Authority
from daemon.pipeline import Pipeline
from protocols.channels.serial import SerialChannel
from protocols.channels.tcp import TcpChannel
from protocols.errors import MeterdError
from storage import archive, ledger, migrate, readings, supply
from storage.archive import SiteMeter
from storage.database import database_url

log = structlog.get_logger("daemon")

STUCK_AFTER_S = 60.0
"""A line's task that took no step for so long is stuck: /healthz says so and systemd restarts the daemon."""
SWEEP_S = 10
FIGURES_S = 15
GAP_SCAN_S = 15 * 60
SITE_LOCK = 0x6D657472
"""Advisory lock of the one daemon that may act on this database."""
TRY_LOCK = "SELECT pg_try_advisory_lock(%s)"
HOLD_CHECK_S = 2.0
LOCK_WAIT_S = 5.0
"""A killed predecessor's lock goes away with its connection; longer than this it is a living daemon."""
STOP_S = 3.0
RESTART_PAUSE_S = (1, 2, 5, 10, 30)


class AnotherDaemon(MeterdError):
    """Another daemon acts on this database. Two could cut one customer twice, so this one does not start."""


async def run(site: LoadedSite) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = site.settings
    metrics.BUILD.labels(version("meterd")).set(1)
    async with AsyncExitStack() as opened:
        port = opened.enter_context(web.listen(*settings.http.listen))
        configured = settings.database.url.reveal() if settings.database.url else None
        url = opened.enter_context(database_url(configured, settings.site.data_directory))
        log.info("database ready", schema=migrate(url), embedded=configured is None)
        pool = await opened.enter_async_context(open_pool(url, len(settings.line)))
        authority = _authority(settings.control, settings.site.zone)
        holder = await _take_site(url)
        opened.push_async_callback(holder.close)

        async with pool.connection() as connection:
            await take_over_archive(connection, site)
            meters = _configured(await archive.site_meters(connection), site)
            points = {meter.point_id: billed_point(meter) for meter in meters}
            await open_accounts(connection, points, authority.zone, datetime.now(UTC))
            await control.resume(connection, datetime.now(UTC))
            waiting = sum(n for action, state, n in await supply.commands_by_state(connection) if state == "persisted")
            if waiting and authority.shadow_mode:
                log.error("in shadow mode nothing is sent, and commands wait: customers may be dark", commands=waiting)
        lines: list[Line] = []
        pipeline = Pipeline(
            pool,
            authority,
            batch_readings=settings.collection.batch_readings,
            stored=lambda slots: _fill(lines, slots),
        )
        lines += [
            _line(section, site, meters, pool, authority, pipeline) for section in settings.line if section.enabled
        ]
        await _rebuild(pool, lines, site)

        await opened.enter_async_context(_ticking(pool, authority, lines, site))
        tasks = {
            "pipeline": pipeline.run,
            "notifications": lambda: _wake_lines(url, lines),
            "http": lambda: web.serve(port, lambda: health(lines, authority)),
            **{f"line {line.name}": line.run for line in lines},
        }
        await opened.enter_async_context(_supervised(tasks, last="pipeline"))
        await opened.enter_async_context(_supervised({"watchdog": lambda: _feed_watchdog(lines, authority)}))
        service.notify("READY=1")
        log.info(
            "ready",
            site=settings.site.name,
            lines=len(lines),
            meters=len(meters),
            mode=settings.control.mode,
            http=f"{settings.http.listen[0]}:{port.getsockname()[1]}",
        )
        await _hold_site_until(stop, holder, url)
        service.notify("STOPPING=1")
        log.info("stopping")


async def take_over_archive(connection: AsyncConnection[Any], site: LoadedSite) -> None:
    """Bring accounts, points, meters and tariffs of the configuration into the database."""
    await archive.take_over(
        connection,
        tariffs=[(v.tariff, v.effective_from, v.price) for versions in site.tariffs.values() for v in versions],
        accounts=[
            (
                *(a.account, a.name, a.tariff, a.agreement, a.open_from),
                *(a.warn_fen, a.trip_fen, a.reconnect_fen, a.credit_limit_fen),
            )
            for a in site.archive.accounts
        ],
        points=[
            (p.point, p.account, p.area, p.ratio, p.max_daily_kwh, p.reconnect, p.protected, p.life_support)
            for p in site.archive.points
        ],
        meters=[
            (
                *(m.address, m.line, m.protocol, int(m.modulus_kwh.scaleb(m.decimals)), m.decimals),
                *(m.point, m.installed_on, m.profile),
            )
            for m in site.archive.meters
        ],
    )


def _configured(meters: Sequence[SiteMeter], site: LoadedSite) -> list[SiteMeter]:
    """The meters that the archive still names. Taking one out ends its polling, not what it was billed for."""
    named = {meter.address for meter in site.archive.meters}
    left_out = [meter.address for meter in meters if meter.address not in named]
    if left_out:
        log.warning("meters not in the archive are not polled", count=len(left_out), first=left_out[0])
    return [meter for meter in meters if meter.address in named]


def open_pool(url: str, lines: int) -> AsyncConnectionPool[Any]:
    """Connections for the pipeline, the ticks and as many lines as may serve commands at once."""
    return AsyncConnectionPool(
        url, min_size=2, max_size=min(20, 4 + lines), open=False, kwargs={"autocommit": True}, timeout=10
    )


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
    return Authority(policy_of(section), zone, section.mode == "shadow", datetime.now(UTC))


def _line(
    section: LineSection,
    site: LoadedSite,
    meters: Sequence[SiteMeter],
    pool: AsyncConnectionPool[Any],
    authority: Authority,
    pipeline: Pipeline,
) -> Line:
    collection, control_section = site.settings.collection, site.settings.control
    credentials = None
    if control_section.password is not None:
        credentials = Credentials(control_section.level, control_section.operator, control_section.password)

    def open_channel() -> Any:
        if section.tcp is not None:
            return TcpChannel(*section.tcp)
        return SerialChannel(str(section.serial), section.baud, section.parity)

    here = [meter for meter in meters if meter.line == section.name]
    relays = {meter.address for meter in site.archive.meters if meter.has_relay}
    return Line(
        section.name,
        here,
        [driver_of(meter, site.archive.profiles, has_relay=meter.address in relays) for meter in here],
        open_channel=open_channel,
        timing=Timing(reply_timeout_s=section.reply_timeout_s, retries=section.retries),
        pace=Pace(collection.retry_s.total_seconds(), collection.reconnect_s.total_seconds()),
        backfill_days=collection.backfill_days,
        trace=section.name in site.settings.log.trace_lines,
        pool=pool,
        authority=authority,
        credentials=credentials,
        hand_on=pipeline.put,
    )


async def _take_site(url: str) -> AsyncConnection[Any]:
    """The connection whose lock makes this process the only one to act. AnotherDaemon when a living one has it."""
    connection = await AsyncConnection.connect(url, autocommit=True)
    give_up_at = time.monotonic() + LOCK_WAIT_S
    while (await (await connection.execute(TRY_LOCK, (SITE_LOCK,))).fetchone()) != (True,):
        if time.monotonic() > give_up_at:
            await connection.close()
            raise AnotherDaemon("another meterd acts on this database; stop it first")
        await asyncio.sleep(0.1)
    return connection


async def _hold_site_until(stop: asyncio.Event, holder: AsyncConnection[Any], url: str) -> None:
    """Until a signal asks to stop. When the database was away, the site is taken anew or this daemon ends."""
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), HOLD_CHECK_S)
        except TimeoutError:
            try:
                await holder.execute("SELECT 1")
            except psycopg.OperationalError:
                log.error("database away")
                while not stop.is_set():
                    try:
                        holder = await _take_site(url)
                        log.info("database back")
                        break
                    except psycopg.OperationalError:
                        await asyncio.sleep(HOLD_CHECK_S)
    await holder.close()


async def _wake_lines(url: str, lines: Sequence[Line]) -> None:
    """Wake a line as soon as a command for it is committed."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("LISTEN meterd_command")
        for line in lines:
            line.wake()
        async for notice in connection.notifies():
            for line in lines:
                if line.name == notice.payload:
                    line.wake()


@asynccontextmanager
async def _ticking(
    pool: AsyncConnectionPool[Any], authority: Authority, lines: Sequence[Line], site: LoadedSite
) -> AsyncIterator[None]:
    """A handful of ticks. None holds a rule or a state; a missed one is made up for by the next."""

    async def sweep() -> None:
        async with pool.connection() as connection:
            await control.sweep(connection, authority, datetime.now(UTC))

    async def figures() -> None:
        for line in lines:
            wanted, present = line.counts()
            metrics.WANTED.labels(line.name).set(wanted)
            metrics.PRESENT.labels(line.name).set(present)
        async with pool.connection() as connection:
            await _show_ledger(connection)
            metrics.COMMANDS.clear()
            for action, state, count in await supply.commands_by_state(connection):
                metrics.COMMANDS.labels(action, state).set(count)

    scheduler = AsyncIOScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True})
    ticks: list[tuple[str, Callable[[], Awaitable[None]], int]] = [
        ("sweep", sweep, SWEEP_S),
        ("figures", figures, FIGURES_S),
        ("gap_scan", lambda: _rebuild(pool, lines, site), GAP_SCAN_S),
    ]
    for name, tick, seconds in ticks:
        first = datetime.now(UTC) + timedelta(seconds=1 if name != "gap_scan" else seconds)
        scheduler.add_job(_tick, "interval", args=[name, tick], seconds=seconds, id=name, next_run_time=first)
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


async def _tick(name: str, tick: Callable[[], Awaitable[None]]) -> None:
    try:
        await tick()
        metrics.TICKS.labels(name, "ok").inc()
    except Exception:
        log.exception("tick failed", tick=name)
        metrics.TICKS.labels(name, "failed").inc()


async def _show_ledger(connection: AsyncConnection[Any]) -> None:
    found = await ledger.integrity(connection)
    metrics.LEDGER_SUM.set(found["sum_of_balances_fen"])
    metrics.LEDGER_TRANSACTIONS.set(found["transactions"])
    for kind in ("unbalanced_transactions", "wrong_balances", "wrong_streams"):
        metrics.LEDGER_FAULTS.labels(kind).set(found[kind])
    faults = {kind: count for kind, count in found.items() if count and kind not in ("transactions", "postings")}
    if faults:
        log.error("ledger is wrong", **faults)


def _fill(lines: Sequence[Line], slots: Sequence[tuple[int, date]]) -> None:
    for line in lines:
        for meter_id, day in slots:
            line.stored(meter_id, day)


async def _rebuild(pool: AsyncConnectionPool[Any], lines: Sequence[Line], site: LoadedSite) -> None:
    """Presence is a cache of what the database has; gaps that remain are logged, one line per line."""
    since = first_day(due_day(datetime.now(site.settings.site.zone)), site.settings.collection.backfill_days)
    async with pool.connection() as connection:
        present = await readings.present_days(connection, since)
    for line in lines:
        line.rebuild(present)
        wanted, filled = line.counts()
        log.info("gaps", line=line.name, wanted=wanted, present=filled)


@asynccontextmanager
async def _supervised(
    tasks: Mapping[str, Callable[[], Awaitable[None]]], *, last: str | None = None
) -> AsyncIterator[None]:
    """Keep tasks running: one that dies is started again after a growing pause, and counted.

    At the end all are cancelled and waited for, `last` after the others, because they may still hand it something.
    """
    running = {name: asyncio.create_task(_keep_running(name, start), name=name) for name, start in tasks.items()}
    try:
        yield
    finally:
        for group in ([task for name, task in running.items() if name != last], [running[last]] if last else []):
            for task in group:
                task.cancel()
            if group:
                await asyncio.wait(group, timeout=STOP_S)


async def _keep_running(name: str, start: Callable[[], Awaitable[None]]) -> None:
    deaths = 0
    while True:
        began = time.monotonic()
        try:
            await start()
        except Exception:
            log.exception("task died", task=name)
        else:
            log.error("task ended", task=name)
        metrics.TASK_RESTARTS.labels(name).inc()
        deaths = 0 if time.monotonic() - began > max(RESTART_PAUSE_S) else deaths + 1
        await asyncio.sleep(RESTART_PAUSE_S[min(deaths, len(RESTART_PAUSE_S) - 1)])


def health(lines: Sequence[Line], authority: Authority) -> tuple[bool, dict[str, Any]]:
    now = time.monotonic()
    shown: dict[str, dict[str, Any]] = {}
    for line in lines:
        wanted, present = line.counts()
        shown[line.name] = {
            "up": line.up,
            "seconds_since_progress": round(now - line.progress, 1),
            "stuck": now - line.progress > STUCK_AFTER_S,
            "wanted": wanted,
            "present": present,
        }
    stuck = [name for name, line in shown.items() if line["stuck"]]
    down = [name for name, line in shown.items() if not line["up"]]
    status = "stuck" if stuck else "degraded" if down else "ok"
    mode = "shadow" if authority.shadow_mode else "auto"
    return not stuck, {"status": status, "stuck": stuck, "down": down, "mode": mode, "lines": shown}


async def _feed_watchdog(lines: Sequence[Line], authority: Authority) -> None:
    """Tell systemd that we are alive as long as every line makes progress."""
    period_s = service.watchdog_period_s()
    while True:
        if health(lines, authority)[0]:
            service.notify("WATCHDOG=1")
        await asyncio.sleep(period_s or STUCK_AFTER_S)
