"""What the ledger promises whatever a program does: balanced, append-only, each key once."""

import asyncio
import random
from dataclasses import replace
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from daemon.transactions.payment import top_up
from storage import ledger
from storage.ledger import KeyReused, Leg, Outcome, Transaction
from tests.database.small_site import NOW, Site, balance, connect, everything, intact, on, pay, rows

MARCH = date(2026, 3, 1)
A = "customer:A:prepaid"
B = "customer:B:prepaid"
C = "customer:C:prepaid"


def transfer(key: str, debit: str, credit: str, fen: int) -> Transaction:
    return Transaction(
        key, "charge", {"fen": fen, "to": credit}, (Leg(debit, -fen), Leg(credit, fen)), "role:test"
    )


async def balances(connection: AsyncConnection[Any]) -> dict[str, int]:
    return dict(await rows(connection, "SELECT name, balance_fen FROM account_balance"))


@pytest.mark.parametrize(
    ("legs", "told"),
    [
        ((Leg(A, -100), Leg(B, 99)), "has 2 legs that sum to -1 fen"),
        ((Leg(A, -100), Leg(B, 60), Leg(C, 50)), "has 3 legs that sum to 10 fen"),
        ((Leg(A, -100),), "has 1 legs"),
        ((), "has 0 legs"),
    ],
)
def test_a_transaction_that_is_not_balanced_is_refused_at_commit(
    database_url: str, legs: tuple[Leg, ...], told: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        with pytest.raises(psycopg.errors.CheckViolation, match=told):
            async with connection.transaction():
                await ledger.post(
                    connection,
                    [
                        transfer("good", A, B, 5),
                        Transaction("bad", "charge", {}, legs, "role:test"),
                    ],
                )
        assert await rows(connection, "SELECT key FROM ledger_transaction") == []
        assert await balances(connection) == {}

    on(database_url, story)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET fen = fen",
        "UPDATE journal SET leg_amounts = '{-1000,1000}'",
        "UPDATE journal SET leg_accounts = leg_accounts || 1, leg_amounts = leg_amounts || 7::bigint",
        "UPDATE journal SET content = '{}'",
        "DELETE FROM journal",
        "TRUNCATE journal CASCADE",
        "UPDATE posting_stream SET component = 'tier'",
        "DELETE FROM posting_stream",
        "TRUNCATE posting_stream",
        "UPDATE ledger_account SET balance_fen = balance_fen + 1 WHERE name LIKE '%:A:%'",
        "UPDATE ledger_account SET balance_fen = balance_fen + CASE WHEN name LIKE '%:A:%' THEN 1 "
        "ELSE -1 END",
        "UPDATE ledger_account SET name = 'customer:C:prepaid' WHERE name LIKE '%:A:%'",
        "DELETE FROM ledger_account WHERE name LIKE '%:A:%'",
        "TRUNCATE ledger_account CASCADE",
        "INSERT INTO ledger_account (name, balance_fen) VALUES ('customer:C:prepaid', 1)",
    ],
)
def test_what_is_committed_cannot_be_changed_by_hand(owner_url: str, statement: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await ledger.post(connection, [])
        async with connection.transaction():
            await ledger.post(connection, [transfer("k", A, B, 500)])
            await ledger.posting_streams(connection, [(MARCH, "energy")])
        before = await everything(connection)
        with pytest.raises(psycopg.IntegrityError):
            await connection.execute(statement)
        assert await everything(connection) == before
        assert await balances(connection) == {A: -500, B: 500}

    on(owner_url, story)


UNFIT = {
    "'{1,2}', '{7,-7,0}', NULL": "legs_are_whole",
    "'{1,2,2}', '{7,-7}', NULL": "legs_are_whole",
    "'{1,2,2}', '{7,-7,0}', NULL": "legs_are_whole",
    "'{1,NULL}', '{7,-7}', NULL": "legs_are_whole",
    "'{1,2}', '{7,NULL}', NULL": "legs_are_whole",
    "'{{1,2}}', '{7,-7}', NULL": "legs_are_whole",
    "'[0:1]={1,2}', '{7,-7}', NULL": "legs_are_whole",
    "'{1,2}', '{7,-7}', '{1}'": "legs_are_whole",
    "'{1,2}', '{7,-8}', NULL": "x has 2 legs that sum to -1 fen",
    "'{1,2}', '{9223372036854775807,9223372036854775807}', NULL": "sum to 18446744073709551614 fen",
    "'{1,2,1,2}', '{7,-7,7,-8}', NULL": "x has 4 legs that sum to -1 fen",
    "'{1,2,1,2,1}', '{7,-7,7,-7,1}', NULL": "x has 5 legs that sum to 1 fen",
    "'{1}', '{7}', NULL": "x has 1 legs",
    "'{}', '{}', NULL": "x has 0 legs|legs_are_whole",
    "'{1,999}', '{7,-7}', NULL": "there is no ledger account 999",
    "'{1,-999}', '{7,-7}', NULL": "there is no ledger account -999",
    "'{1,2}', '{7,-7}', '{1,999}'": "a month and a component that are not there",
}


UNFIT_TWO = {
    "1, 2, 7, NULL, NULL, NULL": "legs_are_whole",  # the other one keeps a balance
    "1, -1, 0, NULL, NULL, NULL": "legs_are_whole",
    "1, NULL, 7, NULL, NULL, NULL": "legs_are_whole",
    "1, -1, NULL, NULL, NULL, NULL": "legs_are_whole",
    "1, -1, 7, NULL, '{1,2}', '{7,-7}'": "legs_are_whole",
    "1, NULL, NULL, 1, '{1,2}', '{7,-7}'": "legs_are_whole",
    "1, NULL, NULL, NULL, '{1,2}', NULL": "legs_are_whole",
    "1, -1, 7, NULL, NULL, '{7,-7}'": "legs_are_whole",
    "2, NULL, NULL, NULL, '{1,2}', '{7,-7}'": "legs_are_whole",
    "1, -999, 7, NULL, NULL, NULL": "there is no ledger account -999",
    "1, -1, 7, 999, NULL, NULL": "there is no ledger account|a month and a component",
}


@pytest.mark.parametrize("told", UNFIT_TWO)
def test_two_legs_that_are_none_are_refused_too(database_url: str, told: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            await ledger.post(connection, [transfer("k", A, B, 500)])
        forged = (
            "INSERT INTO journal (key, kind, actor, value_date, account, other_account, fen, stream, leg_accounts, leg_amounts) "
            f"VALUES ('x', 1, 'role:x', '2026-03-01', {told})"
        )
        with pytest.raises(psycopg.IntegrityError, match=UNFIT_TWO[told]):
            await connection.execute(forged.encode())

    on(database_url, story)


@pytest.mark.parametrize("legs", UNFIT)
def test_legs_that_are_none_are_refused_however_they_are_written(
    database_url: str, legs: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            await ledger.post(connection, [transfer("k", A, B, 500)])
        before = await everything(connection)
        forged = (
            "INSERT INTO journal (key, kind, actor, value_date, account, leg_accounts, leg_amounts, leg_streams) "
            f"VALUES ('x', 1, 'role:x', '2026-03-01', 1, {legs})"
        )
        with pytest.raises(psycopg.IntegrityError, match=UNFIT[legs]):
            await connection.execute(forged.encode())
        assert await everything(connection) == before

    on(database_url, story)


def test_no_month_up_to_the_last_closed_one_takes_anything(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            await ledger.post(connection, [transfer("k", A, B, 500)])
        for month in ("2026-01-01", "2026-02-01"):
            await connection.execute("INSERT INTO closed_month VALUES (%s, 'li')", [month])
        posted = (
            "INSERT INTO journal (key, kind, actor, value_date, account, leg_accounts, leg_amounts) "
            "VALUES (%s, 1, 'role:x', %s, 1, '{1,2}', '{7,-7}')"
        )
        for day in ("2025-12-31", "2026-01-31", "2026-02-01", "2026-02-28"):
            with pytest.raises(psycopg.errors.CheckViolation, match="that month is closed"):
                await connection.execute(posted, [day, day])
        await connection.execute(posted, ["x", "2026-03-01"])

    on(database_url, story)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"kind": "0"}, "no kind of transaction"),
        ({"kind": "12"}, "must name what it takes back"),
        ({"kind": "12", "reverses": "999"}, "transaction 999, which is not there"),
        ({"kind": "12", "reverses": "(SELECT id FROM journal)"}, "cannot take back k, which is a"),
        ({"document": "999"}, "document 999, which is not there"),
        ({"key": "NULL"}, "only_settlement_has_no_key"),
        ({"key": "''"}, "journal_key_check"),
        ({"actor": "'li'"}, "journal_actor_check"),
        ({"key": "'k'"}, "key_is_used_once"),
    ],
)
def test_a_transaction_that_names_what_is_not_there_is_refused(
    database_url: str, columns: dict[str, str], told: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            await ledger.post(connection, [transfer("k", A, B, 500)])
        good = {"key": "'x'", "kind": "1", "actor": "'role:x'", "value_date": "'2026-03-01'"}
        legs = {"account": "1", "leg_accounts": "'{1,2}'", "leg_amounts": "'{7,-7}'"}
        row = good | legs | columns
        forged = f"INSERT INTO journal ({', '.join(row)}) VALUES ({', '.join(row.values())})"
        with pytest.raises(psycopg.IntegrityError, match=told):
            await connection.execute(forged.encode())
        assert await balances(connection) == {A: -500, B: 500}

    on(database_url, story)


def test_the_same_key_moves_money_once_and_other_content_is_refused(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        first = transfer("k", A, B, 500)
        for expected in (Outcome.POSTED, Outcome.ALREADY_POSTED, Outcome.ALREADY_POSTED):
            async with connection.transaction():
                assert await ledger.post(connection, [first]) == [expected]
        before = await everything(connection)
        with pytest.raises(KeyReused, match=r"key k was used before for .*500"):
            async with connection.transaction():
                await ledger.post(connection, [transfer("new", A, B, 1), transfer("k", A, B, 501)])
        assert await everything(connection) == before
        assert await balances(connection) == {A: -500, B: 500}
        other_kind = replace(first, kind="true_up")
        with pytest.raises(KeyReused, match=r"key k was used before for .*charge: .*500"):
            async with connection.transaction():
                await ledger.post(connection, [other_kind])

    on(database_url, story)


def test_a_key_that_comes_twice_in_one_call_moves_money_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            told = [transfer("k", A, B, 5), transfer("l", A, B, 1), transfer("k", A, B, 5)]
            assert [outcome.name for outcome in await ledger.post(connection, told)] == [
                "POSTED",
                "POSTED",
                "ALREADY_POSTED",
            ]
        assert await balances(connection) == {A: -6, B: 6}
        with pytest.raises(KeyReused, match="key m was used before"):
            async with connection.transaction():
                await ledger.post(connection, [transfer("m", A, B, 5), transfer("m", A, B, 6)])
        assert await balances(connection) == {A: -6, B: 6}

    on(database_url, story)


def test_old_and_new_keys_in_one_call_are_told_apart(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            await ledger.post(connection, [transfer("1", A, B, 1)])
        async with connection.transaction():
            transfers = [transfer(str(n), A, B, n) for n in (2, 1, 3)]
            assert [outcome.name for outcome in await ledger.post(connection, transfers)] == [
                "POSTED",
                "ALREADY_POSTED",
                "POSTED",
            ]
        assert await balances(connection) == {A: -6, B: 6}

    on(database_url, story)


def test_clients_that_post_the_same_transactions_in_different_orders_post_each_once(
    database_url: str,
) -> None:
    names = [f"customer:{n}:prepaid" for n in range(5)]
    chance = random.Random(7)
    # Every pair in both directions, so that two clients meet at the same balances from different
    # sides.
    transfers = []
    for n in range(40):
        debit, credit = chance.sample(names, 2)
        transfers.append(transfer(f"k{n}", debit, credit, chance.randint(1, 10_000)))

    async def client(number: int) -> int:
        posted = 0
        async with await connect(database_url) as connection:
            for one in random.Random(number).sample(transfers, len(transfers)):
                async with connection.transaction():
                    posted += (await ledger.post(connection, [one])) == [Outcome.POSTED]
        return posted

    async def story(connection: AsyncConnection[Any]) -> None:
        assert sum(await asyncio.gather(*map(client, range(6)))) == len(transfers)
        expected = dict.fromkeys(names, 0)
        for one in transfers:
            for leg in one.legs:
                expected[leg.account] += leg.amount_fen
        assert await balances(connection) == expected
        assert await intact(connection)

    on(database_url, story)


def test_transactions_of_many_legs_over_the_same_accounts_never_wait_for_each_other(
    database_url: str,
) -> None:
    names = [f"customer:{n}:prepaid" for n in range(60)]

    async def client(number: int) -> None:
        chance = random.Random(number)
        async with await connect(database_url) as connection:
            for n in range(25):
                accounts = enumerate(chance.sample(names, 30))
                legs = tuple(Leg(account, 1 if i % 2 else -1) for i, account in accounts)
                async with connection.transaction():
                    await ledger.post(
                        connection, [Transaction(f"{number}-{n}", "charge", {}, legs, "role:test")]
                    )

    async def story(connection: AsyncConnection[Any]) -> None:
        await asyncio.gather(*map(client, range(5)))
        assert await rows(connection, "SELECT count(*) FROM ledger_transaction") == [125]
        assert await intact(connection)

    on(database_url, story)


def test_one_payment_told_by_many_clients_at_once_is_taken_in_once(database_url: str) -> None:
    async def client(_: int) -> Outcome:
        async with await connect(database_url) as connection:
            return (await pay(connection, "A1", 5000, "77")).outcome

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of().take_over(connection)
        outcomes = await asyncio.gather(*map(client, range(8)))
        assert sorted(outcome.name for outcome in outcomes) == ["ALREADY_POSTED"] * 7 + ["POSTED"]
        assert await balance(connection, "A1") == 5000

    on(database_url, story)


def test_one_payment_told_for_two_accounts_at_once_reaches_one_of_them(database_url: str) -> None:
    async def client(account: str) -> Outcome | None:
        async with await connect(database_url) as connection:
            try:
                return (await pay(connection, account, 5000, "77")).outcome
            except KeyReused:
                return None

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        outcomes = await asyncio.gather(client("A1"), client("A2"))
        assert sorted(map(str, outcomes)) == ["None", "Outcome.POSTED"]
        assert sorted([await balance(connection, "A1"), await balance(connection, "A2")]) == [
            0,
            5000,
        ]

    on(database_url, story)


def test_payments_of_one_account_add_up_when_they_come_at_once(database_url: str) -> None:
    async def client(number: int) -> None:
        async with await connect(database_url) as connection:
            for n in range(5):
                await pay(connection, "A1", 100 + number, f"{number}-{n}")

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of().take_over(connection)
        await asyncio.gather(*map(client, range(6)))
        assert await balance(connection, "A1") == 5 * sum(100 + n for n in range(6))
        assert await intact(connection)

    on(database_url, story)


def test_an_unknown_account_takes_no_payment(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of().take_over(connection)
        told = {"channel": "counter", "reference": "1"}
        assert await top_up(connection, "A9", 5000, now=NOW, **told) is None
        assert await rows(connection, "SELECT name FROM ledger_account") == []

    on(database_url, story)


def test_the_integrity_query_counts_what_is_wrong(database_url: str) -> None:
    """An administrator switches the triggers off, as a broken restore might; else none of this can
    be written."""

    async def story(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            charge = (
                Leg("customer:A1:prepaid", -500, MARCH, "energy"),
                Leg("revenue:energy", 500, MARCH, "energy"),
            )
            posted = Transaction("k", "charge", {}, charge, "role:test", value_date=MARCH)
            await ledger.post(connection, [posted])
        await Site.of().take_over(connection)
        await connection.execute(
            "INSERT INTO account_month (account_id, month, components, posted_fen) "
            "VALUES (1, '2026-03-01', '{energy}', '{500}')"
        )
        assert await intact(connection)
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "UPDATE ledger_account SET balance_fen = -499 WHERE name LIKE 'customer%'"
        )
        await connection.execute(
            "INSERT INTO journal (key, kind, account, leg_accounts, leg_amounts, actor, value_date) "
            "VALUES ('x', 1, 1, '{1,1}', '{4,-1}', 'role:test', '2026-03-01')"
        )
        await connection.execute("UPDATE account_month SET posted_fen = '{501}'")
        await connection.execute("UPDATE journal SET value_date = '2026-04-01' WHERE key = 'k'")
        found = await ledger.integrity(connection)
        assert found["sum_of_balances_fen"] == 1
        assert found["unbalanced_transactions"] == 1
        assert found["wrong_balances"] == 1
        assert found["wrong_months"] == 1
        assert found["misdated_charges"] == 1

    on(make_conninfo(database_url, user="postgres"), story)
