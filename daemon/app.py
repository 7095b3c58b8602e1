"""The composition root: what is opened, in which order, and closed in reverse."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from config.lines import LineKind, configured_lines
from config.load import LoadedSite
from daemon import metrics
from daemon.acquisition.lines import Lines
from daemon.acquisition.on_demand import OnDemand
from daemon.acquisition.planning.wanted import due_day
from daemon.api import http, unix_socket
from daemon.api.operations import Requests
from daemon.control.authority import Authority
from daemon.health import feed_watchdog, health
from daemon.ownership.hold import hold_site_until, take_site
from daemon.pipeline import Pipeline
from daemon.runtime import systemd
from daemon.runtime.garbage import spare_what_is_there
from daemon.runtime.loop_lag import LoopLag
from daemon.runtime.supervision import Supervisor, in_thread
from daemon.site.assembly import Assembly, authority_of, credentials_of
from daemon.site.listeners import open_listeners
from daemon.site.reload import Configuration
from daemon.ticks import ticking
from daemon.transactions.archive import take_over_site
from daemon.transactions.release import resume
from storage import migrate, supply
from storage.database import open_database

log = structlog.get_logger("daemon")

TERMINALS_AT_ONCE = 8
"""Commands that the thousands of terminals of one listener serve at once, at most."""


async def run(site: LoadedSite) -> None:
    """Run the daemon until SIGTERM or SIGINT; before it is ready these cancel it.

    SIGHUP reads its files again."""
    stop = asyncio.Event()
    reload_asked = asyncio.Event()
    starting = asyncio.current_task()
    assert starting is not None
    _on_stop_signals(starting.cancel)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_asked.set)
    settings = site.settings
    metrics.BUILD.labels(version("meterd")).set(1)
    async with AsyncExitStack() as opened:
        # The port first: that it is taken is told before the database is touched.
        port = opened.enter_context(http.listen(*settings.http.listen))
        configured = settings.database.url.reveal() if settings.database.url else None
        place = open_database(configured, settings.site.data_directory)
        database = await in_thread(partial(opened.enter_context, place))
        url = database.url
        authority = authority_of(settings.control, settings.site.zone)
        assert authority.hold is not None
        holder = await take_site(url, authority.hold)
        opened.push_async_callback(holder.close)
        listening = opened.enter_context(unix_socket.listen(settings.site.data_directory))
        schema = await in_thread(partial(migrate, url))
        log.info(
            "database ready",
            schema=schema,
            embedded=configured is None,
        )
        pool = await opened.enter_async_context(open_pool(url, _serving_at_once(site)))

        # What is opened later is closed earlier: lines may still hand something to the pipeline.
        storing = await opened.enter_async_context(Supervisor())
        listeners = await opened.enter_async_context(open_listeners(site))
        running = Supervisor()
        lag = LoopLag()
        lines = Lines(running)
        pipeline = Pipeline(
            pool,
            authority,
            batch_readings=settings.collection.batch_readings,
            stored=lines.stored,
        )
        opened.push_async_callback(pipeline.finish)
        await opened.enter_async_context(running)
        asking = await opened.enter_async_context(Supervisor())
        assembly = Assembly(
            pool,
            authority,
            pipeline,
            may_backfill=lambda: not (pipeline.is_behind or lag.is_late),
            credentials=credentials_of(settings.control),
            listeners=listeners,
        )
        configuration = Configuration(
            site,
            lines,
            assembly,
            pool,
            reload_asked,
        )
        on_demand = OnDemand(lines, today=lambda: due_day(datetime.now(authority.zone)))
        requests = Requests(
            lines,
            on_demand,
            configuration,
            listeners,
            authority.zone,
        )

        async with pool.connection() as connection:
            meters = await take_over_site(connection, site, authority.zone)
            await resume(connection, datetime.now(UTC), shadow_mode=authority.shadow_mode)
            await _warn_of_waiting_commands(connection, authority)
            storing.start("pipeline", pipeline.run)
            await configuration.start(connection, meters)
        ticks = ticking(
            pool,
            authority,
            lines,
            listeners.values(),
            configuration.rebuild,
        )
        await opened.enter_async_context(ticks)
        running.start("lag", lag.run)
        running.start("notifications", lambda: _wake_lines(url, lines))
        running.start("http", lambda: http.serve(port, lambda: health(lines, authority)))
        asking.start("reload", configuration.run)
        asking.start("requests", lambda: unix_socket.serve(listening, requests.answer))
        asking.start("watchdog", lambda: feed_watchdog(lines))
        _on_stop_signals(stop.set)
        spare_what_is_there()
        systemd.notify("READY=1")
        log.info(
            "ready",
            site=settings.site.name,
            lines=len(lines),
            meters=len(meters),
            mode=settings.control.mode,
            http=f"{settings.http.listen[0]}:{port.getsockname()[1]}",
        )
        await hold_site_until(
            stop,
            holder,
            database,
            authority.hold,
        )
        systemd.notify("STOPPING=1")
        log.info("stopping")


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


def open_pool(url: str, lines: int) -> AsyncConnectionPool[Any]:
    """Connections for the pipeline, the ticks and as many lines as may serve commands at once."""
    return AsyncConnectionPool(
        url,
        min_size=2,
        max_size=min(20, 4 + lines),
        open=False,
        kwargs={"autocommit": True},
        timeout=10,
    )


def _serving_at_once(site: LoadedSite) -> int:
    """How many lines may serve commands at once."""
    lines = [line for line in configured_lines(site) if line.enabled]
    wires = sum(line.kind is not LineKind.TERMINAL for line in lines)
    listeners = {line.shown_as for line in lines if line.kind is LineKind.TERMINAL}
    return wires + TERMINALS_AT_ONCE * len(listeners)


async def _wake_lines(url: str, lines: Lines) -> None:
    """Wake a line as soon as a command for it is committed."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("LISTEN meterd_command")
        lines.wake(await supply.lines_with_commands(connection))
        async for notice in connection.notifies():
            lines.wake([notice.payload])
