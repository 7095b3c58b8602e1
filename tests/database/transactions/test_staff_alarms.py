"""Whoever is on call is told once of each thing, level after level, until somebody has it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from psycopg import AsyncConnection, errors

from config.notice_texts import shipped_texts
from config.secret import Secret
from config.settings import NoticeChannelSection, OnCallSection
from daemon.notices.on_call import REPEAT
from daemon.sending.channels import open_channels
from daemon.sending.outbox import Outbox
from daemon.transactions.notices import PAUSES
from daemon.transactions.staff_alarms import Staff, call_staff, take_call_receipt
from daemon.transactions.supply_cases import supply_alarms
from storage import field_jobs, staff_alarms
from storage.database import Pool
from tests.database.small_site import NOW, ZONE, Site, as_owner, connect, on, pay, rows
from tests.database.transactions.test_cost_of_a_batch import counted
from tests.database.transactions.test_notices import TELLING
from tests.database.transactions.test_supply import cut, exhausted

AFTER: Final = timedelta(minutes=10)
MINUTE: Final = timedelta(minutes=1)
CALLS: Final = "SELECT id, level, name, kind, cardinality(alarms) FROM staff_call ORDER BY id"


def person(name: str, level: int, *areas: str) -> OnCallSection:
    return OnCallSection(
        name=name, areas=areas, level=level, channel="app", address="1", language="en"
    )


STAFF: Final = Staff(
    [person("Li", 1, "T-1"), person("Wu", 2), person("Yu", 1, "T-2")],
    AFTER,
    shipped_texts(),
    ZONE,
)


def wrong(point: str, kind: str = "cut_not_seen", area: str = "T-1") -> dict[str, Any]:
    """As `supply_alarms` tells it."""
    about = {"point": point, "account": None, "line": None, "detail": ""}
    return {"kind": kind, **about, "area": area, "since": NOW, "has_job": False}


async def look(
    connection: AsyncConnection[Any], at: timedelta, *found: dict[str, Any], staff: Staff = STAFF
) -> Mapping[int, int]:
    return (await call_staff(connection, staff, found, NOW + at)).levels


async def told(connection: AsyncConnection[Any]) -> list[tuple[Any, ...]]:
    return await rows(connection, CALLS)


def test_levels_are_told_in_their_time_and_nothing_twice(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        one, two = wrong("P1"), wrong("P2")
        assert await look(connection, 0 * MINUTE, one, two) == {1: 2}
        assert await told(connection) == [(1, 1, "Li", "cut_not_seen", 2)]
        # However often it is looked at, by whichever daemon: nothing is kept in memory.
        await look(connection, AFTER - MINUTE, one, two)
        assert len(await told(connection)) == 1
        assert await look(connection, AFTER, one, two) == {2: 2}
        await look(connection, AFTER + REPEAT - MINUTE, one, two)
        assert (await told(connection))[1:] == [(2, 2, "Wu", "cut_not_seen", 2)]
        await look(connection, AFTER + REPEAT, one, two)
        assert (await told(connection))[2:] == [(3, 2, "Wu", "cut_not_seen", 2)]

    on(database_url, story)


def test_what_somebody_has_is_told_nobody_and_more_of_it_asks_anew(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await look(connection, 0 * MINUTE, wrong("P1"))
        assert await staff_alarms.acknowledge(connection, 1, "Li") == ["P1"]
        assert await staff_alarms.acknowledge(connection, 1, "Wu") == []
        assert await look(connection, AFTER, wrong("P1")) == {}
        assert len(await told(connection)) == 1
        await look(connection, 2 * AFTER, wrong("P1"), wrong("P2"))
        assert (await told(connection))[1:] == [(2, 1, "Li", "cut_not_seen", 1)]
        # Level 1 was told of this kind and area a minute ago: it hears later of what came since.
        three = [wrong(point) for point in ("P1", "P2", "P3")]
        assert await look(connection, 2 * AFTER + MINUTE, *three) == {0: 1, 1: 1}
        assert len(await told(connection)) == 2
        await look(connection, 3 * AFTER, *three, wrong("P4"))
        assert (await told(connection))[2:] == [
            (3, 2, "Wu", "cut_not_seen", 1),
            (4, 1, "Li", "cut_not_seen", 2),
        ]
        (by,) = await rows(connection, "SELECT acknowledged_by FROM staff_alarm WHERE about = 'P1'")
        assert by == "Li"
        with pytest.raises(errors.DatabaseError):
            await connection.execute(
                "UPDATE staff_alarm SET acknowledged_by = 'Wu' WHERE level = 1"
            )

    on(database_url, story)


def test_what_is_over_ends_and_what_is_back_soon_is_the_same(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await look(connection, 0 * MINUTE, wrong("P1"))
        assert await look(connection, MINUTE) == {}
        assert await look(connection, 2 * MINUTE, wrong("P1")) == {1: 1}
        await staff_alarms.acknowledge(connection, 1, "Li")
        await look(connection, 3 * MINUTE)
        # A line that comes and goes calls nobody who has it.
        assert await look(connection, 3 * MINUTE + AFTER - MINUTE, wrong("P1")) == {}
        await look(connection, 2 * AFTER)
        assert await look(connection, 3 * AFTER, wrong("P1")) == {1: 1}
        found = "SELECT count(*), count(over_at) FROM staff_alarm"
        assert await rows(connection, found) == [(2, 1)]
        assert len(await told(connection)) == 2

    on(database_url, story)


def test_areas_have_their_own_people_and_nobody_is_told_of_none(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        of_two = replace(STAFF, persons=STAFF.persons[:1])
        found = [wrong("P2", area="T-2"), wrong("site", "breaker_open", area="")]
        assert await look(connection, 0 * MINUTE, *found, staff=of_two) == {0: 1, 1: 1}
        assert await told(connection) == [(1, 1, "Li", "breaker_open", 1)]
        await look(connection, MINUTE, *found)
        assert (await told(connection))[1:] == [(2, 1, "Yu", "cut_not_seen", 1)]

    on(database_url, story)


def test_the_oldest_alarm_that_nobody_has_is_known(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async def oldest_at(minutes: int, *points: str) -> timedelta | None:
            found = [wrong(point) for point in points]
            untaken = await call_staff(connection, STAFF, found, NOW + minutes * MINUTE)
            return None if untaken.oldest_at is None else untaken.oldest_at - NOW

        assert await oldest_at(0) is None
        # However long it was wrong before it was found.
        assert await oldest_at(1, "P1") == MINUTE
        assert await oldest_at(20, "P1", "P2") == MINUTE
        assert await staff_alarms.acknowledge(connection, 1, "Li") == ["P1"]
        assert await oldest_at(21, "P1", "P2") == 20 * MINUTE
        assert await oldest_at(22) is None

    on(database_url, story)


def test_whom_a_call_reached_says_over_its_channel_that_he_has_it(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        async def became(call: int, state: Literal["acknowledged", "failed"], channel: str) -> str:
            return await take_call_receipt(connection, channel=channel, call=call, state=state)

        await look(connection, 0 * MINUTE, wrong("P1"))
        assert await became(1, "acknowledged", "sms") == "known"
        assert await became(2, "acknowledged", "app") == "known"
        assert await look(connection, MINUTE, wrong("P1")) == {1: 1}
        # It did not reach him: the next level is told before its time.
        assert [await became(1, "failed", "app") for _ in range(2)] == ["taken", "known"]
        assert await look(connection, 2 * MINUTE, wrong("P1")) == {2: 1}
        assert await became(1, "failed", "app") == "known"
        assert await look(connection, 3 * MINUTE, wrong("P1")) == {2: 1}
        assert [await became(2, "acknowledged", "app") for _ in range(2)] == ["taken", "known"]
        assert await rows(connection, "SELECT acknowledged_by FROM staff_alarm") == ["Wu, over app"]
        assert await became(2, "failed", "app") == "known"
        assert await look(connection, 2 * REPEAT, wrong("P1")) == {}
        await look(connection, 2 * REPEAT, wrong("7 (P1)", "job_restore"))
        assert await became(3, "acknowledged", "app") == "to_assign"
        assert await became(3, "failed", "app") == "taken"

    on(database_url, story)


def test_a_breaker_is_told_whom_it_concerns(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(1, area="T-1")
        site.add(2, area="T-2", line="bus")
        site.add(3, area="T-2", line="bus")
        site.add(4, area="T-1", line="both")
        site.add(5, area="T-2", line="both")
        await site.take_over(connection)
        await connection.execute(
            "INSERT INTO breaker (scope, name, cause, found, allowed, opened_at)"
            " SELECT b.*, 'trips_in_an_hour', 4, 3, %(now)s FROM (VALUES ('site', ''),"
            " ('area', 'T-1'), ('line', 'bus'), ('line', 'both'), ('tariff', 'T')) b",
            {"now": NOW},
        )
        await look_for_all(connection, MINUTE)
        calls = "SELECT name || ' ' || kind, cardinality(alarms) FROM staff_call ORDER BY id"
        found = "SELECT about, area FROM staff_alarm ORDER BY about"
        assert await rows(connection, found) == [
            ("area T-1 trips_in_an_hour", "T-1"),
            ("line both trips_in_an_hour", ""),
            ("line bus trips_in_an_hour", "T-2"),
            ("site trips_in_an_hour", ""),
            ("tariff T trips_in_an_hour", ""),
        ]
        assert sorted(await rows(connection, calls)) == [
            ("Li breaker_open", 1),
            ("Li breaker_open", 3),
            ("Yu breaker_open", 1),
            ("Yu breaker_open", 3),
        ]

    on(database_url, story)


async def failed_reconnect(connection: AsyncConnection[Any]) -> None:
    """P1 was paid for and stays dark: its reconnect has a job."""
    await exhausted(connection, site=Site.of(1, area="T-1"))
    await cut(connection)
    await pay(connection, "A1", 1000)
    ((command,),) = [
        (it,) for it in await rows(connection, "SELECT id FROM command WHERE action <> 'trip'")
    ]
    assert await field_jobs.open_restore_jobs(connection, [command]) == [1]


async def look_for_all(connection: AsyncConnection[Any], at: timedelta) -> Mapping[int, int]:
    """As the tick of the daemon does."""
    now = NOW + at
    found = await supply_alarms(connection, ["line"], now, shadow_mode=False)
    return (await call_staff(connection, STAFF, found, now)).levels


def test_a_job_is_had_by_whom_it_is_given_to_and_speaks_for_its_point(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await failed_reconnect(connection)
        late = timedelta(hours=1)
        found = await supply_alarms(connection, ["line"], NOW + late, shadow_mode=False)
        assert [(it["kind"], it["area"], it["has_job"]) for it in found] == [
            ("reconnect_late", "T-1", True)
        ]
        await look_for_all(connection, late)
        assert await told(connection) == [(1, 1, "Li", "job_restore", 1)]
        assert await rows(connection, "SELECT about FROM staff_alarm") == ["1 (P1)"]
        assert await staff_alarms.acknowledge(connection, 1, "Li") == []
        await look_for_all(connection, late + AFTER)
        assert (await told(connection))[1:] == [(2, 2, "Wu", "job_restore", 1)]
        await field_jobs.assign(connection, 1, "Zhang", "Wu")
        assert await look_for_all(connection, late + AFTER + REPEAT) == {}
        assert len(await told(connection)) == 2

    on(database_url, story)


def test_each_job_that_is_overdue_is_told_by_itself_until_somebody_has_it(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await failed_reconnect(connection)
        await field_jobs.assign(connection, 1, "Zhang", "Wu")
        # Of an account as a whole, and another one of the same point.
        await connection.execute(
            "INSERT INTO field_job (kind, account_id, point_id, cause, opened_at, due_at)"
            " SELECT kind, 1, point_id, 'it did not work', %(now)s, %(now)s"
            " FROM (VALUES ('notice', NULL), ('foreign_closed', 1)) j (kind, point_id)",
            {"now": NOW},
        )
        await connection.execute(
            "INSERT INTO field_job_owner (job_id, owner, actor)"
            " SELECT id, 'Zhang', 'Wu' FROM field_job WHERE id > 1"
        )
        late = timedelta(hours=26)
        alarms = await supply_alarms(connection, ["line"], NOW + late, shadow_mode=False)
        assert {(it["kind"], it["point"], it["account"]) for it in alarms} == {
            ("reconnect_late", "P1", "A1"),
            ("foreign_closed", "P1", "A1"),
            ("notice_failed", None, "A1"),
            ("job_overdue", "P1", "A1"),
            ("job_overdue", None, "A1"),
        }
        assert await look_for_all(connection, late) == {1: 3}
        assert await told(connection) == [(1, 1, "Li", "job_overdue", 3)]
        found = "SELECT about || ' ' || area FROM staff_alarm ORDER BY about"
        assert await rows(connection, found) == ["1 (P1) T-1", "2 (A1) T-1", "3 (P1) T-1"]
        assert len(await staff_alarms.acknowledge(connection, 1, "Li")) == 3
        assert await look_for_all(connection, late + AFTER) == {}
        assert await field_jobs.close_job(connection, 2, "rung up", "Zhang")
        assert await look_for_all(connection, late + AFTER + REPEAT) == {}
        assert len(await told(connection)) == 1

    on(database_url, story)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """What is posted, and where to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.notice_receiver", "0", str(tmp_path)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        yield tmp_path, f"http://127.0.0.1:{int(process.stdout.readline())}/"
    process.kill()
    process.wait()


