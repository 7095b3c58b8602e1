"""A small site with its meters, its database and its daemons, all of one seed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from random import Random
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import psycopg
from psycopg import AsyncConnection

from daemon.control.breaker import Limits
from daemon.control.guard import Policy
from daemon.transactions.credit import update_credit
from daemon.transactions.payment import Payment, take_in
from daemon.transactions.supply import pass_on, request_trips, restore
from protocols.peer import Peer, Proof
from simulators.state.relay import Relay, RelayKind
from storage import ledger
from storage.ledger import Leg, Transaction, prepaid
from tests.simulation.control.invariants import Watch
from tests.simulation.control.kernel import Kernel, Pause
from tests.simulation.control.meters import Line, Meter, Port
from tests.simulation.control.model import Database, Session
from tests.simulation.control.processes import Daemon, SiteTerms
from tests.simulation.control.statements import ANSWERS

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
ZONES: Final = ("Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")
LOOSE: Final = Limits(hour=999, day=999, group_hour=999, failed_commands=999)
"""A breaker that leaves the other rules something to do."""
Connection = AsyncConnection[Any]


@dataclass(eq=False)
class World:
    """All that there is. What happens in it is told by `happenings`."""

    chance: Random
    kernel: Kernel
    database: Database
    terms: SiteTerms
    lines: dict[str, Line]
    meters: dict[int, Meter]
    watch: Watch
    daemons: list[Daemon] = field(default_factory=list)
    ports: dict[int, Port] = field(default_factory=dict)
    payments: int = 0
    on_command: Callable[[], None] = lambda: None
    """Called when a command was committed."""
    office: object = field(default_factory=object)
    """Who is never killed: people, and channels of payments."""

    def local_now(self) -> datetime:
        """The site's wall time, which is right."""
        return self.database.now().astimezone(self.terms.zone).replace(tzinfo=None)

    def acting(self) -> Daemon | None:
        """The daemon that has the site and knows it."""
        holder = self.database.holder
        if holder is None or self.database.is_down or not isinstance(holder[0], Daemon):
            return None
        return holder[0] if holder[0].serving else None

    def start_daemon(self) -> Daemon:
        """One more process."""
        ports: dict[int, Port] = {}
        daemon = Daemon(self.kernel, self.database, self.terms, self.lines, ports, self.watch.alarm)
        for number, meter in self.meters.items():
            ports[number] = Port(
                meter,
                self.kernel,
                self.chance,
                self.local_now,
                partial(self.watch.leaves, daemon),
            )
        self.daemons.append(daemon)
        return daemon

    def stop_daemon(self, daemon: Daemon) -> None:
        """It is killed."""
        self.daemons.remove(daemon)
        daemon.stop()

    def say_notice(self, episode: int, kind: str, **at: datetime | None) -> None:
        """A notice of an episode. `at`: when it was delivered, and for when it announces a cut."""

        async def write(connection: Connection) -> None:
            session = cast("Session", connection)
            async with session.transaction():
                await session.lock("notices", episode)
                before = (session.get("notices", episode) or {"told": ()})["told"]
                told = {"kind": kind, **at}
                await session.put("notices", episode, told=(*before, told))
                if self.database.mirror:
                    self.database.mirror.tell(session, "notice", episode, told)

        self.does(write, f"notice of {episode}")

    def heard(self, line: str) -> None:
        """A command was committed: whoever listens hears of it a moment later."""
        self.on_command()
        for daemon in self.daemons:
            self.kernel.at_s(self.chance.random() * 0.01, partial(daemon.heard, line))

    def look_at(self, meter: int) -> None:
        """Somebody wants to know where a relay is."""
        for daemon in self.daemons:
            self.kernel.at_s(self.chance.random() * 0.01, partial(daemon.look_at, meter))

    def does(self, what: Callable[[Connection], Awaitable[object]], name: str) -> None:
        """Somebody does it over a connection; while the database is away, again."""

        async def until_done() -> None:
            while True:
                try:
                    async with self.database.connection() as connection:
                        await what(cast("Connection", connection))
                    return
                except psycopg.OperationalError:
                    await Pause(2)

        self.kernel.start(until_done(), self.office, name)

    def pay(self, account: int, fen: int, reference: str = "") -> str:
        """A payment; with the reference of an earlier one it is the same again."""
        self.payments += 1
        reference = reference or f"{self.payments}"

        async def take(connection: Connection) -> None:
            payment = Payment(f"A{account}", fen, "bank", reference)
            await take_in(connection, [payment], self.database.now())

        self.does(take, f"payment {reference}")
        return reference

    def post(self, account: int, fen: int, key: str) -> None:
        """A charge, or what takes a payment back: posted, and control asked, as settling does."""

        async def settle(connection: Connection) -> None:
            now = self.database.now()
            async with connection.transaction():
                locked = await ledger.lock_accounts(connection, [account])
                told = (Leg(prepaid(f"A{account}"), fen), Leg("revenue:energy", -fen))
                await ledger.post(connection, [Transaction(key, "charge", {}, told, "daemon:x")])
                await update_credit(connection, locked.values(), now)
                daemon = self.acting()
                if daemon is not None:
                    await restore(connection, [account], "charge reversed", now)
                    await request_trips(connection, daemon.authority, [account], now)

        self.does(settle, key)

    def pass_on(self, point: int, account: int) -> None:
        """A document gives a point to an account."""

        async def give(connection: Connection) -> None:
            session = cast("Session", connection)
            async with session.transaction():
                await session.lock("advisory", "chains")
                before = (session.get("point", point) or {})["account_id"]
                await ledger.lock_accounts(connection, {before, account})
                if account == before:
                    return
                for holder, points in (
                    (before, set(_points(session, before)) - {point}),
                    (account, {*_points(session, account), point}),
                ):
                    await session.put("account", holder, points=tuple(sorted(points)))
                await session.put("point", point, account_id=account)
                if self.database.mirror:
                    day = self.local_now().date()
                    told = {"account_id": account, "day": day}
                    self.database.mirror.tell(session, "point_account", point, told)
                await pass_on(connection, point, account, f"given to account A{account}")

        self.does(give, f"P{point} is A{account}'s")

    def tell(self, table: str, number: Any, **changes: Any) -> None:
        """A fact that others than control write."""

        async def write(connection: Connection) -> None:
            session = cast("Session", connection)
            async with session.transaction():
                await session.put(table, number, **changes)
                if self.database.mirror:
                    self.database.mirror.tell(session, table, number, changes)

        self.does(write, f"{table} {number}")


