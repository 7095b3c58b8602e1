"""From one configuration to the next while the daemon runs.

Lines that did not change keep their wires."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from config.lines import enabled_listeners, line_specs
from config.load import LoadedSite, load_site
from daemon.acquisition.line import Line
from daemon.acquisition.lines import Lines
from daemon.acquisition.planning.wanted import due_day, first_day
from daemon.quality.freeze import MEMORY_DAYS
from daemon.quality.use_checks import Thresholds
from daemon.runtime import logs, systemd
from daemon.runtime.supervision import in_thread
from daemon.site.assembly import Assembly
from daemon.site.difference import Difference, applicable, changed_part, difference
from daemon.site.installed import built_as_installed, lines_to_follow
from daemon.transactions.archive import (
    stale_cells,
    take_over_part,
    told_in_days,
    waiting_versions,
)
from daemon.transactions.disputes import judge_waiting
from daemon.transactions.tariff_versions import DAEMON
from protocols.errors import MeterdError
from storage import archive, readings, supply, supply_cases
from storage.acts import Act, note_acts
from storage.archive import SiteMeter
from storage.database import LONG_USE_S, Pool

log = structlog.get_logger("daemon")

ALL_BUT_TODAY = (1 << MEMORY_DAYS) - 2
"""The days before the newest one, as bits."""
NAMED = 5
"""Points that a refusal names."""
SWITCH_S = 0.0005
"""After this time a thread gives the interpreter to another one that wants it.

