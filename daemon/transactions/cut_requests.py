"""Persons ask that somebody be cut, and others approve it (I13)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection

from config.persons import is_same_person
from daemon.control.guard import is_same_debt
from protocols.errors import MeterdError
from storage import cut_requests
from storage.cut_requests import Owing
from storage.documents import Said

log = structlog.get_logger("control")


class CutRefused(MeterdError):
    """A cut that cannot be asked for or approved so. Who typed it acts."""


async def request_cut(connection: AsyncConnection[Any], account: str, said: Said) -> int:
    """Ask that an account be cut for what it owes now; returns the number of the request.

    One that is open is withdrawn, with its approvals: they were of another amount or moment."""
    async with connection.transaction():
        owed = await _owing(connection, account)
        if owed.request is not None:
            await cut_requests.withdraw_request(
                connection, owed.request, said.actor, "a new request takes its place"
            )
        number = await cut_requests.add_request(connection, owed, said.actor, said.reason)
    log.info("cut requested", account=account, debt_fen=owed.debt_fen, actor=said.actor)
    return number


async def approve_cut(connection: AsyncConnection[Any], number: int, actor: str) -> datetime:
    """Approve a request for four hours; returns when they end.

    CutRefused: by who made it, of an episode that is over, or of another debt than there is now."""
    async with connection.transaction():
        account = await cut_requests.account_of(connection, number)
        if account is None:
            raise CutRefused(f"there is no request {number}")
        owed = await _owing(connection, account)
        if owed.request != number:
            raise CutRefused(f"request {number} is over: ask anew with meterd approve request")
        found = await cut_requests.request(connection, number)
        assert found is not None, "its account was found"
        requester, debt_fen, _, _ = found
        if is_same_person(requester, actor):
            raise CutRefused(f"{requester} made request {number}; another person has to approve it")
        if not is_same_debt(debt_fen, owed.debt_fen):
            raise CutRefused(
                f"account {account} owes {owed.debt_fen / 100:.2f} yuan now and not "
                f"{debt_fen / 100:.2f}: ask anew with meterd approve request"
            )
        expires_at = await cut_requests.approve(connection, number, actor)
    log.info("cut approved", account=account, request=number, actor=actor)
    return expires_at


async def withdraw_cut(connection: AsyncConnection[Any], number: int, said: Said) -> None:
    """Nobody is cut by this request any more; anybody may say so."""
    if not await cut_requests.withdraw_request(connection, number, said.actor, said.reason):
        raise CutRefused(f"there is no open request {number}")
    log.info("cut request withdrawn", request=number, actor=said.actor)


async def _owing(connection: AsyncConnection[Any], account: str) -> Owing:
    owed = await cut_requests.owing(connection, account)
    if owed is None:
        raise CutRefused(f"no account {account}")
    if owed.episode_id is None or owed.debt_fen <= 0:
        raise CutRefused(f"account {account} is not in arrears: there is nothing to cut it for")
    return owed
