"""The tariffs that count, as rules need them."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from psycopg import AsyncConnection

from config.tariff_form import read_version
from config.tariff_version import TariffVersion, Versions
from daemon.billing.stored_tariff import StoredTariff
from storage import tariffs as storage

MOST_KNOWN: Final = 4096
"""Versions that are kept as they were read last: a form is never changed."""


async def stored_versions(
    connection: AsyncConnection[Any], tariffs: Collection[str]
) -> dict[str, StoredTariff]:
    """By name the versions of these tariffs that count; a tariff without any is left out.

    One statement."""
    rows = await storage.counting_versions(connection, tariffs)
    by_tariff = groupby(rows, attrgetter("tariff"))
    return {tariff: _stored(list(of_tariff)) for tariff, of_tariff in by_tariff}


def _stored(rows: list[storage.CountingVersion]) -> StoredTariff:
    versions = tuple(_read(row.form, row.tariff) for row in rows)
    return StoredTariff(Versions(versions), tuple(row.number for row in rows))


@lru_cache(MOST_KNOWN)
def _read(form: str, tariff: str) -> TariffVersion:
    version, mistakes = read_version(json.loads(form), tariff)
    if version is None:
        told = "; ".join(map(str, mistakes))
        raise ValueError(f"tariff {tariff} is stored with mistakes: {told}")
    return version
