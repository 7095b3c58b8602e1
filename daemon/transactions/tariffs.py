"""The tariffs that count, as rules need them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import date
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from psycopg import AsyncConnection

from config.tariff_form import read_version
from config.tariff_version import TariffVersion, Versions
from daemon.billing.stored_tariff import StoredTariff, composed
from storage import tariffs as storage

MOST_KNOWN: Final = 4096
"""Versions that are kept as they were read last: a form is never changed."""
NO_OTHERS: Final[Mapping[str, StoredTariff]] = {}


async def stored_versions(
    connection: AsyncConnection[Any], tariffs: Collection[str]
) -> dict[str, StoredTariff]:
    """By name the versions of these tariffs that count; a tariff without any is left out.

    One statement."""
    rows = await storage.counting_versions(connection, tariffs)
    by_tariff = groupby(rows, attrgetter("tariff"))
    return {tariff: _stored(list(of_tariff)) for tariff, of_tariff in by_tariff}


async def tariffs_of_accounts(
    connection: AsyncConnection[Any],
    accounts: Mapping[int, str],
    instead: Mapping[str, StoredTariff] = NO_OTHERS,
) -> dict[int, StoredTariff]:
    """By account what it is billed by, where it changed its tariff composed of those it had.

    `accounts`: the tariff with which each began. An account whose tariff has no version is left
    out. `instead`: tariffs that are tried, by name. Two statements. ValueError where a tariff has
    no price on the day from which it counts."""
    pieces = {account: [(date.min, tariff)] for account, tariff in accounts.items()}
    for change in await storage.tariff_changes(connection, accounts):
        pieces[change.account_id].append((change.from_day, change.tariff))
    names = {tariff for of_account in pieces.values() for _, tariff in of_account}
    stored = {**await stored_versions(connection, names), **instead}
    return {
        account: composed([(day, stored[tariff]) for day, tariff in of_account])
        for account, of_account in pieces.items()
        if all(tariff in stored for _, tariff in of_account)
    }


def _stored(rows: list[storage.CountingVersion]) -> StoredTariff:
    versions = tuple(stored_version(row.form, row.tariff) for row in rows)
    unused = frozenset(row.number for row in rows if not row.is_used)
    return StoredTariff(Versions(versions), tuple(row.number for row in rows), unused)


@lru_cache(MOST_KNOWN)
def stored_version(form: str, tariff: str) -> TariffVersion:
    """A version as the database has it. ValueError: that is not what was stored."""
    version, mistakes = read_version(json.loads(form), tariff)
    if version is None:
        told = "; ".join(map(str, mistakes))
        raise ValueError(f"tariff {tariff} is stored with mistakes: {told}")
    return version
