"""What happens to a point: each story changes what is true, what is told, and which facts come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from daemon.quality.facts import ClockFinding, ClockSetting, Finding, Limit, Ratio
from daemon.quality.local_time import summer_time_s
from tests.simulation.truth import (
    DAYS,
    DECIMALS,
    FIRST,
    HERE_FROM_THE_FIRST,
    MEMORY_DAYS,
    Answer,
    SimulatedPoint,
    day_of,
    exchanged,
)

Story = Callable[[SimulatedPoint], None]


def honest(point: SimulatedPoint) -> None:
    """Nothing happens."""


def wrong_first_value(point: SimulatedPoint) -> None:
    off = point.random.choice([-9_000, 5_000, 400_000])
    _tell(point, 0, max(0, point.registers[0] + off))


def outlier_up_within_the_limit(point: SimulatedPoint) -> None:
    for number in _some_days(point):
        _tell(point, number, point.registers[number] + point.random.randint(500, 30_000))


def outlier_up_beyond_the_limit(point: SimulatedPoint) -> None:
    for number in _some_days(point):
        _tell(point, number, point.registers[number] + point.random.randint(200_000, 9_000_000))


def outlier_down(point: SimulatedPoint) -> None:
    for number in _some_days(point):
        _tell(point, number, point.registers[number] // point.random.choice([2, 10, 1000]))


def two_wrong_days(point: SimulatedPoint) -> None:
    number = point.random.randint(5, DAYS - 20)
    off = point.random.randint(5_000, 30_000)
    for wrong in (number, number + 1):
        _tell(point, wrong, point.registers[wrong] + off, is_lasting=True)


def exchange(point: SimulatedPoint) -> None:
    """Another meter with another register; the document comes up to five days later."""
    number = point.random.randint(10, DAYS - 25)
    hour = point.random.choice([0, 9, 14])
    at = point.midnight(number, hour)
    before = point.uses[number] * hour // 24
    final = point.registers[number] + before
    initial = point.random.choice([0, 1_234, point.registers[number] + 500_000])
    _restart(point, number, hour, initial, point.uses[number] - before)
    point.energy_at[at.timestamp()] = before
    lost = point.random.random()
    document = exchanged(
        point, at, "B", -1 if lost < 0.1 else initial, -1 if 0.1 <= lost < 0.3 else final
    )
    point.facts[number + point.random.randint(0, 5)].append(document)


def reset(point: SimulatedPoint) -> None:
    """The register begins again from 0, and a document says so some days later."""
    number = point.random.randint(10, DAYS - 25)
    final = point.registers[number]
    _restart(point, number, 0, 0, point.uses[number])
    at = point.midnight(number)
    point.energy_at[at.timestamp()] = 0
    point.facts[number + point.random.randint(1, 12)].append(
        exchanged(point, at, HERE_FROM_THE_FIRST, 0, final)
    )


def ratio_change(point: SimulatedPoint) -> None:
    number = point.random.randint(10, DAYS - 20)
    for day in range(number, DAYS + 1):
        point.ratios[day] = 80
    point.facts[0].append(Ratio(FIRST, Decimal(1)))
    is_known = point.random.random() < 0.5
    register = point.kwh(point.registers[number]) if is_known else None
    if point.random.random() < 0.5:
        del point.answers[number]  # the change lies inside a link
    document = Ratio(day_of(number), Decimal(80), 1, register)
    point.facts[number + point.random.randint(0, 5)].append(document)
    point.energy_at[point.midnight(number).timestamp()] = 0


def clock_fault(point: SimulatedPoint) -> None:
    """The meter's clock is seven minutes off for some days, and its freezes lie beside midnight."""
    first = point.random.randint(5, DAYS - 20)
    last = first + point.random.randint(1, 8)
    is_read = point.random.random() < 0.5
    for number in range(first, last + 1):
        early = point.uses[number - 1] * 7 // 1440
        skew_s = 420 if is_read else None
        _tell(point, number, point.registers[number] - early, is_lasting=True, skew_s=skew_s)
    if not is_read:
        point.facts[last + 1].append(ClockFinding(day_of(first), day_of(last), 420, 1))


def standard_time(point: SimulatedPoint) -> None:
    """The meter keeps standard time; the setting says so at once or after some weeks."""
    for number in range(DAYS):
        behind = summer_time_s(point.zone, point.midnight(number, 1))
        point.answers[number] = replace(point.answers[number], skew_s=5 - behind)
    point.facts[point.random.choice([0, 50])].append(ClockSetting("standard", 1))


