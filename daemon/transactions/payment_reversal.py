"""A payment is taken back: it bounced, or was a mistake. One person says so, another approves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

import structlog
from psycopg import AsyncConnection

from daemon.billing.posting import reversal_key
from daemon.transactions.credit import update_credit
from daemon.transactions.documents.desk import refuse
from daemon.transactions.documents.filing import to_approve
from storage import archive, documents, ledger
from storage.chains import lock_chains
from storage.documents import Said, StoredDocument
from storage.ledger import PostedRow, Transaction

log = structlog.get_logger("billing")

KIND: Final = "payment_reversal"
Cause = Literal["bounced", "mistaken"]


@dataclass(frozen=True, slots=True)
class Reversed:
    """A payment that was taken back, and how its account stands now."""

    payment: str
    account: str
    amount_fen: int
    balance_fen: int
    credit_state: str


async def file_reversal(
    connection: AsyncConnection[Any], payment: str, cause: Cause, said: Said
) -> int:
    """Write down that a payment is to be taken back; the number of the document, which waits.

    The same again, while it waits, is the same document. DocumentRefused."""
    content = {"payment": payment, "cause": cause}
    async with connection.transaction():
        await lock_chains(connection)
        await _payment(connection, payment)
        for waiting in await documents.documents(connection, only_waiting=True):
            if waiting.kind == KIND and waiting.content["payment"] == payment:
                return waiting.number
        return await documents.add_document(connection, KIND, None, said, content, waits=True)


async def approve_reversal(
    connection: AsyncConnection[Any], number: int, said: Said, now: datetime
) -> Reversed:
    """Take the payment of a document back; `said.actor` is another person than who filed it.

    Balance and arrears follow at once. DocumentRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        stored = await to_approve(connection, number, said)
        payment = await _payment(connection, stored.content["payment"])
        account_id = await archive.account_id(connection, payment.content["account"])
        assert account_id is not None, "accounts are never deleted"
        locked = await ledger.lock_accounts(connection, [account_id])
        await documents.add_review(connection, number, "approved", said)
        await ledger.post(connection, [await _reversal(connection, payment, stored, said)])
        (credit,) = await update_credit(connection, locked.values(), now)
    log.info("payment reversed", key=payment.key, account=payment.content["account"])
    return Reversed(
        payment=payment.key,
        account=payment.content["account"],
        amount_fen=payment.content["amount_fen"],
        balance_fen=credit.balance_fen,
        credit_state=credit.status,
    )


async def _payment(connection: AsyncConnection[Any], key: str) -> PostedRow:
    found = await ledger.posted(connection, key)
    if found is None or found.kind != "top_up":
        refuse(
            "no_payment",
            f"there is no payment {key}; its key is pay:CHANNEL:KEY, as meterd account show has it",
        )
    if found.reversed_by is not None:
        refuse("reversed_already", f"{key} was taken back already, by {found.reversed_by}")
    return found


async def _reversal(
    connection: AsyncConnection[Any], payment: PostedRow, stored: StoredDocument, said: Said
) -> Transaction:
    legs = await ledger.legs_of(connection, payment.id)
    open_from = await ledger.open_from(connection)
    return Transaction(
        key=reversal_key(payment.id),
        kind=KIND,
        content={**stored.content, "approved_by": said.actor},
        legs=tuple(replace(leg, amount_fen=-leg.amount_fen) for leg in legs),
        actor=f"person:{stored.actor}",
        channel=payment.channel,
        # As if it had never been; of a closed month nothing changes any more, so it counts today.
        value_date=payment.value_date if payment.value_date >= open_from else None,
        document=stored.number,
        reverses=payment.id,
    )