def _points(session: Session, account: int) -> tuple[int, ...]:
    row = session.get("account", account)
    assert row is not None
    points: tuple[int, ...] = row["points"]
    return points


def make_world(seed: int, *, balance_fen: int = 5_000) -> World:
    """The world of a seed, before anything happened. `balance_fen`: of each account."""
    chance = Random(seed)
    zone = ZoneInfo(chance.choice(ZONES))
    began = _begin(chance, zone)
    policy = policy_of(chance, began.astimezone(zone).date())
    limits = Limits() if chance.random() < 0.4 else LOOSE
    terms = SiteTerms(policy, zone, limits=limits)
    world = empty_world(chance, began, terms, ("wire", "gate"))
    gate = world.lines["gate"]
    gate.peer = Peer("10.0.0.1", Proof.VOUCHED)
    add_teller(world, gate)
    for number in range(1, chance.choice((2, 3, 4, 14)) + 1):
        add_point(world, number, line=chance.choice(("wire", "gate")))
    for balance in world.database.tables["balance"].values():
        balance["fen"] = balance_fen
    return world


def empty_world(
    chance: Random, began: datetime, terms: SiteTerms, lines: Sequence[str], switching: float = 0.4
) -> World:
    """A site without points."""
    kernel = Kernel(chance)
    database = Database(kernel, began, ANSWERS, switching)
    meters: dict[int, Meter] = {}
    watch = Watch(kernel, database, meters, lambda: world.acting())
    of_name = {name: Line(name) for name in lines}
    world = World(chance, kernel, database, terms, of_name, meters, watch)
    database.committed = watch.committed
    database.releasing = watch.look_at_facts
    database.notify = world.heard
    database.look_at = world.look_at
    for line in of_name.values():
        add_teller(world, line)
    return world


