"""A payment is taken back once, by two persons; balance and arrears follow (O19)."""

import asyncio
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.documents.filing import reject
from daemon.transactions.month_close import MonthNotClosed, close_month
from daemon.transactions.payment_reversal import approve_reversal, file_reversal
from daemon.transactions.sealing import seal, verify
from storage import documents, ledger
from storage.documents import Said
from storage.ledger import Leg, Outcome, Transaction
from tests.database.small_site import (
    DAY,
    NOW,
    OPEN,
    TODAY,
    Site,
    balance,
    connect,
    everything,
    freeze,
    intact,
    on,
    pay,
    rows,
    store,
)

LI = Said("li", "the bank did not pay", "notice 7")
WANG = Said("wang", "seen the notice")
KEY = "pay:counter:1"


async def paid(connection: AsyncConnection[Any], fen: int = 2_000) -> None:
    await Site.of(2, trip_fen=0).take_over(connection)
    await pay(connection, "A1", fen)


async def reversed_by_two(connection: AsyncConnection[Any], key: str = KEY) -> int:
    number = await file_reversal(connection, key, "bounced", LI)
    await approve_reversal(connection, number, WANG, NOW)
    return number


def test_a_reversal_waits_and_counts_when_another_person_approves_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        number = await file_reversal(connection, KEY, "bounced", LI)
        assert await balance(connection, "A1") == 2_000
        done = await approve_reversal(connection, number, WANG, NOW)
        assert (done.account, done.amount_fen, done.balance_fen) == ("A1", 2_000, 0)
        assert await balance(connection, "A1") == 0
        (told,) = await rows(
            connection,
            "SELECT key, kind, actor, channel, document, content ->> 'cause', content ->> 'approved_by', "
            "reverses = (SELECT id FROM ledger_transaction WHERE key = 'pay:counter:1') "
            "FROM ledger_transaction WHERE kind = 'payment_reversal'",
        )
        assert told[1:] == (
            "payment_reversal",
            "person:li",
            "counter",
            number,
            "bounced",
            "wang",
            True,
        )
        assert await intact(connection)

    on(database_url, story)


def test_who_filed_it_cannot_approve_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        number = await file_reversal(connection, KEY, "mistaken", LI)
        with pytest.raises(DocumentRefused, match="needs a second person"):
            await approve_reversal(connection, number, Said("Li", ""), NOW)
        assert await balance(connection, "A1") == 2_000

    on(database_url, story)


def test_a_payment_is_taken_back_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        number = await reversed_by_two(connection)
        with pytest.raises(DocumentRefused, match=r"reversed_already.*rev:"):
            await file_reversal(connection, KEY, "bounced", LI)
        with pytest.raises(DocumentRefused, match="not_waiting"):
            await approve_reversal(connection, number, WANG, NOW)
        assert await balance(connection, "A1") == 0

    on(database_url, story)


