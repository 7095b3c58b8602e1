"""Random lives of a small site against a small model: readings, payments, commands, meters that
misbehave, crashes.

After every step the ledger is whole, each balance is the model's to the fen, and the links are the
published chain. Whatever is sent: a trip only below the floor and never to a protected point. In
the end everybody pays, and every relay must be closed again."""

import asyncio
import itertools
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from psycopg import AsyncConnection

from daemon.control.observation import Answer
from daemon.transactions.collect import settle_marked
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.release import resume, take_step
from daemon.transactions.sweep import sweep
from protocols.reading import RelayState
from storage import supply
from tests.database.proven import proven
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    SHADOW,
    Site,
    balance,
    freeze,
    intact,
    links,
    pay,
    rows,
    store,
)
from tests.unit.exact_money import Price, exact_by_month, rounded

OPENING = date(2026, 3, 28)
PRICES = [
    Price(date(2026, 1, 1), Decimal("0.5283")),
    Price(date(2026, 4, 2), Decimal("0.61")),
]
POINTS = 3
PROTECTED = 2
NUMBERS = itertools.count(1)
FATES = (
    "obeyed",
    "answer lost",
    "request lost",
    "delayed",
    "refused",
    "dies before sending",
    "dies after sending",
)


class Crash(BaseException):
    """The process is gone."""


class FusedConnection(AsyncConnection[Any]):
    """A connection whose process dies at the statement at which the fuse has burnt down."""

    fuse: int | None = None

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        if self.fuse is not None:
            if self.fuse == 0:
                raise Crash
            self.fuse -= 1
        return super().cursor(*args, **kwargs)


@dataclass
class Meter:
    """What the simulated world knows of a relay."""

    relay_open: bool = False
    command_open: bool = False

    def obey(self, action: str, *, at_once: bool = True) -> None:
        self.command_open = action == "trip"
        if action == "close" or (action == "trip" and at_once):
            self.relay_open = action == "trip"

    def state(self) -> RelayState:
        return RelayState(self.relay_open, self.command_open)


T = TypeVar("T")
points = st.integers(0, POINTS - 1)
fuses = st.one_of(st.none(), st.none(), st.integers(0, 25))
fates = st.sampled_from([None, "obeyed", *FATES])


def true_register(point: int, day: int) -> int:
    """0.01 kWh: about one a day, never the same. So little that no sum of them is large enough to
    keep a customer from being cut (SPAN_GRACE)."""
    return 100_000 + day * 100 + (day * 37 + point * 11) % 97


