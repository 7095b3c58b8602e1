"""Another pricing of a point's registers waits for a second person, because it rates all that was
billed of it again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.use import NoPrice
from daemon.transactions.documents.desk import refuse
from daemon.transactions.documents.filing import to_approve
from daemon.transactions.settle import settle_accounts
from storage import documents, holdings, ledger, point_pricing
from storage.chains import lock_chains
from storage.documents import Said
from storage.installations import zone_name
from storage.point_pricing import Pricing, WaitingPricing
from storage.settling import ALL_DAYS

RATED_ANEW: Final = ALL_DAYS._replace(causes=frozenset({"facts"}))


@dataclass(frozen=True, slots=True)
class ForeseenPricing:
    """What waits, or was approved just now, and by account the fen by which balances move."""

    pricing: WaitingPricing
    fen: Mapping[str, int] = field(default_factory=dict)


async def approve_pricing(
    connection: AsyncConnection[Any], number: int, said: Said, now: datetime
) -> ForeseenPricing:
    """Let it count; `said.actor` is another than who told it and who owns the file.

    DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        await to_approve(connection, number, said)
        (waits,) = await point_pricing.waiting(connection, number)
        fen = await _moved(connection, waits, now)
        await documents.add_review(connection, number, "approved", said)
        await point_pricing.write(connection, waits)
    return ForeseenPricing(waits, fen)


async def preview(connection: AsyncConnection[Any], number: int, now: datetime) -> ForeseenPricing:
    """What it would change if it were approved now. DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        (waits,) = await point_pricing.waiting(connection, number)
        return ForeseenPricing(waits, await _moved(connection, waits, now))


async def waiting_in_words(
    connection: AsyncConnection[Any], site_option: str = ""
) -> tuple[str, ...]:
    """Of each that waits: what it says, who told it, and how it is approved."""
    words = []
    for it in await point_pricing.waiting(connection):
        file = f" in a file of {it.owner}" if it.owner not in (None, it.actor) else ""
        words.append(
            f"{in_words(it)}; told by {it.actor}{file}, it waits for a second person: "
            f"meterd document approve {it.document} --actor NAME{site_option}"
        )
    return tuple(words)


def in_words(it: WaitingPricing) -> str:
    """What it says."""
    return f"{it.point}: {differences(it.told, it.counts)}; every billed day is rated again"


def differences(told: Pricing, counts: Pricing) -> str:
    """In words."""
    pairs = zip(("phases", "rates", "residual rate"), told, counts, strict=True)
    changed = [(name, now or "none", was or "none") for name, now, was in pairs if now != was]
    return ", ".join(f"{name} {now} instead of {was}" for name, now, was in changed)


async def _moved(
    connection: AsyncConnection[Any], waits: WaitingPricing, now: datetime
) -> dict[str, int]:
    """By account the fen by which balances would move; nothing of it is kept."""
    zone = ZoneInfo(await zone_name(connection))
    asked = await holdings.accounts_of(connection, [waits.point_id])
    async with connection.transaction(force_rollback=True):
        accounts = await ledger.lock_accounts(connection, asked)
        marks = dict.fromkeys(accounts, RATED_ANEW)
        # What cannot be priced now may need this very pricing.
        with suppress(NoPrice):
            async with connection.transaction():
                await settle_accounts(connection, marks, zone, now)
        before = await ledger.balances(connection, accounts)
        await point_pricing.write(connection, waits)
        try:
            await settle_accounts(connection, marks, zone, now)
        except NoPrice as error:
            refuse("no_price", f"{waits.point} could not be billed so: {error}; mend its tariff")
        after = await ledger.balances(connection, accounts)
    moved = {row.number: after[number] - before[number] for number, row in accounts.items()}
    return {number: fen for number, fen in sorted(moved.items()) if fen}