def test_the_payment_told_again_after_its_reversal_moves_nothing(database_url: str) -> None:
    """O19: the key belongs to one payment for ever; money that comes anew has another one."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        await reversed_by_two(connection)
        assert (await pay(connection, "A1", 2_000)).outcome is Outcome.ALREADY_POSTED
        assert await balance(connection, "A1") == 0
        assert (await pay(connection, "A1", 2_000, "2")).outcome is Outcome.POSTED
        assert await balance(connection, "A1") == 2_000

    on(database_url, story)


def test_filed_twice_it_waits_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        first = await file_reversal(connection, KEY, "bounced", LI)
        assert await file_reversal(connection, KEY, "bounced", WANG) == first
        assert len(await documents.documents(connection, only_waiting=True)) == 1

    on(database_url, story)


def test_what_was_rejected_moves_nothing_and_may_be_filed_anew(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        number = await file_reversal(connection, KEY, "bounced", LI)
        await reject(connection, number, WANG)
        with pytest.raises(DocumentRefused, match="not_waiting"):
            await approve_reversal(connection, number, WANG, NOW)
        assert await file_reversal(connection, KEY, "bounced", LI) == number + 1

    on(database_url, story)


@pytest.mark.parametrize("key", ["pay:counter:2", "chg:P1:1", "1"])
def test_what_is_no_payment_is_refused(database_url: str, key: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        with pytest.raises(DocumentRefused, match="no_payment"):
            await file_reversal(connection, key, "bounced", LI)

    on(database_url, story)


def test_arrears_begin_when_the_money_that_ended_them_is_gone(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        legs = (Leg("customer:A1:prepaid", -500), Leg("revenue:energy", 500))
        async with connection.transaction():
            await ledger.post(connection, [Transaction("chg:1", "charge", {}, legs, "role:test")])
        episodes = "SELECT count(*) FROM arrears_episode WHERE ended_at IS NULL"
        assert await rows(connection, episodes) == [0]
        done = await approve_reversal(
            connection, await file_reversal(connection, KEY, "bounced", LI), WANG, NOW
        )
        assert (done.balance_fen, done.credit_state) == (-500, "exhausted")
        assert await rows(connection, episodes) == [1]

    on(database_url, story)


def test_two_who_approve_at_once_take_it_back_once(database_url: str) -> None:
    async def approver(number: int, name: str) -> bool:
        async with await connect(database_url) as connection:
            try:
                await approve_reversal(connection, number, Said(name, ""), NOW)
            except DocumentRefused:
                return False
            return True

    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        number = await file_reversal(connection, KEY, "bounced", LI)
        done = await asyncio.gather(*(approver(number, name) for name in "abcd"))
        assert sum(done) == 1
        assert await balance(connection, "A1") == 0
        assert await intact(connection)

    on(database_url, story)


BY_HAND = {
    # What the database refuses whoever asks.
    "no second reversal": ("payment_reversal", "person:x", -2_000, 1, "duplicate key"),
    "another amount": ("payment_reversal", "person:x", -1_999, 1, "same legs"),
    "another kind": ("penalty_waiver", "person:x", -2_000, 1, "must not|cannot take back"),
    "nothing named": ("payment_reversal", "person:x", -2_000, None, "must name what it takes back"),
    "no actor": ("payment_reversal", "x", -2_000, 1, "actor"),
    "no kind": ("gift", "person:x", -2_000, None, "no kind of transaction"),
    "a wrong side": ("top_up", "person:x", -2_000, None, "must not"),
    "nobody approved it": ("payment_reversal", "person:x", -2_000, 1, "no second person approved"),
    "a person's charge": ("charge", "person:x", -2_000, None, "no person may post"),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_the_database_refuses_a_reversal_that_is_none(database_url: str, case: str) -> None:
    kind, actor, fen, reverses, told = BY_HAND[case]

    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        if case == "no second reversal":
            await reversed_by_two(connection)
        (payment,) = await rows(
            connection, "SELECT id FROM ledger_transaction WHERE key = 'pay:counter:1'"
        )
        before = await everything(connection)
        legs = (Leg("customer:A1:prepaid", fen), Leg("clearing:counter", -fen))
        forged = Transaction("x", kind, {}, legs, actor, reverses=payment if reverses else None)
        with pytest.raises(psycopg.errors.IntegrityError, match=told):
            async with connection.transaction():
                await ledger.post(connection, [forged])
        assert await everything(connection) == before

    on(database_url, story)


def test_a_part_of_what_was_posted_is_not_taken_back(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        a, counter = "customer:A1:prepaid", "clearing:counter"
        legs = (Leg(a, 1_200), Leg(counter, -1_200), Leg(a, 800), Leg(counter, -800))
        async with connection.transaction():
            await ledger.post(connection, [Transaction("two", "top_up", {}, legs, "role:test")])
        (payment,) = await rows(connection, "SELECT id FROM journal WHERE key = 'two'")
        part = (Leg(a, -1_200), Leg(counter, 1_200))
        forged = Transaction("x", "payment_reversal", {}, part, "person:x", reverses=payment)
        with pytest.raises(psycopg.errors.CheckViolation, match="same legs"):
            async with connection.transaction():
                await ledger.post(connection, [forged])

    on(database_url, story)


@pytest.mark.parametrize("is_approved", [False, True])
def test_a_document_takes_back_the_payment_that_it_names_when_it_is_approved(
    database_url: str, is_approved: bool
) -> None:
    """Whoever has the daemon's connection: neither before the approval, nor another payment."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await paid(connection)
        await pay(connection, "A1", 2_000, "2")
        number = await file_reversal(connection, KEY, "bounced", LI)
        if is_approved:
            async with connection.transaction():
                await documents.add_review(connection, number, "approved", WANG)
        key = "pay:counter:2" if is_approved else KEY
        (payment,) = await rows(connection, "SELECT id FROM journal WHERE key = %s", key)
        legs = (Leg("customer:A1:prepaid", -2_000), Leg("clearing:counter", 2_000))
        forged = Transaction(
            "x", "payment_reversal", {}, legs, "person:x", document=number, reverses=payment
        )
        with pytest.raises(psycopg.errors.CheckViolation, match="no second person approved that"):
            async with connection.transaction():
                await ledger.post(connection, [forged])
        assert await balance(connection, "A1") == 4_000

    on(database_url, story)


