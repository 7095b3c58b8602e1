"""Lets a site live: one clock that goes from event to event, and everybody on it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import requests
from psycopg import AsyncConnection

from config.contacts import row_of
from config.load import LoadedSite, load_site
from daemon.bench import files
from daemon.bench.customers import Customer
from daemon.bench.notices import Inbox, give_receipts, open_inbox
from daemon.bench.report import Fate, Span, fates
from daemon.bench.stepped_clock import SteppedClock
from daemon.runtime.ports import free_port
from daemon.transactions.payment import top_up
from protocols.errors import MeterdError
from simulators.bench.running import Bench
from simulators.bench.scenario import Scenario, site_clock
from storage import bench as questions
from storage.bench import WorkLeft
from storage.database import open_database
from storage.notices import import_contacts

HOURS: Final = ((0, 1), (6, 5), (9, 2), (14, 30), (20, 0))
"""When the clock stops in a day of the site: at its midnight, behind the daemon's daily work, where
the hours in which customers are cut begin and before they end, and in the evening."""
DUE: Final = (0, 6)
"""From then on freezes of midnight are read."""
MORNING: Final = HOURS[1]
"""By then the freezes of midnight are there, and billed."""
READY_S: Final = 300.0
STUCK_S: Final = 60.0
"""Real time in which nothing of the work of a moment is done, after which it is left."""
NO_PROGRESS_S: Final = 2.0
"""What is owed and has not become less for so long is not to be had now."""
LOOK_EVERY_S: Final = 0.04
CALM_LOOKS: Final = 4
"""Between two statements of one transaction it looks as if there were nothing to do."""
STOP_S: Final = 15.0
ANSWER_S: Final = 10.0
CLOCKS_AGREE_S: Final = 5.0
LOG_TAIL_LINES: Final = 10
_WORKS: Final = ("sweep", "seal", "day_close")
"""What the daemon has to have done at a moment before the next one comes."""

PROGRAM: Final = "from daemon.cli import main; main()"
"""This very one, never another checkout's."""

Say = Callable[[str], None]


class BenchFailed(MeterdError):
    """The bench could not be started, or came to no rest."""


