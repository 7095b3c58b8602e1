"""Versions of tariffs that wait for a second person (R34), and what they would change."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.errors import IntegrityConstraintViolation

from config.persons import is_same_person
from config.tariff_version import Versions
from daemon.billing.rehearsal import total
from daemon.transactions.documents import filing
from daemon.transactions.documents.desk import refuse
from daemon.transactions.rehearsal import Rehearsal, rehearse, tried_tariffs
from daemon.transactions.tariffs import stored_version
from storage import documents, tariff_filing
from storage.chains import lock_chains
from storage.documents import Said, StoredDocument
from storage.tariff_filing import FiledVersion, PricedAnew

DAEMON: Final = "daemon"
"""Who takes files over where nobody asked for it; the owner of the tariffs file tells versions
then."""
MOST_NAMED: Final = 10
"""Accounts that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class ForeseenVersion:
    """What a version that waits would price anew, and by account the fen by which its balance would
    move. `unpriced`: accounts that it could not bill, with the reason."""

    tariff: str
    effective_from: date
    priced_anew: PricedAnew
    fen: Mapping[str, int] = field(default_factory=dict)
    unpriced: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApprovedVersion:
    """A version that counts now, and what is settled anew because of it."""

    tariff: str
    effective_from: date
    document: int
    priced_anew: PricedAnew


async def approve_version(
    connection: AsyncConnection[Any], tariff: str, start: date, said: Said, today: date
) -> ApprovedVersion:
    """Let a version count that waits; `said.actor` is another person than who made it.

    Days that are billed are priced anew. DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        waiting = await _waiting(connection, tariff, start)
        return await _approve(connection, _document_of(waiting), said, today)


async def approve_document(
    connection: AsyncConnection[Any], number: int, said: Said, today: date
) -> ApprovedVersion:
    """The same by the number of its document."""
    async with connection.transaction():
        await lock_chains(connection)
        return await _approve(connection, number, said, today)


async def preview_version(
    connection: AsyncConnection[Any], stored: StoredDocument, zone: ZoneInfo, today: date
) -> ForeseenVersion:
    """What a version that waits would change if it were approved now: rehearsed, so that nobody
    waits for it and nothing is kept of it."""
    tariff, start = _version_of(stored)
    found = await _priced_anew(connection, tariff, start, today)
    if start > today:
        return ForeseenVersion(tariff, start, found)
    waiting = await tariff_filing.versions(connection, "waits", tariff=tariff)
    (form,) = [it.form for it in waiting if it.document == stored.number]
    told = {tariff: Versions((stored_version(form, tariff),))}
    tried = await tried_tariffs(connection, told, None)
    fen: dict[str, int] = {}
    unpriced: dict[str, str] = {}
    instead = {name: it.tariff for name, it in tried.items()}
    async for portion in rehearse(connection, Rehearsal(instead, start), zone, today):
        more = {account: total(bill.values()).more_fen for account, bill in portion.bills.items()}
        fen |= {account: -more_fen for account, more_fen in more.items() if more_fen}
        unpriced |= portion.unpriced
    return ForeseenVersion(tariff, start, found, fen, unpriced)


async def reject_version(
    connection: AsyncConnection[Any], tariff: str, start: date, said: Said
) -> int:
    """A version that waits is not to count; the number of its document. DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        waiting = await _waiting(connection, tariff, start)
        stored = await filing.reject(connection, _document_of(waiting), said)
    return stored.number


async def waiting_in_words(
    connection: AsyncConnection[Any], today: date, site_option: str = ""
) -> tuple[str, ...]:
    """Of each version that waits: who told it, what it would price anew, and how it is approved."""
    words = []
    for it in await tariff_filing.versions(connection, "waits"):
        found = await _priced_anew(connection, it.tariff, it.effective_from, today)
        assert it.actor is not None, "what waits has a document"
        file = (
            f" in a file of {it.owner}"
            if it.owner and not is_same_person(it.owner, it.actor)
            else ""
        )
        what = f"; {anew_in_words(found)}" if found.days else ""
        typed = f"{shlex.quote(it.tariff)} {it.effective_from}"
        words.append(
            f"tariff {it.tariff} from {it.effective_from}, told by {it.actor}{file}, waits for a "
            f"second person{what}: "
            f"meterd tariff approve {typed} --actor NAME{site_option}"
        )
    return tuple(words)


def anew_in_words(found: PricedAnew) -> str:
    """What a version prices anew."""
    if not found.days:
        return "nothing is billed that it changes"
    named = ", ".join(found.numbers)
    more = found.accounts - len(found.numbers)
    others = f" and {more} more" if more else ""
    return (
        f"billed days from {found.first_day} to {found.last_day} are priced anew, {found.days} of "
        f"{found.accounts} accounts: {named}{others}"
    )


async def _approve(
    connection: AsyncConnection[Any], number: int, said: Said, today: date
) -> ApprovedVersion:
    stored = await filing.to_approve(connection, number, said)
    tariff, start = _version_of(stored)
    try:
        async with connection.transaction():
            await documents.add_review(connection, number, "approved", said)
    except IntegrityConstraintViolation:
        refuse(
            "version_is_used",
            f"use is billed by another version of tariff {tariff} from {start} by now: reject this "
            "one, and give the prices a version from another day",
        )
    found = await _priced_anew(connection, tariff, start, today)
    await tariff_filing.price_anew(connection, tariff, start, today)
    return ApprovedVersion(tariff, start, number, found)


def _version_of(stored: StoredDocument) -> tuple[str, date]:
    return stored.content["tariff"], date.fromisoformat(stored.content["from"])


async def _waiting(connection: AsyncConnection[Any], tariff: str, start: date) -> FiledVersion:
    known = await tariff_filing.versions(connection, "counts", "waits", "rejected", tariff=tariff)
    of_day = [it for it in known if it.effective_from == start]
    waiting = [it for it in of_day if it.state == "waits"]
    if not waiting:
        what = _standing(of_day[-1]) if of_day else "there is none of that day"
        refuse(
            "no_version",
            f"no version of tariff {tariff} from {start} waits: {what}; see meterd tariff list",
        )
    return waiting[0]


def _standing(newest: FiledVersion) -> str:
    if newest.state == "rejected":
        return f"it was rejected by {newest.reviewer}"
    return "it counts already"


def _document_of(waiting: FiledVersion) -> int:
    assert waiting.document is not None, "what waits has a document"
    return waiting.document


async def _priced_anew(
    connection: AsyncConnection[Any], tariff: str, start: date, today: date
) -> PricedAnew:
    if start > today:
        return PricedAnew(0, 0, None, None, ())
    return await tariff_filing.priced_anew(connection, tariff, start, MOST_NAMED)
