"""Notices are made once, sent to nobody who paid, and followed by the next contact or a person."""

import asyncio
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from psycopg import AsyncConnection

from config.notice_texts import shipped_texts
from daemon.notices.due import Terms
from daemon.notices.wording import SiteWords
from daemon.transactions.notices import (
    Telling,
    accounts_to_tell,
    make_notices,
    not_sent,
    release_notice,
)
from storage import notices as stored
from storage.notices import NoticeToSend
from tests.database.cli.test_ledger_commands import FILES
from tests.database.cli.test_readings_commands import meterd
from tests.database.small_site import (
    ARMED,
    CUT_AT_ANY_TIME,
    DAY,
    TODAY,
    ZONE,
    connect,
    on,
    pay,
    rows,
)
from tests.database.transactions.test_supply import LATELY, exhausted

HOUR: Final = timedelta(hours=1)
NOON: Final = datetime.combine(TODAY + DAY, time(12), ZONE)
"""Of a day that has not begun: whatever the test does is before it."""
STRICT: Final = replace(
    ARMED, policy=replace(CUT_AT_ANY_TIME, written_required=True, final_required=True)
)
TELLING: Final = Telling(
    STRICT,
    Terms(ZONE),
    {"sms", "app"},
    shipped_texts(),
    {"zh": SiteWords("营业厅", "12345"), "en": SiteWords("at the counter", "call 12345")},
)
SMS: Final = ("A1", "sms", "13800001111", "zh", True, 1)
APP: Final = ("A1", "app", "customer-1", "en", True, 2)


async def site(connection: AsyncConnection[Any], *contacts: Any) -> int:
    """A1 owes 5.00 yuan and has these contacts."""
    await exhausted(connection, authority=STRICT, opened_on=LATELY)
    await stored.import_contacts(connection, contacts or (SMS, APP))
    ((account,),) = [(it,) for it in await rows(connection, "SELECT id FROM account")]
    return int(account)


async def make(connection: AsyncConnection[Any], account: int, now: datetime) -> int:
    return await make_notices(connection, TELLING, [account], now)


async def release(
    connection: AsyncConnection[Any], now: datetime, account: int = 1
) -> NoticeToSend | None:
    found = [
        await release_notice(connection, TELLING, notice, of_account, now)
        for notice, of_account in await stored.due_to_send(connection, now, 10)
    ]
    return found[0] if found else None


WORKED_ON: Final = (
    "INSERT INTO supply_mark (kind, line, from_at, actor, reason) "
    "VALUES ('keep_off', 'line', now(), 'li', 'wet')"
)
ORDERED_OFF: Final = (
    "INSERT INTO cut_order (point_id, cause, actor, reason, second, agreed_at) "
    "VALUES (1, 'safety', 'li', 'wet', 'wang', now())"
)
MADE = "SELECT kind, channel, language, amount_fen FROM notice ORDER BY id"


