"""Lines read the meters that serve points: what documents say of these counts before the files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from typing import Any

from psycopg import AsyncConnection

from config.lines import line_specs
from config.load import LoadedSite
from daemon.acquisition.line import Line
from daemon.acquisition.lines import Lines
from daemon.site.assembly import Assembly
from daemon.transactions.archive import as_installed, configured
from storage import archive
from storage.archive import SiteMeter


def built_as_installed(
    assembly: Assembly,
    site: LoadedSite,
    serving: Sequence[SiteMeter],
    only: Container[str] | None = None,
) -> list[Line]:
    """The lines of `site`, or those of these names, each with what serves points on it."""
    installed = as_installed(site, serving)
    return assembly.lines(line_specs(installed, only), configured(serving, installed))


async def lines_to_follow(
    connection: AsyncConnection[Any], site: LoadedSite, lines: Lines
) -> list[str]:
    """Names of the lines that run and read other meters than documents say."""
    behind = _behind(lines, await archive.put_by_documents(connection))
    if not behind:
        return []
    stored = await archive.site_meters(connection, [line.name for line in behind])
    serving: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for meter in configured(stored, as_installed(site, stored)):
        serving[meter.line].add((meter.address, meter.point_id))
    return [
        line.name
        for line in behind
        if {(meter.address, meter.point_id) for meter in line.meters} != serving[line.name]
    ]


def _behind(lines: Lines, put: Sequence[tuple[str, str, int]]) -> list[Line]:
    """The lines that do not read what documents put there, or read what they took away; `put` as
    storage tells it."""
    read = (lines.meter(address) for _, address, _ in put)
    lacking = {
        line
        for (line, _, point), meter in zip(put, read, strict=True)
        if meter is None or meter.point_id != point
    }
    if not lacking:
        return []
    serving = {point: address for _, address, point in put}
    return [
        line
        for line in lines
        if line.name in lacking
        or any(serving.get(it.point_id, it.address) != it.address for it in line.meters)
    ]
