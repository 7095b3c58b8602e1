"""A payment: posted, and the supply restored if it suffices, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection

from daemon.billing.posting import payment_key, payment_legs
from daemon.control.facts import PointFacts
from daemon.control.restoration import missing_fen
from daemon.transactions.settle import update_credit
from daemon.transactions.supply import restore
from storage import archive, ledger, supply
from storage.ledger import Leg, Outcome, Transaction, prepaid

log = structlog.get_logger("billing")


@dataclass(frozen=True, slots=True)
class TopUp:
    """The answer to a payment. `commands` are the reconnects that it started."""

    outcome: Outcome
    balance_fen: int
    credit_state: str
    missing_fen: int
    """What a customer who is cut still has to pay to be restored (R89c)."""
    commands: tuple[Any, ...]


async def top_up(
    connection: AsyncConnection[Any],
    account: str,
    amount_fen: int,
    *,
    channel: str,
    reference: str,
    now: datetime,
    actor: str = "role:channel",
) -> TopUp | None:
    """Post a payment and restore the supply if it suffices; None if the account is unknown.

    (channel, reference) is the payment's identity (R51): the same again answers `already posted`
    and moves nothing; KeyReused if it comes with another account or amount, UnfitPaymentKey if it
    can not be a key. `actor`: who took it in, a channel by itself or a person."""
    # A slip of the caller's, not of the customer's: amounts are checked where they are typed.
    assert amount_fen > 0, f"a top-up of {amount_fen} fen reached the ledger"
    legs = payment_legs(prepaid(account), channel, amount_fen)
    transaction = Transaction(
        key=payment_key(channel, reference),
        kind="top_up",
        content={
            "account": account,
            "amount_fen": amount_fen,
            "channel": channel,
            "reference": reference,
        },
        legs=tuple(Leg(*leg) for leg in legs),
        actor=actor,
        channel=channel,
    )
    async with connection.transaction():
        account_id = await archive.account_id(connection, account)
        if account_id is None:
            return None
        # The account's lock: a settlement of the same account is before or after, never beside.
        locked = await ledger.lock_accounts(connection, [account_id])
        (outcome,) = await ledger.post(connection, [transaction])
        (credit_state,) = await update_credit(connection, locked.values(), now)
        # R89: the payment itself cancels the trips and asks for the reconnect; nothing waits for
        # the next sweep.
        commands = await restore(connection, [account_id], f"payment {transaction.key}", now)
        balance_fen = (await ledger.balances(connection, [account_id]))[account_id]
        points = await supply.control_facts(connection, [account_id], now, PointFacts)
    log.info(
        "top-up",
        account=account,
        amount_fen=amount_fen,
        key=transaction.key,
        outcome=outcome.value,
    )
    return TopUp(
        outcome=outcome,
        balance_fen=balance_fen,
        credit_state=credit_state,
        missing_fen=missing_fen(points),
        commands=tuple(commands),
    )
