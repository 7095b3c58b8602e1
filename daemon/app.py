"""The composition root: what is opened, in which order, and closed in reverse."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from config.load import LoadedSite
from config.secret import revealed
from config.settings import Site
from daemon import figures, metrics
from daemon.acquisition.lines import Lines
from daemon.acquisition.on_demand import OnDemand
from daemon.acquisition.planning.wanted import due_day
from daemon.api import http, unix_socket
from daemon.api.kept_registers import keeping
from daemon.api.operations import Requests
from daemon.api.payment_queue import PaymentQueue
from daemon.api.receipts import Receipts
from daemon.backups.watching import show_newest
from daemon.control.authority import Authority
from daemon.health import WorkDone, feed_watchdog, health
from daemon.ownership.hold import ANSWER_S, hold_site
from daemon.pipeline.outlet import Outlet
from daemon.pipeline.pipeline import Pipeline
from daemon.runtime import host_clock, systemd
from daemon.runtime.garbage import spare_what_is_there
from daemon.runtime.host_clock import HostClock
from daemon.runtime.loop_lag import LoopLag
from daemon.runtime.supervision import Supervisor, in_thread, unless
from daemon.sending.channels import open_channels
from daemon.sending.outbox import Outbox
from daemon.site.assembly import Assembly, authority_of, credentials_of, telling_of
from daemon.site.hourly_reads import read_hourly
from daemon.site.joining import Joined, join, join_later, unjoined_meters
from daemon.site.listeners import Listener, open_listeners
from daemon.site.reload import Configuration
from daemon.spool.spool import open_spool
from daemon.ticks import telling, ticking
from storage import meter_orders, readings, supply
from storage.blame import is_of_the_whole
from storage.database import LONG_USE_S, Pool, bounded, connect, open_database

log = structlog.get_logger("daemon")

TERMINALS_AT_ONCE = 8
"""Commands that the thousands of terminals of one listener serve at once, at most."""
AGAIN_S = 5.0
SILENCE_S = 10.0
"""After so long without a notification it is asked whether the connection is still one."""
CLOSE_S = 1.0
"""Maximum time that the end of the daemon waits for connections that are being opened."""
SEVER_AFTER_S = 2.0
"""A stop lets the database answer for so long; then whoever waits for it gets an error."""


@dataclass(frozen=True)
class _Daemon:
    """What was opened. Nothing of it needs the database to be there."""

    site: LoadedSite
    authority: Authority
    pool: Pool
    port: socket.socket
    listening: socket.socket
    lines: Lines
    listeners: Mapping[str, Listener]
    pipeline: Pipeline
    configuration: Configuration
    lag: LoopLag
    missed: asyncio.Event
    doubted: asyncio.Event
    storing: Supervisor
    running: Supervisor
    asking: Supervisor
    work: WorkDone
    clock: HostClock
    stepped: asyncio.Event
    outbox: Outbox
    receipts: Receipts


async def run(site: LoadedSite) -> None:
    """Run the daemon until SIGTERM or SIGINT; before it is ready these cancel it.

    SIGHUP reads its files again. Where it ran before it starts without its database too, and
    collects until that is there; control stands still."""
    stop = asyncio.Event()
    starting = asyncio.current_task()
    assert starting is not None
    _on_stop_signals(starting.cancel)
    settings = site.settings
    metrics.BUILD.labels(version("meterd")).set(1)
    figures.begin()
    async with AsyncExitStack() as opened:
        # The port first: that it is taken is told before the database is touched.
        port = opened.enter_context(http.listen(*settings.http.listen))
        place = open_database(
            revealed(settings.database.url),
            settings.site.data_directory,
            owner=revealed(settings.database.migration_url),
        )
        database = await in_thread(partial(opened.enter_context, place))
        authority = authority_of(settings.control, settings.policy, settings.site.zone)
        pool = Pool(database.url, most=min(20, 4 + serving_at_once(settings)))
        opened.push_async_callback(pool.close, CLOSE_S)
        await pool.open()
        join_now = partial(join, site, database, pool, authority)
        joined = await _join_if_it_can_be(join_now, is_first=not _spool_directory(site).exists())
        daemon = await _open(opened, site, authority, pool, port, stores=joined is not None)
        if joined is not None:
            await _start(daemon, joined, opened)
            _serve(daemon)
            _on_stop_signals(stop.set)
        else:
            _on_stop_signals(stop.set)
            await daemon.configuration.start_alone(unjoined_meters(site))
            _serve(daemon)
            joined = await unless(stop, join_later(database, join_now))
            await daemon.configuration.stop()
            if joined is None:
                return
            await _start(daemon, joined, opened)
        assert authority.hold is not None
        on_return = partial(_use_what_is_there_again, pool, daemon.pipeline)
        await unless(stop, hold_site(joined.holder, database, authority.hold, on_return))


async def _join_if_it_can_be(
    join_now: Callable[[], Awaitable[Joined]], *, is_first: bool
) -> Joined | None:
    """None where the database cannot be used now; at a first start, psycopg.Error: the URL may be
    wrong."""
    try:
        return await join_now()
    except psycopg.Error as error:
        if is_first or not is_of_the_whole(error):
            raise
        log.error("the database cannot be used, collecting without it", error=str(error).strip())
        return None


async def _open(
    opened: AsyncExitStack,
    site: LoadedSite,
    authority: Authority,
    pool: Pool,
    port: socket.socket,
    *,
    stores: bool,
) -> _Daemon:
    """Everything that a daemon has, nothing running yet but what keeps readings."""
    settings = site.settings
    listening = opened.enter_context(unix_socket.listen(settings.site.data_directory))
    place = open_spool(_spool_directory(site), settings.spool.max_bytes)
    spool = await in_thread(partial(opened.enter_context, place))
    # What is opened later is closed earlier: lines may still hand something to the pipeline.
    storing = await opened.enter_async_context(Supervisor())
    listeners = await opened.enter_async_context(open_listeners(site))
    running = Supervisor()
    lag = LoopLag()
    lines = Lines(running)
    clock = HostClock(must_be_synchronised=settings.site.clock_must_be_synchronised)
    authority.clocks.doubt = lambda: clock.doubt
    missed = asyncio.Event()
    doubted = asyncio.Event()
    pipeline = Pipeline(
        pool,
        authority,
        spool,
        Outlet(
            meters=lines.meter,
            stored=lines.stored,
            kept=lines.kept,
            missed=missed.set,
            doubted=doubted.set,
        ),
        batch_readings=settings.collection.batch_readings,
        stores=stores,
    )
    opened.push_async_callback(pipeline.finish)
    await opened.enter_async_context(running)
    asking = await opened.enter_async_context(Supervisor())
    for listener in listeners.values():
        listener.on_challenge = lines.challenge
    assembly = Assembly(
        pool,
        authority,
        pipeline,
        may_backfill=lambda: not (pipeline.is_behind or lag.is_late),
        credentials=credentials_of(settings.control),
        listeners=listeners,
        clock_doubt=lambda: clock.doubt,
    )
    reload_asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_asked.set)
    configuration = Configuration(site, lines, assembly, pool, reload_asked)
    storing.start("spool", pipeline.keep)
    running.start("lag", lag.run)
    daemon = _Daemon(
        site,
        authority,
        pool,
        port,
        listening,
        lines,
        listeners,
        pipeline,
        configuration,
        lag,
        missed,
        doubted,
        storing,
        running,
        asking,
        WorkDone(settings.health.standstill_days),
        clock,
        asyncio.Event(),
        Outbox(pool, telling_of(site, authority), {}, {}),
        Receipts(pool, {}),
    )
    _prepare_channels(daemon, site)()
    configuration.prepare = partial(_prepare_channels, daemon)
    told_step = partial(_clock_stepped, daemon)
    running.start("clock", lambda: host_clock.watch(clock, lines.clock_skews_s, told_step))
    opened.callback(_begin_to_stop, daemon)
    return daemon


async def _start(daemon: _Daemon, joined: Joined, opened: AsyncExitStack) -> None:
    """Everything that needs the database."""
    opened.push_async_callback(joined.holder.close)
    authority = daemon.authority
    configuration = daemon.configuration
    async with daemon.pool.connection(lasts_s=LONG_USE_S) as connection:
        await _warn_of_waiting_commands(connection, authority)
        daemon.clock.arrived(await readings.newest_arrival(connection))
        await configuration.start(connection, joined.meters)
    # What waits on disk knows its meters by the lines.
    daemon.storing.start("pipeline", daemon.pipeline.run)
    daemon.storing.start("settlement", daemon.pipeline.settle)
    ticks = ticking(
        daemon.pool,
        authority,
        daemon.lines,
        daemon.listeners.values(),
        configuration,
        daemon.pipeline.settle_soon,
        daemon.work,
    )
    reschedule = await opened.enter_async_context(ticks)
    await opened.enter_async_context(telling(daemon.outbox, daemon.work))
    documented = asyncio.Event()
    daemon.running.start("notifications", lambda: _hear(daemon, documented))
    daemon.running.start("missed", lambda: _whenever(daemon.missed, configuration.rebuild))
    plan_anew = partial(_plan_anew, daemon, reschedule)
    daemon.running.start("stepped", lambda: _whenever(daemon.stepped, plan_anew))
    daemon.running.start("doubts", lambda: _whenever(daemon.doubted, configuration.look_for_doubts))
    follow = configuration.follow_documents
    daemon.running.start("documents", lambda: _whenever(documented, follow))
    daemon.asking.start("reload", configuration.run)


def _serve(daemon: _Daemon) -> None:
    """Answer whoever asks, and say that the daemon is ready."""
    settings = daemon.site.settings
    lines = daemon.lines
    zone = settings.site.zone
    on_demand = OnDemand(
        lines,
        today=lambda: due_day(datetime.now(zone)),
        keep=keeping(daemon.pool, zone),
    )
    requests = Requests(
        lines,
        on_demand,
        daemon.configuration,
        daemon.listeners,
        zone,
        daemon.configuration.withheld,
        PaymentQueue(daemon.pool, supply.database_clock, daemon.pipeline.right_of_way).take_in,
    )
    told = partial(
        health,
        lines,
        daemon.authority,
        daemon.pipeline.condition,
        daemon.work,
        lambda: daemon.clock.doubt,
        daemon.outbox.condition,
    )
    show = partial(figures.show_now, daemon.pipeline, daemon.authority, daemon.lag)
    daemon.running.start("http", lambda: http.serve(daemon.port, told, show, daemon.receipts))
    if settings.backup.directory is not None:
        look = partial(show_newest, settings.backup.directory)
        daemon.running.start("backups", look)
    else:
        metrics.BACKUP_SUCCESS.set(math.nan)
    daemon.asking.start("requests", lambda: unix_socket.serve(daemon.listening, requests.answer))
    hourly = partial(read_hourly, daemon.pool, lines, on_demand)
    daemon.asking.start("hourly reads", hourly)
    daemon.asking.start("watchdog", lambda: feed_watchdog(lines, daemon.pipeline.condition))
    spare_what_is_there()
    systemd.notify("READY=1")
    log.info(
        "ready",
        site=settings.site.name,
        lines=len(lines),
        meters=sum(len(line.meters) for line in lines),
        mode=settings.control.mode,
        http=f"{settings.http.listen[0]}:{daemon.port.getsockname()[1]}",
    )


def _prepare_channels(daemon: _Daemon, site: LoadedSite) -> Callable[[], None]:
    """The ways for notices of these files, opened; what takes them into use is returned."""
    channels = site.settings.notice_channel
    telling_now = telling_of(site, daemon.authority)
    send = open_channels(channels)

    def take_over() -> None:
        daemon.outbox.change(telling_now, send, {it.name: it.timeout_s for it in channels})
        daemon.receipts.keys = {it.name: it.key for it in channels if it.key is not None}

    return take_over


def _begin_to_stop(daemon: _Daemon) -> None:
    """Whoever waits for a database that does not answer gets an error: nothing is lost by it."""
    systemd.notify("STOPPING=1")
    log.info("stopping")
    patience_s = SEVER_AFTER_S if daemon.pipeline.condition()["stores"] else 0.0
    asyncio.get_running_loop().call_later(patience_s, daemon.pool.sever)


async def _use_what_is_there_again(pool: Pool, pipeline: Pipeline, lost_at: float) -> None:
    """The database is back: what was open may lead nowhere, and no pause is waited for."""
    await pool.renew(lost_at)
    pipeline.try_again()


def _spool_directory(site: LoadedSite) -> Path:
    return site.settings.site.data_directory / "spool"


def _on_stop_signals(act: Callable[[], object]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, act)


async def _warn_of_waiting_commands(connection: AsyncConnection[Any], authority: Authority) -> None:
    """A site that goes from auto to shadow keeps its restores, and nobody sends them."""
    if not authority.shadow_mode:
        return
    counted = await supply.commands_by_state(connection)
    waiting = sum(count for _, state, count in counted if state == "persisted")
    if waiting:
        log.error(
            "in shadow mode nothing is sent, and commands wait: customers may be dark",
            commands=waiting,
        )


def serving_at_once(settings: Site) -> int:
    """How many lines may serve commands at once, the most that a reload may make of them."""
    # The pool keeps its size: a line that is off may be switched on, and a list of terminals that
    # is empty be filled.
    wires = len(settings.line) + len(settings.gateway)
    return wires + TERMINALS_AT_ONCE * len(settings.listener)


def _clock_stepped(daemon: _Daemon) -> None:
    """What was planned or measured by the wall clock is void."""
    daemon.lines.clock_stepped()
    daemon.missed.set()
    daemon.doubted.set()
    daemon.stepped.set()
    daemon.pipeline.settle_soon()


async def _plan_anew(daemon: _Daemon, reschedule: Callable[[], None]) -> None:
    """A customer who paid is not kept waiting for a time that never comes (A11)."""
    reschedule()
    async with daemon.pool.connection() as connection:
        await supply.due_at_once(connection, await supply.database_clock(connection))
        daemon.lines.wake(await _lines_to_look(connection))


async def _lines_to_look(connection: AsyncConnection[Any]) -> list[str]:
    with_commands = await supply.lines_with_commands(connection)
    return [*with_commands, *await meter_orders.lines_with_orders(connection)]


async def _whenever(asked: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
    """Act as often as it is asked for, and once for all who ask meanwhile; again where the database
    could not do it."""
    while True:
        await asked.wait()
        asked.clear()
        try:
            await act()
        except BaseException as error:
            asked.set()  # who starts this anew finds that it is still asked for
            if not (isinstance(error, psycopg.Error) and is_of_the_whole(error)):
                raise
            log.debug("it waits for the database", error=str(error).strip())
            await asyncio.sleep(AGAIN_S)


async def _hear(daemon: _Daemon, documented: asyncio.Event) -> None:
    """Wake a line as soon as a command for it is committed, and follow a document."""
    while True:
        try:
            async with await connect(daemon.pool.url) as connection:
                with bounded(connection, ANSWER_S):
                    await connection.execute("LISTEN meterd_command")
                    await connection.execute("LISTEN meterd_document")
                    await connection.execute("LISTEN meterd_relay")
                    daemon.lines.wake(await _lines_to_look(connection))
                documented.set()
                while True:
                    async for notice in connection.notifies(timeout=SILENCE_S):
                        if notice.channel == "meterd_document":
                            documented.set()
                        elif notice.channel == "meterd_relay":
                            with suppress(ValueError):  # anybody may say anything there
                                daemon.lines.look_at_relay(int(notice.payload))
                        else:
                            daemon.lines.wake([notice.payload])
                    # Silence is usual, and so it is where the connection leads nowhere any more.
                    with bounded(connection, ANSWER_S):
                        await supply.lines_with_commands(connection)
        except psycopg.Error as error:
            # That it is away is told by those who hold the site and who store.
            log.debug("notifications are not heard", error=str(error).strip())
            await asyncio.sleep(AGAIN_S)
