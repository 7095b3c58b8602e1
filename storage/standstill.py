"""Points that are not billed to yesterday, each with the reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from storage.sql import Connection, fetch_rows, load

SQL = load("standstill")
COUNTS: Final = (
    "SELECT reason, coalesce(width_bucket(age_days, %(ages)s::int[]), 0) AS age, count(*)::int,"
    " count(account)::int, coalesce(max(age_days), 0)::int"
    f" FROM ({SQL['standing']}) s GROUP BY 1, 2"
)


class Standing(NamedTuple):
    """A point that is not billed to 00:00 of the day that was asked for.

    `since`: billed up to 00:00 of this day, or owed from then on; `age_days` from there.
    `held_from` to `held_to`: the oldest use that is not billed by itself, and `hold` why.
    `doubt_day`: the oldest day that is withheld. `lacks`: the first day to be billed. `error`: why
    the account could not be settled."""

    point: str
    account: str | None
    meter: str | None
    line: str | None
    reason: str
    since: date | None
    age_days: int | None
    held_from: date | None
    held_to: date | None
    hold: str | None
    doubt_day: date | None
    codes: Sequence[str]
    next_step: str | None
    error: str | None
    waiting: int | None
    lacks: date | None

    @property
    def day(self) -> date | None:
        """The one to be looked at: the oldest that is withheld, or else `since`."""
        return self.doubt_day or self.since


class Counts(NamedTuple):
    """Points that stand still: by reason (how many, age of the oldest in days), and those that are
    billed to an account by class of age."""

    of_reasons: Mapping[str, tuple[int, int]]
    of_ages: Sequence[int]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: which points are not billed to 00:00 of `due`.

    `lines`: those that run. `kept_days`: by protocol how many freezes its meters remember."""

    due: date
    lines: Collection[str]
    kept_days: Mapping[str, int]


async def standing(connection: Connection, asked: Question) -> list[Standing]:
    """The points, the oldest first."""
    rows = await fetch_rows(connection, SQL["standing"], _values(asked))
    return list(map(Standing._make, rows))


async def counts(connection: Connection, asked: Question, ages: Sequence[int]) -> Counts:
    """How many they are. `ages`: the first days of the classes of ages, from 0 on."""
    rows = await fetch_rows(connection, COUNTS, {**_values(asked), "ages": list(ages)})
    of_reasons: dict[str, tuple[int, int]] = {}
    of_ages = [0] * len(ages)
    for reason, age, points, of_accounts, oldest in rows:
        others, older = of_reasons.get(reason, (0, 0))
        of_reasons[reason] = (points + others, max(oldest, older))
        of_ages[max(age - 1, 0)] += of_accounts
    return Counts(of_reasons, of_ages)


def _values(asked: Question) -> dict[str, object]:
    return {
        "due": asked.due,
        "lines": sorted(asked.lines),
        "protocols": list(asked.kept_days),
        "kept_days": list(asked.kept_days.values()),
    }
