"""What is sealed can be proved: the first row that was changed is named, also if its owner did it."""

import asyncio
import json
import random
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from daemon.billing.sealing import Head, cut, leaf, path, root_of_path
from daemon.transactions.sealing import seal, verify
from storage import ledger, seals
from storage.ledger import Leg, Transaction
from tests.database.small_site import NOW, connect, intact, on, rows

pytestmark = pytest.mark.hypertables

MARCH = date(2026, 3, 1)


def charge(number: int, fen: int = 100, customer: str = "A") -> Transaction:
    prepaid = ledger.prepaid(customer)
    legs = (
        Leg(prepaid, -fen, MARCH, "energy"),
        Leg("revenue:energy", fen - 1, MARCH, "energy"),
        Leg("payable:surcharge:fund", 1, MARCH, "fund"),
    )
    content = {"account": customer, "links": [number], "名": 'ä"\\\n'}
    return Transaction(f"chg:{customer}:{number}", "charge", content, legs, "daemon:settlement")


async def post(connection: AsyncConnection[Any], *transactions: Transaction) -> None:
    async with connection.transaction():
        await ledger.post(connection, transactions)


async def posted(connection: AsyncConnection[Any], count: int) -> None:
    for number in range(1, count + 1):
        await post(connection, charge(number))


def as_owner(database_url: str) -> str:
    """Who can switch triggers off, as the owner of the tables can."""
    return make_conninfo(database_url, user="postgres")


async def tampered(connection: AsyncConnection[Any], statement: str) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(statement.encode())


