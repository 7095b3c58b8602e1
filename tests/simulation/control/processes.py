"""A simulated daemon: its hold on the site, its lines and its sweep, made of the daemon's own parts.

`take_step`, `execute`, `take_observation`, `sweep`, `resume` are what runs; only who calls them when
is told anew here, because that is tasks of an event loop elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import psycopg

from daemon.acquisition.commands import execute
from daemon.acquisition.meter_port import MeterPort
from daemon.acquisition.site_clock import SiteClock
from daemon.control.authority import Authority, SiteHold
from daemon.control.breaker import Limits
from daemon.control.clocks import Clocks
from daemon.control.guard import Policy
from daemon.quality.arrival import RelayRead
from daemon.runtime.host_clock import HostClock
from daemon.transactions.line_commands import LineCommands, LineCommandStep
from daemon.transactions.relays import take_relays
from daemon.transactions.release import resume
from daemon.transactions.supply_cases import supply_alarms
from daemon.transactions.sweep import sweep
from protocols.errors import LineDown, NoReply
from storage import supply
from storage.archive import SiteMeter
from tests.simulation.control.kernel import Kernel, Pause, Task
from tests.simulation.control.meters import Line, Port
from tests.simulation.control.model import Database

SWEEP_S: Final = 30.0
NOTICED_WITHIN_S: Final = 5.0
"""A daemon that lost the site knows it then."""


@dataclass(frozen=True, slots=True)
class SiteTerms:
    """What the files of the site say."""

    policy: Policy
    zone: ZoneInfo
    shadow_mode: bool = False
    profiles: Mapping[str, Policy] = field(default_factory=dict)
    sweep_s: float = SWEEP_S
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Of a meter what is kept where its relay is."""

    meter_id: int


