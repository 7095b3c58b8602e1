"""A site to which everything has happened that a batch of readings, or a person, can meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from daemon.quality.arrival import Arrival
from daemon.spool.record import as_content, waiting
from daemon.transactions.decisions import Order, decide
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.filing import file_document
from daemon.transactions.documents.ratio_change import RatioChange
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.sweep import sweep
from storage import dead_letters
from storage.archive import SiteMeter
from storage.documents import Said
from tests.database.small_site import ARMED, DAY, NOW, OPEN, Site, freeze, noon, pay, store
from tests.database.transactions.test_supply import OPENED, due, sent

LI = Said("Li", "because", "form 7")
NEW_ADDRESS = "000000000044"
OUTVOTED = (100, 105, 110, 115, 480, 125, 130)
"""The next value makes the fifth one that of another register."""
WAITING_DOCUMENT = 2
WAITING_DECISION = 1


async def a_site_with_a_past(connection: AsyncConnection[Any]) -> Site:
    """P1 is paid for and goes on, P2 has a gap, P3 jumps next, P4 was cut for a value that the
    next one makes untrue, P5 was exchanged, P6 runs out of money, P7 waits for its second value.

    A document about P3 and a decision about P2 wait for a second person, a reading of P1 is a
    dead letter."""
    site = Site.of(7)
    found = await site.take_over(connection)
    await connection.execute(
        "UPDATE installation SET initial = NULL FROM point p WHERE p.id = point_id AND number = 'P7'"
    )
    for number in range(1, 8):
        fen = {4: 5_000, 6: 300}.get(number, 10_000)
        await pay(connection, f"A{number}", fen, f"A{number}")
    for point in ("P1", "P2", "P3", "P5", "P6"):
        await store(
            connection, *(freeze(found[point], OPEN + n * DAY, 100 + 5 * n) for n in range(2))
        )
    await store(connection, freeze(found["P2"], OPEN + 3 * DAY, 115))
    await store(connection, freeze(found["P7"], OPEN, 100))
    for n, kwh in enumerate(OUTVOTED):
        await store(connection, freeze(found["P4"], OPEN + n * DAY, kwh))
        if kwh == max(OUTVOTED):
            await _cut(connection)
    await _papers(connection)
    unknown = freeze(found["P1"], OPEN + 5 * DAY, 125)
    await dead_letters.add(connection, as_content(waiting(unknown)), "the disk was full")
    site.meters[4]["address"] = NEW_ADDRESS
    site.first_registers_are_known = False
    await site.take_over(connection)
    return site


async def _cut(connection: AsyncConnection[Any]) -> None:
    """A day later, when nobody is spared any more for a large sum at once."""
    await connection.execute("UPDATE account SET span_grace_until = NULL")
    await sweep(connection, ARMED, NOW)
    command = await sent(connection)
    await take_answer(connection, command, "acked", "accepted", NOW)
    later = NOW + timedelta(seconds=6)
    look = await due(connection, later)
    await take_observation(connection, look.command, OPENED, later)


async def _papers(connection: AsyncConnection[Any]) -> None:
    exchange = Exchange("P5", noon(OPEN + DAY), NEW_ADDRESS, (Decimal(106),), (Decimal(3),))
    await file_document(connection, exchange, LI, NOW)
    ratio = RatioChange("P3", OPEN, Decimal(2), (Decimal(100),))
    filed = await file_document(connection, ratio, LI, NOW)
    assert (filed.number, filed.state) == (WAITING_DOCUMENT, "waits")
    decided = await decide(connection, substitute("P2", OPEN + 2 * DAY, "110"))
    assert (decided.number, decided.waits_for) == (WAITING_DECISION, 1)


def substitute(point: str, day: date, total: str) -> Order:
    """A value that somebody read off."""
    return Order(
        point=point,
        day=day,
        action="substitute",
        maker="Li",
        reason="read off",
        total=Decimal(total),
        method="S2",
        evidence="photo",
    )


def what_comes_then(found: dict[str, SiteMeter]) -> list[Arrival]:
    """One batch with all of it: new, told again, a jump, a withdrawal, the exchanged meter, the
    last of the money, a confirmation."""
    again = freeze(found["P2"], OPEN + DAY, 105)
    return [
        *(freeze(found["P1"], OPEN + n * DAY, 100 + 5 * n) for n in (2, 3)),
        again,
        replace(again, freeze=replace(again.freeze, arrived_at=NOW + timedelta(hours=1))),
        freeze(found["P3"], OPEN + 2 * DAY, 90_000),
        freeze(found["P4"], OPEN + len(OUTVOTED) * DAY, 135),
        freeze(found["P5"], OPEN + 2 * DAY, 6),
        freeze(found["P6"], OPEN + 2 * DAY, 109),
        freeze(found["P7"], OPEN + DAY, 104),
    ]
