"""What a meter told that fills no day becomes a raw row, and nothing else: no slot, no money."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection, errors

from daemon.quality.arrival import IdentityRead, Teller, number_of
from daemon.quality.meter import Meter
from daemon.quality.month_end import is_at_midnight
from daemon.quality.register import in_steps
from daemon.transactions import tellers
from daemon.transactions.collect import UNKNOWN_SERIAL
from storage import chains, identity, readings
from storage.readings import RATES, STORED_VERSION, Kind, RawReading, Source, read_id

NO_RATES: Final = (None,) * RATES


class Current(Protocol):
    """Registers in kWh, the total known, of the instant `at`; both times aware."""

    @property
    def meter(self) -> Meter:
        """Whose they are."""

    @property
    def registers(self) -> Sequence[Decimal | None]:
        """Total, tariff 1, tariff 2, ..."""

    @property
    def at(self) -> datetime:
        """The moment that they are of."""

    @property
    def arrived_at(self) -> datetime:
        """When they came."""

    @property
    def told_by(self) -> Teller | None:
        """Who told them."""


async def keep_current(
    connection: AsyncConnection[Any],
    current: Current,
    zone: ZoneInfo,
) -> None:
    """Keep the registers of one moment (R14); the same again changes nothing."""
    meter = current.meter
    others, _ = await identity.expected(connection, {meter.meter_id}, ())
    since = others.get(meter.meter_id)
    # V03: from then on another meter answers at this address.
    is_of_another = since is not None and current.arrived_at >= since
    at = current.at.astimezone(UTC)
    await tellers.number(connection, [current.told_by])
    reading = _raw(
        meter,
        current.registers,
        at.astimezone(zone).date(),
        current.arrived_at,
        stamp=at,
        kind=Kind.CURRENT,
        source=Source.ON_DEMAND,
        serial=UNKNOWN_SERIAL if is_of_another else None,
    )
    await _keep(connection, [reading._replace(told_by=number_of(current.told_by))])


async def keep_month_ends(
    connection: AsyncConnection[Any], reads: Sequence[IdentityRead], zone: ZoneInfo
) -> dict[int, date]:
    """Keep what meters settled at a midnight (V26); the day of each, by meter.

    What was settled at another hour is compared with nothing and is not kept."""
    settled = {
        read.meter.meter_id: read
        for read in reads
        if read.settings.month_end is not None
        and is_at_midnight(read.settings.month_end.settled_at)
    }
    if not settled:
        return {}
    told = {meter_id for meter_id, read in settled.items() if read.identity.serial is not None}
    others, serials = await identity.expected(connection, settled, told)
    await tellers.number(connection, {read.told_by for read in settled.values()})
    kept = []
    for meter_id, read in settled.items():
        month_end = read.settings.month_end
        assert month_end is not None
        serial = read.identity.serial
        is_of_another = meter_id in others
        if serial is not None and meter_id in serials:
            is_of_another = serial != serials[meter_id]
        kept.append(
            _raw(
                read.meter,
                month_end.registers,
                month_end.settled_at.date(),
                read.at,
                stamp=None,
                kind=Kind.MONTH_END,
                source=Source.METER,
                serial=(serial or UNKNOWN_SERIAL) if is_of_another else None,
            )._replace(told_by=number_of(read.told_by))
        )
    await _keep(connection, kept)
    return {reading.meter_id: reading.day for reading in kept}


async def _keep(connection: AsyncConnection[Any], kept: Sequence[RawReading]) -> None:
    try:
        await readings.merge(connection, kept)
    except errors.CheckViolation:
        # The first reading of its month finds no partition.
        async with connection.transaction():
            await chains.begin(connection, [reading.day for reading in kept])
            await readings.merge(connection, kept)


def _raw(
    meter: Meter,
    registers: Sequence[Decimal | None],
    day: date,
    arrived_at: datetime,
    *,
    stamp: datetime | None,
    kind: Kind,
    source: Source,
    serial: str | None,
) -> RawReading:
    total, rates = in_steps(registers, meter.decimals)
    rate_1, rate_2, rate_3, rate_4 = (*rates, *NO_RATES)[:RATES]
    arrived_at = arrived_at.astimezone(UTC)
    return RawReading(
        day=day,
        meter_id=meter.meter_id,
        id=read_id(source, arrived_at, stamp, (total, *rates), kind),
        kind=kind,
        source=source,
        decode_version=STORED_VERSION,
        stamp=stamp,
        total=total,
        rate_1=rate_1,
        rate_2=rate_2,
        rate_3=rate_3,
        rate_4=rate_4,
        more_rates=list(rates[RATES:]) or None,
        arrived_at=arrived_at,
        clock_skew_s=None,
        host_offset_ms=None,
        serial=serial,
    )
