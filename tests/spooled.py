"""Readings that wait, and a pipeline with a spool of its own, for tests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from daemon.control.authority import Authority
from daemon.pipeline.outlet import Outlet, Told
from daemon.pipeline.pauses import USUAL, Pauses
from daemon.pipeline.pipeline import Pipeline
from daemon.quality.arrival import Arrival
from daemon.quality.meter import Meter
from daemon.spool.spool import open_spool
from protocols.reading import DailyFreeze, Quantity
from storage.archive import SiteMeter
from storage.database import Pool


def a_meter(address: str) -> SiteMeter:
    """A meter that nothing but its address is known of."""
    return SiteMeter(
        1, address, "line", "dlt645-2007", 10**8, 2, date(2026, 1, 1), 1, "P", Decimal(380)
    )


def an_arrival(number: int, *, has_memory: bool = True, day: int = 2) -> Arrival:
    """The freeze of one meter; `number` tells them apart."""
    freeze = DailyFreeze(
        f"{number:012d}",
        Quantity.FORWARD_ACTIVE_ENERGY,
        datetime(2026, 3, day),
        (Decimal(number).scaleb(-2),),
        datetime(2026, 3, day, 0, 7, tzinfo=UTC) + timedelta(seconds=number),
        host_offset=None if has_memory else timedelta(seconds=2),
    )
    return Arrival(a_meter(freeze.address), freeze)


def nobody_is_told(slots: object) -> None:
    """An outlet that leads nowhere."""


@contextmanager
def a_pipeline(
    pool: Pool,
    authority: Authority,
    *,
    batch_readings: int,
    stored: Told = nobody_is_told,
    kept: Told = nobody_is_told,
    missed: Callable[[], None] = lambda: None,
    meters: Callable[[], Iterable[Meter]] = lambda: (),
    pauses: Pauses = USUAL,
) -> Iterator[Pipeline]:
    """A pipeline whose spool is thrown away. `meters`: those that are read, now."""

    def find(address: str) -> Meter | None:
        return next((meter for meter in meters() if meter.address == address), None)

    with (
        tempfile.TemporaryDirectory(prefix="meterd-") as folder,
        open_spool(Path(folder), 10**8) as spool,
    ):
        yield Pipeline(
            pool,
            authority,
            spool,
            Outlet(meters=find, stored=stored, kept=kept, missed=missed),
            batch_readings=batch_readings,
            pauses=pauses,
        )
