"""The hold on a site: one daemon acts on a database, and only while the database says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psycopg
import structlog
from psycopg import AsyncConnection

from daemon.control.authority import SiteHold
from daemon.runtime.supervision import in_thread
from protocols.errors import MeterdError
from storage import site_lock
from storage.database import Database, bounded, connect, end_sessions, session_of

log = structlog.get_logger("daemon")

CHECK_S: Final = 2.0
ANSWER_S: Final = 3.0
"""A database that does not answer within this time holds nothing for us."""
LEASE_S: Final = 15.0
"""The server ends the hold of a daemon of which it hears nothing for so long: its machine is gone,
its network, or it stands still."""
WAIT_S: Final = 5.0
"""A killed predecessor's lock goes away with its connection. Who holds it longer than this and
speaks is a living daemon; where nothing is heard of it, its lease is waited for."""


class AnotherDaemon(MeterdError):
    """Another daemon acts on this database.

    Two could cut one customer twice, so this one does not act."""


async def take_site(url: str, hold: SiteHold) -> AsyncConnection[Any]:
    """The connection whose lock is the hold. AnotherDaemon when a living one has it.

    The lock lives and dies with the connection, so no killed daemon can leave it behind."""
    # Outside of the pool: the lock belongs to the session, and the pool changes sessions.
    connection = await connect(url)
    try:
        with bounded(connection, ANSWER_S):
            if hold.last_session is not None:
                # Our own of before, which the server may take for a living daemon's.
                await end_sessions(connection, [hold.last_session])
        began = time.monotonic()
        while (token := await _taken(connection)) is None:
            await _refuse_the_living(connection, time.monotonic() - began)
            await asyncio.sleep(0.1)
        with bounded(connection, ANSWER_S):
            hold.last_session = await session_of(connection)
        hold.token = token
    except BaseException:
        await connection.close()
        raise
    return connection


async def _taken(connection: AsyncConnection[Any]) -> int | None:
    with bounded(connection, ANSWER_S):
        await site_lock.refuse_read_only(connection)
        return await site_lock.try_lock(connection)


async def _refuse_the_living(connection: AsyncConnection[Any], waited_s: float) -> None:
    if waited_s < WAIT_S:
        return
    with bounded(connection, ANSWER_S):
        holder = await site_lock.holder(connection)
    if holder is None:
        return
    # One that is silent for longer than its lease has none yet: it migrates, or takes over files.
    silent_s = holder.silent_s or 0.0
    if not CHECK_S + ANSWER_S < silent_s < LEASE_S + WAIT_S:
        raise AnotherDaemon(f"another meterd acts on this database ({holder}); stop it first")


async def hold_site(
    holder: AsyncConnection[Any],
    database: Database,
    hold: SiteHold,
    on_return: Callable[[float], Awaitable[None]],
) -> None:
    """Hold the site until cancelled; AnotherDaemon if it was taken meanwhile.

    When the connection is lost nothing is released any more, until the site is taken anew; then
    `on_return` is called: what was open at that moment (monotonic) may be as dead as this
    connection was. An embedded server that died is started again. R100: without a database there is
    no control."""
    try:
        while True:
            asked_at = time.monotonic()
            try:
                with bounded(holder, ANSWER_S):
                    # From the first time on: until then starting may take as long as it does.
                    await site_lock.renew(holder, LEASE_S)
            except psycopg.Error as error:
                # At once, before the site is taken again: another daemon may have it by now.
                hold.token = 0
                log.error("database away, control stopped", error=str(error).strip())
                await holder.close()
                holder = await _take_again(database, hold)
                log.info("database back, control goes on")
                await on_return(asked_at)
            else:
                await asyncio.sleep(CHECK_S)
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
