"""What is sealed can be proved: the first row that was changed is named, also if its owner did it."""

import asyncio
import random
import struct
from dataclasses import replace
from datetime import date, timedelta
from hashlib import sha256
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.billing.sealing import FIRST, cut, leaf, path, root, root_of_path, short
from daemon.transactions.sealing import Fault, audit, head_of, seal, sealed_now, verify
from storage import ledger, seals
from storage.ledger import Leg, Transaction
from tests.database.small_site import NOW, Site, as_owner, connect, intact, on, rows

MARCH = date(2026, 3, 1)
CHANGED = "(chg:A:4) was changed"
FORGED = (
    "INSERT INTO journal (id, key, kind, account, leg_accounts, leg_amounts, actor, value_date) "
    "VALUES ({}, 'x', 1, 1, '{{1,2}}', '{{1,-1}}', 'role:x', '2026-03-01')"
)


def charge(number: int, fen: int = 100, customer: str = "A") -> Transaction:
    prepaid = ledger.prepaid(customer)
    legs = (
        Leg(prepaid, -fen, MARCH, "energy"),
        Leg("revenue:energy", fen - 1, MARCH, "energy"),
        Leg("payable:surcharge:fund", 1, MARCH, "fund"),
    )
    content = {"account": customer, "links": [number], "名": 'ä"\\\n'}
    return Transaction(
        f"chg:{customer}:{number}",
        "charge",
        content,
        legs,
        "daemon:settlement",
        value_date=MARCH,
    )


async def post(connection: AsyncConnection[Any], *transactions: Transaction) -> None:
    async with connection.transaction():
        await ledger.post(connection, transactions)


async def posted(connection: AsyncConnection[Any], count: int) -> None:
    for number in range(1, count + 1):
        await post(connection, charge(number))


async def places(connection: AsyncConnection[Any], *keys: str) -> list[int]:
    return await rows(
        connection, "SELECT id FROM journal WHERE key = ANY(%s) ORDER BY id", list(keys)
    )


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
        # Six transactions, three accounts, two streams.
        assert (found.first, found.last, found.places, found.fault) == (1, 2, 11, None)
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
                (first,) = await places(connection, "chg:A:1")
                sealed = await rows(connection, "SELECT upper(places) FROM sealed_block")
                assert sealed in ([], [first + 1])
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
        first, last = await places(connection, "chg:A:1", "chg:A:3")
        assert block.in_order()[-2:] == [first, last]
        assert last == first + 2
        await tampered(connection, FORGED.format(first + 1))
        fault = (await verify(connection)).fault
        assert fault is not None
        told = f"transaction {first + 1} (x) was added after its block was sealed"
        assert fault.told == told

    on(as_owner(database_url), story)