def rollover(point: SimulatedPoint) -> None:
    """A register of four digits that turns over on the way."""
    point.modulus = 1_000_000
    point.with_rates = False  # each rate would turn over at its own time
    point.limit = min(point.limit, 24_000)
    assert point.installation is not None
    point.installation = replace(point.installation, modulus=Decimal(10_000))
    point.facts[0] = [Limit(FIRST, Decimal(point.limit).scaleb(-DECIMALS))]
    start = point.modulus - sum(point.uses[: point.random.randint(10, 80)]) % point.modulus
    offset = start - point.registers[0]
    point.registers = [(register + offset) % point.modulus for register in point.registers]
    for number in point.answers:
        point.answers[number] = Answer(point.registers[number])


def outage(point: SimulatedPoint) -> None:
    """Nobody answers for 40 or 70 days; then the meter gives what it remembers."""
    length = point.random.choice([40, 70])
    first = point.random.randint(2, DAYS - 1 - length)
    back = first + length
    for number in range(first, back):
        if back - number <= MEMORY_DAYS:
            point.arrives[number] = back
        else:
            del point.answers[number]


def shifted_index(point: SimulatedPoint) -> None:
    """Without power at midnight the meter has no freeze, and gives that of the day before."""
    for number in _some_days(point):
        before = point.registers[number - 1]
        point.answers[number] = Answer(before, is_true=False, stamp=number - 1)


def limit_mended_late(point: SimulatedPoint) -> None:
    small = Decimal(max(1, max(point.uses) * 2 // 3)).scaleb(-DECIMALS)
    point.facts[0] = [Limit(FIRST, small)]
    right = Limit(FIRST, Decimal(point.limit).scaleb(-DECIMALS), 1)
    point.facts[point.random.randint(10, 60)].append(right)


def given_and_taken(point: SimulatedPoint) -> None:
    """A meter that served elsewhere before, and is taken away before the end."""
    first = point.random.randint(1, 30)
    last = point.random.randint(40, DAYS - 1)
    assert point.installation is not None
    point.installation = replace(point.installation, at=point.midnight(first, 15))
    point.first_day = first + 1
    for number in range(last, DAYS):
        del point.answers[number]


def swap_addresses(one: SimulatedPoint, other: SimulatedPoint) -> None:
    """Each tells the other's register until it is noticed; half of them tell their serial too, and
    that is found (V25)."""
    first = one.random.randint(5, DAYS - 25)
    last = first + one.random.randint(0, 4)
    tells_serial = one.random.random() < 0.5
    recollects = one.random.random() < 0.5
    for number in range(first, last + 1):
        truth = (one.registers[number], other.registers[number])
        for point, steps in ((one, truth[1]), (other, truth[0])):
            true = point.answers[number]
            _tell(point, number, steps, is_lasting=True)
            if tells_serial:
                point.answers[number] = replace(point.answers[number], serial="other")
            if recollects:
                point.extra[last + 1].append((number, replace(true, serial=None)))
    found_on = day_of(last + 1)
    for point in (one, other):
        if tells_serial:
            point.facts[last + 1].append(Finding("V25", found_on, found_on, 1))


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        wrong_first_value,
        outlier_up_within_the_limit,
        outlier_up_beyond_the_limit,
        outlier_down,
        two_wrong_days,
        exchange,
        reset,
        ratio_change,
        clock_fault,
        standard_time,
        rollover,
        outage,
        shifted_index,
        limit_mended_late,
        given_and_taken,
    )
}


def _some_days(point: SimulatedPoint) -> list[int]:
    return sorted(point.random.sample(range(3, DAYS - 8), point.random.randint(1, 2)))


def _tell(
    point: SimulatedPoint,
    number: int,
    steps: int,
    *,
    is_lasting: bool | None = None,
    skew_s: int | None = None,
) -> None:
    if is_lasting is None:
        is_lasting = point.random.random() < 0.5
    is_true = steps == point.registers[number]
    point.answers[number] = Answer(steps, is_true, skew_s=skew_s, is_lasting=is_lasting or is_true)


def _restart(point: SimulatedPoint, number: int, hour: int, initial: int, rest: int) -> None:
    """Another register from that hour of the day on; `rest` is what it counts of the day."""
    first = number if hour == 0 else number + 1
    register = initial if hour == 0 else initial + rest
    for day in range(first, DAYS + 1):
        point.registers[day] = register
        if day < DAYS:
            register += point.uses[day]
            point.answers[day] = Answer(point.registers[day])
