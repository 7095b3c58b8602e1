"""On the last day of dunning somebody goes there with a written notice, and brings a receipt."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.notices.due import Terms
from daemon.transactions.field_jobs import JobRefused, Receipt, close_job
from daemon.transactions.notice_records import Told, record_notice
from daemon.transactions.notices import make_notices, take_receipt
from daemon.transactions.supply_cases import supply_alarms
from storage import field_jobs, supply
from storage import notices as stored
from storage.documents import Said
from tests.database.cli.test_ledger_commands import FILES
from tests.database.cli.test_readings_commands import meterd
from tests.database.small_site import ZONE, connect, on, pay, rows
from tests.database.transactions.test_control_facts import reasons
from tests.database.transactions.test_cost_of_a_batch import counted
from tests.database.transactions.test_notices import (
    HOUR,
    NOON,
    SMS,
    STRICT,
    TELLING,
    release,
    site,
)
from tests.database.transactions.test_supply import LATELY, exhausted

LADDER: Final = replace(
    TELLING, terms=Terms(ZONE, dunning_days=(0,), personal_contact=True), channels=()
)
"""Nobody is told anything but in person."""
JOBS: Final = "SELECT kind, closed_by, result FROM field_job ORDER BY id"
PAPERS: Final = (
    "SELECT kind, delivered_at, failed_at IS NOT NULL, receipt, receipt_actor FROM notice "
    "WHERE channel = 'visit' ORDER BY id"
)
CUT_AFTER_A_NOTICE: Final = replace(STRICT.policy, written_min=timedelta(0), final_required=False)


def where_it_is_noon(now: datetime) -> ZoneInfo:
    """Somewhere people are told things now."""
    east = 12 - now.hour
    return ZoneInfo(f"Etc/GMT{-east:+d}" if east else "Etc/GMT")


async def visit(connection: AsyncConnection[Any], account: int) -> tuple[int, int, datetime]:
    """Job and notice of the visit that is due now, and when that is."""
    now = await supply.database_clock(connection)
    terms = replace(LADDER.terms, zone=where_it_is_noon(now))
    await make_notices(connection, replace(LADDER, terms=terms), [account], now)
    (job,) = await field_jobs.field_jobs(connection)
    return job["number"], job["notice"], now


def test_a_visit_is_a_job_with_address_meter_route_owner_and_clock(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        assert await make_notices(connection, LADDER, [account], NOON) == 0
        await make_notices(connection, LADDER, [account], NOON + HOUR)
        (job,) = await field_jobs.field_jobs(connection)
        assert (job["kind"], job["account"], job["point"]) == ("visit", "A1", "P1")
        ((address, line),) = await rows(connection, "SELECT address, line FROM meter")
        assert (job["address"], job["route"]) == (address, line)
        assert (job["opened_at"], job["due_at"]) == (NOON, NOON + 24 * HOUR)
        assert await field_jobs.assign(connection, job["number"], "zhou", "li")
        for words in ("-5.00", "A1", "营业厅", "送达回执"):
            assert words in job["text"]
        # It is no alarm until it is late, and nobody failed to be told.
        (owned,) = await field_jobs.field_jobs(connection)
        assert owned["owner"] == "zhou"
        at = job["due_at"]
        assert await told_as_wrong(connection, at) == set()
        assert await told_as_wrong(connection, at + timedelta(seconds=1)) == {"job_overdue"}

    on(database_url, story)


async def told_as_wrong(connection: AsyncConnection[Any], at: datetime) -> set[str]:
    found = await supply_alarms(connection, ["line"], at, shadow_mode=False)
    return {it["kind"] for it in found}


def test_two_daemons_send_one_person(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        async with await connect(database_url) as other:
            await asyncio.gather(
                make_notices(connection, LADDER, [account], NOON),
                make_notices(other, LADDER, [account], NOON),
            )
        assert await rows(connection, JOBS) == [("visit", None, None)]
        assert len(await rows(connection, PAPERS)) == 1

    on(database_url, story)


def test_who_pays_is_not_visited_any_more(database_url: str) -> None:
    # R77; a payment that is too small is none of it.
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await make_notices(connection, LADDER, [account], NOON)
        await pay(connection, "A1", 10_000)
        # Whose balance is good is looked at no more: who is to be visited is.
        assert await stored.accounts_to_look_at(connection) == [account]
        night = NOON + 12 * HOUR
        await make_notices(connection, LADDER, [account], night)
        why = "those arrears are over"
        assert await rows(connection, JOBS) == [("visit", "daemon", why)]
        assert await rows(connection, PAPERS) == [("written", None, True, why, "daemon")]
        assert await stored.accounts_to_look_at(connection) == []

    on(database_url, story)


def test_who_was_called_back_goes_again_when_the_payment_did_not_come(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await make_notices(connection, LADDER, [account], NOON)
        (job,) = await field_jobs.field_jobs(connection)
        await field_jobs.assign(connection, job["number"], "zhou", "li")
        await connection.execute(
            "INSERT INTO supply_mark (kind, account_id, from_at, to_at, actor, reason) "
            "VALUES ('payment_in_flight', %s, %s, %s, 'bank', 'transfer')",
            (account, NOON, NOON + HOUR),
        )
        for hours in (0, 0.5, 1, 2):
            await make_notices(connection, LADDER, [account], NOON + hours * HOUR)
        first, second = await field_jobs.field_jobs(connection, all_times=True)
        assert (first["closed_by"], first["result"]) == ("daemon", "a payment is under way")
        assert (second["opened_at"], second["closed_at"]) == (NOON + HOUR, None)
        assert second["owner"] == "zhou"
        assert len({first["notice"], second["notice"]}) == 2

    on(database_url, story)


def test_a_receipt_is_who_when_and_evidence_and_counts_for_the_guard(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        number, notice, at = await visit(connection, account)
        later = at + timedelta(minutes=1)
        assert await reasons(connection, CUT_AFTER_A_NOTICE, later) == {"P1": {"NOTICE_MISSING"}}
        handed_over = Receipt(at, "receipt 17")
        assert await close_job(connection, number, "to his wife", "zhou", handed_over) == notice
        assert await rows(connection, JOBS) == [("visit", "zhou", "to his wife")]
        assert await rows(connection, PAPERS) == [("written", at, False, "receipt 17", "zhou")]
        assert await reasons(connection, CUT_AFTER_A_NOTICE, later) == {"P1": set()}
        # Once in an episode.
        await make_notices(connection, LADDER, [account], NOON)
        assert len(await rows(connection, JOBS)) == 1

    on(database_url, story)


def test_who_was_not_met_was_not_told(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        number, notice, at = await visit(connection, account)
        assert await close_job(connection, number, "nobody at home", "zhou") == notice
        assert await rows(connection, PAPERS) == [("written", None, True, "nobody at home", "zhou")]
        later = at + timedelta(minutes=1)
        assert await reasons(connection, CUT_AFTER_A_NOTICE, later) == {"P1": {"NOTICE_MISSING"}}
        await make_notices(connection, LADDER, [account], NOON)
        assert len(await rows(connection, JOBS)) == 1

    on(database_url, story)


def test_a_receipt_of_another_time_or_of_no_notice_is_refused(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        number, _, at = await visit(connection, account)
        for delivered_at, why in (
            (at - timedelta(seconds=1), "mend --delivered"),
            (at + HOUR, "not happened yet"),
        ):
            with pytest.raises(JobRefused, match=why):
                await close_job(connection, number, "so", "zhou", Receipt(delivered_at, "r"))
        with pytest.raises(JobRefused, match="no open job"):
            await close_job(connection, number + 1, "so", "zhou", Receipt(at, "r"))
        await close_job(connection, number, "so", "zhou")
        for receipt in (None, Receipt(at, "r")):
            with pytest.raises(JobRefused, match="no open job"):
                await close_job(connection, number, "so", "zhou", receipt)
        assert await rows(connection, JOBS) == [("visit", "zhou", "so")]

    on(database_url, story)


def test_receipts_come_by_file_and_no_channel_gives_them(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        _, notice, at = await visit(connection, account)
        known: dict[str, Any] = {"notice": notice, "at": at, "receipt": "r-1", "actor": "li"}
        for channel in ("visit", "sms"):
            assert not await take_receipt(connection, **known, state="delivered", channel=channel)
        assert await take_receipt(connection, **known, state="delivered")
        assert not await take_receipt(connection, **known, state="failed")
        assert await rows(connection, JOBS) == [("visit", "li", "delivered: r-1")]
        assert await rows(connection, PAPERS) == [("written", at, False, "r-1", "li")]

    on(database_url, story)


def test_what_a_person_wrote_down_all_the_same_ends_the_visit(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection)
        await visit(connection, account)
        at = await supply.database_clock(connection)
        told = Told("written", "paper", "zh", "pay", None, None, None, at, at)
        await record_notice(connection, "A1", told, Said("li", "owes", "form 7"))
        await make_notices(connection, LADDER, [account], at)
        why = "a person delivered a written notice"
        assert await rows(connection, JOBS) == [("visit", "daemon", why)]
        await make_notices(connection, LADDER, [account], NOON)
        assert len(await rows(connection, JOBS)) == 1

    on(database_url, story)


def test_contacts_are_told_beside_it_and_nobody_else_is_asked(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        account = await site(connection, SMS)
        telling = replace(LADDER, channels={"sms"})
        assert await make_notices(connection, telling, [account], NOON) == 1
        sent = await release(connection, NOON)
        assert sent is not None
        await stored.mark_failed(connection, sent.notice_id, NOON, "unknown number", "sms")
        await make_notices(connection, telling, [account], NOON + HOUR)
        assert await rows(connection, JOBS) == [("visit", None, None)]
        await close_job(connection, 1, "nobody at home", "zhou")
        await make_notices(connection, telling, [account], NOON + HOUR)
        kinds = "SELECT kind FROM field_job ORDER BY id"
        assert await rows(connection, kinds) == ["visit", "notice"]

    on(database_url, story)


def test_who_has_the_point_of_another_now_is_visited_beside_him(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, 2, authority=STRICT, opened_on=LATELY)
        await make_notices(connection, LADDER, [1, 2], NOON)
        first, second = await field_jobs.field_jobs(connection)
        assert [first["point"], second["point"]] == ["P1", "P2"]
        await close_job(connection, second["number"], "so", "li")
        with pytest.raises(psycopg.errors.UniqueViolation, match="one_open_visit_of_an_account"):
            await again(connection, first["notice"], account=1, point=2)
        await again(connection, second["notice"] + 1, account=2, point=1)

    on(database_url, story)


async def again(connection: AsyncConnection[Any], notice: int, *, account: int, point: int) -> None:
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO notice (account_id, episode_id, kind, channel, language, text, amount_fen,"
            " actor) SELECT account_id, id, 'written', 'visit', 'zh', 'x', 1, 'daemon'"
            " FROM arrears_episode WHERE account_id = %s",
            (account,),
        )
        await connection.execute(
            "INSERT INTO field_job (kind, account_id, point_id, notice_id, cause, opened_at, due_at)"
            " SELECT 'visit', %s, %s, max(id), 'x', %s, %s FROM notice",
            (account, point, NOON, NOON),
        )


def test_many_visits_take_as_many_statements_as_one(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection, 9, authority=STRICT, opened_on=LATELY)
        off = replace(LADDER, terms=replace(LADDER.terms, personal_contact=False))
        counts = []
        for telling in (LADDER, off):
            for accounts in ([1], range(2, 10)):
                with counted(connection) as given:
                    await make_notices(connection, telling, accounts, NOON)
                counts.append(len(given))
        assert counts[0] == counts[1]
        assert counts[2] == counts[3]
        jobs = "SELECT count(*), count(closed_at) FROM field_job"
        assert await rows(connection, jobs) == [(9, 9)]

    on(database_url, story)


def test_a_person_closes_it_by_command(database_url: str, tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def story(connection: AsyncConnection[Any]) -> None:
        found["job"], found["notice"], found["at"] = await visit(connection, await site(connection))

    on(database_url, story)
    for name, text in {**FILES, "url": database_url}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    planned = json.loads(meterd(tmp_path, "supply", "plan", "--json").stdout)
    assert (planned["account"], planned["visit"]) == ("A1", found["job"])
    told = "somebody has to go there with the written notice"
    assert told in meterd(tmp_path, "why", "A1").stdout
    done = ("job", "close", str(found["job"]), "--result", "to his wife", "--actor", "zhou")
    half = meterd(tmp_path, *done, "--evidence", "receipt 17")
    assert half.returncode == 1
    assert "a receipt is --delivered and --evidence" in half.stderr
    at = (found["at"] + timedelta(microseconds=1)).isoformat()
    taken = meterd(tmp_path, *done, "--evidence", "receipt 17", "--delivered", at)
    assert taken.stdout == f"job {found['job']} is done: notice {found['notice']} was delivered\n"
    assert told not in meterd(tmp_path, "why", "A1").stdout
    late = meterd(tmp_path, *done, "--evidence", "receipt 17", "--delivered", at)
    assert late.returncode == 1
    assert "meterd notice record" in late.stderr
