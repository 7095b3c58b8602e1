"""Payments: posted, and the supply restored where they suffice, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from daemon.billing.posting import key_part, payment_key, payment_legs
from daemon.control.facts import SupplyFacts
from daemon.control.restoration import is_to_be_restored, missing_fen
from daemon.runtime.late_logs import LateLogger
from daemon.transactions.control_facts import supply_facts
from daemon.transactions.credit import update_credit
from daemon.transactions.supply import bring_back
from storage import archive, ledger, supply
from storage.acts import Act, note_acts
from storage.archive import Payee
from storage.ledger import KeyReused, Leg, Outcome, Transaction, prepaid

log = LateLogger("billing")


@dataclass(frozen=True, slots=True)
class Payment:
    """What somebody paid. UnfitPaymentKey if channel and reference can not be a key.

    (channel, reference) is its identity (R51). `actor`: who took it in, a channel by itself or a
    person. `by_way_of`: the user and the terminal of this machine where it was typed, if that is to
    be noted with it."""

    account: str
    amount_fen: int
    channel: str
    reference: str
    actor: str = "role:channel"
    by_way_of: str = ""
    key: str = field(init=False)

    def __post_init__(self) -> None:
        # A slip of the caller's, not of the customer's: amounts are checked where they are typed.
        assert self.amount_fen > 0, f"a payment of {self.amount_fen} fen reached the ledger"
        object.__setattr__(self, "channel", key_part("channel", self.channel))
        object.__setattr__(self, "reference", key_part("reference", self.reference))
        object.__setattr__(self, "key", payment_key(self.channel, self.reference))


@dataclass(frozen=True, slots=True)
class TopUp:
    """The answer to a payment. `commands` are the reconnects that it started."""

    outcome: Outcome
    balance_fen: int
    credit_state: str
    missing_fen: int
    """What a customer who is cut still has to pay to be restored (R89c)."""
    commands: tuple[Any, ...]
    at_button: bool
    """The customer closes the relay: the meter only allows it."""
    payee: Payee


Taken = TopUp | KeyReused | None
"""What became of one of many payments; None: its account is unknown."""


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

    The same payment again answers `already posted` and moves nothing; KeyReused if it comes with
    another account or amount, UnfitPaymentKey."""
    payment = Payment(account, amount_fen, channel, reference, actor)
    return await post_payment(connection, payment, now)


async def post_payment(
    connection: AsyncConnection[Any], payment: Payment, now: datetime
) -> TopUp | None:
    """The same by its record."""
    (taken,) = await take_in(connection, [payment], now)
    if isinstance(taken, KeyReused):
        raise taken
    return taken


async def take_in(
    connection: AsyncConnection[Any], payments: Sequence[Payment], now: datetime
) -> list[Taken]:
    """The same for payments that came at the same time, in one transaction, each with its answer.

    Of several to one account each is told the balance with all of them. The number of statements
    does not depend on how many they are."""
    async with connection.transaction():
        # The accounts' locks: a settlement of one of them is before or after, never beside.
        numbers = {payment.account for payment in payments}
        locked = await ledger.lock_accounts_by_number(connection, numbers)
        ids = {row.number: account for account, row in locked.items()}
        known = [payment for payment in payments if payment.account in ids]
        typed = [Act(it.actor, it.by_way_of, f"top-up {it.key}") for it in known if it.by_way_of]
        if typed:
            await note_acts(connection, typed)
        outcomes = await ledger.post_each(connection, [_transaction(it) for it in known])
        credits_now = await update_credit(connection, locked.values(), now)
        # Most who pay are not cut: then control need not be asked.
        payers = await supply.payers_to_look_at(connection, locked)
        dark = [it.account_id for it in payers if it.is_dark]
        unknown = [it.account_id for it in payers if it.is_unknown]
        if unknown:
            await supply.ask_for_relays(connection, unknown)
        commands = await _restore(connection, dark, known, ids, now)
        points = await supply_facts(connection, dark, now) if dark else []
        payees = await archive.payees(connection, locked)
    credit_of = dict(zip(locked, credits_now, strict=True))
    of_account: defaultdict[int, list[SupplyFacts]] = defaultdict(list)
    for point in points:
        of_account[point.account_id].append(point)
    told = iter(outcomes)
    taken: list[Taken] = []
    for payment in payments:
        account = ids.get(payment.account)
        if account is None:
            taken.append(None)
            continue
        outcome = next(told)
        if isinstance(outcome, KeyReused):
            taken.append(outcome)
            continue
        _log(payment, outcome)
        done = TopUp(
            outcome=outcome,
            balance_fen=credit_of[account].balance_fen,
            credit_state=credit_of[account].status,
            missing_fen=missing_fen(of_account[account]),
            commands=tuple(commands.get(account, ())),
            at_button=any(map(_closes_at_button, of_account[account])),
            payee=payees[account],
        )
        taken.append(done)
    return taken


def _closes_at_button(point: SupplyFacts) -> bool:
    return point.supply_state == "reconnect_commanded" and point.reconnect == "allow_close"


def _log(payment: Payment, outcome: Outcome) -> None:
    log.info(
        "top-up",
        account=payment.account,
        amount_fen=payment.amount_fen,
        key=payment.key,
        outcome=outcome.value,
        actor=payment.actor,
        by_way_of=payment.by_way_of,
    )


async def _restore(
    connection: AsyncConnection[Any],
    dark: Collection[int],
    payments: Sequence[Payment],
    ids: Mapping[str, int],
    now: datetime,
) -> dict[int, list[Any]]:
    """By account the reconnects. R89: the payment itself asks for them; nothing waits for the next
    sweep."""
    causes = {ids[it.account]: f"payment {it.key}" for it in payments if ids[it.account] in dark}
    if dark:
        await supply.hurry_reconnects(connection, list(dark), now)
    points = await supply_facts(connection, causes, now) if causes else []
    cut: defaultdict[int, list[SupplyFacts]] = defaultdict(list)
    for point in points:
        if is_to_be_restored(point):
            cut[point.account_id].append(point)
    return {
        account: await bring_back(connection, found, causes[account], now)
        for account, found in sorted(cut.items())
    }


def _transaction(payment: Payment) -> Transaction:
    legs = payment_legs(prepaid(payment.account), payment.channel, payment.amount_fen)
    return Transaction(
        key=payment.key,
        kind="top_up",
        content={
            "account": payment.account,
            "amount_fen": payment.amount_fen,
            "channel": payment.channel,
            "reference": payment.reference,
        },
        legs=tuple(Leg(*leg) for leg in legs),
        actor=payment.actor,
        channel=payment.channel,
    )
