"""From one configuration to the next while the daemon runs: lines that did not change keep their
wires."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from config.lines import enabled_listeners, line_specs
from config.load import LoadedSite, load_site
from daemon.acquisition.line import Line
from daemon.acquisition.lines import Lines
from daemon.acquisition.planning.wanted import due_day, first_day
from daemon.runtime import logs, systemd
from daemon.runtime.supervision import in_thread
from daemon.site.assembly import Assembly
from daemon.site.difference import Difference, applicable, difference
from daemon.site.listeners import lines_of
from daemon.transactions.archive import configured, take_over_archive, take_over_site
from protocols.errors import MeterdError
from storage import archive, readings, supply
from storage.archive import SiteMeter

log = structlog.get_logger("daemon")

SWITCH_S = 0.0005
"""A thread gives the interpreter to another one after so long; usual are 5 ms, for each time that a
line wakes."""


class Configuration:
    """What the daemon runs by (`site`), and the way to the next one. `asked` is set when its files
    are to be read again."""

    def __init__(
        self,
        site: LoadedSite,
        routes: Lines,
        assembly: Assembly,
        pool: AsyncConnectionPool[Any],
        asked: asyncio.Event,
    ) -> None:
        self.site = site
        self._routes, self._assembly, self._pool, self._asked = routes, assembly, pool, asked
        self._waiting: list[asyncio.Future[Difference]] = []
        self._one_at_a_time = asyncio.Lock()

    async def start(self, connection: AsyncConnection[Any], meters: Collection[SiteMeter]) -> None:
        """Every line starts, knowing what the database has."""
        made = self._assembly.lines(line_specs(self.site), meters)
        await self._know(connection, self.site, made)
        self._routes.start(made)
        self._routes.wake(await supply.lines_with_commands(connection))

    async def run(self) -> None:
        """Reload whenever it is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            waiting, self._waiting = self._waiting, []
            outcome = await self._try()
            for told in waiting:
                if told.done():
                    continue
                if isinstance(outcome, Exception):
                    told.set_exception(outcome)
                else:
                    told.set_result(outcome)

    async def reload(self) -> Difference:
        """Read the site's files again and bring the daemon to them; what needs a restart stays as
        it was.

        ConfigError, ArchiveConflict or a database that is away change nothing. Whoever does not
        wait any more does not stop it."""
        told: asyncio.Future[Difference] = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        self._asked.set()
        return await told

    async def plan(self, path: Path) -> Difference:
        """What `reload` would do if the site's file were `path`; raises what it would raise."""
        async with self._one_at_a_time:
            new, found = await self._compare(path)
            if found.archive:
                async with (
                    self._pool.connection() as connection,
                    connection.transaction(force_rollback=True),
                ):
                    await take_over_archive(connection, new)
            return found

    async def rebuild(self) -> None:
        """Presence is a cache of what the database has: look at that again."""
        async with self._pool.connection() as connection:
            await self._know(connection, self.site, list(self._routes))

    async def _try(self) -> Difference | Exception:
        try:
            return await self._reload()
        except (MeterdError, psycopg.Error) as error:
            log.error("reload refused, nothing was changed", error=str(error).strip())
            return error
        except Exception as error:
            log.exception("reload failed, nothing was changed")
            return error

    async def _reload(self) -> Difference:
        async with self._one_at_a_time:
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                new, found = await self._compare(self.site.path)
                await self._apply(new, found)
            finally:
                systemd.notify("READY=1")
            log.info(
                "reloaded",
                added=len(found.added),
                removed=len(found.removed),
                changed=len(found.changed),
                unchanged=found.unchanged,
                needs_restart=",".join(found.needs_restart),
            )
            return found

    async def _compare(self, path: Path) -> tuple[LoadedSite, Difference]:
        """The next configuration, as far as it can be applied, and what it changes."""

        def compare() -> tuple[LoadedSite, Difference]:
            # Seconds of work for a large site, beside which the lines go on: they get the
            # interpreter when they want it, and the garbage collector leaves alone what is there
            # already.
            usual_s = sys.getswitchinterval()
            gc.collect()  # the lines that the last reload ended
            gc.freeze()
            sys.setswitchinterval(SWITCH_S)
            try:
                loaded = load_site(path)
                return applicable(self.site, loaded), difference(self.site, loaded)
            finally:
                sys.setswitchinterval(usual_s)

        return await in_thread(compare)

    async def _apply(self, new: LoadedSite, found: Difference) -> None:
        """The lines that change stop before the database knows their new meters, so that no line is
        given a command for a meter that it does not know; if the database refuses in the end, they
        go on as they were."""
        running = [route for name in found.touched if (route := self._routes.get(name)) is not None]
        made: list[Line] = []
        try:
            if found.archive or found.touched:
                async with self._pool.connection() as connection, connection.transaction():
                    if found.archive:
                        meters = await take_over_site(connection, new, self.site.settings.site.zone)
                    else:
                        meters = configured(
                            await archive.site_meters(connection, list(found.touched)), new
                        )
                    specs = line_specs(new, {*found.added, *found.changed})
                    made = self._assembly.lines(specs, meters)
                    await self._know(connection, new, made)
                    await self._routes.stop([route.name for route in running])
        except Exception:
            self._routes.start([route for route in running if self._routes.get(route.name) is None])
            self._routes.wake(route.name for route in running)
            raise
        self.site = new
        logs.configure(new.settings.log.format, new.settings.log.level)
        for section in enabled_listeners(new.settings):
            self._assembly.listeners[section.name].change(section, lines_of(new, section.name))
        self._routes.start(made)
        self._routes.forget_figures(route.shown_as for route in running)
        await self._wake(made)

    async def _wake(self, routes: Collection[Line]) -> None:
        """Those of them that have commands; all, if the database does not tell."""
        names = {route.name for route in routes}
        try:
            if names:
                async with self._pool.connection() as connection:
                    names &= set(await supply.lines_with_commands(connection))
        except psycopg.Error as error:
            log.warning("looking for commands on every line", error=str(error).strip())
        self._routes.wake(names)

    async def _know(
        self, connection: AsyncConnection[Any], site: LoadedSite, routes: Collection[Line]
    ) -> None:
        """Tell routes what the database has. Gaps that remain are logged, one line per line or
        listener."""
        settings = site.settings
        newest = due_day(datetime.now(settings.site.zone))
        since = first_day(newest, settings.collection.backfill_days)
        meters = [meter.meter_id for route in routes for meter in route.meters]
        present = await readings.present_days(connection, since, newest, meters)
        for route in routes:
            route.rebuild(present, newest)
        gaps: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for route in routes:
            for place, count in enumerate(route.counts()):
                gaps[route.shown_as][place] += count
        for name, (wanted, filled) in gaps.items():
            log.info(
                "gaps",
                line=name,
                wanted=wanted,
                present=filled,
            )