def posted(folder: Path) -> list[tuple[int, int, int, str]]:
    """(call, try, level, name) of what came."""
    paths = sorted(folder.glob("*.json"), key=lambda path: int(path.stem))
    found = [json.loads(json.loads(path.read_text())["body"]) for path in paths]
    return [(it["call"], it["try"], it["level"], it["name"]) for it in found]


async def outbox(pool: Pool, url: str) -> Outbox:
    """As a daemon has it that was just started."""
    section = NoticeChannelSection.model_construct(
        name="app", webhook=Secret(url), key=Secret("key"), timeout_s=10.0
    )
    made = Outbox(pool, TELLING, {}, {})
    made.change(TELLING, open_channels([section]), {"app": 10.0})
    return made


SOONER: Final = "UPDATE staff_call SET next_at = next_at - interval '2 hours' WHERE sent_at IS NULL"


def test_a_failed_reconnect_reaches_level_1_then_2_and_an_owner_ends_it(
    database_url: str, receiver: tuple[Path, str]
) -> None:
    folder, url = receiver

    async def story() -> None:
        pool = Pool(database_url, most=4)
        await pool.open()
        try:
            async with await connect(database_url) as connection:
                await failed_reconnect(connection)
                past = -timedelta(hours=2)
                await look_for_all(connection, past)
                await (await outbox(pool, url)).send_calls()
                assert posted(folder) == [(1, 1, 1, "Li")]
                await (await outbox(pool, url)).send_calls()
                assert len(posted(folder)) == 1
                (folder / "status").write_text("503")
                await look_for_all(connection, past + AFTER)
                await (await outbox(pool, url)).send_calls()
                assert posted(folder)[1:] == [(2, 1, 2, "Wu")]
                # Before its pause is over it is not tried again.
                await (await outbox(pool, url)).send_calls()
                assert len(posted(folder)) == 2
                await connection.execute(SOONER)
                (folder / "status").write_text("204")
                await (await outbox(pool, url)).send_calls()
                assert posted(folder)[2:] == [(2, 2, 2, "Wu")]
                assert await rows(connection, "SELECT count(sent_at) FROM staff_call") == [2]
                await look_for_all(connection, past + AFTER + REPEAT)
                # It is made and not sent: whoever has the job meanwhile ends it.
                await field_jobs.assign(connection, 1, "Zhang", "Wu")
                await look_for_all(connection, past + AFTER + REPEAT + MINUTE)
                await (await outbox(pool, url)).send_calls()
                assert len(posted(folder)) == 3
                withdrawn = "SELECT error FROM staff_call WHERE failed_at IS NOT NULL"
                assert await rows(connection, withdrawn) == ["not due any more"]
                # So it is with what somebody acknowledges before it is sent.
                await look(connection, past, wrong("P9"))
                await staff_alarms.acknowledge(connection, 4, "Li")
                await (await outbox(pool, url)).send_calls()
                assert len(posted(folder)) == 3
        finally:
            await pool.close(1.0)

    asyncio.run(story())


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (503, len(PAUSES) + 1)])
def test_who_cannot_be_reached_is_passed_over_at_once(
    database_url: str, receiver: tuple[Path, str], status: int, tries: int
) -> None:
    folder, url = receiver
    (folder / "status").write_text(str(status))

    async def story() -> None:
        pool = Pool(database_url, most=4)
        await pool.open()
        try:
            async with await connect(database_url) as connection:
                past = -timedelta(hours=8)
                await look(connection, past, wrong("P1"))
                for tried in range(1, tries + 1):
                    await (await outbox(pool, url)).send_calls()
                    assert len(posted(folder)) == tried
                    failed = await rows(connection, "SELECT has_failed FROM staff_alarm")
                    assert failed == [tried == tries]
                    if tried < tries:
                        await connection.execute(SOONER)
                assert len(await told(connection)) == 1
                await look(connection, past + MINUTE, wrong("P1"))
                assert (await told(connection))[1:] == [(2, 2, "Wu", "cut_not_seen", 1)]
        finally:
            await pool.close(1.0)

    asyncio.run(story())