def test_what_was_posted_is_sealed_and_verified(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        assert await seal(connection, NOW) == 0
        await posted(connection, 5)
        assert await seal(connection, NOW) == 1
        assert await seal(connection, NOW) == 0
        await post(connection, charge(6))
        assert await seal(connection, NOW) == 1
        found = await verify(connection)
        assert (found.first, found.last, found.transactions, found.fault) == (1, 2, 6, None)
        assert await seals.unsealed(connection) == 0
        assert await intact(connection)

    on(database_url, story)


def test_a_running_transaction_is_waited_for_and_waits_for_nobody(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await post(connection, charge(1))
        async with await connect(database_url) as slow:
            async with slow.transaction():
                await ledger.post(slow, [charge(2, customer="B")])
                await post(connection, charge(3))
                await seal(connection, NOW)
                await seal(connection, NOW)
                # The one with the number between the others may still come.
                sealed = await rows(connection, "SELECT transactions::text FROM sealed_block")
                assert sealed in ([], ["{[1,2)}"])
            await seal(connection, NOW)
        await seal(connection, NOW)
        assert await seals.unsealed(connection) == 0
        assert (await verify(connection)).fault is None

    on(database_url, story)


def test_what_was_rolled_back_leaves_a_gap_that_nobody_can_fill(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await post(connection, charge(1))
        async with connection.transaction(force_rollback=True):
            await ledger.post(connection, [charge(2)])
        await post(connection, charge(3))
        await seal(connection, NOW)
        (block,) = await seals.blocks(connection, 1, 9)
        assert block.ids() == [1, 3]
        await tampered(
            connection,
            "INSERT INTO ledger_transaction (id, key, kind, content, actor, value_date) "
            "VALUES (2, 'x', 'charge', '{}', 'role:x', '2026-03-01')",
        )
        fault = (await verify(connection)).fault
        assert fault is not None
        assert fault.told == "transaction 2 (x) was added after its block was sealed"

    on(as_owner(database_url), story)


TAMPERED = {
    "UPDATE posting SET amount_fen = amount_fen + 1 WHERE transaction_id = 4 AND leg = 1": "changed",
    "UPDATE posting SET amount_fen = amount_fen * 2 WHERE transaction_id = 4": "changed",
    "UPDATE posting SET ledger_account_id = 1 WHERE transaction_id = 4 AND leg = 1": "changed",
    "UPDATE posting SET component = 'tier' WHERE transaction_id = 4 AND leg = 0": "changed",
    "UPDATE posting SET period = '2026-04-01' WHERE transaction_id = 4 AND leg = 0": "changed",
    "UPDATE posting SET leg = 7 WHERE transaction_id = 4 AND leg = 0": "changed",
    "DELETE FROM posting WHERE transaction_id = 4 AND leg = 2": "changed",
    "DELETE FROM posting WHERE transaction_id = 4": "changed",
    "INSERT INTO posting VALUES (4, 9, 1, 5)": "changed",
    "UPDATE ledger_transaction SET key = 'y' WHERE id = 4": "changed",
    "UPDATE ledger_transaction SET kind = 'true_up' WHERE id = 4": "changed",
    'UPDATE ledger_transaction SET content = \'{"account": "B"}\' WHERE id = 4': "changed",
    "UPDATE ledger_transaction SET actor = 'person:li' WHERE id = 4": "changed",
    "UPDATE ledger_transaction SET channel = 'bank' WHERE id = 4": "changed",
    "UPDATE ledger_transaction SET value_date = value_date - 1 WHERE id = 4": "changed",
    "UPDATE ledger_transaction SET document = 1 WHERE id = 4": "changed",
    "UPDATE ledger_transaction SET reverses = 1 WHERE id = 4": "changed",
    "UPDATE ledger_transaction SET recorded_at = recorded_at + interval '1 us' WHERE id = 4": "changed",
    "UPDATE ledger_transaction SET database_transaction = '3' WHERE id = 4": "changed",
    "DELETE FROM ledger_transaction WHERE id = 4": "removed",
    "UPDATE ledger_account SET name = 'customer:Z:prepaid' WHERE id = 1": "1 (chg:A:1) or one of its legs was changed",
    "UPDATE sealed_block SET hash = sha256('x') WHERE number = 2": "block 2 itself was changed",
    "UPDATE sealed_block SET sealed_at = now() WHERE number = 2": "block 2 itself was changed",
    "UPDATE sealed_block SET previous = sha256('x') WHERE number = 2": "block 2 does not follow block 1",
    "UPDATE sealed_block SET leaves = substr(leaves, 33) || substr(leaves, 1, 32) WHERE number = 2": "transaction 4 (chg:A:4) or one",
    "DELETE FROM sealed_block WHERE number = 2": "block 2 was removed",
    "UPDATE sealed_balance SET balance_fen = balance_fen + 1 WHERE block = 2": "at block 2 is not what was posted",
    "INSERT INTO ledger_transaction (id, key, kind, content, actor, value_date) "
    "VALUES (-1, 'x', 'charge', '{}', 'role:x', '2026-03-01')": "transaction -1 (x) was added",
    "UPDATE ledger_account SET balance_fen = balance_fen + 1 WHERE id = 1": "the balance of customer:A:prepaid is not what was posted",
    "INSERT INTO posting VALUES (0, 0, 1, 5)": "transaction 0 has legs, but never was there",
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_the_first_row_that_its_owner_changed_is_named(database_url: str, statement: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 3)
        await seal(connection, NOW)
        for number in range(4, 7):
            await post(connection, charge(number))
        await seal(connection, NOW)
        await post(connection, charge(7))
        await seal(connection, NOW)
        assert (await verify(connection)).fault is None
        await tampered(connection, statement)
        fault = (await verify(connection)).fault
        assert fault is not None
        told = TAMPERED[statement]
        if told in ("changed", "removed"):
            assert (fault.block, fault.transaction) == (2, 4)
        assert told in fault.told

    on(as_owner(database_url), story)


def test_from_a_block_on_only_its_rows_are_read(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        for number in range(1, 5):
            await post(connection, charge(number))
            await seal(connection, NOW + timedelta(hours=number))
        await tampered(
            connection, "UPDATE posting SET amount_fen = 5 WHERE transaction_id = 1 AND leg = 0"
        )
        found = await verify(
            connection, await seals.first_since(connection, NOW + timedelta(hours=3)) or 1
        )
        assert (found.first, found.last, found.transactions, found.fault) == (3, 4, 2, None)
        assert (await verify(connection, 2, 3)).transactions == 2
        assert (await verify(connection)).fault is not None

    on(as_owner(database_url), story)


def test_a_block_holds_no_more_than_may_have_to_be_read_for_one_proof(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 5)
        assert await seal(connection, NOW, most=2) == 3
        assert [len(cut(block.leaves)) for block in await seals.blocks(connection, 1, 9)] == [
            2,
            2,
            1,
        ]
        assert (await verify(connection)).fault is None

    on(database_url, story)


def test_what_is_hashed_is_the_documented_json_and_leads_to_the_block(database_url: str) -> None:
    """Made here from the rows, by the words of daemon/billing/sealing.py alone."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 3)
        await seal(connection, NOW)
        (block,) = await seals.blocks(connection, 1, 1)
        (row,) = await rows(
            connection,
            "SELECT id, key, kind, content, actor, channel, value_date, document, reverses, recorded_at, "
            "database_transaction::text::bigint FROM ledger_transaction WHERE id = 2",
        )
        legs = await rows(
            connection,
            "SELECT leg, name, amount_fen, period::text, component FROM posting p "
            "JOIN ledger_account a ON a.id = ledger_account_id WHERE transaction_id = 2 ORDER BY leg",
        )
        told = [
            "transaction",
            *row[:3],
            dict(
                sorted(row[3].items(), key=lambda item: (len(item[0].encode()), item[0].encode()))
            ),
            *row[4:6],
            row[6].isoformat(),
            *row[7:9],
            (row[9] - datetime.fromisoformat("1970-01-01T00:00:00+00:00"))
            // timedelta(microseconds=1),
            row[10],
            legs,
        ]
        content = json.dumps(told, ensure_ascii=False).encode()
        assert cut(block.leaves)[1] == leaf(content) == sha256(b"\x00" + content).digest()
        head = Head(1, block.after, block.through, block.previous, block.sealed_at)
        steps = path([head.leaf(), *cut(block.leaves)], 2)
        assert root_of_path(leaf(content), steps) == block.hash

    on(database_url, story)


def test_the_zone_of_a_session_changes_no_hash(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 2)
        await seal(connection, NOW)
        await connection.execute("SET TimeZone = 'Asia/Tokyo'")
        assert (await verify(connection)).fault is None

    on(database_url, story)


@pytest.mark.parametrize("seed", range(3))
def test_writers_at_once_with_rollbacks_are_all_sealed_once_and_in_order(
    database_url: str, seed: int
) -> None:
    async def writer(number: int, done: asyncio.Event) -> None:
        chance = random.Random(seed * 100 + number)
        async with await connect(database_url) as connection:
            for n in range(25):
                async with connection.transaction(force_rollback=chance.random() < 0.3):
                    await ledger.post(connection, [charge(n, chance.randint(2, 900), f"C{number}")])
                    # Others draw numbers and commit while this one is open.
                    await connection.execute("SELECT pg_sleep(%s)", (chance.random() / 100,))
        done.set()

    async def sealer(done: list[asyncio.Event]) -> None:
        async with await connect(database_url) as connection:
            while not all(event.is_set() for event in done):
                await seal(connection, NOW)
                assert (await verify(connection)).fault is None

    async def story(connection: AsyncConnection[Any]) -> None:
        done = [asyncio.Event() for _ in range(6)]
        await asyncio.gather(*(writer(n, event) for n, event in enumerate(done)), sealer(done))
        await seal(connection, NOW)
        await seal(connection, NOW)
        assert await seals.unsealed(connection) == 0
        assert (await verify(connection)).fault is None
        in_blocks = [
            id_ for block in await seals.blocks(connection, 1, 10**6) for id_ in block.ids()
        ]
        assert in_blocks == await rows(connection, "SELECT id FROM ledger_transaction ORDER BY id")
        assert await intact(connection)

    on(database_url, story)


def test_a_mark_of_another_cluster_is_set_anew(database_url: str) -> None:
    """After a restore the numbers of database transactions begin anew."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await post(connection, charge(1))
        await seal(connection, NOW)
        await connection.execute("UPDATE seal_mark SET horizon = '4611686018427387904'")
        await post(connection, charge(2))
        await seal(connection, NOW)
        assert await seals.unsealed(connection) == 0
        assert (await verify(connection)).fault is None

    on(database_url, story)
