"""A month of a whole small utility: thousands of customers with moods, under the strict policy.

PYTHONPATH=. .venv/bin/python tests/simulation/control/utility.py [CUSTOMERS] [SEED]

Every invariant is looked at after every simulated hour, and whatever is committed or leaves at once."""

from __future__ import annotations

import gc
import sys
import time as wall
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from random import Random
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from daemon.control.guard import Policy
from daemon.transactions.credit import update_credit
from daemon.transactions.cut_requests import CutRefused, approve_cut, request_cut
from daemon.transactions.supply import request_trips, restore
from daemon.transactions.supply_marks import Marked, lift_mark, set_mark
from storage import ledger, supply
from storage.documents import Said
from storage.ledger import Leg, Transaction, prepaid
from tests.simulation.control.happenings import reset_breaker
from tests.simulation.control.lives import heard_alarms
from tests.simulation.control.processes import SiteTerms
from tests.simulation.control.world import Connection, World, add_point, empty_world

DAYS: Final = 31
CUSTOMERS: Final = 5_000
ON_A_LINE: Final = 100
SETTLED_AT_ONCE: Final = 500
FIRST: Final = date(2026, 3, 2)
HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
ZONE: Final = ZoneInfo("Asia/Shanghai")
MOODS: Final = {
    "prompt": 70,
    "late": 14,
    "when it is dark": 7,
    "never": 2,
    "moves out": 2,
    "cheats": 2,
    "disputes": 2,
    "depends on supply": 1,
}
"""Of a hundred customers."""
ASKED_AT_HOURS: Final = (10, 11.1, 12.2, 13.3, 14.4)
ASKED_AT_ONCE: Final = 10
ASKED_OF_A_LINE: Final = 3
"""Cuts: so many leave within a minute, and of a line within an hour; of more a breaker opens."""
BANK_FAILS: Final = (11, 13)
"""From the one day to the other nobody's payment arrives."""


@dataclass(eq=False)
class Customer:
    """One account with one point of the same number."""

    number: int
    mood: str
    use_fen: int
    pays_on: int | None = None
    """The day on which a payment is decided on; None: none is."""


