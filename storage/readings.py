"""Raw readings, and the slots that they fill."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from functools import cache
from hashlib import blake2b
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

from storage import binary
from storage.database import grouping_by_hash
from storage.sql import Connection, array, fetch_dicts, fetch_rows, load

SQL = load("readings")
RATES: Final = 4
"""Tariff registers with a column of their own; DL/T 645 knows more, meters seldom do."""
FEW_METERS: Final = 2000
"""Fewer are looked up, for more the runs of all are asked for."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
DECODE_VERSION: Final = 1
STORED_VERSION: Final[int | None] = None
"""How the table says DECODE_VERSION: the first is NULL, with which a row is 8 bytes shorter."""
REFUSED: Final = -1
COPIED: Final = {
    "day": "date",
    "meter_id": "int4",
    "id": "int8",
    "kind": "int2",
    "source": "int2",
    "decode_version": "int2",
    "stamp": "timestamptz",
    "total": "int8",
    "rate_1": "int8",
    "rate_2": "int8",
    "rate_3": "int8",
    "rate_4": "int8",
    "more_rates": "int8[]",
    "arrived_at": "timestamptz",
    "clock_skew_s": "int8",
    "host_offset_ms": "int4",
    "serial": "text",
    "told_by": "int4",
}
"""Columns of a raw reading and their types, in their order: binary COPY converts nothing."""
NO_NUMBERS: Final = frozenset({"stamp", "arrived_at", "more_rates", "serial"})
KEY: Final = itemgetter(0, 1, 2)


class Kind(IntEnum):
    """What a reading is of."""

    DAILY_FREEZE = 1
    MONTH_END = 2
    CURRENT = 3
    """The registers of the moment of `stamp`, which no slot is owed (R14)."""


DAILY_FREEZE: Final = int(Kind.DAILY_FREEZE)


class Source(IntEnum):
    """How a reading came about."""

    METER = 1
    """Frozen by the meter itself."""
    HOST = 2
    """Read by the host beside midnight, of a meter without memory."""
    ON_DEMAND = 3
    """Read because a person asked for it."""


class RawReading(NamedTuple):
    """One read of one value, its fields those of COPIED. Registers in their smallest step.

    `stamp`: the meter's own, aware; None where it is exactly 00:00 of `day`; of a current value the
    moment that it is of. `total` None: a
    second read that the meter refused. `serial`: of the meter that told it, where that is another
    one than the point's. `told_by`: the number of its teller, 0 where it is not known."""

    day: date
    meter_id: int
    id: int
    kind: int
    source: int
    decode_version: int | None
    stamp: datetime | None
    total: int | None
    rate_1: int | None
    rate_2: int | None
    rate_3: int | None
    rate_4: int | None
    more_rates: list[int] | None
    arrived_at: datetime
    clock_skew_s: int | None
    host_offset_ms: int | None
    serial: str | None
    told_by: int = 0

    @property
    def steps(self) -> tuple[int, ...]:
        """The total, and the rates that are known; of a read that was not refused."""
        columns = (self.total, self.rate_1, self.rate_2, self.rate_3, self.rate_4)
        if self.more_rates is None and None not in columns:
            return cast("tuple[int, ...]", columns)
        known = [register for register in columns if register is not None]
        return (*known, *(self.more_rates or ()))


def read_id(
    source: int,
    arrived_at: datetime,
    stamp: datetime | None,
    registers: Sequence[int],
    kind: int = DAILY_FREEZE,
) -> int:
    """What a reading is known by: the same read again has the same, any other another one.

    `registers`: the total and the rates, REFUSED where the meter told none."""
    arrived_us = (arrived_at - EPOCH) // MICROSECOND
    stamp_us = 0 if stamp is None else (stamp - EPOCH) // MICROSECOND
    return _id_of(kind, source, arrived_us, stamp_us, registers)


def freeze_id(source: int, arrived_us: int, registers: Sequence[int]) -> int:
    """The same of a daily freeze of 00:00 exactly; microseconds since 1970."""
    return _id_of(DAILY_FREEZE, source, arrived_us, 0, registers)


def _id_of(kind: int, source: int, arrived_us: int, stamp_us: int, registers: Sequence[int]) -> int:
    content = _packer(len(registers)).pack(
        kind, source, DECODE_VERSION, arrived_us, stamp_us, *registers
    )
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little", signed=True)


@cache
def _packer(registers: int) -> struct.Struct:
    return struct.Struct(f"<{5 + registers}q")


class Published(NamedTuple):
    """A published value, and the use that ends with it.

    `link_days`: so many days before lies the value it is linked to, 0: to none; `kwh`: the use
    where the two do not show it, `is_agreed` if a person told it; `hold`: why it is not billed by
    itself. `rates`: the first four, `more_rates` the others, None where there is none."""

    day: date
    meter_id: int
    total: int
    link_days: int
    kwh: Decimal | None
    is_agreed: bool
    hold: str | None
    rates: tuple[int | None, ...]
    more_rates: list[int] | None

    @property
    def registers(self) -> tuple[int, ...]:
        """The total and the rates that are known, in the smallest step."""
        known = self.rates if None not in self.rates else self.rates[: self.rates.index(None)]
        return cast("tuple[int, ...]", (self.total, *known, *(self.more_rates or ())))


