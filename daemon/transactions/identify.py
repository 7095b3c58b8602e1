"""Meters said who they are: kept, compared, and told where something is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon import metrics
from daemon.quality.arrival import IdentityRead
from daemon.quality.identity import IdentityFinding, IdentityVerdict, KnownMeter, judge_identity
from daemon.transactions.raw_rows import keep_month_ends
from storage import identity
from storage.chains import lock_chains
from storage.identity import FindingRow, KnownRow, Told

log = structlog.get_logger("identity")

KEPT = ("V03", "V25")
"""Findings about the values of a point; what a meter deducts by itself stands in its row."""


async def take_identities(
    connection: AsyncConnection[Any], reads: Sequence[IdentityRead], zone: ZoneInfo
) -> None:
    """Keep who some meters said they are, in one transaction, and what is set in them.

    Six statements, however many they are, two more for month-end freezes. The same again changes
    nothing."""
    # Of one meter the last word counts.
    by_meter = {read.meter.meter_id: read for read in sorted(reads, key=lambda read: read.at)}
    month_ends = await keep_month_ends(connection, list(by_meter.values()), zone)
    async with connection.transaction():
        # Before the meters: what is found of them is noted for whoever remembers chains.
        await lock_chains(connection)
        known = await identity.lock_known(connection, sorted(by_meter))
        told = {
            meter_id: read.identity.serial
            for meter_id, read in by_meter.items()
            if read.identity.serial is not None
        }
        elsewhere = await identity.elsewhere(connection, told)
        verdicts = {}
        findings: dict[tuple[int, str], FindingRow] = {}
        for meter_id, row in known.items():
            others = elsewhere.get(meter_id, [])
            verdict = judge_identity(
                _known(row),
                by_meter[meter_id].identity,
                [address for address, _ in others],
            )
            verdicts[meter_id] = verdict
            day = by_meter[meter_id].at.astimezone(zone).date()
            for code in KEPT:
                for point_id, finding in _points(code, row, verdict, others):
                    # What one meter found out of another is not over because that one is silent.
                    if finding is not None or (point_id, code) not in findings:
                        findings[point_id, code] = _row(point_id, code, day, finding)
        await identity.store(connection, _told(by_meter, verdicts, month_ends))
        await identity.add_findings(connection, list(findings.values()))
    for meter_id, verdict in verdicts.items():
        _report(known[meter_id], verdict)


def _known(row: KnownRow) -> KnownMeter:
    return KnownMeter(
        address=row.address,
        point=row.point or "no point",
        serial=row.serial,
        is_billed=row.is_billed,
    )


def _points(
    code: str,
    row: KnownRow,
    verdict: IdentityVerdict,
    others: Sequence[tuple[str, int]],
) -> list[tuple[int, IdentityFinding | None]]:
    """The points that a finding is about, or that have it no more."""
    found = next((finding for finding in verdict.findings if finding.code == code), None)
    points = [] if row.point_id is None else [(row.point_id, found)]
    # The other meter may not be asked for a month: it has the same number already.
    if code == "V25" and found is not None:
        points += [(point_id, found) for _, point_id in others]
    return points


def _row(
    point_id: int,
    code: str,
    day: date,
    finding: IdentityFinding | None,
) -> FindingRow:
    detail = {} if finding is None else {"text": finding.text, "command": finding.command}
    return FindingRow(
        point_id=point_id,
        code=code,
        day=day,
        active=finding is not None,
        detail=detail,
    )


def _told(
    reads: Mapping[int, IdentityRead],
    verdicts: Mapping[int, IdentityVerdict],
    month_ends: Mapping[int, date],
) -> list[Told]:
    return [
        Told(
            meter_id=meter_id,
            at=reads[meter_id].at,
            serial=verdict.serial,
            told=reads[meter_id].identity.serial,
            other=verdict.other,
            prepayment=reads[meter_id].identity.prepayment,
            ratio=reads[meter_id].settings.ratio,
            rates=reads[meter_id].settings.rates,
            month_end_on=month_ends.get(meter_id),
        )
        for meter_id, verdict in verdicts.items()
    ]


def _report(row: KnownRow, verdict: IdentityVerdict) -> None:
    for finding in verdict.findings:
        metrics.IDENTITY_FINDINGS.labels(finding.code).inc()
        log.error(
            EVENTS[finding.code],
            meter=row.address,
            point=row.point,
            rule=finding.code,
            detail=finding.text,
            command=finding.command,
        )


EVENTS = {
    "V03": "another meter behind an address",
    "V25": "one serial at two addresses",
    "R18": "meter deducts by itself and is billed here too",
}
