"""The composition root: what is opened, in which order, and closed in reverse."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from config.load import LoadedSite
from config.settings import BrokerSection, ControlSection, GatewaySection, LineSection
from daemon import metrics, service, web
from daemon.acquisition.conversation import Timing
from daemon.acquisition.deadlines import Deadlines
from daemon.acquisition.drivers import Credentials, driver_of
from daemon.acquisition.gateway import Gateway
from daemon.acquisition.line import Line
from daemon.acquisition.route import Pace
from daemon.acquisition.wanted import due_day, first_day
from daemon.billing.accounts import billed_point, open_accounts
from daemon.control import supply as control
from daemon.control.guard import Policy
from daemon.control.supply import Authority, SiteHold
from daemon.hold import hold_site_until, take_site
from daemon.pipeline import Pipeline
from daemon.supervision import in_thread, supervised
from protocols.channels.mqtt import Broker, MqttChannel, Tls
from protocols.channels.serial import SerialChannel
from protocols.channels.tcp import TcpChannel
from protocols.mqtt.events import Family
from protocols.mqtt.own import OwnForm
from protocols.mqtt.shelly import Shelly
from protocols.mqtt.state_grid import StateGrid
from protocols.mqtt.tasmota import Tasmota
from storage import archive, ledger, migrate, readings, supply
from storage.archive import SiteMeter
from storage.database import open_database

log = structlog.get_logger("daemon")

STUCK_AFTER_S = 60.0
"""A line's task that took no step for so long is stuck: /healthz says so and systemd restarts the daemon."""
SWEEP_S = 10
FIGURES_S = 15
AUDIT_S = 60 * 60
GAP_SCAN_S = 15 * 60


async def run(site: LoadedSite) -> None:
    """Run the daemon until SIGTERM or SIGINT; before it is ready these cancel it."""
    stop = asyncio.Event()
    starting = asyncio.current_task()
    assert starting is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, starting.cancel)
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
        log.info("database ready", schema=await in_thread(partial(migrate, url)), embedded=configured is None)
        pool = await opened.enter_async_context(open_pool(url, len(settings.line) + len(settings.gateway)))

        async with pool.connection() as connection:
            await take_over_archive(connection, site)
            all_meters = await archive.site_meters(connection)
            meters = _configured(all_meters, site)
            points = {meter.point_id: billed_point(meter) for meter in all_meters}
            await open_accounts(connection, points, authority.zone, datetime.now(UTC))
            await control.resume(connection, datetime.now(UTC), shadow_mode=authority.shadow_mode)
            waiting = sum(n for action, state, n in await supply.commands_by_state(connection) if state == "persisted")
            if waiting and authority.shadow_mode:
                log.error("in shadow mode nothing is sent, and commands wait: customers may be dark", commands=waiting)
        lines: list[Line | Gateway] = []
        deadlines = Deadlines()
        pipeline = Pipeline(
            pool,
            authority,
            batch_readings=settings.collection.batch_readings,
            stored=lambda slots: _fill(lines, slots),
        )
        lines += [
            _line(section, site, meters, pool, authority, pipeline, deadlines)
            for section in settings.line
            if section.enabled
        ]
        lines += [
            _gateway(section, site, meters, pool, authority, pipeline)
            for section in settings.gateway
            if section.enabled
        ]
        await _rebuild(pool, lines, site)

        await opened.enter_async_context(_ticking(pool, authority, lines, site))
        tasks = {
            "pipeline": pipeline.run,
            "notifications": lambda: _wake_lines(url, lines),
            "http": lambda: web.serve(port, lambda: health(lines, authority)),
            **{f"line {line.name}": line.run for line in lines},
        }
        await opened.enter_async_context(supervised(tasks, last="pipeline"))
        await opened.enter_async_context(supervised({"watchdog": lambda: _feed_watchdog(lines, authority)}))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        service.notify("READY=1")
        log.info(
            "ready",
            site=settings.site.name,
            lines=len(lines),
            meters=len(meters),
            mode=settings.control.mode,
            http=f"{settings.http.listen[0]}:{port.getsockname()[1]}",
        )
        await hold_site_until(stop, holder, database, authority.hold)
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
    return Authority(policy_of(section), zone, section.mode == "shadow", datetime.now(UTC), SiteHold())


def _line(
    section: LineSection,
    site: LoadedSite,
    meters: Sequence[SiteMeter],
    pool: AsyncConnectionPool[Any],
    authority: Authority,
    pipeline: Pipeline,
    deadlines: Deadlines,
) -> Line:
    collection, control_section = site.settings.collection, site.settings.control
    credentials = None
    if control_section.password is not None:
        credentials = Credentials(control_section.level, control_section.operator, control_section.password)

    def open_channel() -> Any:
        if section.tcp is not None:
            return TcpChannel(*section.tcp)
        if section.mqtt is not None:
            mqtt = section.mqtt
            broker = broker_of(mqtt, _client_id(site, section.name))
            return MqttChannel(broker, down=mqtt.down, up=mqtt.up, wrapping=mqtt.wrapping, field=mqtt.field)
        return SerialChannel(str(section.serial), section.baud, section.parity)

    here = [meter for meter in meters if meter.line == section.name]
    relays = {meter.address for meter in site.archive.meters if meter.relay}
    return Line(
        section.name,
        here,
        driver_of=lambda meter: driver_of(meter, site.archive.profiles, has_relay=meter.address in relays),
        open_channel=open_channel,
        timing=Timing(reply_timeout_s=section.reply_timeout_s, retries=section.retries),
        pace=Pace(collection.retry_s.total_seconds(), collection.reconnect_s.total_seconds()),
        backfill_days=collection.backfill_days,
        trace=section.name in site.settings.log.trace_lines,
        pool=pool,
        authority=authority,
        credentials=credentials,
        hand_on=pipeline.offer,
        deadlines=deadlines,
        may_backfill=lambda: not pipeline.is_behind,
    )