def test_a_tick_asks_the_same_few_questions_however_much_is_wrong(database_url: str) -> None:
    async def statements(connection: AsyncConnection[Any], at: timedelta, count: int) -> int:
        with counted(connection) as given:
            await look(connection, at, *(wrong(f"P{number}") for number in range(count)))
        return len(given)

    async def story(connection: AsyncConnection[Any]) -> None:
        few = await statements(connection, 0 * MINUTE, 2)
        assert await statements(connection, 2 * AFTER, 2000) == few
        assert sum(it[4] for it in await told(connection)) == 2 + 2000

    on(database_url, story)


def test_what_was_over_for_a_year_goes_and_the_last_number_stays(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await exhausted(connection)
        old = -timedelta(days=5000)
        await look(connection, old, wrong("P1"), wrong("P2"))
        await look(connection, old + 2 * AFTER, wrong("P2"))
        moment = "SELECT forget_rows(%s, now(), 10)"
        async with await AsyncConnection.connect(as_owner(database_url)) as owner:
            gone = [
                await (await owner.execute(moment, (table,))).fetchone()
                for table in ("staff_alarm", "staff_call")
            ]
        assert gone == [(1,), (1,)]
        assert await rows(connection, "SELECT about FROM staff_alarm") == ["P2"]
        assert await rows(connection, "SELECT id FROM staff_call") == [2]

    on(database_url, story)


def test_a_call_that_was_sent_stays_as_it_was(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await look(connection, 0 * MINUTE, wrong("P1"))
        now: datetime = NOW
        await staff_alarms.mark_sent(connection, 1, now)
        await staff_alarms.give_up(connection, 1, "too late", now)
        assert await rows(connection, "SELECT has_failed FROM staff_alarm") == [False]
        with pytest.raises(errors.DatabaseError):
            await connection.execute("UPDATE staff_call SET sent_at = NULL, failed_at = now()")

    on(database_url, story)
