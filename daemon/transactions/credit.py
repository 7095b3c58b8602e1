"""Credit states and arrears episodes, derived from the balances of accounts that are locked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from daemon.billing.credit import CreditStatus, Thresholds, next_credit
from daemon.runtime.late_logs import LateLogger
from storage import ledger
from storage.ledger import AccountRow, CreditRow

log = LateLogger("billing")


class CreditNow(NamedTuple):
    """The credit of an account, and the balance that it was derived from."""

    status: CreditStatus
    balance_fen: int


async def update_credit(
    connection: AsyncConnection[Any], accounts: Iterable[AccountRow], now: datetime
) -> list[CreditNow]:
    """Derive the credit states from the balances; returns them in order.

    Starts and ends arrears episodes."""
    rows = list(accounts)
    balances = await ledger.balances(connection, [row.id for row in rows])
    states: list[CreditNow] = []
    changes: list[CreditRow] = []
    for row in rows:
        was = (row.credit_state, row.episode_started_at)
        credit = next_credit(balances[row.id], _thresholds(row), row.episode_started_at, now)
        states.append(CreditNow(credit.status, balances[row.id]))
        # Only changes are written: most accounts of a batch stay as they are.
        if (credit.status, credit.episode_started_at) == was:
            continue
        changes.append(
            CreditRow(row.id, credit.status, credit.episode_started_at, row.episode_started_at)
        )
        log.info(
            "credit state",
            account=row.number,
            was=row.credit_state,
            now=credit.status,
            balance_fen=balances[row.id],
        )
    await ledger.put_credit(connection, changes, now)
    return states


def _thresholds(row: AccountRow) -> Thresholds:
    return Thresholds(
        warn_fen=row.warn_fen,
        trip_fen=row.trip_fen,
        reconnect_fen=row.reconnect_fen,
        credit_limit_fen=row.credit_limit_fen,
    )