async def _wake_lines(url: str, lines: Sequence[Line | Gateway]) -> None:
    """Wake a line as soon as a command for it is committed."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("LISTEN meterd_command")
        for line in lines:
            line.wake()
        async for notice in connection.notifies():
            for line in lines:
                if line.name == notice.payload:
                    line.wake()


def _gateway(
    section: GatewaySection,
    site: LoadedSite,
    meters: Sequence[SiteMeter],
    pool: AsyncConnectionPool[Any],
    authority: Authority,
    pipeline: Pipeline,
) -> Gateway:
    collection = site.settings.collection
    here = [meter for meter in meters if meter.line == section.name]
    devices = {meter.address: meter.device for meter in site.archive.meters}
    names = [devices[meter.address] for meter in here]
    us = _client_id(site, section.name)
    family: Family
    match section.family:
        case "meterd":
            family = OwnForm(section.prefix, section.name)
        case "tasmota":
            family = Tasmota(names)
        case "shelly":
            family = Shelly(names, us, section.component)
        case "state-grid":
            family = StateGrid(section.app, section.registers, reporters=section.reporters)
    return Gateway(
        section.name,
        here,
        broker=broker_of(section.broker, us),
        family=family,
        devices=devices,
        reply_timeout_s=section.reply_timeout_s,
        pace=Pace(collection.retry_s.total_seconds(), collection.reconnect_s.total_seconds()),
        backfill_days=collection.backfill_days,
        trace=section.name in site.settings.log.trace_lines,
        pool=pool,
        authority=authority,
        hand_on=pipeline.put,
        relays={meter.address for meter in site.archive.meters if meter.relay},
    )


def _client_id(site: LoadedSite, route: str) -> str:
    """Who we are at a broker. It is part of topics, where some characters mean something else."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"meterd-{site.settings.site.name}-{route}")


def broker_of(section: BrokerSection, client_id: str) -> Broker:
    """The broker as the channel wants it; `client_id` is used where the site names none."""
    tls = Tls(section.tls_ca, section.tls_certificate, section.tls_key) if section.tls_ca else None
    return Broker(
        section.host,
        section.port,
        section.client_id or client_id,
        version=section.version,
        user=section.user,
        password=section.password.reveal() if section.password else None,
        tls=tls,
    )


@asynccontextmanager
async def _ticking(
    pool: AsyncConnectionPool[Any], authority: Authority, lines: Sequence[Line | Gateway], site: LoadedSite
) -> AsyncIterator[None]:
    """A handful of ticks. None holds a rule or a state; a missed one is made up for by the next."""

    async def sweep() -> None:
        async with pool.connection() as connection:
            await control.sweep(connection, authority, datetime.now(UTC))

    async def audit() -> None:
        async with pool.connection() as connection:
            await _show_ledger(connection)

    async def figures() -> None:
        _show_lines(lines)
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


def _show_lines(lines: Sequence[Line | Gateway]) -> None:
    """The lines' figures by the names they are shown as: all terminals of a listener are one."""
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for line in lines:
        for place, figure in enumerate((*line.counts(), line.parked, line.is_silent)):
            sums[line.shown_as][place] += figure
    for name, figures in sums.items():
        for gauge, figure in zip((metrics.WANTED, metrics.PRESENT, metrics.PARKED, metrics.SILENT), figures, strict=True):
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


def _fill(lines: Sequence[Line | Gateway], slots: Sequence[tuple[int, date]]) -> None:
    for line in lines:
        for meter_id, day in slots:
            line.stored(meter_id, day)


async def _rebuild(pool: AsyncConnectionPool[Any], lines: Sequence[Line | Gateway], site: LoadedSite) -> None:
    """Presence is a cache of what the database has; gaps that remain are logged, one line per line."""
    since = first_day(due_day(datetime.now(site.settings.site.zone)), site.settings.collection.backfill_days)
    async with pool.connection() as connection:
        present = await readings.present_days(connection, since)
    for line in lines:
        line.rebuild(present)
        wanted, filled = line.counts()
        log.info("gaps", line=line.name, wanted=wanted, present=filled)


def health(lines: Sequence[Line | Gateway], authority: Authority) -> tuple[bool, dict[str, Any]]:
    """(no line is stuck, what /healthz shows). A line that is down, or a database that is away, degrades only."""
    now = time.monotonic()
    shown: dict[str, dict[str, Any]] = {}
    for line in lines:
        wanted, present = line.counts()
        shown[line.name] = {
            "up": line.up,
            "seconds_since_progress": round(now - line.progress, 1),
            "stuck": now - line.progress > max(STUCK_AFTER_S, line.longest_step_s),
            "wanted": wanted,
            "present": present,
        }
    stuck = [name for name, line in shown.items() if line["stuck"]]
    down = [name for name, line in shown.items() if not line["up"]]
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
    }


async def _feed_watchdog(lines: Sequence[Line | Gateway], authority: Authority) -> None:
    """Tell systemd that we are alive as long as every line makes progress."""
    period_s = service.watchdog_period_s()
    while True:
        if health(lines, authority)[0]:
            service.notify("WATCHDOG=1")
        await asyncio.sleep(period_s or STUCK_AFTER_S)