@dataclass(slots=True)
class Living:
    """What runs, and what became of it so far."""

    site: LoadedSite
    clock: SteppedClock
    bench: Bench
    inbox: Inbox
    customers: Sequence[Customer]
    connection: AsyncConnection[Any]
    daemon: Daemon
    say: Say
    restless: list[datetime] = field(default_factory=list)
    """Site times at which the daemon had still something to do when it was left."""
    _told: int = 0

    async def through(self, first: date, days: int) -> Span:
        """All days from `first` on. BenchFailed."""
        zone = self.site.settings.site.zone
        last = first + timedelta(days=days)
        for moment in moments(first, last, self.bench.action_times()):
            at = moment.replace(tzinfo=zone)
            if at > self.clock.now():
                await self._come_to(at)
                await self._let_pay()
            if (moment.hour, moment.minute) == MORNING:
                self.say(f"{moment:%Y-%m-%d}: {self._summary()}")
        return Span(first, last, self.bench.now())

    async def begin(self) -> None:
        """What is there is collected, and everybody has paid the first amount."""
        await self._rest(timedelta.max)
        for customer in self.customers:
            await self._pay(customer, customer.deposit_fen)
        await self._rest(timedelta.max)

    async def _come_to(self, at: datetime) -> None:
        by = self.clock.step_to(at)
        self.bench.clock_moved()
        await self._rest(by)
        database = await questions.clock(self.connection)
        if abs((database - self.clock.now()).total_seconds()) > CLOCKS_AGREE_S:
            raise BenchFailed(f"the database does not live on the bench's clock: {database}")

    async def _rest(self, jumped: timedelta) -> None:
        """Until the daemon has nothing to do at this moment, `jumped` later than the one before."""
        began = time.monotonic()
        left = _Left()
        await self.daemon.health()  # which wakes whatever is due
        while not left.is_stuck:
            await asyncio.to_thread(self._answer_notices)
            asked = sum(line.bus.requests_on_line for line in self.bench.lines.values())
            left.see(await questions.work_left(self.connection), asked)
            if left.is_calm:
                health = await self.daemon.health()
                left.see_health(health)
                passed_s = time.monotonic() - began
                works = health["achieved"]["seconds_since"]
                is_done = all(works.get(name, 0) <= passed_s + 0.1 for name in _WORKS)
                if (is_done or jumped == timedelta.max) and left.is_nothing:
                    return
            await asyncio.sleep(LOOK_EVERY_S)
        self.restless.append(self.bench.now())

    def _answer_notices(self) -> None:
        give_receipts(self.inbox.unanswered(), self.daemon.url("/receipts"), self.clock.now)

    async def _let_pay(self) -> None:
        by_account = {customer.account: customer for customer in self.customers}
        now = self.clock.now()
        for notice in self.inbox.all[self._told :]:
            customer = by_account.get(notice["account"])
            if customer is not None and notice["kind"] in ("written", "final"):
                customer.told_at = customer.told_at or now
        self._told = len(self.inbox.all)
        dark = self._dark_accounts()
        paying = []
        for customer in self.customers:
            if customer.account in dark:
                customer.dark_since = customer.dark_since or now
            if customer.wants_to_pay(now):
                paying.append(customer)
        for customer in paying:
            await self._pay(customer, customer.top_up_fen)
        if paying:
            await self._rest(timedelta.max)

    async def _pay(self, customer: Customer, amount_fen: int) -> None:
        if not amount_fen:
            return
        now = self.clock.now()
        await top_up(
            self.connection,
            customer.account,
            amount_fen,
            channel="bench",
            reference=f"{customer.account}-{now:%Y%m%d%H%M%S}",
            now=now,
        )
        customer.has_paid(amount_fen)

    def _dark_accounts(self) -> set[str]:
        accounts = {point.point: point.account for point in self.site.archive.points}
        meters = self.bench.stage.meters
        return {
            accounts[meter.point] or ""
            for meter in self.site.archive.meters
            if meter.address in meters and meters[meter.address].relay.is_open
        }

    def _summary(self) -> str:
        told = len(self.inbox.all)
        return f"{len(self._dark_accounts())} dark, {told} notices"


@dataclass(slots=True)
class _Left:
    """What the daemon has still to do, and since when that did not become less."""

    owed: int = 0
    waiting: int = 0
    in_hand: int = 0
    """Readings that are on their way into the database."""
    asked: int = 0
    calm_looks: int = 0
    since_s: float = field(default_factory=time.monotonic)

    def see(self, work: WorkLeft, asked: int) -> None:
        """`asked`: requests that the meters have heard; a line that asks is not at rest."""
        if work.waiting != self.waiting:
            self.since_s = time.monotonic()
        self.waiting = work.waiting
        is_calm = not any(work) and asked == self.asked
        self.calm_looks = self.calm_looks + 1 if is_calm else 0
        self.asked = asked

    def see_health(self, health: dict[str, Any]) -> None:
        """What only the daemon itself knows."""
        owed = sum(line["wanted"] for line in health["lines"].values())
        in_hand = health["storing"]["in_memory"] + health["storing"]["spooled"]
        if (owed, in_hand) != (self.owed, self.in_hand):
            self.since_s = time.monotonic()
        self.owed = owed
        self.in_hand = in_hand

    @property
    def is_calm(self) -> bool:
        """Neither the database nor the lines were at work for some looks."""
        return self.calm_looks >= CALM_LOOKS

    @property
    def is_nothing(self) -> bool:
        """Nothing is left, or nothing that could be had now."""
        unchanged_s = time.monotonic() - self.since_s
        return not self.in_hand and (self.owed == 0 or unchanged_s > NO_PROGRESS_S)

    @property
    def is_stuck(self) -> bool:
        """What is left does not become less, and the daemon does not rest either."""
        return time.monotonic() - self.since_s > STUCK_S


