"""Payments, charges, reversals and the seal side by side: the end is the model's, to the fen."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.payment_reversal import approve_reversal, file_reversal
from daemon.transactions.sealing import seal, verify
from storage import ledger, seals
from storage.documents import Said
from storage.ledger import KeyReused, Leg, Transaction
from tests.database.small_site import NOW, Site, balance, connect, intact, on, pay, rows
from tests.examples import seeds

pytestmark = pytest.mark.hypertables

ACCOUNTS = ("A1", "A2", "A3")
STEPS = 20


@dataclass
class Model:
    """What must be true in the end, whoever came first."""

    paid: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By key of a payment its account and fen."""
    charged: Counter[str] = field(default_factory=Counter)
    reversed: Counter[str] = field(default_factory=Counter)

    def balance(self, account: str) -> int:
        came = sum(
            fen for key, (of, fen) in self.paid.items() if of == account and not self.reversed[key]
        )
        return came - self.charged[account]


@pytest.mark.parametrize("seed", seeds(3))
def test_whatever_comes_at_once_each_fen_is_posted_once_and_sealed_once(
    database_url: str, seed: int
) -> None:
    model = Model()

    async def writer(number: int) -> None:
        chance = random.Random(seed * 100 + number)
        async with await connect(database_url) as connection:
            for step in range(STEPS):
                act = chance.choice((payment, payment, charge, charge, reversal, reversal))
                await act(connection, chance, model, f"{number}-{step}")

    async def sealer(writers: "asyncio.Future[Any]") -> None:
        async with await connect(database_url) as connection:
            while not writers.done():
                await seal(connection, NOW)
                last = await seals.last_block(connection)
                if last is not None:
                    assert (await verify(connection, last.number)).fault is None

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(len(ACCOUNTS)).take_over(connection)
        writers = asyncio.gather(*map(writer, range(5)))
        await asyncio.gather(writers, sealer(writers))
        await seal(connection, NOW)
        await seal(connection, NOW)
        for account in ACCOUNTS:
            assert await balance(connection, account) == model.balance(account)
        assert max(model.reversed.values(), default=1) == 1
        assert await seals.unsealed(connection) == 0
        found = await verify(connection)
        assert found.fault is None
        assert [found.places] == await rows(
            connection,
            "SELECT (SELECT count(*) FROM journal) + (SELECT count(*) FROM ledger_account)",
        )
        clearing = await rows(
            connection, "SELECT balance_fen FROM account_balance WHERE name LIKE 'clearing:%%'"
        )
        kept = [fen for key, (_, fen) in model.paid.items() if not model.reversed[key]]
        assert sum(clearing) == -sum(kept)
        assert await intact(connection)

    on(database_url, story)


async def payment(
    connection: AsyncConnection[Any], chance: random.Random, model: Model, name: str
) -> None:
    """A new one, or one that somebody told already, perhaps with another amount."""
    account, fen = chance.choice(ACCOUNTS), chance.randint(1, 5_000)
    reference = chance.choice((name, *(key.split(":")[2] for key in model.paid)))
    try:
        await pay(connection, account, fen, reference)
    except KeyReused:
        return
    model.paid.setdefault(f"pay:counter:{reference}", (account, fen))


async def charge(
    connection: AsyncConnection[Any], chance: random.Random, model: Model, name: str
) -> None:
    """One that is kept or one that is not, because what followed failed."""
    account, fen = chance.choice(ACCOUNTS), chance.randint(1, 900)
    legs = (Leg(ledger.prepaid(account), -fen), Leg("revenue:energy", fen))
    fails = chance.random() < 0.3
    async with connection.transaction(force_rollback=fails):
        made = Transaction(f"chg:{name}", "charge", {}, legs, "daemon:settlement")
        await ledger.post(connection, [made])
        await connection.execute("SELECT pg_sleep(%s)", (chance.random() / 100,))
    model.charged[account] += 0 if fails else fen


async def reversal(
    connection: AsyncConnection[Any], chance: random.Random, model: Model, name: str
) -> None:
    """Of any payment, also of one that another writer takes back at this moment."""
    if not model.paid:
        return
    key = chance.choice(sorted(model.paid))
    try:
        number = await file_reversal(connection, key, "bounced", Said("maker", name))
        await approve_reversal(connection, number, Said("checker", name), NOW)
    except DocumentRefused:
        return
    model.reversed[key] += 1
