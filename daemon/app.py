"""The composition root: what is opened, in which order, and closed in reverse."""

from __future__ import annotations

import asyncio
import signal
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
"""Of the thousands of terminals of a listener so many serve commands at once."""


async def run(site: LoadedSite) -> None:
    """Run the daemon until SIGTERM or SIGINT; before it is ready these cancel it. SIGHUP reads its
    files again."""
    stop, reload_asked = asyncio.Event(), asyncio.Event()
    starting = asyncio.current_task()
    assert starting is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, starting.cancel)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_asked.set)
    settings = site.settings
    metrics.BUILD.labels(version("meterd")).set(1)
    async with AsyncExitStack() as opened:
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
        log.info(
            "database ready",
            schema=await in_thread(partial(migrate, url)),
            embedded=configured is None,
        )
        pool = await opened.enter_async_context(open_pool(url, _serving_at_once(site)))

        # What is opened later is closed earlier: lines may still hand something to the pipeline.
        storing = await opened.enter_async_context(Supervisor())
        listeners = await opened.enter_async_context(open_listeners(site))
        running, lag = Supervisor(), LoopLag()
        routes = Lines(running)
        pipeline = Pipeline(
            pool,
            authority,
            batch_readings=settings.collection.batch_readings,
            stored=routes.stored,
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
            routes,
            assembly,
            pool,
            reload_asked,
        )
        on_demand = OnDemand(routes, today=lambda: due_day(datetime.now(authority.zone)))
        requests = Requests(
            routes,
            on_demand,
            configuration,
            listeners,
            authority.zone,
        )

        async with pool.connection() as connection:
            meters = await take_over_site(connection, site, authority.zone)
            await resume(connection, datetime.now(UTC), shadow_mode=authority.shadow_mode)
            waiting = sum(
                n
                for action, state, n in await supply.commands_by_state(connection)
                if state == "persisted"
            )
            if waiting and authority.shadow_mode:
                log.error(
                    "in shadow mode nothing is sent, and commands wait: customers may be dark",
                    commands=waiting,
                )
            storing.start("pipeline", pipeline.run)
            await configuration.start(connection, meters)
        await opened.enter_async_context(
            ticking(
                pool,
                authority,
                routes,
                listeners.values(),
                configuration.rebuild,
            )
        )
        running.start("lag", lag.run)
        running.start("notifications", lambda: _wake_lines(url, routes))
        running.start("http", lambda: http.serve(port, lambda: health(routes, authority)))
        asking.start("reload", configuration.run)
        asking.start("requests", lambda: unix_socket.serve(listening, requests.answer))
        asking.start("watchdog", lambda: feed_watchdog(routes))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        spare_what_is_there()
        systemd.notify("READY=1")
        log.info(
            "ready",
            site=settings.site.name,
            lines=len(routes),
            meters=len(meters),
            mode=settings.control.mode,
            http=f"{settings.http.listen[0]}:{port.getsockname()[1]}",
        )
        await hold_site_until(stop, holder, database, authority.hold)
        systemd.notify("STOPPING=1")
        log.info("stopping")


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


async def _wake_lines(url: str, routes: Lines) -> None:
    """Wake a line as soon as a command for it is committed."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("LISTEN meterd_command")
        routes.wake(await supply.lines_with_commands(connection))
        async for notice in connection.notifies():
            routes.wake([notice.payload])