@dataclass(frozen=True, slots=True)
class Daemon:
    """`meterd run` as another process."""

    process: subprocess.Popen[bytes]
    http_port: int
    log: Path
    session: requests.Session

    def url(self, path: str) -> str:
        """Of its HTTP port."""
        return f"http://127.0.0.1:{self.http_port}{path}"

    async def health(self) -> dict[str, Any]:
        """What /healthz shows; asking wakes whatever is due. BenchFailed when it has ended."""
        give_up_at = time.monotonic() + READY_S
        while time.monotonic() < give_up_at:
            try:
                return await asyncio.to_thread(self._ask)
            except OSError:
                code = self.process.poll()
                if code is not None:
                    raise BenchFailed(f"the daemon ended with {code}{self._log_tail()}") from None
                await asyncio.sleep(LOOK_EVERY_S)
        raise BenchFailed(f"the daemon does not answer{self._log_tail()}")

    def _ask(self) -> dict[str, Any]:
        # 503 is an answer too: it is not well, and says how.
        answer = self.session.get(self.url("/healthz"), timeout=ANSWER_S)
        health: dict[str, Any] = answer.json()
        return health

    def _log_tail(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(["\nthe end of its log:", *text.splitlines()[-LOG_TAIL_LINES:]])


@dataclass(frozen=True, slots=True)
class Result:
    """What a bench found."""

    fates: Sequence[Fate]
    span: Span
    restless: Sequence[datetime]


async def live(
    site: LoadedSite,
    scenario: Scenario,
    customers: Sequence[Customer],
    days: int,
    folder: Path,
    say: Say,
) -> Result:
    """Meters, database and daemon through so many days from today on. MeterdError."""
    async with AsyncExitStack() as opened:
        prices = files.flat_prices(site)
        clock = SteppedClock(folder)
        wall = site_clock(site.settings.site.zone, clock.now)
        first = wall().date()
        bench = await opened.enter_async_context(Bench(replace(scenario, start=None), now=wall))
        inbox = opened.enter_context(open_inbox())
        http_port = free_port()
        copy = files.copy_site(
            site,
            folder / "site",
            {name: line.place for name, line in bench.lines.items()},
            first=first,
            http_port=http_port,
            inbox_url=inbox.url,
        )
        say(f"{len(bench.meters)} simulated meters, {days} days from {first} on, in {folder}")
        daemon = opened.enter_context(_running(copy, clock, http_port, folder / "meterd.log"))
        await daemon.health()
        data = folder / "site" / "data"
        database = opened.enter_context(open_database(None, data, create=False))
        connection = await AsyncConnection.connect(database.url, autocommit=True)
        opened.push_async_callback(connection.close)
        copied = load_site(copy)
        await import_contacts(connection, map(row_of, copied.contacts))
        living = Living(
            site=copied,
            clock=clock,
            bench=bench,
            inbox=inbox,
            customers=customers,
            connection=connection,
            daemon=daemon,
            say=say,
        )
        await living.begin()
        span = await living.through(first, days)
        found = fates(
            living.site,
            bench.stage,
            span,
            prices,
            inbox.all,
            customers,
            await questions.outcomes(connection),
        )
        return Result(found, span, living.restless)


@contextmanager
def _running(site: Path, clock: SteppedClock, http_port: int, log: Path) -> Iterator[Daemon]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, "run", "-c", str(site)],
            stderr=file,
            env=dict(clock.environment()),
        )
    try:
        with requests.Session() as session:
            yield Daemon(process, http_port, log, session)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def moments(first: date, last: date, actions: Iterable[datetime]) -> list[datetime]:
    """Site times at which the clock stops: the hours of every day up to the morning of the last
    one, and when the scenario does something. What it does before the morning finds the freezes of
    that midnight read, if they are due."""
    day = datetime.combine(first, datetime.min.time())
    end = datetime.combine(last, datetime.min.time()) + _into_day(MORNING)
    found = set(actions)
    while day <= end:
        due, morning = (day + _into_day(hour) for hour in (DUE, MORNING))
        if any(due < action < morning for action in found):
            found.add(due)
        found |= {day + _into_day(hour) for hour in HOURS}
        day += timedelta(days=1)
    return sorted(moment for moment in found if moment <= end)


def _into_day(hour: tuple[int, int]) -> timedelta:
    return timedelta(hours=hour[0], minutes=hour[1])
