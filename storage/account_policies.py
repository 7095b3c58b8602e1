"""By which policy an account is cut, and who said so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from storage.sql import Connection, fetch_dicts, fetch_records, load

SQL = load("account_policies")


@dataclass(frozen=True, slots=True)
class Chosen:
    """`profile` counts, None: the site's. `newest` may wait for a second person; `rev` is its."""

    id: int
    profile: str | None
    rev: int | None
    newest: str | None
    waits: bool
    actor: str | None
    reason: str | None


async def newest_policies(connection: Connection, account: str) -> Chosen | None:
    """What was chosen for an account, which is locked; None: there is no such account."""
    found = await fetch_records(connection, Chosen, SQL["newest_policies"], {"account": account})
    return found[0] if found else None


async def add_policy(
    connection: Connection,
    chosen: Chosen,
    profile: str | None,
    actor: str,
    reason: str,
    *,
    waits: bool = False,
    second: str | None = None,
) -> None:
    """The next row of an account, which is locked."""
    values = {
        "account_id": chosen.id,
        "rev": 0 if chosen.rev is None else chosen.rev + 1,
        "profile": profile,
        "waits": waits,
        "actor": actor,
        "reason": reason,
        "second": second,
    }
    await connection.execute(SQL["add_policy"], values)


async def account_policies(connection: Connection, account: str) -> list[dict[str, Any]]:
    """Everything that was said of it, the newest last."""
    return await fetch_dicts(connection, SQL["account_policies"], {"account": account})