TAMPERED = {
    "UPDATE journal SET leg_amounts[2] = leg_amounts[2] + 1 WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET leg_amounts = '{-200,198,2}' WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET leg_accounts[2] = 1 WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET leg_streams[1] = 2 WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET leg_streams = NULL WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET leg_accounts = leg_accounts[1:2], leg_amounts = leg_amounts[1:2], leg_streams = leg_streams[1:2] "
    "WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET key = 'y' WHERE key = 'chg:A:4'": "(y) was changed",
    "UPDATE journal SET kind = 2 WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET content = '{\"account\": \"B\"}' WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET actor = 'person:li' WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET channel = 'bank' WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET value_date = value_date - 1 WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET document = 1 WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET reverses = 1 WHERE key = 'chg:A:4'": CHANGED,
    "UPDATE journal SET recorded_at = recorded_at + interval '1 us' WHERE key = 'chg:A:4'": CHANGED,
    "DELETE FROM journal WHERE key = 'chg:A:4'": "was removed",
    "UPDATE journal SET id = -5 WHERE key = 'chg:A:1'": "transaction -5 (chg:A:1) was added after its block was sealed",
    "UPDATE transaction_kind SET kind = 'gift' WHERE kind = 'charge'": "(chg:A:1) was changed",
    "UPDATE ledger_account SET name = 'customer:Z:prepaid' WHERE id = 1": "account customer:Z:prepaid was changed",
    "UPDATE posting_stream SET component = 'tier' WHERE id = 1": "stream 2026-03 tier was changed",
    "UPDATE posting_stream SET period = '2026-04-01' WHERE id = 1": "stream 2026-04 energy was changed",
    "UPDATE sealed_block SET hash = sha256('x') WHERE number = 2": "block 2 itself was changed",
    "UPDATE sealed_block SET sealed_at = now() WHERE number = 2": "block 2 itself was changed",
    "UPDATE sealed_block SET places = '{[6,8)}' WHERE number = 2": "block 2 itself was changed",
    "UPDATE sealed_block SET places = '{[9,11), [12,13)}' WHERE number = 2": "block 2 itself was changed",
    "UPDATE sealed_block SET short_leaves = substr(short_leaves, 5) WHERE number = 2": "block 2 itself was changed",
    "UPDATE sealed_block SET short_leaves = substr(short_leaves, 5) || substr(short_leaves, 1, 4) WHERE number = 2": "block 2 itself was changed",
    "UPDATE sealed_block SET previous = sha256('x') WHERE number = 2": "block 2 does not follow block 1",
    "UPDATE sealed_block SET history = sha256('x') WHERE number = 2": "block 2 itself was changed",
    "UPDATE sealed_block SET peak = sha256('x') WHERE number = 2": "block 2 itself was changed",
    "DELETE FROM sealed_block WHERE number = 2": "block 2 was removed",
    "DELETE FROM sealed_block WHERE number = 3": "block 3 was removed",
    "DELETE FROM sealed_block": "block 1 was removed",
    "UPDATE sealed_balance SET balance_fen = balance_fen + 1 WHERE block = 2": "at block 2 is not what was posted",
    "DELETE FROM sealed_balance WHERE block = 2": "at block 2 is not what was posted",
    "UPDATE ledger_account SET balance_fen = balance_fen + 1 WHERE id = 1": "the balance of customer:A:prepaid is not what was posted",
}

