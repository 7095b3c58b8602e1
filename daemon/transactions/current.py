"""What a meter told of this moment becomes a raw row, and nothing else: no slot, no money (R14)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection, errors

from daemon.quality.meter import Meter
from daemon.quality.register import in_steps
from daemon.transactions.collect import UNKNOWN_SERIAL
from storage import chains, identity, readings
from storage.readings import DECODE_VERSION, RATES, Kind, RawReading, Source, read_id

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


async def keep_current(
    connection: AsyncConnection[Any],
    current: Current,
    zone: ZoneInfo,
) -> None:
    """Keep the registers of one moment; the same again changes nothing."""
    meter_id = current.meter.meter_id
    others, _ = await identity.expected(connection, {meter_id}, ())
    reading = _reading(current, zone, others.get(meter_id))
    try:
        await readings.merge(connection, [reading])
    except errors.CheckViolation:
        # The first reading of its month finds no partition.
        async with connection.transaction():
            await chains.begin(connection, [reading.day])
            await readings.merge(connection, [reading])


def _reading(
    current: Current,
    zone: ZoneInfo,
    is_another_since: datetime | None,
) -> RawReading:
    total, rates = in_steps(current.registers, current.meter.decimals)
    rate_1, rate_2, rate_3, rate_4 = (*rates, *NO_RATES)[:RATES]
    at = current.at.astimezone(UTC)
    arrived_at = current.arrived_at.astimezone(UTC)
    # V03: from then on another meter answers at this address.
    is_of_another = is_another_since is not None and arrived_at >= is_another_since
    return RawReading(
        day=at.astimezone(zone).date(),
        meter_id=current.meter.meter_id,
        id=read_id(Source.ON_DEMAND, arrived_at, at, (total, *rates), Kind.CURRENT),
        kind=Kind.CURRENT,
        source=Source.ON_DEMAND,
        decode_version=DECODE_VERSION,
        stamp=at,
        total=total,
        rate_1=rate_1,
        rate_2=rate_2,
        rate_3=rate_3,
        rate_4=rate_4,
        more_rates=list(rates[RATES:]) or None,
        arrived_at=arrived_at,
        clock_skew_s=None,
        host_offset_ms=None,
        serial=UNKNOWN_SERIAL if is_of_another else None,
    )