class Life(RuleBasedStateMachine):
    url: str

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.now = NOW
        numbers = [next(NUMBERS) for _ in range(POINTS)]
        self.line = f"line {numbers[0]}"
        self.accounts = [f"A{number}" for number in numbers]
        self.names = [f"P{number}" for number in numbers]
        self.meters = [Meter() for _ in numbers]
        self.paid: list[dict[str, int]] = [{} for _ in numbers]
        self.decided: list[dict[date, int | None]] = [{} for _ in numbers]
        site = Site(tariffs=[("T", *price) for price in PRICES])
        for i, number in enumerate(numbers):
            reconnect = ("allow_close", "close", "close")[i]
            site.add(
                number,
                opened_on=OPENING,
                line=self.line,
                reconnect=reconnect,
                protected=i == PROTECTED,
            )
        self.runner.run(self._connect())
        found = self.runner.run(site.take_over(self.connection))
        self.site_meters = [found[name] for name in self.names]
        for point in range(POINTS):
            self.collect(point, [0, 1], False, False, None)  # all are in debt by a day's use

    async def _connect(self) -> None:
        self.connection = await FusedConnection.connect(self.url, autocommit=True)

    def _do(self, story: Coroutine[Any, Any, T], fuse: int | None = None) -> tuple[bool, T | None]:
        """(done, answer); with a burnt fuse (False, None), and the daemon has been started
        again."""
        self.connection.fuse = fuse
        try:
            return True, self.runner.run(story)
        except Crash:
            self._restart()
            return False, None
        finally:
            self.connection.fuse = None

    def _restart(self) -> None:
        self.runner.run(self.connection.close())
        self.runner.run(self._connect())
        self.runner.run(resume(self.connection, self.now))
        self.runner.run(settle_marked(self.connection, ARMED, self.now))

    # --- what happens ---

    @rule(
        point=points,
        days=st.one_of(
            st.integers(2, 20).map(lambda first: [first, first + 1]),
            st.integers(2, 6).flatmap(lambda last: st.permutations(range(2, last + 1))),
            st.lists(st.integers(-1, 20), min_size=1, max_size=5),
        ),
        wrong=st.sampled_from([False] * 9 + [True]),
        is_shadow=st.sampled_from([False] * 4 + [True]),
        fuse=fuses,
        then=fates,
    )
    def collect(
        self,
        point: int,
        days: list[int],
        wrong: bool,
        is_shadow: bool,
        fuse: int | None,
        then: str | None = None,
    ) -> None:
        totals = [(OPENING + n * DAY, true_register(point, n)) for n in days]
        if wrong:
            totals[0] = (totals[0][0], 100_000_000)
        batch = [
            freeze(self.site_meters[point], day, Decimal(total).scaleb(-2)) for day, total in totals
        ]
        authority = SHADOW if is_shadow else ARMED
        done, _ = self._do(store(self.connection, *batch, authority=authority, now=self.now), fuse)
        if not done:
            # It died before its readings were kept, or after that: money follows at the start.
            query = "SELECT day, total FROM reading WHERE meter_id = %s"
            meter_id = self.site_meters[point].meter_id
            done = set(totals) <= set(self.runner.run(rows(self.connection, query, meter_id)))
        if done:
            for day, total in sorted(totals, key=lambda item: item[0]):
                # What cannot be the register takes no part; a true value of its day takes its place.
                if total < 100_000_000:
                    self.decided[point][day] = total
                else:
                    self.decided[point].setdefault(day, None)
        self.serve_what_is_due(then)

    @rule(point=points, reference=st.sampled_from(["a", "b", "c"]), fuse=fuses, then=fates)
    def pay(self, point: int, reference: str, fuse: int | None, then: str | None = None) -> None:
        fen = {"a": 100, "b": 600, "c": 2000}[reference]
        key = f"{self.accounts[point]}-{reference}"
        done, answer = self._do(
            pay(self.connection, self.accounts[point], fen, key, self.now), fuse
        )
        if done:
            assert answer is not None
            assert (answer.outcome.name == "POSTED") == (reference not in self.paid[point])
            self.paid[point][reference] = fen
            assert answer.balance_fen == self._balance(point)
        self.serve_what_is_due(then)

    @rule(fate=st.sampled_from(FATES), fuse=fuses)
    def serve(self, fate: str, fuse: int | None = None) -> None:
        done, order = self._do(take_step(self.connection, ARMED, self.line, self.now), fuse)
        if not done or order is None:
            return
        command = order.command
        point = self.names.index(command.point)
        meter = self.meters[point]
        if order.kind == "verify":
            relay = None if "lost" in fate else meter.state()
            if "dies" in fate:
                self._restart()
            else:
                self._do(take_observation(self.connection, command, relay, self.now))
            return
        if command.action == "trip":
            assert self._balance(point) < 0, "a trip above the floor"
            assert point != PROTECTED, "a trip of a protected point"
        if fate in ("obeyed", "answer lost", "dies after sending"):
            meter.obey(command.action)
        elif fate == "delayed":
            meter.obey(command.action, at_once=False)
        if "dies" in fate:
            self._restart()
            return
        answer: Answer = "unknown" if "lost" in fate else "acked"
        if fate == "refused":
            answer = "refused"
        self._do(take_answer(self.connection, command, answer, fate, self.now))

    @rule(fuse=fuses)
    def sweep(self, fuse: int | None) -> None:
        self._do(sweep(self.connection, ARMED, self.now), fuse)

    def serve_what_is_due(self, fate: str | None) -> None:
        for _ in range(POINTS if fate else 0):
            self.now += timedelta(seconds=6)
            self.serve(fate)

    @rule(seconds=st.sampled_from([20, 70, 400, 4000, 90_000]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(point=points)
    def delayed_trip_is_executed_or_button_pressed(self, point: int) -> None:
        self.meters[point].relay_open = self.meters[point].command_open

    # --- what must hold ---

    def _chain(self, point: int) -> dict[date, int]:
        """The published registers from the opening day on; empty while that day's is missing."""
        found = {
            day: total
            for day, total in self.decided[point].items()
            if total is not None and day >= OPENING
        }
        return found if OPENING in found else {}

    def _balance(self, point: int) -> int:
        months = exact_by_month(self._chain(point), PRICES)
        return sum(self.paid[point].values()) - sum(map(rounded, months.values()))

    @invariant()
    def money_is_whole_and_links_are_the_chain(self) -> None:
        assert self.runner.run(intact(self.connection))
        for point, account in enumerate(self.accounts):
            assert self.runner.run(balance(self.connection, account)) == self._balance(point)
            found = self.runner.run(links(self.connection, self.names[point]))
            assert [link[:2] for link in found] == list(
                itertools.pairwise(sorted(self._chain(point)))
            )

    @invariant()
    def supply_and_commands_fit_together(self) -> None:
        query = (
            "SELECT p.supply_state, c.action FROM point_supply p LEFT JOIN command c ON c.point_id = p.point_id "
            "AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying') WHERE p.point_id = ANY(SELECT id FROM point WHERE number = ANY(%s))"
        )
        found = self.runner.run(rows(self.connection, query, self.names))
        assert len(found) == POINTS, "two open commands of one point"
        for state, action in found:
            assert (action == "trip") == (state == "trip_commanded")
            assert (action in ("close", "allow_close")) == (
                state in ("reconnect_commanded", "wait_customer_button")
            )

    def teardown(self) -> None:
        """Everybody pays and every meter behaves: every relay is closed and nothing is left to
        do."""
        if not hasattr(self, "runner"):
            return
        try:
            for point in range(POINTS):
                self._do(
                    pay(
                        self.connection,
                        self.accounts[point],
                        100_000,
                        self.accounts[point],
                        self.now,
                    )
                )
                self.paid[point]["final"] = 100_000
            for _ in range(40):
                self.serve_and_look()
                if (
                    not any(meter.relay_open or meter.command_open for meter in self.meters)
                    and self.idle()
                ):
                    break
            assert [meter.state() for meter in self.meters] == [RelayState(False, False)] * POINTS
            query = "SELECT supply_state FROM point_supply JOIN point ON id = point_id WHERE number = ANY(%s)"
            assert (
                self.runner.run(rows(self.connection, query, self.names)) == ["energised"] * POINTS
            )
            self.money_is_whole_and_links_are_the_chain()
            bills = self.runner.run(proven(self.connection, numbers=self.accounts))
            assert {bill.account for bill in bills} == set(self.accounts)
        finally:
            self.runner.run(self.connection.close())
            self.runner.close()

    def serve_and_look(self) -> None:
        self.serve("obeyed")
        for point in range(POINTS):
            if self.meters[point].relay_open and not self.meters[point].command_open:
                self.delayed_trip_is_executed_or_button_pressed(point)
        due: datetime | None = self.runner.run(supply.next_due(self.connection, self.line))
        if due is None:
            self.now += timedelta(hours=1, minutes=1)
            self._do(sweep(self.connection, ARMED, self.now))
        else:
            self.now = max(self.now, due)

    def idle(self) -> bool:
        return self.runner.run(supply.next_due(self.connection, self.line)) is None


def test_whatever_happens_money_is_whole_and_supply_comes_back(database_url: str) -> None:
    class LifeHere(Life):
        url = database_url

    run_state_machine_as_test(
        LifeHere,
        settings=settings(
            max_examples=10,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_random_lives_reach_cuts_and_restores(database_url: str) -> None:
    """The model would be worth nothing if no trip were ever sent in it: one life by hand."""
    life = Life()
    life.url = database_url
    life.begin()
    life.serve("obeyed")
    life.wait(6)
    life.serve("obeyed")
    assert life.meters[0] == Meter(relay_open=True, command_open=True)
    life.pay(0, "c", None)
    life.serve("obeyed")
    assert life.meters[0] == Meter(relay_open=True, command_open=False)
    life.teardown()
    assert life.meters[0] == Meter(relay_open=False, command_open=False)