def add_teller(world: World, line: Line) -> None:
    """Who is at the far end of a line has told readings for long."""
    told = {"line": line.name, "identity": line.peer.identity, "proof": int(line.peer.proof)}
    row = {**told, "first_at": world.database.began - 9 * DAY}
    # Whoever was there before is forgotten.
    tellers = world.database.tables["teller"]
    for number in [it for it, before in tellers.items() if before["line"] == line.name]:
        del tellers[number]
    tellers[world.database.number("teller")] = row


def _begin(chance: Random, zone: ZoneInfo) -> datetime:
    """A quarter of an hour before to an hour after a moment at which rules change."""
    day = chance.choice(
        (
            date(2026, 3, 11),
            date(2026, 3, 27),  # Friday, and summer time begins in Europe
            date(2026, 3, 28),
            date(2026, 10, 24),
            date(2026, 12, 31),
        )
    )
    clock = chance.choice(
        (time(8, 50), time(9, 0), time(11), time(13, 10), time(14, 20), time(23, 10))
    )
    moment = datetime.combine(day, clock, zone).astimezone(UTC)
    return moment + timedelta(minutes=chance.uniform(-15, 30))


def policy_of(chance: Random, today: date) -> Policy:
    """Most rules ask for nothing, so that each is the only one somewhere."""

    def maybe(value: Any, otherwise: Any, share: float = 0.25) -> Any:
        return value if chance.random() < share else otherwise

    has_window = chance.random() < 0.4
    return Policy(
        max_reading_age=timedelta(hours=36),
        window_start=time(9) if has_window else time(0),
        window_end=time(15) if has_window else time.max,
        working_days_only=maybe(True, False),
        holidays=maybe(frozenset({today}), frozenset(), 0.1),
        makeup_workdays=maybe(frozenset({today + DAY}), frozenset(), 0.1),
        no_trip_on_eve=maybe(True, False),
        written_required=maybe(True, False),
        written_min=timedelta(minutes=10),
        written_max=timedelta(minutes=40),
        final_required=maybe(True, False),
        final_min=timedelta(minutes=5),
        final_max=timedelta(minutes=30),
        approvals_required=chance.choice((0, 0, 0, 0, 1, 2)),
        approvals_of_several=maybe(1, 0),
        min_debt_fen=maybe(500, 0),
        startup_hold=maybe(timedelta(minutes=5), timedelta(0)),
        max_relay_age=maybe(timedelta(hours=1), None, 0.15),
        max_failed_restores=maybe(0, 5),
        max_moves_per_hour=maybe(2, 50),
        max_moves_per_day=maybe(6, 100),
        new_tariff_days=2,
    )


def add_point(world: World, number: int, *, line: str, shares: bool = True) -> None:
    """A point with a meter; with `shares` every third has its account with the one before."""
    chance, tables = world.chance, world.database.tables
    account = number - 1 if shares and number % 3 == 0 else number
    kind = chance.choice((RelayKind.INTERNAL, RelayKind.EXTERNAL))
    world.meters[number] = Meter(number, world.lines[line], Relay(kind, has_button=True))
    today = world.database.now().astimezone(world.terms.zone).date()
    tables["point"][number] = {
        "number": f"P{number}",
        "account_id": account,
        "address": f"{number:012}",
        "line": line,
        "area": chance.choice(("north", "south")),
        "protected": False,
        "life_support": False,
        "reconnect": chance.choice(("allow_close", "close")),
        "has_relay": True,
        "newest_state": "published",
        "last_published_day": today,
        "use_jump": False,
        "correction_open": False,
    }
    tables["supply"][number] = {
        "supply_state": "energised",
        "relay_observed": "closed",
        "command_observed": "closed",
        "cut_for": "arrears",
        "relay_observed_at": world.database.now(),
        "keep_power_observed": False,
    }
    if account in tables["account"]:
        tables["account"][account]["points"] += (number,)
        return
    tables["account"][account] = {
        "number": f"A{account}",
        "points": (number,),
        "state": "active",
        "agreement": "signed",
        "warn_fen": 3_000,
        "trip_fen": 0,
        "reconnect_fen": chance.choice((0, 1_000)),
        "credit_limit_fen": chance.choice((0, 2_000)),
        "credit_state": "good",
        "profile": None,
        "span_grace_until": None,
        "tariff_from": date(2026, 1, 1),
    }
    tables["balance"][account] = {"fen": 5_000}