With the usual 5 ms every line that wakes would wait as long while a large site is loaded."""


class DarkLeft(MeterdError):
    """A line would stop although points on it are cut. The operator restores them, or says so."""


class NoDatabaseYet(MeterdError):
    """The daemon was started without its database. The operator waits, or mends that."""


OVERLAP = timedelta(minutes=2)
"""A transaction that was open when slots were looked at last may have changed some of them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for a reload. `leave_dark`: lines that may stop although points on them are cut.
    `by_way_of`: where it was typed; empty for a signal."""

    actor: str = DAEMON
    leave_dark: frozenset[str] = frozenset()
    by_way_of: str = ""


def thresholds_of(site: LoadedSite) -> Thresholds:
    """From where on use is worth a look there."""
    said = site.settings.quality
    return Thresholds(**{it.name: getattr(said, it.name) for it in fields(Thresholds)})


class Configuration:
    """What the daemon runs by (`site`), and the way to the next one.

    `asked` is set when its files are to be read again."""

    def __init__(
        self,
        site: LoadedSite,
        lines: Lines,
        assembly: Assembly,
        pool: Pool,
        asked: asyncio.Event,
    ) -> None:
        self.site = site
        self._lines = lines
        self._assembly = assembly
        self._pool = pool
        self._asked = asked
        self._waiting: list[tuple[asyncio.Future[Difference], Asked]] = []
        """Who wants to know what came of the next reload, and who asked for what."""
        self._one_at_a_time = asyncio.Lock()
        self._is_alone = False
        self.prepare: Callable[[LoadedSite], Callable[[], None]] = lambda site: lambda: None
        """Makes ready, before a reload, what else runs by the site's files, or refuses it
        (MeterdError); what it returns is called when nothing can be refused any more."""
        self._known_at = datetime.now(UTC) - OVERLAP
        """What slots showed at this time is known to the lines."""

    async def start(self, connection: AsyncConnection[Any], meters: Sequence[SiteMeter]) -> None:
        """Every line starts, knowing what the database has."""
        self._is_alone = False
        built = built_as_installed(self._assembly, self.site, meters)
        await self._know(connection, self.site, built)
        self._lines.start(built)
        self._lines.wake(await supply.lines_with_commands(connection))

    async def start_alone(self, meters: Collection[SiteMeter]) -> None:
        """Every line starts without a database: it reads today's freezes, and each midnight's.

        What the database has of the days before is not known: `start` begins anew, after `stop`."""
        self._is_alone = True
        built = self._assembly.lines(line_specs(self.site), meters)
        newest = due_day(datetime.now(self.site.settings.site.zone))
        present = {meter.meter_id: ALL_BUT_TODAY for meter in meters}
        waiting = await self._waiting_slots()
        for line in built:
            line.rebuild(present, newest)
        _expect(built, waiting)
        self._lines.start(built)

    async def stop(self) -> None:
        """No line runs any more."""
        await self._lines.stop([line.name for line in self._lines])

    async def run(self) -> None:
        """Reload whenever it is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            # Who asks from here on waits for the next one: this one may have read its files.
            waiting = self._waiting
            self._waiting = []
            asked = [by for _, by in waiting] or [Asked()]
            permitted = frozenset().union(*(by.leave_dark for by in asked))
            outcome = await self._try(replace(asked[0], leave_dark=permitted))
            for future, _ in waiting:
                if future.done():
                    continue
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    async def reload(
        self,
        actor: str = DAEMON,
        leave_dark: frozenset[str] = frozenset(),
        *,
        by_way_of: str = "",
    ) -> Difference:
        """Read the site's files again and bring the daemon to them, as `actor` asks.

        `leave_dark`: lines that may stop although points on them are cut.
        What needs a restart stays as it was. ConfigError, ArchiveConflict, DarkLeft, NoDatabaseYet
        or a database that is away change nothing. A caller that is cancelled does not stop it."""
        if self._is_alone:
            raise NoDatabaseYet("the daemon waits for its database; reload when that is there")
        outcome: asyncio.Future[Difference] = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, Asked(actor, leave_dark, by_way_of)))
        self._asked.set()
        return await outcome

    async def plan(self, path: Path, leave_dark: frozenset[str] = frozenset()) -> Difference:
        """What `reload` would do if the site's file were `path`; raises what it would raise."""
        async with self._one_at_a_time:
            new, found = await self._compare(path)
            await self._refuse_to_leave_dark(found, leave_dark)
            if not (found.archive or _is_judged_otherwise(self.site, new)):
                return await self._with_what_waits(new, found)
            part, points = await in_thread(partial(changed_part, self.site, new))
            # Only the database knows what contradicts what was billed: it is asked and undone.
            async with self._pool.connection(lasts_s=LONG_USE_S) as connection:
                told = await told_in_days(connection, part, points)
                stale = await stale_cells(connection, new)
            days = tuple(words for words in told.days if words not in stale)
            return replace(found, days=days, waiting=told.waiting, stale=stale)

    async def rebuild(self) -> None:
        """Presence is a cache of what the database has: look at that again."""
        async with self._pool.connection(lasts_s=LONG_USE_S) as connection:
            await self._know(connection, self.site, list(self._lines))

    async def look_for_doubts(self) -> None:
        """Tell the lines what is to be read again."""
        since = first_day(self._newest(), MEMORY_DAYS)
        async with self._pool.connection() as connection:
            doubts = await readings.in_doubt(connection, since, datetime.now(UTC))
        self._lines.doubt(doubts)

    async def withheld(self) -> list[tuple[int, date]]:
        """(meter id, day) of every value that is withheld and that its meter may still have."""
        newest = self._newest()
        since = first_day(newest, self.site.settings.collection.backfill_days)
        async with self._pool.connection() as connection:
            return await readings.withheld_slots(connection, since, newest)

    def _newest(self) -> date:
        """The newest day whose freeze is due."""
        return due_day(datetime.now(self.site.settings.site.zone))

    async def refresh(self) -> None:
        """Look again at the lines of meters that somebody else's word changed, or their slots.

        What lines read themselves they are told of as it is stored."""
        await self.follow_documents()
        since = self._known_at
        async with self._pool.connection(lasts_s=LONG_USE_S) as connection:
            self._known_at = datetime.now(UTC) - OVERLAP
            meters = await readings.changed_meters(connection, since)
            lines = [
                line
                for line in self._lines
                if any(meter.meter_id in meters for meter in line.meters)
            ]
            if lines:
                await self._know(connection, self.site, lines)

    async def follow_documents(self) -> None:
        """Let lines read the meters that documents put there, and not those that they took away.

        The files may name the former ones until the next reload."""
        async with self._one_at_a_time:
            async with self._pool.connection(lasts_s=LONG_USE_S) as connection:
                others = await lines_to_follow(connection, self.site, self._lines)
            if others:
                changed = dict.fromkeys(others, ("its meters",))
                await self._apply(self.site, Difference(changed=changed), DAEMON)
                log.info("lines follow documents", lines=",".join(others))

    async def _try(self, asked: Asked) -> Difference | Exception:
        try:
            return await self._reload(asked)
        except (MeterdError, psycopg.Error) as error:
            log.error("reload refused, nothing was changed", error=str(error).strip())
            return error
        except Exception as error:
            log.exception("reload failed, nothing was changed")
            return error

    async def _reload(self, asked: Asked) -> Difference:
        async with self._one_at_a_time:
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                new, found = await self._compare(self.site.path)
                await self._refuse_to_leave_dark(found, asked.leave_dark)
                if asked.by_way_of:
                    act = Act(asked.actor, asked.by_way_of, "meterd reload")
                    async with self._pool.connection() as connection:
                        await note_acts(connection, [act])
                await self._apply(new, found, asked.actor)
                found = await self._with_what_waits(new, found)
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
        return await in_thread(partial(_load_and_compare, self.site, path))

    async def _refuse_to_leave_dark(self, found: Difference, permitted: frozenset[str]) -> None:
        """A line that does not run restores nobody (A12)."""
        stopping = set(found.removed) - permitted
        if not stopping:
            return
        async with self._pool.connection() as connection:
            dark = await supply_cases.dark_on_lines(connection, stopping)
        moved = {address for address, _, _ in found.moved}
        left: defaultdict[str, list[str]] = defaultdict(list)
        for line, address, point in dark:
            if address not in moved:
                left[line].append(point)
        if left:
            raise DarkLeft("; ".join(_left_in_words(line, it) for line, it in left.items()))

    async def _apply(self, new: LoadedSite, found: Difference, actor: str) -> None:
        """Exchange the lines that change, or leave everything as it was.

        They stop before the database knows their new meters, so that no line is given a command
        for a meter that it does not know; if the database refuses in the end, they go on as they
        were."""
        judged_otherwise = _is_judged_otherwise(self.site, new)
        touched = map(self._lines.get, found.touched)
        running = [line for line in touched if line is not None]
        take_over = self.prepare(new)
        built: list[Line] = []
        try:
            if found.archive or found.touched or judged_otherwise:
                stopping = [line.name for line in running]
                built = await self._exchange(new, found, stopping, actor)
        except Exception:
            self._start_again(running)
            raise
        # Nothing below can be refused: from here on the daemon runs by the new files.
        self.site = new
        take_over()
        logs.set_level(new.settings.log.level)
        for section in enabled_listeners(new.settings):
            listed = new.terminals[section.name]
            self._assembly.listeners[section.name].change(section, listed)
        self._lines.start(built)
        self._lines.forget_figures(line.shown_as for line in running)
        await self._wake(built)
        if found.archive or judged_otherwise:
            await self._judge_waiting(new)

    def _start_again(self, lines: Sequence[Line]) -> None:
        """Those of them that were stopped; what was written for them meanwhile is looked for."""
        self._lines.start([line for line in lines if self._lines.get(line.name) is None])
        self._lines.wake(line.name for line in lines)

    async def _exchange(
        self,
        new: LoadedSite,
        found: Difference,
        stopping: Collection[str],
        actor: str,
    ) -> list[Line]:
        """Take over the archive and stop lines, in one transaction; returns what is to start."""
        async with (
            self._pool.connection(lasts_s=LONG_USE_S) as connection,
            connection.transaction(),
        ):
            if found.archive or _is_judged_otherwise(self.site, new):
                # What did not change was taken over before, or is a document's by now.
                part, points = await in_thread(partial(changed_part, self.site, new))
                await take_over_part(connection, part, points, actor)
            stored = await archive.site_meters(connection, list(found.touched))
            built = built_as_installed(self._assembly, new, stored, {*found.added, *found.changed})
            # Before the stop: the pause of a line is as short as the commit.
            await self._know(connection, new, built)
            await self._lines.stop(stopping)
        return built

    async def _with_what_waits(self, new: LoadedSite, found: Difference) -> Difference:
        """Besides, what waits for a second person and what documents say otherwise than the files;
        nothing, if the database does not tell."""
        try:
            async with self._pool.connection(lasts_s=LONG_USE_S) as connection:
                waiting = await waiting_versions(connection, new)
                return replace(found, waiting=waiting, stale=await stale_cells(connection, new))
        except psycopg.Error as error:
            log.warning("not asked what waits for somebody", error=str(error).strip())
            return found

    async def _judge_waiting(self, new: LoadedSite) -> None:
        """Let days follow new limits and rules; if the database fails, the next sweep does it."""
        try:
            async with self._pool.connection(lasts_s=LONG_USE_S) as connection:
                await judge_waiting(connection, new.settings.site.zone)
        except psycopg.Error as error:
            log.warning("limits and rules are followed later", error=str(error).strip())

    async def _wake(self, lines: Collection[Line]) -> None:
        """Those of them that have commands; all, if the database does not tell."""
        names = {line.name for line in lines}
        try:
            if names:
                async with self._pool.connection() as connection:
                    names &= set(await supply.lines_with_commands(connection))
        except psycopg.Error as error:
            log.warning("looking for commands on every line", error=str(error).strip())
        self._lines.wake(names)

    async def _waiting_slots(self) -> list[tuple[str, date]]:
        waiting = self._assembly.pipeline.waiting()
        return await in_thread(lambda: list(waiting))

    async def _know(
        self,
        connection: AsyncConnection[Any],
        site: LoadedSite,
        lines: Collection[Line],
    ) -> None:
        """Tell lines what the database has.

        Gaps that remain are logged, one log line for each line or listener."""
        settings = site.settings
        newest = due_day(datetime.now(settings.site.zone))
        since = first_day(newest, settings.collection.backfill_days)
        meters = [meter.meter_id for line in lines for meter in line.meters]
        present = await readings.present_days(
            connection,
            since,
            newest,
            meters,
        )
        waiting = await self._waiting_slots()
        wanted: Counter[str] = Counter()
        filled: Counter[str] = Counter()
        for line in lines:
            line.rebuild(present, newest)
            of_line = line.counts()
            wanted[line.shown_as] += of_line[0]
            filled[line.shown_as] += of_line[1]
        _expect(lines, waiting)
        for name, count in wanted.items():
            log.info(
                "gaps",
                line=name,
                wanted=count,
                present=filled[name],
            )


