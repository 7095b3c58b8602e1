"""The hold on a site: one daemon acts on a database, and only while the database says so."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from daemon.control.authority import SiteHold
from daemon.runtime.supervision import in_thread
from protocols.errors import MeterdError
from storage.database import Database, bounded, connect
from storage.supply import SITE_LOCK

log = structlog.get_logger("daemon")

TRY_LOCK = "SELECT pg_try_advisory_lock(%s), pg_backend_pid()"
CHECK_S = 2.0
ANSWER_S = 3.0
"""A database that does not answer within this time holds nothing for us."""
WAIT_S = 5.0
"""A killed predecessor's lock goes away with its connection; what holds it longer than this is a
living daemon."""


class AnotherDaemon(MeterdError):
    """Another daemon acts on this database.

    Two could cut one customer twice, so this one does not act."""


async def take_site(url: str, hold: SiteHold) -> AsyncConnection[Any]:
    """The connection whose lock is the hold. AnotherDaemon when a living one has it.

    The lock lives and dies with the connection, so no killed daemon can leave it behind."""
    # Outside of the pool: the lock belongs to the session, and the pool changes sessions.
    connection = await connect(url)
    give_up_at = time.monotonic() + WAIT_S
    while True:
        with bounded(connection, ANSWER_S):
            row = await (await connection.execute(TRY_LOCK, (SITE_LOCK,))).fetchone()
        if row is not None and row[0]:
            hold.database_process = row[1]
            return connection
        if time.monotonic() > give_up_at:
            await connection.close()
            raise AnotherDaemon("another meterd acts on this database; stop it first")
        await asyncio.sleep(0.1)


async def hold_site(holder: AsyncConnection[Any], database: Database, hold: SiteHold) -> None:
    """Hold the site until cancelled; AnotherDaemon if it was taken meanwhile.

    When the connection is lost nothing is released any more, until the site is taken anew. An
    embedded server that died is started again. R100: without a database there is no control."""
    try:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                with bounded(holder, ANSWER_S):
                    await holder.execute("SELECT 1")
            except psycopg.Error:
                # At once, before the site is taken again: another daemon may have it by now.
                hold.database_process = 0
                log.error("database away, control stopped")
                await holder.close()
                holder = await _take_again(database, hold)
                log.info("database back, control goes on")
    finally:
        await holder.close()


async def _take_again(database: Database, hold: SiteHold) -> AsyncConnection[Any]:
    while True:
        try:
            await in_thread(database.revive)
            return await take_site(database.url, hold)
        except (psycopg.Error, OSError) as error:
            log.debug("database still away", error=str(error))
            await asyncio.sleep(CHECK_S)