@pytest.mark.parametrize(
    "name", ["customer:A1:gold", "clearing", "clearing:", "revenue:gifts", "x:customer:A1:prepaid"]
)
def test_an_account_that_the_chart_does_not_have_is_refused(database_url: str, name: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        legs = (Leg("customer:A1:prepaid", -1), Leg(name, 1))
        with pytest.raises(
            psycopg.errors.CheckViolation, match="the chart of accounts has no place"
        ):
            async with connection.transaction():
                await ledger.post(connection, [Transaction("k", "charge", {}, legs, "role:test")])

    on(database_url, story)


MARCH = date(2026, 3, 1)


def charge_of(key: str, kind: str, day: date) -> Transaction:
    legs = (Leg("customer:A1:prepaid", -1), Leg("revenue:energy", 1))
    return Transaction(key, kind, {}, legs, "role:test", value_date=day)


def test_a_closed_month_takes_nothing_more(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await close_month(connection, MARCH, LI, date(2026, 4, 1))
        for kind in ("charge", "adjustment"):
            with pytest.raises(psycopg.errors.CheckViolation, match="that month is closed"):
                async with connection.transaction():
                    await ledger.post(connection, [charge_of("1", kind, date(2026, 3, 31))])
        async with connection.transaction():
            await ledger.post(connection, [charge_of("2", "charge", date(2026, 4, 1))])
        assert await rows(connection, "SELECT key FROM ledger_transaction ORDER BY 1") == ["2"]

    on(database_url, story)


@pytest.mark.parametrize(
    ("month", "told"),
    [
        (MARCH, "2026-03 is closed already"),
        (date(2026, 5, 1), "2026-04 is to be closed before"),
        (date(2026, 4, 1), "has not ended yet"),
    ],
)
def test_months_close_once_in_order_and_when_they_are_over(
    database_url: str, month: date, told: str
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await close_month(connection, MARCH, LI, date(2026, 4, 30))
        with pytest.raises(MonthNotClosed, match=told):
            await close_month(connection, month, LI, date(2026, 4, 30))

    on(database_url, story)


def test_the_first_month_that_is_closed_is_one_in_which_somebody_was_billed(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of().take_over(connection)
        told = "nothing was billed in 2025-03: the first account is open from 2026-03-01 on"
        with pytest.raises(MonthNotClosed, match=told):
            await close_month(connection, date(2025, 3, 1), LI, date(2026, 4, 30))
        await close_month(connection, MARCH, LI, date(2026, 4, 30))

    on(database_url, story)


def test_of_two_persons_who_close_a_month_at_once_the_second_one_is_told(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async with await connect(database_url) as other, await connect(database_url) as third:
            async with third.transaction(force_rollback=True):
                # Both are under way before either can write.
                await ledger.close_month(third, MARCH, "li", "")
                both = [
                    asyncio.create_task(close_month(it, MARCH, LI, date(2026, 4, 1)))
                    for it in (connection, other)
                ]
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                while await rows(third, waiting) != [2]:
                    pass
            closed, refused = sorted(
                await asyncio.gather(*both, return_exceptions=True), key=lambda it: it is not None
            )
        assert closed is None
        assert isinstance(refused, MonthNotClosed)
        assert str(refused) == "2026-03 is closed already"

    on(database_url, story)


def test_a_month_is_closed_when_what_was_being_posted_has_ended(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async with await connect(database_url) as slow:
            async with slow.transaction():
                await ledger.post(slow, [charge_of("1", "charge", MARCH)])
                closing = asyncio.create_task(close_month(connection, MARCH, LI, date(2026, 4, 1)))
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(closing), 0.5)
            await asyncio.wait_for(closing, 10)
        assert await rows(connection, "SELECT month FROM closed_month") == [MARCH]

    on(database_url, story)


def test_a_closing_waits_for_what_began_to_post_while_it_was_under_way(database_url: str) -> None:
    """Its number is above that of the closing, which it does not see nevertheless."""

    async def story(connection: AsyncConnection[Any]) -> None:
        async with await connect(database_url) as slow:
            async with slow.transaction():
                async with connection.transaction():
                    await ledger.close_month(connection, MARCH, "li", "")
                    await ledger.post(slow, [charge_of("1", "charge", MARCH)])
                posting = await ledger.drawn_now(connection)
                assert not await ledger.have_ended(connection, posting)
            assert await ledger.have_ended(connection, posting)
        assert await rows(connection, "SELECT key FROM journal") == ["1"]

    on(database_url, story)


def test_a_payment_counts_for_an_open_day_though_the_clock_of_the_database_is_behind(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of().take_over(connection)
        this_month = NOW.date().replace(day=1)
        await connection.execute("INSERT INTO closed_month VALUES (%s, 'li')", [this_month])
        assert (await pay(connection, "A1", 700)).balance_fen == 700
        (day,) = await rows(connection, "SELECT value_date FROM journal")
        assert day == (this_month + timedelta(days=31)).replace(day=1)

    on(database_url, story)


def test_a_payment_of_a_closed_month_is_taken_back_today(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of().take_over(connection)
        legs = (Leg("customer:A1:prepaid", 700), Leg("clearing:bank", -700))
        content = {"account": "A1", "amount_fen": 700, "channel": "bank", "reference": "9"}
        paid_then = Transaction(
            "pay:bank:9", "top_up", content, legs, "role:channel", "bank", MARCH
        )
        async with connection.transaction():
            await ledger.post(connection, [paid_then])
        await close_month(connection, MARCH, LI, date(2026, 4, 1))
        await reversed_by_two(connection, "pay:bank:9")
        (day,) = await rows(
            connection, "SELECT value_date FROM ledger_transaction WHERE reverses IS NOT NULL"
        )
        assert day > date(2026, 3, 31)
        await seal(connection, NOW)
        assert (await verify(connection)).fault is None
        assert await rows(
            connection, "SELECT balance_fen FROM account_balance WHERE name = 'clearing:bank'"
        ) == [0]

    on(database_url, story)


@pytest.mark.hypertables
def test_use_of_a_closed_month_that_comes_late_is_an_adjustment(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, freeze(meter, OPEN, "100"), freeze(meter, OPEN + DAY, "110"))
        await close_month(connection, MARCH, LI, date(2026, 4, 1))
        await store(connection, freeze(meter, OPEN + 2 * DAY, "130"))
        posted = (
            "SELECT kind, value_date, amount_fen, period, component FROM ledger_transaction t"
            " JOIN posting p ON p.transaction_id = t.id WHERE leg = 0 ORDER BY t.id"
        )
        assert await rows(connection, posted) == [
            ("charge", OPEN, -500, MARCH, "energy"),
            ("adjustment", TODAY, -1_000, TODAY.replace(day=1), "adjustment:2026-03:energy"),
        ]
        assert await rows(connection, "SELECT month, posted_fen FROM account_month") == [
            (MARCH, [1_500])
        ]
        assert await intact(connection)

    on(database_url, story)