@dataclass(eq=False)
class Daemon:
    """One process. `ports`: by point how its meter is reached. `alarms`: where what a tick finds in
    the tables is told, by the names of points."""

    kernel: Kernel
    database: Database
    terms: SiteTerms
    lines: Mapping[str, Line]
    ports: Mapping[int, Port]
    alarms: Callable[[Collection[str]], None] = lambda points: None
    ahead: timedelta = timedelta(0)
    """By how much the host's wall clock is wrong."""
    hold: SiteHold = field(default_factory=SiteHold)
    serving: dict[str, tuple[LineCommands, Task]] = field(default_factory=dict)
    acts_since_s: float | None = None
    authority: Authority = field(init=False)
    host_clock: HostClock = field(init=False)

    def __post_init__(self) -> None:
        self.host_clock = HostClock(
            wall=lambda: self.now().timestamp(), monotonic=lambda: self.kernel.now_s
        )
        began_s = self.kernel.now_s
        self.authority = Authority(
            policy=self.terms.policy,
            zone=self.terms.zone,
            shadow_mode=self.terms.shadow_mode,
            running_for=lambda: timedelta(seconds=self.kernel.now_s - began_s),
            hold=self.hold,
            profiles=self.terms.profiles,
            limits=self.terms.limits,
            clocks=Clocks(doubt=lambda: self.host_clock.doubt),
        )
        self.kernel.start(self._live(), self, "daemon")

    def now(self) -> datetime:
        """The host's wall clock."""
        return self.database.now() + self.ahead

    def step_clock(self, ahead: timedelta) -> None:
        """Somebody, or NTP, sets it; the process looks at it every second."""
        self.ahead = ahead
        self.kernel.at_s(self.kernel.chance.random(), self._look_at_clock)
        self.kernel.at_s(3_602, self._look_at_clock)

    def stop(self) -> None:
        """As by SIGKILL."""
        self.kernel.kill(self)
        self.hold.token = 0
        self.acts_since_s = None
        if self.database.holder is not None and self.database.holder[0] is self:
            self.database.holder = None

    def lose_site(self) -> None:
        """The session that holds it is gone, and the process does not know yet."""
        self.acts_since_s = None
        within_s = self.kernel.chance.random() * NOTICED_WITHIN_S
        self.kernel.at_s(within_s, self._notice_loss)

    def heard(self, line: str) -> None:
        """The database told that a command waits there."""
        if line in self.serving:
            commands, task = self.serving[line]
            commands.wake()
            self.kernel.wake(task)

    def look_at(self, meter: int) -> None:
        """The database told that somebody wants to know where this relay is."""
        if self.serving:
            self.kernel.start(self._look(meter), self, f"look at {meter}")

    async def _look(self, meter: int) -> None:
        port = self.ports[meter]
        try:
            relay = await port.read_relay()
            read = RelayRead(cast("SiteMeter", _Seen(meter)), relay, self.now())
            async with self.database.connection() as connection:
                await take_relays(cast("Any", connection), [read], self.now)
        except (NoReply, LineDown, psycopg.OperationalError):
            return  # it is wanted again

    def _notice_loss(self) -> None:
        holder = self.database.holder
        if holder is None or holder[0] is not self:
            self.hold.token = 0
            self.kernel.start(self._take_again(), self, "take again")

    async def _live(self) -> None:
        await self._take_site()
        while True:
            try:
                async with self.database.connection() as connection:
                    shadow = self.terms.shadow_mode
                    await resume(cast("Any", connection), self.now(), shadow_mode=shadow)
                break
            except psycopg.OperationalError:
                await Pause(2)
        for name, line in self.lines.items():
            commands = LineCommands(
                name,
                cast("Any", self.database),
                self.authority,
                self.now,
                lambda: self.kernel.now_s,
            )
            task = self.kernel.start(self._serve(line, commands), self, f"line {name}")
            self.serving[name] = (commands, task)
            commands.wake()
        self.kernel.start(self._sweep(), self, "sweep")

    async def _take_site(self) -> None:
        while self.database.is_down or self.database.holder is not None:
            await Pause(1 + self.kernel.chance.random())
        process = self.database.number("process")
        self.database.hold_site(self, process)
        self.hold.token = process
        self.acts_since_s = self.kernel.now_s

    async def _take_again(self) -> None:
        await self._take_site()
        for name in self.serving:
            self.heard(name)

    async def _sweep(self) -> None:
        while True:
            try:
                async with self.database.connection() as connection:
                    at = await supply.database_clock(cast("Any", connection))
                    self.authority.clocks.see(self.now(), at)
                    await sweep(cast("Any", connection), self.authority, self.now())
                    rows = await supply_alarms(
                        cast("Any", connection),
                        self.lines,
                        self.database.now(),
                        shadow_mode=self.terms.shadow_mode,
                    )
                    self.alarms([row["point"] for row in rows])
            except psycopg.OperationalError:
                pass  # a tick that failed is followed by the next
            await Pause(self.terms.sweep_s)

    async def _serve(self, line: Line, commands: LineCommands) -> None:
        clock = SiteClock(self.terms.zone, self.now, lambda: self.host_clock.doubt)

        async def carry(step: LineCommandStep) -> None:
            port = self.ports[step.command.point_id]
            await execute(step, cast("MeterPort", port), clock)

        while True:
            try:
                while not line.is_down and await commands.serve(carry, line.far_end):
                    pass
            except LineDown:
                pass
            except psycopg.OperationalError:
                commands.wake()
            await Pause(5 if line.is_down else commands.due_in_s())

    def _look_at_clock(self) -> None:
        if self.host_clock.look() and self.serving:
            self.kernel.start(self._plan_anew(), self, "plan anew")

    async def _plan_anew(self) -> None:
        while True:
            try:
                async with self.database.connection() as connection:
                    await supply.due_at_once(cast("Any", connection), self.now())
                break
            except psycopg.OperationalError:
                await Pause(1)
        for name in self.serving:
            self.heard(name)