async def newest_arrival(connection: Connection) -> datetime | None:
    """When the newest reading came; None without any."""
    ((newest,),) = await fetch_rows(connection, SQL["newest_arrival"], {})
    return cast("datetime | None", newest)


async def add(connection: Connection, readings: Sequence[RawReading], more: bytes = b"") -> None:
    """Keep raw readings of which none is there yet; UniqueViolation if one is.

    `more`: rows that are made already, as `columns.rows` makes them of COPIED."""
    if not readings:
        if more:
            await binary.copy(connection, SQL["add"], more)
        return
    async with connection.cursor() as cursor, cursor.copy(SQL["add"]) as copy:
        copy.set_types(list(COPIED.values()))
        if more:
            await copy.write(binary.HEADER + more)
        for reading in _in_order(readings):
            await copy.write_row(reading)


async def merge(
    connection: Connection, readings: Sequence[RawReading]
) -> set[tuple[date, int, int]]:
    """Keep raw readings of which some may be there; (day, meter, id) of those that were not.

    Those that are there are only looked at: nothing is written of them."""
    if not readings:
        return set()
    columns = dict(zip(COPIED, zip(*_in_order(readings), strict=True), strict=True))
    values: dict[str, Any] = {
        name: list(column) if name in NO_NUMBERS else array(column)
        for name, column in columns.items()
    }
    values["more_rates"] = [rates and ",".join(map(str, rates)) for rates in columns["more_rates"]]
    return set(await fetch_rows(connection, SQL["merge"], values))


def _in_order(readings: Sequence[RawReading]) -> list[RawReading]:
    """In order of the table's key; the same read twice is kept once."""
    ordered = sorted(readings, key=KEY)
    keys = list(map(KEY, ordered))
    return [
        reading
        for reading, key, before in zip(ordered, keys, [None, *keys], strict=False)
        if key != before
    ]


async def published_chains(
    connection: Connection, spans: Sequence[tuple[int, date, date]]
) -> dict[int, list[Published]]:
    """By point the published values inside (point, first, last day), and the next one behind."""
    found: dict[int, list[Published]] = {point: [] for point, _, _ in spans}
    rows = await fetch_rows(connection, SQL["published_chains"], _of_spans(spans))
    for point, day, meter, total, link_days, kwh, is_agreed, hold, *rates, more in rows:
        row = Published(day, meter, total, link_days, kwh, is_agreed, hold, tuple(rates), more)
        # Two accounts may ask for one point, of which the first one gave to the second one.
        if row not in found[point][-1:]:
            found[point].append(row)
    return found


def _of_spans(spans: Sequence[tuple[int, date, date]]) -> Mapping[str, Any]:
    return {
        "points": [point for point, _, _ in spans],
        "firsts": [first for _, first, _ in spans],
        "lasts": [last for _, _, last in spans],
    }


async def changed_meters(connection: Connection, since: datetime) -> set[int]:
    """The meters that serve points of which a slot was changed since then."""
    rows = await fetch_rows(connection, SQL["changed_meters"], {"since": since})
    return {meter for (meter,) in rows}


async def present_days(
    connection: Connection, since: date, newest: date, meters: Sequence[int] | None = None
) -> dict[int, int]:
    """By meter id the slots that have a value, as bits: bit n is the day n before `newest`.

    From `since` on, 63 days at the most. `meters`: only of these."""
    values = {
        "since": since,
        "newest": newest,
        "meters": None if meters is None else list(meters),
        "days": [newest - timedelta(days=age) for age in range((newest - since).days + 1)],
    }
    if meters is not None and len(meters) < FEW_METERS:
        async with connection.transaction():
            await connection.execute(SQL["look_up"])
            return dict(await fetch_rows(connection, SQL["present_days_of"], values))
    async with grouping_by_hash(connection):
        found: dict[int, int] = dict(await fetch_rows(connection, SQL["present_days"], values))
    return found if meters is None else {m: found[m] for m in meters if m in found}


async def withheld(connection: Connection, since: date, until: date) -> list[dict[str, Any]]:
    """Values that were collected and not published.

    Columns: point_id (its number), address, day, total, decimals, reasons."""
    return await fetch_dicts(connection, SQL["withheld"], {"since": since, "until": until})


async def withheld_slots(
    connection: Connection, since: date, until: date
) -> list[tuple[int, date]]:
    """(meter id, day) of what is withheld and can be asked for again."""
    return await fetch_rows(connection, SQL["withheld_slots"], {"since": since, "until": until})


async def in_doubt(
    connection: Connection, since: date, now: datetime
) -> list[tuple[int, date, int, float]]:
    """(meter id, day, how often it was read, seconds since the last time) of what is to be read
    again.

    By an index: what it costs grows with what is in doubt."""
    return await fetch_rows(connection, SQL["in_doubt"], {"since": since, "now": now})