def _is_judged_otherwise(old: LoadedSite, new: LoadedSite) -> bool:
    """Whether the new files make another rule set."""
    return old.settings.quality != new.settings.quality


def _left_in_words(line: str, points: Sequence[str]) -> str:
    shown = ", ".join(points[:NAMED]) + (" ..." if len(points) > NAMED else "")
    return (
        f"line {line} would stop, and {len(points)} points on it are cut: {shown}. "
        f"Nobody could restore them. Restore them first, or say --leave-dark {line}"
    )


def _expect(lines: Iterable[Line], waiting: Sequence[tuple[str, date]]) -> None:
    """What waits on disk is on its way: it is not read again."""
    if not waiting:
        return
    known = {meter.address: (line, meter.meter_id) for line in lines for meter in line.meters}
    for address, day in waiting:
        if address in known:
            line, meter_id = known[address]
            line.expect(meter_id, day)


def _load_and_compare(old: LoadedSite, path: Path) -> tuple[LoadedSite, Difference]:
    """See `Configuration.plan`; seconds of work for a large site.

    The lines go on beside it: they get the interpreter when they want it."""
    usual_s = sys.getswitchinterval()
    # Lines that the last reload ended go now; what is left need not be looked at again while the
    # new configuration is made.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)
    try:
        loaded = load_site(path, old)
        return applicable(old, loaded), difference(old, loaded)
    finally:
        sys.setswitchinterval(usual_s)
