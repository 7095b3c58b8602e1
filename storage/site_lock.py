"""The lock by which one daemon acts on a database: it lives and dies with a session."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import psycopg

from storage.sql import Connection, fetch_row, load

SQL = load("site_lock")
SITE_LOCK: Final = 0x6D657472


class Holder(NamedTuple):
    """Whose session has the lock. All but `process` are None where another role's is hidden."""

    application: str | None
    address: str | None
    """None also on this machine, over a Unix socket."""
    process: int
    since: datetime | None
    silent_s: float | None
    """Since its last word."""

    def __str__(self) -> str:
        words = [self.application or "unknown"]
        if self.address is not None:
            words.append(f"from {self.address}")
        words.append(f"database process {self.process}")
        if self.since is not None:
            words.append(f"since {self.since.astimezone():%Y-%m-%d %H:%M:%S %Z}")
        return ", ".join(words)


async def try_lock(connection: Connection) -> int | None:
    """The token with which this session has the lock from now on; None while another has it.

    It is larger than every one before."""
    row = await fetch_row(connection, SQL["try_lock"], {"lock": SITE_LOCK})
    assert row is not None
    token: int | None = row[0]
    if token is not None:
        await connection.execute(SQL["lock_token"], {"token": token})
    return token


async def holder(connection: Connection) -> Holder | None:
    """Who has it; None: nobody, any more."""
    row = await fetch_row(connection, SQL["holder"], {"lock": SITE_LOCK})
    return None if row is None else Holder(*row)


async def renew(connection: Connection, lease_s: float) -> None:
    """The server ends this session when it hears nothing of it for so long from now on.

    psycopg.errors.ReadOnlySqlTransaction where nothing can be written now."""
    row = await fetch_row(connection, SQL["renew"], {"lease_ms": int(lease_s * 1000)})
    assert row is not None
    _refuse(is_read_only=row[0])


async def refuse_read_only(connection: Connection) -> None:
    """psycopg.errors.ReadOnlySqlTransaction where nothing can be written now."""
    _refuse(is_read_only=await fetch_row(connection, SQL["is_read_only"]) == (True,))


def _refuse(*, is_read_only: bool) -> None:
    if is_read_only:
        raise psycopg.errors.ReadOnlySqlTransaction("the database is read-only")


async def holds_site(connection: Connection, token: int) -> bool:
    """True while the session has the lock that took it with this token."""
    return await fetch_row(connection, SQL["holds_site"], {"token": token}) == (True,)
