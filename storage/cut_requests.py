"""Requests that an account be cut, and who approved them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.sql import Connection, fetch_dicts, fetch_records, fetch_row, load

SQL = load("cut_requests")


@dataclass(frozen=True, slots=True)
class Owing:
    """What an account owes; `episode_id` None: it is in no arrears. `request`: the one that counts.

    `debt_fen`: what is missing to the floor."""

    account_id: int
    account: str
    episode_id: int | None
    debt_fen: int
    request: int | None


async def owing(connection: Connection, account: str) -> Owing | None:
    """What the account of this number owes, its row locked; None where there is no such account."""
    found = await fetch_records(connection, Owing, SQL["owing"], {"account": account})
    return found[0] if found else None


async def account_of(connection: Connection, number: int) -> str | None:
    """Whose cut a request asks for."""
    row = await fetch_row(connection, SQL["account_of"], {"number": number})
    return row[0] if row else None


async def add_request(connection: Connection, owed: Owing, actor: str, reason: str) -> int:
    """Ask that an account be cut for what it owes now; returns the request's number."""
    values = {
        "account_id": owed.account_id,
        "episode_id": owed.episode_id,
        "debt_fen": owed.debt_fen,
        "actor": actor,
        "reason": reason,
    }
    row = await fetch_row(connection, SQL["add_request"], values)
    assert row is not None, "an insert returns its row"
    number: int = row[0]
    return number


async def withdraw_request(connection: Connection, number: int, actor: str, reason: str) -> bool:
    """End a request; False if it was withdrawn before."""
    values = {"number": number, "actor": actor, "reason": reason}
    return await fetch_row(connection, SQL["withdraw_request"], values) is not None


async def request(connection: Connection, number: int) -> tuple[str, int, int, bool] | None:
    """(requester, debt, episode, whether it is not withdrawn)."""
    return await fetch_row(connection, SQL["request"], {"number": number})


async def approve(connection: Connection, number: int, actor: str) -> datetime:
    """Somebody agrees, for four hours; returns when they end."""
    row = await fetch_row(connection, SQL["approve"], {"number": number, "actor": actor})
    assert row is not None, "an insert returns its row"
    expires_at: datetime = row[0]
    return expires_at


async def requests(connection: Connection, *, all_times: bool = False) -> list[dict[str, Any]]:
    """Requests that are open; with `all_times` also those that are over."""
    return await fetch_dicts(connection, SQL["requests"], {"all": all_times})
