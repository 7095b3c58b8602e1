"""All that is known of points besides their verdicts: what a judgement looks at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from storage.sql import Connection, Row, fetch_dicts, fetch_records, fetch_row, fetch_rows, load

SQL = load("facts")


@dataclass(frozen=True, slots=True)
class InstallationRow:
    """A meter at a point. Registers and modulus in its smallest step.

    `old_final`: the last registers of the meter before it, in that one's smallest step."""

    id: int
    point_id: int
    meter_id: int
    address: str
    from_at: datetime
    to_at: datetime | None
    initial: Sequence[int] | None
    modulus: int
    decimals: int
    wire_decimals: int
    old_final: Sequence[int] | None
    old_decimals: int | None
    document_id: int | None


@dataclass(slots=True)
class PointRows:
    """The rows of one point, by column; those of readings as they lie, for there are many."""

    installations: list[InstallationRow] = field(default_factory=list)
    ratios: list[Mapping[str, Any]] = field(default_factory=list)
    limits: list[Mapping[str, Any]] = field(default_factory=list)
    clock_settings: list[Mapping[str, Any]] = field(default_factory=list)
    clock_findings: list[Mapping[str, Any]] = field(default_factory=list)
    findings: list[Mapping[str, Any]] = field(default_factory=list)
    decisions: list[Mapping[str, Any]] = field(default_factory=list)
    closings: list[Mapping[str, Any]] = field(default_factory=list)
    reads: list[Row] = field(default_factory=list)


async def zone_name(connection: Connection) -> str:
    """Of the site, as the database knows it."""
    row = await fetch_row(connection, SQL["zone"])
    assert row is not None, "a database is claimed before anything is asked of it"
    name: str = row[0]
    return name


async def rows_of_points(connection: Connection, points: Collection[int]) -> dict[int, PointRows]:
    """By point all its rows. The number of statements does not depend on the number of points."""
    found: defaultdict[int, PointRows] = defaultdict(PointRows)
    values = {"points": sorted(points)}
    installations = await fetch_records(connection, InstallationRow, SQL["installations"], values)
    for row in installations:
        found[row.point_id].installations.append(row)
    for subject in (
        "ratios",
        "limits",
        "clock_settings",
        "clock_findings",
        "findings",
        "decisions",
        "closings",
    ):
        for of_point in await fetch_dicts(connection, SQL[subject], values):
            getattr(found[of_point["point_id"]], subject).append(of_point)
    for read in await fetch_rows(connection, SQL["reads"], values):
        found[read[0]].reads.append(read)
    return {point: found[point] for point in points}
