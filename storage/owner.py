"""Whose database this is."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from protocols.errors import MeterdError
from storage.sql import Connection, fetch_row, load

SQL = load("owner")


class ForeignSite(MeterdError):
    """The database belongs to another site, or its days are those of another zone.

    Whoever installs acts: nothing was read or written."""


async def claim(connection: Connection, name: str, zone: ZoneInfo) -> None:
    """Make a database this site's if it is nobody's yet. ForeignSite if it is another's."""
    values = {"name": name, "zone": zone.key}
    await connection.execute(SQL["claim"], values)
    owner = await fetch_row(connection, SQL["owner"])
    assert owner is not None, "it was claimed just now"
    if owner != (name, zone.key):
        raise ForeignSite(
            f"the database holds the site {owner[0]} in zone {owner[1]}, and the configuration "
            f"says {name} in zone {zone.key}: correct site.name, site.zone or database.url"
        )