@dataclass(eq=False)
class Utility:
    """The site with its customers. `cut`: whoever was in the dark by us at any hour."""

    world: World
    customers: list[Customer]
    waiting: list[tuple[int, int]] = field(default_factory=list)
    """Payments that the bank keeps."""
    cut: set[int] = field(default_factory=set)
    asked: set[int] = field(default_factory=set)
    """Accounts that were asked to be cut today."""
    day: int = 0

    def live(self, days: int = DAYS) -> None:
        """A month, looked at every hour."""
        kernel = self.world.kernel
        for day in range(days):
            self.day = day
            self._begin_day()
            for hour in range(24):
                kernel.run(day * DAY_S + (hour + 1) * HOUR_S, lambda: None)
                self._press_buttons()
                self.cut |= {it for it, meter in self.world.meters.items() if meter.relay.is_open}
                self.world.watch.after_step()

    def _begin_day(self) -> None:
        self.asked.clear()
        kernel, chance = self.world.kernel, self.world.chance
        today = FIRST + timedelta(days=self.day)
        for start in range(0, len(self.customers), SETTLED_AT_ONCE):
            some = self.customers[start : start + SETTLED_AT_ONCE]
            settle = partial(self._settle, some, today)
            kernel.at_s(chance.uniform(0.3, 2) * HOUR_S, settle)
        kernel.at_s(3 * HOUR_S, self._decide_to_pay)
        policy = self.world.terms.policy
        cuts = all(policy.is_working_day(it) for it in (today, today + timedelta(days=1)))
        kernel.at_s(9.2 * HOUR_S, partial(self._tell, final=cuts))
        kernel.at_s(8.5 * HOUR_S, self._reset_breakers)
        for hour in ASKED_AT_HOURS if cuts else ():
            kernel.at_s(hour * HOUR_S, self._ask_for_cuts)
        if self.day == BANK_FAILS[0]:
            kernel.at_s(2 * HOUR_S, self._hold_for_bank)
        if chance.random() < 0.5:
            kernel.at_s(chance.uniform(0, DAY_S), self._line_fails)
        if chance.random() < 0.2:
            kernel.at_s(chance.uniform(0, DAY_S), self._daemon_fails)

    def _settle(self, some: list[Customer], today: date) -> None:
        """What was used yesterday is posted, and control asked, in one transaction for many."""
        world, chance = self.world, self.world.chance
        charges = [
            (it.number, round(it.use_fen * chance.uniform(0.7, 1.3)))
            for it in some
            if not world.meters[it.number].relay.is_open and self._account(it)["state"] == "active"
        ]
        for it in some:
            world.database.tables["point"][it.number]["last_published_day"] = today

        async def settle(connection: Connection) -> None:
            now, daemon = world.database.now(), world.acting()
            async with connection.transaction():
                locked = await ledger.lock_accounts(connection, [number for number, _ in charges])
                posted = [_charge(number, fen, today) for number, fen in charges]
                await ledger.post(connection, posted)
                states = await update_credit(connection, locked.values(), now)
                out = [
                    it
                    for it, state in zip(locked, states, strict=True)
                    if state.status == "exhausted"
                ]
                dark = await supply.accounts_not_energised(connection, locked)
                if daemon is not None:
                    await restore(connection, dark, "settled", now)
                    await request_trips(connection, daemon.authority, out, now)

        if charges:
            world.does(settle, "settlement")

    def _decide_to_pay(self) -> None:
        """By mood: before it is used up, days later, or when it is dark."""
        chance, balances = self.world.chance, self.world.database.tables["balance"]
        for it in self.customers:
            fen = balances[it.number]["fen"]
            is_dark = self.world.meters[it.number].relay.is_open
            if it.pays_on is None:
                if it.mood == "prompt" and fen < 3 * it.use_fen:
                    it.pays_on = self.day
                elif it.mood in ("late", "disputes", "moves out", "depends on supply") and fen < 0:
                    it.pays_on = self.day + chance.randrange(1, 9)
                elif it.mood == "when it is dark" and is_dark:
                    it.pays_on = self.day
            if it.pays_on is not None and it.pays_on <= self.day:
                it.pays_on = None
                part = chance.choice((0.1, 1, 1, 1))
                sum_fen = round(part * (max(-fen, 0) + chance.randrange(8, 25) * it.use_fen)) + 100
                self.world.kernel.at_s(
                    chance.uniform(0, 15 * HOUR_S), partial(self._pay, it, sum_fen)
                )
            if it.mood == "moves out" and chance.random() < 0.02:
                self.world.tell("account", it.number, state="closing")
            if it.mood == "cheats" and is_dark:
                self.world.meters[it.number].relay.force(self.world.local_now(), to_open=False)
            if it.mood == "disputes" and fen < 0 and chance.random() < 0.3:
                self._mark("dispute", Marked(account=f"A{it.number}"), chance.uniform(1, 6))

    def _pay(self, customer: Customer, fen: int) -> None:
        if BANK_FAILS[0] <= self.day < BANK_FAILS[1]:
            self.waiting.append((customer.number, fen))
        else:
            self.world.pay(customer.number, fen)

    def _hold_for_bank(self) -> None:
        """The office sees that the channel is down: nobody is cut until it is caught up with."""
        days = BANK_FAILS[1] - BANK_FAILS[0]
        self._mark("payment_in_flight", Marked(), days + 0.2)

        def catch_up() -> None:
            for number, fen in self.waiting:
                self.world.pay(number, fen)
            self.waiting.clear()

        self.world.kernel.at_s(days * DAY_S, catch_up)

    def _tell(self, *, final: bool) -> None:
        """Written notices to who is in arrears; where three days have passed `final` ones."""
        tables, now = self.world.database.tables, self.world.database.now()
        open_ones = {
            number: it for number, it in tables["episode"].items() if it["ended_at"] is None
        }
        for number in open_ones:
            notices = tables["notices"].get(number, {"told": ()})["told"]
            written = [it["delivered_at"] for it in notices if it["kind"] == "written"]
            if not written or now - written[-1] > timedelta(days=7):
                self.world.say_notice(number, "written", delivered_at=now, planned_at=None)
            elif final and now - written[-1] >= timedelta(days=3):
                self.world.say_notice(number, "final", delivered_at=now, planned_at=None)

    def _ask_for_cuts(self) -> None:
        """One person asks for a few of those who were told, another approves."""
        accounts = list(self._to_be_cut())
        self.asked |= set(accounts)

        async def ask(connection: Connection) -> None:
            for account in accounts:
                try:
                    number = await request_cut(connection, f"A{account}", Said("li", "arrears"))
                    await approve_cut(connection, number, "wang")
                except CutRefused:
                    continue  # it was paid meanwhile

        self.world.does(ask, "approvals")

    def _to_be_cut(self) -> Iterator[int]:
        """Who owes longest first; of a line, and of all, no more than the breaker lets pass."""
        tables = self.world.database.tables
        this_morning = self.world.database.now() - timedelta(hours=6)
        of_line: Counter[str] = Counter()
        for number, episode in tables["episode"].items():
            account = episode["account_id"]
            told = tables["notices"].get(number, {"told": ()})["told"]
            line = tables["point"][account]["line"]
            if (
                episode["ended_at"] is None
                and any(it["kind"] == "final" and it["delivered_at"] > this_morning for it in told)
                and tables["supply"][account]["supply_state"] == "energised"
                and account not in self.asked
                and of_line[line] < ASKED_OF_A_LINE
                and of_line.total() < ASKED_AT_ONCE
            ):
                of_line[line] += 1
                yield account

    def _reset_breakers(self) -> None:
        for number, row in self.world.database.tables["breaker"].items():
            if row["reset_at"] is None:
                self.world.does(partial(reset_breaker, number=number), "reset")

    def _mark(self, kind: str, marked: Marked, days: float) -> None:
        async def say(connection: Connection) -> None:
            number = await set_mark(connection, kind, marked, Said("li", "asked"))

            async def lift(connection: Connection) -> None:
                await lift_mark(connection, number, {kind}, Said("li", "over"))

            self.world.kernel.at_s(days * DAY_S, lambda: self.world.does(lift, "lift"))

        self.world.does(say, kind)

    def _line_fails(self) -> None:
        line = self.world.chance.choice(list(self.world.lines.values()))
        line.is_down = True

        def mend() -> None:
            line.is_down = False
            line.bad_at_s = self.world.kernel.now_s

        self.world.kernel.at_s(self.world.chance.uniform(0.2, 30) * HOUR_S, mend)

    def _daemon_fails(self) -> None:
        for daemon in list(self.world.daemons):
            self.world.stop_daemon(daemon)
        self.world.kernel.at_s(60, lambda: cast("None", self.world.start_daemon() and None))

    def _press_buttons(self) -> None:
        now = self.world.local_now()
        for meter in self.world.meters.values():
            if meter.relay.is_open and not meter.relay.command_open:
                meter.relay.press_button(now)

    def _account(self, customer: Customer) -> dict[str, Any]:
        return self.world.database.tables["account"][customer.number]