def test_who_cannot_be_restored_is_told_neither_to_pay_nor_to_press_the_button(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        in_shadow = replace(TELLING, authority=replace(STRICT, shadow_mode=True))

        async def supply(telling: Telling = TELLING) -> str:
            (found,) = await accounts_to_tell(connection, telling, [account], NOON)
            return found.supply

        async def kept_off(statement: str) -> str:
            async with connection.transaction(force_rollback=True):
                await connection.execute(statement.encode())
                return await supply()

        for state, told, told_in_shadow in (
            ("disconnected", "cut", "moving"),
            ("wait_customer_button", "button", "button"),
            ("energised", "on", "on"),
        ):
            await connection.execute("UPDATE point_supply SET supply_state = %s", (state,))
            assert (await supply(), await supply(in_shadow)) == (told, told_in_shadow)
            for statement in (WORKED_ON, ORDERED_OFF):
                assert await kept_off(statement) == ("on" if told == "on" else "moving")
            assert await kept_off(WORKED_ON.replace("'line'", "'other'")) == told

    on(database_url, story)


def test_a_written_notice_is_made_once_with_all_that_it_states(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        assert await make(connection, account, NOON) == 1
        assert await make(connection, account, NOON + HOUR) == 0
        assert await rows(connection, MADE) == [("written", "sms", "zh", 500)]
        ((text, deadline, planned),) = await rows(
            connection, "SELECT text, deadline_at, planned_at FROM notice"
        )
        assert planned is None
        assert deadline == NOON + 72 * HOUR
        for words in (
            "A1",
            "-5.00",
            "5.00",
            f"{deadline.astimezone(ZONE):%Y-%m-%d %H:%M}",
            "营业厅",
            "12345",
        ):
            assert words in text

    on(database_url, story)


def test_a_low_balance_is_warned_of_once_after_each_payment(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await pay(connection, "A1", 2500)
        assert await make(connection, account, NOON) == 1
        assert await make(connection, account, NOON + 9 * HOUR) == 0
        await pay(connection, "A1", 100, "2")
        assert await make(connection, account, NOON) == 1
        assert await rows(connection, "SELECT kind, channel FROM notice ORDER BY id") == [
            ("warning", "sms"),
            ("warning", "sms"),
        ]
        assert "21.00" in (await rows(connection, "SELECT text FROM notice ORDER BY id"))[1]

    on(database_url, story)


def test_what_was_told_of_the_end_of_a_cycle_is_known_after_a_payment(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        for occasion in ("low 1", "cycle 2026-06-30"):
            await connection.execute(
                "INSERT INTO notice (account_id, kind, occasion, channel, language, text, "
                "amount_fen, actor, made_at) SELECT %s, 'warning', %s, 'sms', 'zh', 'x', 1, 'li', "
                "now() - interval '2 days'",
                (account, occasion),
            )
        await pay(connection, "A1", 2500)
        (known,) = await accounts_to_tell(connection, TELLING, [account], NOON)
        assert [it.occasion for it in known.told] == ["cycle 2026-06-30"]

    on(database_url, story)


def test_two_daemons_make_it_once(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        async with await connect(database_url) as other:
            made = await asyncio.gather(make(connection, account, NOON), make(other, account, NOON))
        assert sorted(made) == [0, 1]

    on(database_url, story)


def test_who_paid_before_it_was_sent_is_sent_nothing(database_url: str) -> None:
    # R77: payment at 09:59:58, message at 10:00.
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await make(connection, account, NOON)
        await pay(connection, "A1", 10_000)
        assert await release(connection, NOON) is None
        assert await rows(connection, "SELECT receipt FROM notice") == ["not due any more"]
        assert await rows(connection, "TABLE notice_to_send") == []
        assert await make(connection, account, NOON) == 0

    on(database_url, story)


def test_it_waits_while_a_payment_is_under_way_and_at_night(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await make(connection, account, NOON)
        night = NOON + 10 * HOUR
        assert await release(connection, night) is None
        await connection.execute(
            "INSERT INTO supply_mark (kind, account_id, from_at, to_at, actor, reason) "
            "VALUES ('payment_in_flight', %s, %s, %s, 'bank', 'transfer')",
            (account, NOON, NOON + 23 * HOUR),
        )
        morning = NOON + 21 * HOUR
        assert await release(connection, morning) is None
        assert await rows(connection, "SELECT failed_at FROM notice") == [None]
        sent = await release(connection, NOON + 24 * HOUR)
        assert sent is not None
        assert (sent.address, sent.tries) == ("13800001111", 0)
        assert "13800001111" not in repr(sent)

    on(database_url, story)


def test_a_crash_after_the_release_sends_the_same_notice_again(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await make(connection, account, NOON)
        first = await release(connection, NOON)
        assert first is not None
        assert await release(connection, NOON + timedelta(seconds=59)) is None
        again = await release(connection, NOON + timedelta(minutes=1))
        assert again is not None
        assert (again.notice_id, again.tries) == (first.notice_id, 1)
        await stored.mark_sent(connection, again.notice_id, NOON)
        assert await release(connection, NOON + 5 * HOUR) is None
        # Restarted or not, nothing is made a second time for this contact.
        assert await make(connection, account, NOON + HOUR) == 0

    on(database_url, story)


def test_what_no_channel_takes_goes_to_the_next_contact_and_then_to_a_person(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        now = NOON
        for channel in ("sms", "app"):
            assert await make(connection, account, now) == 1
            is_given_up = False
            while not is_given_up:
                to_send = await release(connection, now)
                if to_send is not None:
                    assert to_send.channel == channel
                    is_given_up = await not_sent(connection, to_send, "refused", now)
                now += timedelta(minutes=1)
            assert to_send is not None
            assert to_send.tries == 4
        assert await make(connection, account, now) == 0
        assert await rows(connection, "SELECT kind, account_id FROM field_job") == [
            ("notice", account)
        ]
        assert await make(connection, account, now + HOUR) == 0
        assert len(await rows(connection, "TABLE field_job")) == 1

    on(database_url, story)


def test_a_receipt_that_does_not_come_is_followed_by_the_next_contact(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await make(connection, account, NOON)
        sent = await release(connection, NOON)
        assert sent is not None
        await stored.mark_sent(connection, sent.notice_id, NOON)
        assert await make(connection, account, NOON + 2 * HOUR - timedelta(seconds=1)) == 0
        assert await make(connection, account, NOON + 2 * HOUR) == 1
        assert await rows(connection, MADE) == [
            ("written", "sms", "zh", 500),
            ("written", "app", "en", 500),
        ]
        # The first one's comes late all the same: the second is not sent.
        assert await stored.mark_delivered(connection, sent.notice_id, NOON + HOUR, "r-1", "sms")
        assert not await stored.mark_delivered(connection, sent.notice_id, NOON, "r-1", "sms")
        assert not await stored.mark_failed(connection, sent.notice_id, NOON, "no", "sms")

    on(database_url, story)


def test_a_receipt_is_never_earlier_than_its_notice(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await make(connection, account, NOON)
        assert await stored.mark_delivered(connection, 1, NOON - 90 * HOUR, "r", "sms")
        assert await rows(connection, "SELECT delivered_at = made_at FROM notice") == [True]

    on(database_url, story)


def test_the_final_notice_follows_with_its_moment(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await make(connection, account, NOON)
        await stored.mark_delivered(connection, 1, NOON, "r", "sms")
        assert await make(connection, account, NOON + 71 * HOUR - timedelta(hours=2.5)) == 1
        ((kind, planned),) = await rows(
            connection, "SELECT kind, planned_at FROM notice WHERE id > 1"
        )
        assert kind == "final"
        assert planned == NOON + 72 * HOUR

    on(database_url, story)


def test_a_file_of_receipts_is_taken_in_once_or_not_at_all(
    database_url: str, tmp_path: Path
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await make(connection, account, NOON)

    on(database_url, story)
    for name, text in {**FILES, "url": database_url}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    file = tmp_path / "receipts.csv"
    file.write_text(f"notice,state,at,receipt\n1,delivered,{NOON.isoformat()},r-1\n2,gone,now,\n")
    refused = meterd(tmp_path, "notice", "receipt", "receipts.csv")
    assert refused.returncode == 65
    assert 'receipts.csv:3: state: "gone" is not one of delivered' in refused.stderr
    file.write_text(
        f"notice,state,at,receipt\n1,delivered,{NOON.isoformat()},r-1\n9,failed,2026-01-01 10:00,\n"
    )
    for told in ("1 receipts taken in, 1 known", "0 receipts taken in, 2 known"):
        done = meterd(tmp_path, "notice", "receipt", "receipts.csv", "--actor", "li")
        assert done.stdout.startswith(told), done.stderr

    async def look(connection: AsyncConnection[Any]) -> None:
        found = await rows(
            connection, "SELECT delivered_at IS NOT NULL, receipt, receipt_actor FROM notice"
        )
        assert found == [(True, "r-1", "li")]

    on(database_url, look)


def test_an_account_is_told_by_its_own_policy(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await connection.execute(
            "INSERT INTO account_policy (account_id, rev, profile, actor, reason) "
            "VALUES (%s, 0, 'without', 'li', 'contract')",
            (account,),
        )
        without = replace(CUT_AT_ANY_TIME, written_required=False, final_required=True)
        telling = replace(TELLING, authority=replace(STRICT, profiles={"without": without}))
        assert await make_notices(connection, telling, [account], NOON) == 1
        assert await rows(connection, "SELECT kind FROM notice") == ["final"]

    on(database_url, story)


def test_who_bounced_or_is_listed_no_more_is_not_used(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await make(connection, account, NOON)
        await stored.mark_bounced(connection, 1, NOON)
        await stored.mark_failed(connection, 1, NOON, "unknown number", "sms")
        assert await make(connection, account, NOON) == 1
        assert await rows(connection, "SELECT channel FROM notice ORDER BY id") == ["sms", "app"]
        await stored.import_contacts(connection, [SMS])
        assert await release(connection, NOON) is None
        (found,) = await stored.listed_contacts(connection)
        assert (found["account"], found["bounced_at"]) == ("A1", NOON)

    on(database_url, story)


def test_facts_of_many_accounts_take_a_constant_number_of_statements(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, 7, authority=STRICT, opened_on=LATELY)
        await stored.import_contacts(connection, [(f"A{n}", *SMS[1:]) for n in range(1, 8)])
        poor = await stored.accounts_to_look_at(connection)
        assert len(poor) == 7
        assert await make_notices(connection, TELLING, poor, NOON) == 7
        assert await stored.accounts_that_are_good(connection) == []

    on(database_url, story)
