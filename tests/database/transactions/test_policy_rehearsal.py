"""Policies are rehearsed by what the ledger tells of past mornings."""

from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from daemon.control.guard import Policy
from daemon.transactions.policy_rehearsal import rehearse_policies
from tests.database.small_site import (
    CUT_AT_ANY_TIME,
    DAY,
    OPEN,
    ZONE,
    Site,
    as_owner,
    everything,
    freeze,
    noon,
    on,
    pay,
    store,
)

POLICIES = {"strict": Policy(), "lax": CUT_AT_ANY_TIME}


async def recorded(connection: AsyncConnection[Any], at: datetime) -> None:
    """What was just posted was posted then."""
    await connection.execute("ALTER TABLE journal DISABLE TRIGGER journal_is_never_changed")
    await connection.execute(
        "UPDATE journal SET recorded_at = %s WHERE recorded_at > now() - interval '1 hour'", (at,)
    )
    await connection.execute("ALTER TABLE journal ENABLE TRIGGER journal_is_never_changed")


async def found(
    connection: AsyncConnection[Any], until: datetime
) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """By point and policy the days after the opening, with the balance of then."""
    return {
        customer.point: {
            name: [((it.at.date() - OPEN).days, it.balance_fen) for it in mornings]
            for name, mornings in days.items()
        }
        async for customer, days in rehearse_policies(connection, POLICIES, OPEN, ZONE, until)
    }


def test_the_balances_of_past_mornings_decide(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2)
        site.add(3, protected=True)
        meters = await site.take_over(connection)
        for point, kwh in (("P1", 6), ("P2", 0), ("P3", 6)):
            days = [freeze(meters[point], OPEN + n * DAY, 100 + min(n, 1) * kwh) for n in range(14)]
            await store(connection, *days)
        # On Monday, the 2nd, behind its morning.
        await recorded(connection, noon(OPEN + DAY))
        await pay(connection, "A1", 300)
        await recorded(connection, noon(OPEN + 9 * DAY))
        before = await everything(connection)
        nobody: dict[str, list[tuple[int, int]]] = {"strict": [], "lax": []}
        # Strict: a notice of Tuesday, the 3rd, is old enough on the eve of rest days.
        assert await found(connection, noon(OPEN + 12 * DAY)) == {
            "P1": {"strict": [(8, -300)], "lax": [(2, -300)]},
            "P2": nobody,
            "P3": nobody,
        }
        early = await found(connection, noon(OPEN + 2 * DAY) - timedelta(hours=13))
        assert early["P1"] == nobody
        assert await everything(connection) == before

    on(as_owner(database_url), story)
