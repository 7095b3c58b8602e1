"""By what readings are judged: the number of the program's rules and what the site says.

Slots name the rule set by which they came to show what they show."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.types.json import Jsonb

from storage.sql import Connection, fetch_records, fetch_rows, load

SQL = load("rule_sets")


@dataclass(frozen=True, slots=True)
class RuleSet:
    """`thresholds`: what the site said in `[quality]` then, by key."""

    id: int
    program: int
    thresholds: Mapping[str, int]
    since: datetime
    actor: str


async def newest(connection: Connection) -> RuleSet:
    """The one that holds now."""
    return (await fetch_records(connection, RuleSet, SQL["newest"]))[0]


async def some(connection: Connection, ids: Collection[int]) -> list[RuleSet]:
    """In order of time."""
    return await fetch_records(connection, RuleSet, SQL["some"], {"ids": sorted(ids)})


async def put(
    connection: Connection, program: int, thresholds: Mapping[str, int], actor: str
) -> bool:
    """Judge by these from now on; False, and nothing happens, where they are what holds already.

    The caller holds the lock on the chains."""
    values = {"program": program, "thresholds": Jsonb(dict(thresholds)), "actor": actor}
    return bool(await fetch_rows(connection, SQL["put"], values))


async def follow(
    connection: Connection, program: int, thresholds: Mapping[str, int], actor: str
) -> dict[int, date]:
    """The same; returns by point that they may judge otherwise its first day."""
    before = await newest(connection)
    if not await put(connection, program, thresholds, actor):
        return {}
    if before.program != program:
        return dict(await fetch_rows(connection, SQL["every_point"]))
    return await judged_otherwise(connection, before, thresholds)


async def judged_otherwise(
    connection: Connection, before: RuleSet, thresholds: Mapping[str, int]
) -> dict[int, date]:
    """By point of which a verdict may change with these thresholds its first day.

    The others look at reports that withhold nothing, or are a fact of each point (its limit)."""
    was, becomes = (it["max_auto_span_days"] for it in (before.thresholds, thresholds))
    if was == becomes:
        return {}
    return dict(await fetch_rows(connection, SQL["long_or_open"], {"days": min(was, becomes)}))
