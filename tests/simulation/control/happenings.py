"""What happens in a world: money, people, meters, lines, clocks and machines, at times by chance.

Each seed takes some kinds and leaves others out, so that every rule is the only one that speaks
against a cut somewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

from psycopg import AsyncConnection

from daemon.control.facts import ORDERS
from daemon.control.ramp import Ramp
from daemon.transactions.breaker import ResetRefused, agree_to_reset, ask_to_reset
from daemon.transactions.cut_orders import (
    OrderRefused,
    agree_to_order,
    ask_for_order,
    end_order,
)
from daemon.transactions.cut_requests import CutRefused, approve_cut, request_cut, withdraw_cut
from daemon.transactions.supply_marks import (
    TWO_PERSONS,
    Marked,
    MarkRefused,
    agree_to_lift,
    lift_mark,
    set_mark,
)
from protocols.peer import Peer, Proof
from storage import breakers
from storage.documents import Said
from tests.simulation.control.meters import Line, Meter
from tests.simulation.control.world import DAY, HOUR, World

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
PERSONS: Final = ("li", "wang", "Li", "zhao")
OWN_FACTS: Final = (
    ("has_relay", False, True),
    ("protected", True, False),
    ("life_support", True, False),
)
POINT_FACTS: Final = (
    *OWN_FACTS,
    ("newest_state", "suspect", "published"),
    ("use_jump", True, False),
    ("correction_open", True, False),
)
"""What readings and documents say is rows of other rooms: a server beside the model has none."""
MARKS: Final = (
    "dispute",
    "payment_in_flight",
    "weather",
    "hold",
    "amnesty",
    "planned_outage",
    "protected",
    "life_support",
    "keep_power",
    "keep_off",
)


async def reset_breaker(connection: AsyncConnection[Any], number: int) -> None:
    """Two persons look into why it opened."""
    await ask_to_reset(connection, number, Said("li", "looked into"))
    await agree_to_reset(connection, number, "wang")


@dataclass(eq=False)
class Happenings:
    """The chances of a seed. `rates`: how often an hour each kind happens."""

    world: World
    paid: list[tuple[int, int, str]] = field(default_factory=list)
    rates: dict[Callable[[], None], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chance = self.world.chance
        always = {self.charge: 25.0, self.pay: 18.0, self.press_button: 15.0, self.reset: 4.0}
        sometimes = {
            self.pay_again: 2.0,
            self.bounce: 1.0,
            self.say_notice: 14.0,
            self.ask_for_cut: 6.0,
            self.approve: 10.0,
            self.withdraw: 1.0,
            self.mark: 4.0,
            self.order_off: 5.0,
            self.pass_on: 1.0,
            self.break_open: 0.7,
            self.change_point: 3.0,
            self.change_account: 2.0,
            self.change_teller: 0.7,
            self.power: 1.5,
            self.stick: 1.0,
            self.delay_trips: 1.5,
            self.set_meter_clock: 1.0,
            self.keep_power: 1.0,
            self.refuse: 0.7,
            self.move_by_another: 0.7,
            self.trouble_line: 1.5,
            self.line_down: 1.0,
            self.step_host: 0.7,
            self.kill: 1.2,
            self.second: 0.8,
            self.lose_session: 1.0,
            self.database_away: 1.0,
            self.database_hangs: 1.0,
            self.shadow: 0.4,
        }
        needed = {self.say_notice, self.ask_for_cut, self.approve}
        chosen = {
            it: rate for it, rate in sometimes.items() if it in needed or chance.random() < 0.4
        }
        self.rates = {**always, **chosen}
        self.world.database.lost_answers = chance.choice((0.0, 0.0, 0.002))

    def begin(self, hours: float) -> None:
        """Plan what happens within so many hours."""
        chance = self.world.chance
        acts = [it for it in self.rates if it != self.charge]

        def meanwhile() -> None:
            # What goes wrong goes wrong while something is under way.
            if chance.random() < 0.4:
                self.world.kernel.at_s(chance.uniform(0, 3), chance.choice(acts))

        self.world.on_command = meanwhile
        for act, rate in self.rates.items():
            at_s = chance.expovariate(rate) * HOUR_S
            while at_s < hours * HOUR_S:
                self.world.kernel.at_s(at_s, act)
                at_s += chance.expovariate(rate) * HOUR_S

    # Money

    def charge(self) -> None:
        """Use is posted; mostly enough to be cut for."""
        account = self._account()
        balance = self.world.database.tables["balance"][account]["fen"]
        fen = self.world.chance.choice(
            (300, 1_500, balance + 200, balance + 2_900, balance + 2_900, balance + 9_000)
        )
        if fen > 0:
            key = f"charge {self.world.database.number('charge')}"
            self.world.post(account, -fen, key)

    def pay(self) -> None:
        """Enough, or a part."""
        account = self._account()
        balance = self.world.database.tables["balance"][account]["fen"]
        fen = self.world.chance.choice((100, max(1, 1_000 - balance), max(1, 8_000 - balance)))
        self.paid.append((account, fen, self.world.pay(account, fen)))

    def pay_again(self) -> None:
        """A channel tells a payment twice."""
        if self.paid:
            self.world.pay(*self.world.chance.choice(self.paid))

    def bounce(self) -> None:
        """A payment is taken back."""
        if self.paid:
            account, fen, reference = self.paid.pop()
            self.world.post(account, -fen, f"reversal {reference}")

    # People

    def say_notice(self) -> None:
        """A receipt comes, of this episode or of an old one."""
        world, chance = self.world, self.world.chance
        episodes = list(world.database.tables["episode"])[-6:]
        if not episodes:
            return
        now = world.database.now()
        planned = now + timedelta(minutes=chance.uniform(-30, 30))
        world.say_notice(
            chance.choice(episodes),
            chance.choice(("written", "final")),
            delivered_at=now if chance.random() < 0.9 else None,
            planned_at=planned if chance.random() < 0.3 else None,
        )

    def ask_for_cut(self) -> None:
        """A person asks that an account be cut."""
        account, who = f"A{self._account()}", self.world.chance.choice(PERSONS)
        self._said(lambda it: request_cut(it, account, Said(who, "arrears")), "request")

    def approve(self) -> None:
        """Another, or the same, approves it."""
        requests, who = self.world.database.tables["request"], self.world.chance.choice(PERSONS)
        if requests:
            number = list(requests)[-1]
            self._said(lambda it: approve_cut(it, number, who), "approval")

    def withdraw(self) -> None:
        """The request is taken back."""
        requests = self.world.database.tables["request"]
        if requests:
            number = list(requests)[-1]
            self._said(lambda it: withdraw_cut(it, number, Said("wang", "mistake")), "withdrawal")

    def mark(self) -> None:
        """Somebody says who is not to be cut, and later that this is over."""
        world, chance = self.world, self.world.chance
        kind, point = chance.choice(MARKS), self._point()
        row = world.database.tables["point"][point]
        scopes = (Marked(), Marked(area=row["area"]), Marked(line=row["line"]))
        small = (Marked(account=f"A{row['account_id']}"), Marked(point=f"P{point}"))
        scope = chance.choice(small if kind in TWO_PERSONS else (*scopes, *small))

        async def say(connection: AsyncConnection[Any]) -> None:
            ramp = Ramp(4, 2) if kind == "amnesty" else None
            number = await set_mark(connection, kind, scope, Said("li", "asked"), ramp=ramp)
            after_s = chance.expovariate(1 / (15 * MINUTE_S))
            world.kernel.at_s(after_s, lambda: self._lift(number, kind))

        self._said(say, f"mark {kind}")

    def _lift(self, number: int, kind: str) -> None:
        async def lift(connection: AsyncConnection[Any]) -> None:
            if await lift_mark(connection, number, {kind}, Said("li", "over")) == "waits":
                await agree_to_lift(connection, number, "wang")

        self._said(lift, "lift")

    def order_off(self) -> None:
        """Two persons, or one twice, order a supply off; some later this is over, or somebody there
        turns out to depend on supply."""
        chance, point = self.world.chance, f"P{self._point()}"
        cause, persons = chance.choice(ORDERS), (chance.choice(PERSONS), chance.choice(PERSONS))
        said = Said(persons[0], "it is dangerous")

        async def ask(connection: AsyncConnection[Any]) -> None:
            number = await ask_for_order(connection, point, cause, said)
            self._later(1, lambda: self._agree(number, persons[1]))
            self._later(25, lambda: self._said(lambda it: end_order(it, number, said), "end"))

        self._said(ask, f"order {cause}")

    def _agree(self, number: int, who: str) -> None:
        daemon = self.world.acting()
        if daemon is None:
            return
        authority = daemon.authority
        self._said(lambda it: agree_to_order(it, authority, number, who), "agreement")
        if self.world.chance.random() < 0.4:
            point = self.world.database.tables["order"][number]["point_id"]
            kind = self.world.chance.choice(("protected", "life_support"))
            self._later(6, lambda: self._protect(point, kind))

    def _protect(self, point: int, kind: str) -> None:
        async def protect(connection: AsyncConnection[Any]) -> None:
            number = await set_mark(connection, kind, Marked(point=f"P{point}"), Said("li", "told"))
            self._later(15, lambda: self._lift(number, kind))

        self._said(protect, kind)

    def pass_on(self) -> None:
        """A point is given to another account, which may owe, or to a third that does not."""
        self.world.pass_on(self._point(), self._account())

    def break_open(self) -> None:
        """A breaker opens, and two persons reset it."""
        world, chance = self.world, self.world.chance
        group = chance.choice((("site", ""), ("area", "north"), ("line", "wire")))

        async def open_it(connection: AsyncConnection[Any]) -> None:
            now = world.database.now()
            await breakers.open_breaker(connection, group, "wrongful_trips", 3, 2, now)

        world.does(open_it, "breaker")

    def reset(self) -> None:
        """Two persons reset what is open."""
        for number, row in self.world.database.tables["breaker"].items():
            if row["reset_at"] is None:
                self._said(partial(reset_breaker, number=number), "reset")

    def change_point(self) -> None:
        """What readings, documents and files say of a point."""
        world, point = self.world, self._point()
        is_alone = world.database.mirror is None
        fact, bad, good = world.chance.choice(POINT_FACTS if is_alone else OWN_FACTS)
        world.tell("point", point, **{fact: bad})
        self._later(15, lambda: world.tell("point", point, **{fact: good}))
        if is_alone and world.chance.random() < 0.3:
            day = world.database.now().astimezone(world.terms.zone).date()
            old = world.chance.choice((day - 2 * DAY, day + 2 * DAY, None))
            world.tell("point", point, last_published_day=old)
            self._later(15, lambda: world.tell("point", point, last_published_day=day))

    def change_account(self) -> None:
        """What files and settlement say of an account."""
        world, account = self.world, self._account()
        today = world.database.now().astimezone(world.terms.zone).date()
        facts: list[tuple[str, Any, Any]] = [
            ("state", "closing", "active"),
            ("span_grace_until", world.database.now() + HOUR / 3, None),
        ]
        if world.database.mirror is None:
            facts += [("agreement", None, "signed"), ("tariff_from", today - DAY, today - 9 * DAY)]
        fact, bad, good = world.chance.choice(facts)
        world.tell("account", account, **{fact: bad})
        self._later(15, lambda: world.tell("account", account, **{fact: good}))

    def change_teller(self) -> None:
        """Somebody else dials in as the terminal; only later it tells a reading."""
        world, line = self.world, self.world.lines["gate"]
        line.peer = Peer(f"10.0.0.{world.chance.randrange(1, 4)}", Proof.VOUCHED)
        if world.chance.random() < 0.4:
            self._trouble(line, 5, question="two say that they are it")
        if world.chance.random() < 0.6:
            told = {"line": "gate", "identity": line.peer.identity, "proof": int(Proof.VOUCHED)}
            number, now = world.database.number("teller"), world.database.now()
            # Most changes are long past, or nobody would ever be cut again.
            first_at = world.chance.choice((now, now - 2 * DAY))
            world.tell("teller", number, **told, first_at=first_at)

    # Meters and lines

    def press_button(self) -> None:
        """A customer closes what may be closed."""
        self._meter().relay.press_button(self.world.local_now())

    def power(self) -> None:
        """A meter has no power for a while."""
        self._meter_is(self._meter(), 8, is_powered=False)

    def stick(self) -> None:
        """A relay does not move for a while."""
        meter = self._meter()
        meter.relay.is_stuck = True

        def mend() -> None:
            meter.relay.is_stuck = False
            meter.bad_at_s = self.world.kernel.now_s

        self._later(25, mend)

    def delay_trips(self) -> None:
        """A meter executes trips later from now on."""
        chance = self.world.chance
        self._meter().relay.trip_delay = timedelta(seconds=chance.choice((0, 20, 400)))

    def set_meter_clock(self) -> None:
        """A meter's clock is wrong for a while."""
        chance = self.world.chance
        ahead = timedelta(minutes=chance.choice((-120, -7, -4, 4, 7, 120)))
        self._meter_is(self._meter(), 20, ahead=ahead)

    def keep_power(self) -> None:
        """A meter is put under keep power by another tool."""
        meter = self._meter()
        now = self.world.local_now
        meter.relay.keep_power(now(), on=True)
        self._later(20, lambda: meter.relay.keep_power(now(), on=False))

    def refuse(self) -> None:
        """A meter refuses every control frame for a while."""
        self._meter_is(self._meter(), 15, refuses=True)

    def move_by_another(self) -> None:
        """A person with another tool closes a relay, which nobody should."""
        self._meter().relay.force(self.world.local_now(), to_open=False)

    def trouble_line(self) -> None:
        """A line loses, delays or doubles what it carries."""
        chance = self.world.chance
        which = chance.choice(("lost", "late", "doubled"))
        self._trouble(self._line(), 12, **{which: chance.choice((0.1, 0.3, 0.7))})

    def line_down(self) -> None:
        """A line is gone for a while; some for hours."""
        self._trouble(self._line(), self.world.chance.choice((1, 8, 40)), is_down=True)

    # Machines and clocks

    def step_host(self) -> None:
        """The wall clock of a host jumps, and comes back later."""
        world = self.world
        if not world.daemons:
            return
        daemon = world.chance.choice(world.daemons)
        ahead = world.chance.choice((-7200, -90, -20, -4, 4, 20, 90, 7200))
        daemon.step_clock(timedelta(seconds=ahead))
        self._later(10, lambda: daemon.step_clock(timedelta(0)))

    def kill(self) -> None:
        """A daemon is killed, and started again."""
        world = self.world
        if world.daemons:
            world.stop_daemon(world.chance.choice(world.daemons))
        if not world.daemons:
            self._later(1, self._start_again)

    def _start_again(self) -> None:
        if not self.world.daemons:
            self.world.start_daemon()

    def second(self) -> None:
        """A second daemon is started beside the first."""
        if len(self.world.daemons) < 2:
            self.world.start_daemon()

    def lose_session(self) -> None:
        """The server ends the session that holds the site."""
        database = self.world.database
        if database.holder is not None:
            daemon = database.holder[0]
            database.holder = None
            for it in self.world.daemons:
                if it is daemon:
                    it.lose_site()

    def database_away(self) -> None:
        """The server is away for a while."""
        world = self.world
        world.database.go_down(world.chance.choice((1.0, 30.0, 400.0)))
        for daemon in world.daemons:
            daemon.lose_site()

    def database_hangs(self) -> None:
        """The server answers nothing for a while."""
        database = self.world.database
        database.hangs_until_s = self.world.kernel.now_s + self.world.chance.choice((2, 20, 45))

    def shadow(self) -> None:
        """The site is started again in the other mode, and back later."""
        world = self.world

        def switch(to_shadow: bool) -> None:
            world.terms = replace(world.terms, shadow_mode=to_shadow)
            for daemon in list(world.daemons):
                world.stop_daemon(daemon)
            world.start_daemon()

        switch(to_shadow=True)
        self._later(10, lambda: switch(to_shadow=False))

    # Choosing

    def _account(self) -> int:
        accounts: list[int] = list(self.world.database.tables["account"])
        return self.world.chance.choice(accounts)

    def _point(self) -> int:
        return self.world.chance.choice(list(self.world.meters))

    def _meter(self) -> Meter:
        return self.world.meters[self._point()]

    def _line(self) -> Line:
        return self.world.chance.choice(list(self.world.lines.values()))

    def _later(self, mean_minutes: float, act: Callable[[], None]) -> None:
        after_s = self.world.chance.expovariate(1 / (mean_minutes * MINUTE_S))
        self.world.kernel.at_s(after_s, act)

    def _trouble(self, line: Line, mean_minutes: float, **what: Any) -> None:
        self._changed(line, mean_minutes, what)

    def _meter_is(self, meter: Meter, mean_minutes: float, **what: Any) -> None:
        self._changed(meter, mean_minutes, what)

    def _changed(self, it: Line | Meter, mean_minutes: float, what: dict[str, Any]) -> None:
        good = {"is_powered": True, "is_down": False, "refuses": False, "question": ""}
        for name, value in what.items():
            setattr(it, name, value)

        def mend() -> None:
            for name in what:
                setattr(it, name, good.get(name, timedelta(0) if name == "ahead" else 0.0))
            it.bad_at_s = self.world.kernel.now_s

        self._later(mean_minutes, mend)

    def _said(self, what: Callable[[AsyncConnection[Any]], Any], name: str) -> None:
        async def say(connection: AsyncConnection[Any]) -> None:
            try:
                await what(connection)
            except (CutRefused, MarkRefused, OrderRefused, ResetRefused):
                return  # who typed it reads why

        self.world.does(say, name)
