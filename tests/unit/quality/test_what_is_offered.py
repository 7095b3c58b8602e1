"""What is offered for a withheld value or held use never bills what is not so, and always leads to
the end: whoever knows what is true can obey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from daemon.quality.facts import Facts, Installation, Limit, Read, Registers
from daemon.quality.tasks import task_of
from tests.examples import examples
from tests.unit.quality.obedience import Site, Truth, steps_of

FIRST = date(2026, 3, 1)
DAYS = 24
ZONE = ZoneInfo("Asia/Shanghai")
LIMIT = 40
MODULUS = Decimal(100_000)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Past:
    """What happened: use of each day, wrong answers (day -> how far off, and whether the meter says
    so again), days without an answer, and the day with whose midnight another register began."""

    initial: int
    uses: tuple[int, ...]
    wrong: Mapping[int, tuple[int, bool]]
    silent: frozenset[int]
    exchange: tuple[int, int] | None
    limit: int

    def site(self) -> Site:
        registers, energy = self._true()
        days = [FIRST + n * DAY for n in range(DAYS)]
        told: dict[date, Decimal] = {}
        again: dict[date, Decimal] = {}
        for number, day in enumerate(days):
            off, is_lasting = self.wrong.get(number, (0, True))
            if number not in self.silent:
                told[day] = (registers[day] + off + MODULUS) % MODULUS
                again[day] = told[day] if is_lasting else registers[day]
        reads = [
            Read(day, Registers(total), datetime.combine(day, datetime.min.time(), UTC))
            for day, total in told.items()
        ]
        installed = Installation(self._midnight(0), "A", MODULUS, 0, 0)
        exchange = None
        if self.exchange is not None:
            number, begins = self.exchange
            final = Registers(Decimal(self.initial + sum(self.uses[:number])) % MODULUS)
            new = Registers(Decimal(begins))
            exchange = Installation(self._midnight(number), "B", MODULUS, 0, 0, new, final)
        facts = Facts(ZONE, (installed,), (Limit(FIRST, Decimal(self.limit)),), reads=tuple(reads))
        return Site(facts, Truth(registers, energy, again, Decimal(LIMIT), exchange))

    def _true(self) -> tuple[dict[date, Decimal], dict[date, Decimal]]:
        register = self.initial
        used = 0
        registers, energy = {}, {}
        for number in range(DAYS):
            if self.exchange is not None and number == self.exchange[0]:
                register = self.exchange[1]
            registers[FIRST + number * DAY] = Decimal(register) % MODULUS
            energy[FIRST + number * DAY] = Decimal(used)
            register += self.uses[number]
            used += self.uses[number]
        return registers, energy

    def _midnight(self, number: int) -> datetime:
        return datetime.combine(FIRST + number * DAY, datetime.min.time(), ZONE)


FAR = [-30_000, -6_000, -2_000, 2_000, 6_000, 30_000]
"""Farther than the point can have used in all the days: what is nearer no rule can tell."""
WRONG = st.tuples(st.sampled_from(FAR), st.booleans())


@st.composite
def pasts(draw: st.DrawFn) -> Past:
    start = draw(st.integers(0, DAYS - 2))
    length = draw(st.sampled_from([0, 0, 0, 1, 8, 12]))
    first = draw(st.none() | st.tuples(st.just(0), WRONG))
    others = draw(st.lists(st.tuples(st.integers(0, DAYS - 1), WRONG), max_size=2))
    exchange = draw(
        st.none() | st.tuples(st.integers(1, DAYS - 1), st.sampled_from([0, 77, 60_000]))
    )
    if exchange is not None:
        # The last days of the old meter, on which its final register is held against them.
        is_wrong = draw(WRONG)
        last = exchange[0]
        others += [(it, is_wrong) for it in range(last - draw(st.integers(0, min(4, last))), last)]
    return Past(
        initial=draw(st.sampled_from([5_000, 40_000])),
        uses=tuple(draw(st.lists(st.integers(0, LIMIT), min_size=DAYS, max_size=DAYS))),
        wrong=dict(others if first is None else [*others, first]),
        silent=frozenset(range(start, start + length)),
        exchange=exchange,
        limit=draw(st.sampled_from([LIMIT, LIMIT, LIMIT, LIMIT // 3])),
    )


BEGAN_ANEW_BEHIND_WRONG_DAYS = Past(
    40_000, (0,) * DAYS, {0: (-6_000, False), 1: (-6_000, False)}, frozenset(), (2, 0), LIMIT
)

WRONG_DAYS_THAT_AGREE = Past(
    5_000,
    (0, 14) + (0,) * (DAYS - 2),
    dict.fromkeys(range(3), (-30_000, False)),
    frozenset(),
    (3, 0),
    LIMIT // 3,
)

WRONG_DAYS_THAT_USED_MUCH = Past(
    5_000,
    (0, 0, 0, 14) + (0,) * (DAYS - 4),
    dict.fromkeys(range(1, 5), (-30_000, False)),
    frozenset(),
    (5, 0),
    LIMIT // 3,
)

EXCHANGED_BEFORE_ANY_VALUE_WAS_RIGHT = Past(
    5_000,
    (0, 1) + (0,) * (DAYS - 2),
    dict.fromkeys(range(3), (-30_000, True)),
    frozenset(),
    (2, 0),
    LIMIT,
)


@examples(150)
@given(pasts())
@example(EXCHANGED_BEFORE_ANY_VALUE_WAS_RIGHT)
@example(BEGAN_ANEW_BEHIND_WRONG_DAYS)
@example(WRONG_DAYS_THAT_AGREE)
@example(WRONG_DAYS_THAT_USED_MUCH)
def test_who_types_only_what_is_so_is_never_billed_what_is_not_and_comes_to_an_end(
    past: Past,
) -> None:
    site = past.site()
    while True:
        days, links = site.false_days(), site.false_links()
        offered = [step for _, step in steps_of(site) if site.may(step)]
        taken = next((step for step in offered if site.obey(step)), None)
        if taken is None:
            break
        if "meterd collect" in taken.command:
            continue  # what the meter says again is nobody's word, and counts as that does
        assert site.false_links() <= links, taken
        # Who says that a value is wrong, or how much a day can use, may lay bare another one, which
        # agrees with what is beside it.
        if not any(it in taken.command for it in ("quality reject", "max_daily_kwh")):
            assert site.false_days() <= days, taken
    # What waits for the next freeze is not a person's.
    assert [it for it in site.doubtful() if it.next_step != "wait"] == []


def test_the_jump_behind_a_wrong_first_value_is_not_released_by_who_knows_that_value() -> None:
    # 100 was read for 6,041; with the days the limit grows, and the jump is a held span.
    uses = (5,) * DAYS
    past = Past(6_041, uses, {0: (-5_941, True)}, frozenset(), None, 300)
    site = past.site()
    (held,) = [it for it in site.doubtful() if it.hold is not None]
    steps = task_of(held).steps
    may = [step.command.split(" --")[0] for step in steps if site.may(step)]
    assert "meterd quality reject P1 2026-03-01 100" in may
    assert not any("release-link" in it for it in may)
    assert any("release-link" in it.command for it in steps)
