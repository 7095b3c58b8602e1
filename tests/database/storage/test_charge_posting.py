"""Charges by columns are those that are posted one by one, and their ids come in their order."""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import AsyncConnection

from storage import ledger
from storage.binary import SINCE
from storage.charge_posting import ChargeKind, Charges, post_charges
from storage.ledger import Leg, Transaction
from tests.database.small_site import connect, intact, on, rows

MARCH = date(2026, 3, 1)
COMPONENTS = ("energy", "fund", "tier")
Row = tuple[ChargeKind, date, list[tuple[str, int, str]]]
"""The kind, the value date, and of each leg the account, fen and component."""


def counterpart(component: str) -> str:
    return "payable:surcharge:fund" if component == "fund" else f"revenue:{component}"


def charge(number: int, *fens: int) -> Row:
    legs = []
    for component, fen in zip(COMPONENTS, fens, strict=False):
        legs.append((f"customer:{number}:prepaid", -fen, component))
        legs.append((counterpart(component), fen, component))
    kind = list(ChargeKind)[number % 3]
    return kind, date(2026, 3, 1 + number % 28), legs


async def charges(connection: AsyncConnection[Any], told: Sequence[Row]) -> Charges:
    legs = [leg for _, _, legs in told for leg in legs]
    accounts = await ledger.ledger_accounts(connection, {name for name, _, _ in legs})
    months = await ledger.posting_streams(connection, {(MARCH, of) for _, _, of in legs})
    return Charges(
        kinds=np.array([kind for kind, _, _ in told], dtype=np.int64),
        value_dates=np.array([(day - SINCE).days for _, day, _ in told], dtype=np.int64),
        legs=np.array([len(legs) for _, _, legs in told], dtype=np.int64),
        accounts=np.array([accounts[name] for name, _, _ in legs], dtype=np.int64),
        fen=np.array([fen for _, fen, _ in legs], dtype=np.int64),
        streams=np.array([months[MARCH, of] for _, _, of in legs], dtype=np.int64),
    )


TOLD = [charge(n, *(n + k + 1 for k in range(1 + n % 3))) for n in range(20)]
SHOWN = """
    SELECT t.kind, t.value_date, array_agg(a.name || ' ' || p.amount_fen || ' ' || p.period || p.component ORDER BY p.leg)
    FROM ledger_transaction t JOIN posting p ON p.transaction_id = t.id JOIN ledger_account a ON a.id = p.ledger_account_id
    WHERE t.id = ANY (%s) GROUP BY t.id, t.kind, t.value_date ORDER BY array_position(%s, t.id)"""


def test_charges_by_columns_are_those_that_are_posted_one_by_one(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            ids = (await post_charges(connection, await charges(connection, TOLD))).tolist()
        by_columns = await rows(connection, SHOWN, ids, ids)
        async with connection.transaction():
            one_by_one = [
                Transaction(
                    f"{number:02}",
                    kind.name.lower(),
                    {},
                    tuple(Leg(name, fen, MARCH, of) for name, fen, of in legs),
                    "daemon:settlement",
                    value_date=day,
                )
                for number, (kind, day, legs) in enumerate(TOLD)
            ]
            await ledger.post(connection, one_by_one)
        others = await rows(connection, "SELECT id FROM journal WHERE key IS NOT NULL ORDER BY key")
        assert len(by_columns) == len(TOLD)
        assert await rows(connection, SHOWN, others, others) == by_columns
        told = await rows(connection, "SELECT DISTINCT actor, content FROM ledger_transaction")
        assert told == [("daemon:settlement", {})]
        assert await intact(connection)

    on(database_url, story)


def test_nothing_is_posted_by_no_columns(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        assert (await post_charges(connection, await charges(connection, []))).tolist() == []

    on(database_url, story)


def test_a_batch_that_does_not_sum_to_zero_is_refused_whole(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        made = await charges(connection, TOLD)
        made.fen[-1] += 1
        with pytest.raises(psycopg.errors.CheckViolation, match="sum to 1 fen"):
            async with connection.transaction():
                await post_charges(connection, made)
        assert await rows(connection, "SELECT count(*) FROM journal") == [0]

    on(database_url, story)


def test_ids_are_ones_own_also_where_others_draw_between_them_and_in_savepoints(
    database_url: str,
) -> None:
    async def writer(number: int) -> list[tuple[int, int]]:
        found = []
        async with await connect(database_url) as connection:
            for n in range(5):
                told = [charge(number, 1 + n, 2), charge(number, 7), charge(number, 3, 4, 5)]
                async with connection.transaction():
                    await post_charges(connection, await charges(connection, told[:1]))
                    async with connection.transaction(force_rollback=True):
                        await post_charges(connection, await charges(connection, told))
                    async with connection.transaction():
                        ids = await post_charges(connection, await charges(connection, told))
                found += [
                    (int(id_), len(legs)) for id_, (_, _, legs) in zip(ids, told, strict=True)
                ]
        return found

    async def story(connection: AsyncConnection[Any]) -> None:
        every = await asyncio.gather(*map(writer, range(4)))
        for number, found in enumerate(every):
            for id_, legs in found:
                told = await rows(
                    connection,
                    "SELECT cardinality(t.accounts), a.name FROM journal t "
                    "JOIN ledger_account a ON a.id = t.accounts[1] WHERE t.id = %s",
                    id_,
                )
                assert told == [(legs, f"customer:{number}:prepaid")]
        assert await intact(connection)

    on(database_url, story)
