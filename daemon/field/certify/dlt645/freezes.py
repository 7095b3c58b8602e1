"""Checks of the clock and of daily freezes."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Final

from daemon.field.certify.bench import NotTested, hexed, need
from daemon.field.certify.dlt645.subject import (
    CLOCK_LIMIT,
    ENERGY,
    NO_SUCH_DATA,
    WRAP_KWH,
    Subject,
    clock,
    dated_clock,
    difference,
    registers,
)
from protocols.dlt645.bcd import (
    decode_bcd,
    decode_time,
    is_missing,
)
from protocols.dlt645.exchanges import STAMP

OLDEST: Final = (62, 254)
"""The last one of most meters, and one that none has."""
FREEZES: Final = 3
MOST_DAY_KWH: Final = Decimal(10_000)


async def clock_form(meter: Subject) -> str:
    """Date, time and weekday fit together."""
    date, shown = await dated_clock(meter)
    weekday = date[0]
    need(
        weekday == shown.isoweekday() % 7,
        f"{shown:%Y-%m-%d} has the weekday {weekday:02X}",
    )
    return f"{shown:%Y-%m-%d %H:%M:%S}, weekday {weekday:02X}"


async def clock_right(meter: Subject) -> str:
    """The clock is right within 5 minutes."""
    ahead = await clock(meter) - meter.now()
    words = f"{ahead.total_seconds():+.0f} s"
    need(abs(ahead) <= CLOCK_LIMIT, words)
    return words


async def clock_runs(meter: Subject) -> str:
    """The clock runs."""
    first = await clock(meter)
    started = meter.now()
    await asyncio.sleep(1.2)
    gone = (await clock(meter) - first).total_seconds()
    true = (meter.now() - started).total_seconds()
    need(
        abs(gone - true) <= 2 and gone >= 0 and (gone > 0 or true < 1),
        f"{gone:.0f} of {true:.1f} s",
    )
    return f"{gone:.0f} s in {true:.1f} s"


async def _stamps(meter: Subject) -> list[datetime]:
    """Of the newest freezes; NotTested where there are not two."""
    stamps = []
    for index in range(1, FREEZES + 1):
        answer = await meter.read(f"050600{index:02X}")
        if answer.is_abnormal:
            break
        stamp = decode_time(answer.data[4:], STAMP)
        if stamp is None:
            break
        stamps.append(stamp)
    if len(stamps) < 2:
        raise NotTested(f"it has {len(stamps)} daily freezes")
    return stamps


async def freeze_stamps(meter: Subject) -> str:
    """Daily freezes are stamped 00:00, each older."""
    stamps = await _stamps(meter)
    for stamp in stamps:
        need((stamp.hour, stamp.minute) == (0, 0), f"a daily freeze is stamped {stamp:%H:%M}")
    for newer, older in pairwise(stamps):
        need(newer > older, f"behind {newer:%m-%d} comes {older:%m-%d}")
    today = (await clock(meter)).date()
    need(stamps[0].date() <= today, f"the newest is of {stamps[0]:%Y-%m-%d}, today is {today}")
    return " ".join(f"{stamp:%Y-%m-%d}" for stamp in stamps)


async def newest_first(meter: Subject) -> str:
    """Index 1 is the newest midnight."""
    stamps = await _stamps(meter)
    today = (await clock(meter)).date()
    missing = (today - stamps[0].date()).days
    need(missing == 0, f"index 1 is {missing} days old: the day's midnight was not frozen")
    return f"index 1 is of {stamps[0]:%Y-%m-%d}"


async def freeze_registers(meter: Subject) -> str:
    """Frozen registers grow to this day's."""
    stamps = await _stamps(meter)
    totals = []
    for index in range(1, len(stamps) + 1):
        total = (await registers(meter, f"050601{index:02X}"))[0]
        if total is None:
            raise NotTested(f"freeze {index} has no data")
        totals.append(total)
    now = decode_bcd(await meter.data(ENERGY), 2)
    for newer, older in zip([now, *totals], totals, strict=False):
        used = difference(newer, older)
        need(used <= MOST_DAY_KWH, f"{newer} comes after {older}")
    return " ".join(map(str, totals))


async def rollover(meter: Subject) -> str:
    """Behind 999999.99 comes 000000.00."""
    stamps = await _stamps(meter)
    totals = [
        (await registers(meter, f"050601{index:02X}"))[0] or Decimal()
        for index in range(1, len(stamps) + 1)
    ]
    now = decode_bcd(await meter.data(ENERGY), 2)
    ordered = [now, *totals]
    for newer, older in pairwise(ordered):
        if newer < older:
            used = newer + WRAP_KWH - older
            need(used <= MOST_DAY_KWH, f"{older} is followed by {newer}")
            return f"{older} is followed by {newer}: {used} kWh"
    raise NotTested("no register went over 999999.99 in the last days")


async def empty_freeze(meter: Subject) -> str:
    """A freeze that never was has no stamp."""
    newest = (await _stamps(meter))[0]
    told = []
    for index in OLDEST:
        answer = await meter.read(f"050600{index:02X}")
        if answer.is_abnormal:
            need(bool(answer.data and answer.data[0] & NO_SUCH_DATA), hexed(answer.data))
            told.append(f"{index} refused")
            continue
        data = answer.data[4:]
        stamp = None if is_missing(data) else decode_time(data, STAMP)
        is_old = stamp is not None and (newest - stamp).days >= index - 1
        need(stamp is None or is_old, f"freeze {index} is stamped {hexed(data)}")
        told.append(f"{index} {'is old' if is_old else 'without a stamp'}")
    return ", ".join(told)
