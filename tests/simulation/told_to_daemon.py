"""How a meter's answers reach the daemon, where that is not as the judge alone would be told."""

from __future__ import annotations

from daemon.quality.facts import Installation
from tests.simulation.truth import (
    DAYS,
    HERE_FROM_THE_FIRST,
    Answer,
    SimulatedPoint,
    midnight_utc,
)


def as_told(point: SimulatedPoint) -> SimulatedPoint:
    """The point, changed where it stands."""
    _dated_by_stamp(point)
    _asked_by_address(point)
    return point


def _dated_by_stamp(point: SimulatedPoint) -> None:
    """A freeze is of the day of its stamp, whatever day was asked for: a second read of that one,
    and the day that was asked for stays owed."""
    for number, answer in list(point.answers.items()):
        if answer.stamp is not None:
            del point.answers[number]
            again = Answer(answer.steps, is_lasting=answer.is_lasting)
            point.extra[point.arrives[number]].append((answer.stamp, again))


def _asked_by_address(point: SimulatedPoint) -> None:
    """Nobody asks a new meter before a document tells its address; then it gives what it has."""
    for told, facts in point.facts.items():
        for fact in facts:
            if not isinstance(fact, Installation) or fact.serial == HERE_FROM_THE_FIRST:
                continue
            for number in range(DAYS):
                if midnight_utc(point.zone, number) >= fact.at:
                    point.arrives[number] = max(point.arrives[number], told + 1)