def make_utility(customers: int = CUSTOMERS, seed: int = 0) -> Utility:
    """A site before its month."""
    chance = Random(seed)
    began = datetime.combine(FIRST, time(), ZONE).astimezone(UTC)
    policy = Policy(min_debt_fen=500, startup_hold=timedelta(minutes=15))
    lines = [f"line {number}" for number in range(1 + customers // ON_A_LINE)]
    terms = SiteTerms(policy, ZONE, sweep_s=HOUR_S)
    world = empty_world(chance, began, terms, lines, switching=0.0)
    moods = [mood for mood, share in MOODS.items() for _ in range(share)]
    members = []
    for number in range(1, customers + 1):
        add_point(world, number, line=lines[number // ON_A_LINE], shares=False)
        customer = Customer(number, chance.choice(moods), chance.randrange(150, 900))
        world.database.tables["balance"][number]["fen"] = chance.randrange(0, 12) * customer.use_fen
        if customer.mood == "depends on supply":
            world.database.tables["point"][number]["life_support"] = True
        members.append(customer)
    return Utility(world, members)


def _charge(account: int, fen: int, day: date) -> Transaction:
    legs = (Leg(prepaid(f"A{account}"), -fen), Leg("revenue:energy", fen))
    return Transaction(f"charge:{account}:{day}", "charge", {}, legs, "daemon:settlement")


def month(customers: int = CUSTOMERS, seed: int = 0, days: int = DAYS) -> Utility:
    """A month of such a site."""
    utility = make_utility(customers, seed)
    with heard_alarms(utility.world):
        utility.world.start_daemon()
        utility.live(days)
    return utility


def cut_by_mood(utility: Utility) -> Counter[str]:
    """How many customers of each mood were in the dark."""
    return Counter(it.mood for it in utility.customers if it.number in utility.cut)


def main(given: Iterable[str]) -> int:
    """Exit code."""
    asked = list(map(int, given))
    customers, seed = [*asked, *(CUSTOMERS, 0)[len(asked) :]]
    gc.disable()  # a fifth of the time, for circles that the end of the process takes as well
    began = wall.monotonic()
    utility = month(customers, seed)
    took_s = wall.monotonic() - began
    watch = utility.world.watch
    cut = cut_by_mood(utility)
    print("in the dark at any hour:", dict(cut))
    print(*(f"{count:9} {what}" for what, count in sorted(watch.told.items())), sep="\n")
    print(*watch.mistakes[:40], sep="\n")
    steps = utility.world.kernel.steps
    print(
        f"{customers} customers, {DAYS} days: {steps} steps, {len(watch.mistakes)} mistakes, {took_s:.0f} s"
    )
    # A month in which nobody is cut shows nothing.
    return 1 if watch.mistakes or not cut["never"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