NOT_AUDITED = {
    # Nothing tells an audit of all blocks that are gone, when it is the first one.
    "DELETE FROM sealed_block",
    # Balances are compared with all that was ever posted, by others.
    "UPDATE ledger_account SET balance_fen = balance_fen + 1 WHERE id = 1",
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
        changed = await places(connection, "chg:A:4")
        await tampered(connection, statement)
        fault = (await verify(connection)).fault
        assert fault is not None
        assert TAMPERED[statement] in fault.told
        if TAMPERED[statement] is CHANGED:
            assert [fault.place] == changed
            assert fault.block == 2
        if statement not in NOT_AUDITED:
            audited = await audit(connection, None, NOW)
            assert audited is not None
            assert audited.fault == fault

    on(as_owner(database_url), story)


def test_who_also_changes_what_a_block_keeps_of_a_row_is_found_without_its_name(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 3)
        await seal(connection, NOW)
        await tampered(connection, "UPDATE journal SET leg_amounts[1] = 5 WHERE key = 'chg:A:2'")
        (block,) = await seals.blocks(connection, 1, 1)
        (there,) = await sealed_now(connection, [block])
        await tampered(
            connection, f"UPDATE sealed_block SET short_leaves = '\\x{short(there.leaves).hex()}'"
        )
        fault = (await verify(connection)).fault
        assert fault == Fault(1, None, "block 1 itself was changed")

    on(as_owner(database_url), story)


CHARGE_CHANGED = (
    "SET id = id + 1000 WHERE id = {0}",
    "SET recorded_at = recorded_at + interval '1 us' WHERE id = {0}",
    "SET recorded_at = 'infinity' WHERE id = {0}",
    "SET value_date = value_date + 1 WHERE id = {0}",
    "SET value_date = 'infinity' WHERE id = {0}",
    "SET kind = kind + 1 WHERE id = {0}",
    "SET leg_accounts[2] = 1 WHERE id = {0}",
    "SET leg_amounts = '{{-200,198,2}}' WHERE id = {0}",
    "SET leg_amounts = ARRAY[leg_amounts[1], leg_amounts[3], leg_amounts[2]] WHERE id = {0}",
    "SET leg_accounts = leg_accounts || -1, leg_amounts = leg_amounts || 1::bigint, leg_streams = leg_streams || 2 WHERE id = {0}",
    "SET leg_streams[1] = 2 WHERE id = {0}",
    "SET leg_streams = NULL WHERE id = {0}",
    "SET leg_streams = leg_accounts, leg_accounts = leg_streams WHERE id = {0}",
    "SET actor = 'daemon:settlement', key = 'x' WHERE id = {0}",
    "SET key = 'x' WHERE id = {0}",
    "SET channel = 'bank' WHERE id = {0}",
    "SET content = '{{}}' WHERE id = {0}",
    "SET document = 1 WHERE id = {0}",
    "SET reverses = 1 WHERE id = {0}",
    "SET recorded_at = (SELECT recorded_at FROM journal j WHERE j.id = {0} + {1} - journal.id) WHERE id IN ({0}, {1})",
    "SET leg_amounts = (SELECT leg_amounts FROM journal j WHERE j.id = {0} + {1} - journal.id) WHERE id IN ({0}, {1})",
)


def test_a_charge_of_settlement_that_its_owner_changed_is_suspect(database_url: str) -> None:
    """Nothing but a change of its columns tells: what settlement posts has no key and no content."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await post(connection, charge(1), charge(2, fen=200))
        first, second = await places(connection, "chg:A:1", "chg:A:2")
        await tampered(connection, "UPDATE journal SET actor = NULL, key = NULL, content = NULL")
        await tampered(connection, f"UPDATE journal SET recorded_at = now() WHERE id = {second}")
        await seal(connection, NOW)
        assert await seals.first_suspect(connection, 1, 1) is None
        for change in CHARGE_CHANGED:
            async with connection.transaction(force_rollback=True):
                await tampered(connection, f"UPDATE journal {change.format(first, second)}")
                assert await seals.first_suspect(connection, 1, 1) == 1, change

    on(as_owner(database_url), story)


def test_a_column_that_comes_again_with_a_default_is_suspect(database_url: str) -> None:
    """No row gets another version by it."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 3)
        await seal(connection, NOW)
        versions = "SELECT xmin::text FROM journal ORDER BY id"
        before = await rows(connection, versions)
        await tampered(connection, "ALTER TABLE journal ADD COLUMN note text DEFAULT 'x'")
        await tampered(connection, "ALTER TABLE journal DROP COLUMN note")
        assert await seals.first_suspect(connection, 1, 1) is None
        await tampered(connection, "ALTER TABLE journal DROP COLUMN document CASCADE")
        await tampered(connection, "ALTER TABLE journal ADD COLUMN document integer DEFAULT 7")
        assert await rows(connection, versions) == before
        assert await seals.first_suspect(connection, 1, 1) == 1

    on(as_owner(database_url), story)


TWO_LEGS_CHANGED = (
    "SET fen = fen + 1",
    "SET account = account + 1",
    "SET other_account = other_account - 1",
    "SET stream = stream + 1",
    "SET stream = NULL",
)


def test_two_legs_for_one_thing_are_sealed_as_any_others(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        legs = (*charge(1).legs[:1], Leg("revenue:energy", 100, MARCH, "energy"))
        await post(connection, replace(charge(1), legs=legs))
        told = "SELECT num_nonnulls(leg_accounts, leg_amounts, leg_streams) FROM journal"
        assert await rows(connection, told) == [0]
        await seal(connection, NOW)
        assert (await verify(connection)).fault is None
        for change in TWO_LEGS_CHANGED:
            async with connection.transaction(force_rollback=True):
                await tampered(connection, f"UPDATE journal {change}")
                fault = (await verify(connection)).fault
                assert fault is not None
                assert "(chg:A:1) was changed" in fault.told, change
                assert await seals.first_suspect(connection, 1, 1) == 1, change

    on(as_owner(database_url), story)


def test_a_checksum_alone_accuses_nobody(database_url: str) -> None:
    """Another server may compute another one of the same rows: then hashes decide."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 3)
        await seal(connection, NOW)
        await post(connection, charge(4))
        await seal(connection, NOW)
        as_it_is = await audit(connection, None, NOW)
        await tampered(connection, "UPDATE sealed_block SET checksum = checksum + 1")
        assert await audit(connection, None, NOW) == as_it_is == await verify(connection)

    on(as_owner(database_url), story)


def test_from_a_block_on_only_its_rows_are_read(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        for number in range(1, 5):
            await post(connection, charge(number))
            await seal(connection, NOW + timedelta(hours=number))
        await tampered(connection, "UPDATE journal SET leg_amounts[1] = 5 WHERE key = 'chg:A:1'")
        found = await verify(
            connection, await seals.first_since(connection, NOW + timedelta(hours=3)) or 1
        )
        assert (found.first, found.last, found.places, found.fault) == (3, 4, 2, None)
        assert (await verify(connection, 2, 3)).places == 2
        assert (await verify(connection)).fault is not None

    on(as_owner(database_url), story)


def test_a_block_holds_no_more_than_may_have_to_be_read_for_one_proof(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 5)
        # Five transactions, and the five names that the first of them brought.
        assert await seal(connection, NOW, most=2) == 5
        sizes = [len(block.in_order()) for block in await seals.blocks(connection, 1, 9)]
        assert sizes == [2, 2, 2, 2, 2]
        assert (await verify(connection)).fault is None

    on(database_url, story)


def test_more_rolled_back_places_than_a_block_holds_stop_nothing(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 1)
        async with connection.transaction(force_rollback=True):
            await ledger.post(connection, [charge(number) for number in range(2, 9)])
        await post(connection, charge(9))
        await seal(connection, NOW, most=2)
        assert await seals.unsealed(connection) == 0
        assert (await verify(connection)).fault is None

    on(database_url, story)


def test_each_block_names_the_root_over_all_before_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        for number in range(9):
            await post(connection, charge(number))
            await seal(connection, NOW)
        blocks = await seals.blocks(connection, 1, 9)
        hashes = [block.hash for block in blocks]
        roots = [root(hashes[:number]) for number in range(1, 9)]
        assert [block.history for block in blocks] == [FIRST, *roots]
        assert (await verify(connection, 5)).fault is None

    on(database_url, story)


def field(type_: int, value: bytes | None) -> bytes:
    if value is None:
        return struct.pack(">ii", type_, -1)
    return struct.pack(">ii", type_, len(value)) + value


def numbers(of: int, width: str, values: list[int]) -> bytes:
    """An array as PostgreSQL sends one."""
    head = struct.pack(">iiiii", 1, 0, of, len(values), 1)
    size = struct.calcsize(width)
    return head + b"".join(struct.pack(">i" + width, size, value) for value in values)


def test_what_is_hashed_is_what_is_documented_and_leads_to_the_block(database_url: str) -> None:
    """Made here from the rows, by the words of daemon/billing/sealing.py alone."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 3)
        await seal(connection, NOW)
        (block,) = await seals.blocks(connection, 1, 1)
        (row,) = await rows(
            connection,
            "SELECT id, (extract(epoch FROM recorded_at - '2000-01-01 00:00Z') * 1000000)::bigint, "
            "value_date - '2000-01-01', j.accounts, j.amounts, j.streams, content::text FROM journal j WHERE key = 'chg:A:2'",
        )
        id_, recorded_at, value_date, accounts, amounts, streams, content = row
        told = struct.pack(">i", 13) + b"".join(
            [
                field(20, struct.pack(">q", id_)),
                field(1184, struct.pack(">q", recorded_at)),
                field(1082, struct.pack(">i", value_date)),
                field(17, b"charge"),
                field(1007, numbers(23, "i", accounts)),
                field(1016, numbers(20, "q", amounts)),
                field(1007, numbers(23, "i", streams)),
                field(17, None),
                field(17, b"chg:A:2"),
                field(17, None),
                field(17, content.encode()),
                field(23, None),
                field(20, None),
            ]
        )
        (name,) = await rows(
            connection, "SELECT place, id FROM ledger_account WHERE name = 'customer:A:prepaid'"
        )
        account = struct.pack(">i", 3) + b"".join(
            [
                field(20, struct.pack(">q", name[0])),
                field(23, struct.pack(">i", name[1])),
                field(17, b"customer:A:prepaid"),
            ]
        )
        (month,) = await rows(
            connection, "SELECT place, id FROM posting_stream WHERE component = 'energy'"
        )
        stream = struct.pack(">i", 4) + b"".join(
            [
                field(20, struct.pack(">q", month[0])),
                field(23, struct.pack(">i", month[1])),
                field(1082, struct.pack(">i", (MARCH - date(2000, 1, 1)).days)),
                field(17, b"energy"),
            ]
        )
        (there,) = await sealed_now(connection, [block])
        by_place = dict(zip(block.in_order(), cut(there.leaves), strict=True))
        for place, content in ((id_, told), (name[0], account), (month[0], stream)):
            assert by_place[place] == leaf(content) == sha256(b"\x00" + content).digest()
        head = head_of(block)
        steps = path([head.leaf(), *cut(there.leaves)], block.in_order().index(id_) + 1)
        assert root_of_path(leaf(told), steps) == block.hash

    on(database_url, story)


@pytest.mark.parametrize("setting", ["TimeZone = 'Asia/Tokyo'", "client_encoding = 'GBK'"])
def test_how_a_session_is_set_changes_no_hash(database_url: str, setting: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await posted(connection, 2)
        await seal(connection, NOW)
        await connection.execute(f"SET {setting}".encode())
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
        every = await seals.blocks(connection, 1, 10**6)
        assert [place for block in every for place in block.in_order()] == await rows(
            connection,
            "SELECT id FROM journal UNION ALL SELECT place FROM ledger_account "
            "UNION ALL SELECT place FROM posting_stream ORDER BY 1",
        )
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


def test_an_audit_looks_at_each_block_once_and_sees_a_chain_that_was_made_anew(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        assert await audit(connection, None, NOW) is None
        for number in range(1, 4):
            await post(connection, charge(number))
            await seal(connection, NOW + timedelta(hours=number))
        found = await audit(connection, None, NOW + timedelta(hours=2))
        assert found is not None
        assert (found.first, found.last, found.fault) == (2, 3, None)
        assert await audit(connection, found, NOW) is None
        await post(connection, charge(4))
        await seal(connection, NOW)
        found = await audit(connection, found, NOW)
        assert found is not None
        assert (found.first, found.last, found.fault) == (4, 4, None)
        await tampered(connection, "UPDATE journal SET value_date = '2026-01-01' WHERE id = 6")
        await tampered(connection, "DELETE FROM sealed_balance")
        await tampered(connection, "DELETE FROM sealed_block")
        await seal(connection, NOW)
        assert (await verify(connection)).fault is None
        found = await audit(connection, found, NOW)
        assert found is not None
        assert found.fault is not None
        assert found.fault.told == "block 4 is another one than an hour ago"

    on(as_owner(database_url), story)


def test_a_look_from_a_block_on_that_is_not_there_is_a_fault(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        assert (await verify(connection)).fault is None
        await post(connection, charge(1))
        await seal(connection, NOW)
        fault = (await verify(connection, 2)).fault
        assert fault is not None
        assert fault.told.startswith("there is no block 2, the last one is 1")

    on(database_url, story)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("UPDATE command_event SET guard = '{\"a\": 2}' WHERE state = 'sent'", "was changed"),
        ("UPDATE command_event SET at = at - interval '1 day' WHERE state = 'sent'", "was changed"),
        ("UPDATE command_event SET detail = 'x' WHERE state = 'sent'", "was changed"),
        ("DELETE FROM command_event WHERE state = 'sent'", "was removed"),
    ],
)
def test_the_steps_of_commands_are_sealed_too(database_url: str, spoil: str, told: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await seal(connection, NOW)
        before = (await verify(connection)).places
        await connection.execute(
            "INSERT INTO command (id, point_id, meter_id, address, line, action, cause, state, guard,"
            " created_at, expires_at, next_at) SELECT gen_random_uuid(), p.id, m.id, '1', 'a', 'trip',"
            " 'debt', 'persisted', '{\"a\": 1}', now(), now(), now() FROM point p, meter m LIMIT 1"
        )
        await connection.execute("UPDATE command SET state = 'sent', sends = 1, sent_at = now()")
        await seal(connection, NOW)
        found = await verify(connection)
        assert (found.fault, found.places) == (None, before + 2)
        async with await connect(as_owner(database_url)) as owner:
            await tampered(owner, spoil)
        fault = (await verify(connection)).fault
        assert fault is not None
        assert fault.told.endswith(told)
        assert 'step "sent" of command' in fault.told or told == "was removed"
        audited = await audit(connection, None, NOW - timedelta(days=1))
        assert audited is not None
        assert audited.fault == fault

    on(database_url, story)
