"""The dynamic programme against a naive search through all sequences."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from daemon.quality.facts import Decision, Facts, Installation, Limit, Ratio, Read, Registers
from daemon.quality.judge import judged_runs
from tests.examples import examples
from tests.unit.quality.naive import Naive, NaiveRun

FIRST = date(2026, 3, 1)
ZONE = ZoneInfo("Asia/Shanghai")
DAYS = 7


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def moment(hour: int) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=hour)


def registers(steps: tuple[int, ...]) -> Registers:
    rates = tuple((f"rate{n}", Decimal(it)) for n, it in enumerate(steps[1:]))
    return Registers(Decimal(steps[0]), rates)


def values(modulus: int) -> st.SearchStrategy[list[Naive]]:
    """Freezes of a few days, often near one another so that many relations occur."""
    step = st.integers(0, min(modulus - 1, 60))
    near_the_turn = st.integers(max(0, modulus - 30), modulus - 1)
    one = st.one_of(step, step, near_the_turn)
    told = st.one_of(st.tuples(one), st.tuples(one), st.tuples(one, one))
    freeze = st.builds(
        Naive,
        day=st.integers(0, DAYS - 1),
        registers=told,
        read_at=st.integers(0, 200),
        reads=st.sampled_from([1, 1, 1, 2]),
        is_confirmed=st.sampled_from([False] * 9 + [True]),
        has_rolled_over=st.just(False),
    )
    return st.lists(freeze, min_size=1, max_size=9, unique_by=lambda it: (it.day, it.registers))


@st.composite
def runs(draw: st.DrawFn) -> NaiveRun:
    modulus = draw(st.sampled_from([100, 100, 10_000]))
    found = draw(values(modulus))
    rollover = draw(st.booleans())
    chosen: list[Naive] = []
    for value in found:
        confirmed = value.is_confirmed and not any(
            it.day == value.day and it.is_confirmed for it in chosen
        )
        # Of a day and total either all or none is released, as a decision is about the total.
        if any((it.day, it.registers[0]) == (value.day, value.registers[0]) for it in chosen):
            continue
        chosen.append(
            Naive(
                value.day,
                value.registers,
                value.read_at,
                value.reads,
                confirmed,
                confirmed and rollover,
            )
        )
    if draw(st.booleans()):
        chosen.append(Naive(0, (draw(st.integers(0, 20)),), is_confirmed=True))
    if draw(st.sampled_from([False] * 4 + [True])):
        chosen.append(
            Naive(draw(st.integers(1, 6)), (draw(st.integers(0, 60)),), is_confirmed=True)
        )
    limits = draw(
        st.lists(st.sampled_from(["8", "10.5", "20", "30"]), min_size=DAYS, max_size=DAYS)
    )
    span_days = draw(st.sampled_from([7, 1, 2, 3]))
    return NaiveRun(chosen, [Fraction(it) for it in limits], modulus, span_days)


def facts(run: NaiveRun) -> Facts:
    initial = next((it for it in run.values if it.read_at is None and it.day == 0), None)
    reads = []
    decisions = []
    ratios = []
    for number, value in enumerate(run.values):
        told = registers(value.registers)
        if value.read_at is None:
            if value is not initial:
                ratios.append(Ratio(day(value.day), Decimal(1), register=told))
            continue
        reads.append(Read(day(value.day), told, moment(value.read_at)))
        if value.reads == 2:
            reads.append(Read(day(value.day), told, moment(value.read_at + 500)))
        if value.is_confirmed:
            decisions.append(
                Decision(
                    "release",
                    day(value.day),
                    told.total,
                    number,
                    rolled_over=value.has_rolled_over,
                )
            )
    return Facts(
        zone=ZONE,
        installations=(
            Installation(
                at=datetime(2026, 3, 1, tzinfo=ZONE),
                serial="A",
                modulus=Decimal(run.modulus),
                decimals=0,
                wire_decimals=-9,  # rates that do not add up are not what this is about
                initial=registers(initial.registers) if initial is not None else None,
            ),
        ),
        limits=tuple(Limit(day(n), Decimal(str(float(it)))) for n, it in enumerate(run.limits)),
        ratios=tuple(ratios),
        reads=tuple(reads),
        decisions=tuple(decisions),
        max_auto_span_days=run.span_days,
    )


@examples(400)
@given(runs())
def test_the_chain_is_the_heaviest_permitted_sequence(run: NaiveRun) -> None:
    (judged,) = judged_runs(facts(run))
    found = [judged.values[n] for n in judged.chain]
    expected = run.chain()
    assert [((it.day - FIRST).days, it.candidate is None, it.steps) for it in found] == [
        (it.day, it.read_at is None, it.registers) for it in expected
    ]
