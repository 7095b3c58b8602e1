"""An amnesty in rows: everybody who is cut comes back, as fast as the ramp lets them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.control.ramp import Ramp
from daemon.transactions.amnesty import restore_on_ramps
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.release import take_step
from daemon.transactions.supply_marks import Marked, MarkRefused, lift_mark, set_mark
from daemon.transactions.sweep import sweep
from protocols.reading import RelayState
from storage.documents import Said
from tests.database.small_site import ARMED, NOW, Site, on, pay, rows

WHY = Said("zhao", "flood")
MINUTE = timedelta(minutes=1)
CLOSED = RelayState(relay_open=False, command_open=False)
STATES = "SELECT supply_state, count(*) FROM point_supply GROUP BY 1"
STILL_DARK = "SELECT count(*) FROM point_supply WHERE supply_state <> 'energised'"
SENDS_ALL = """
    WITH sent AS (UPDATE command SET state = 'verified', sends = 1, sent_at = %s
                  WHERE line = 'line' AND state = 'persisted' RETURNING point_id)
    UPDATE point_supply v SET supply_state = 'energised' FROM sent WHERE v.point_id = sent.point_id
    RETURNING v.point_id"""
CAUSES = "SELECT cause FROM command ORDER BY sequence"


async def all_cut(connection: AsyncConnection[Any], site: Site) -> None:
    for account in site.accounts:
        account["reconnect_fen"] = 1000
    await site.take_over(connection)
    await connection.execute("UPDATE point_supply SET supply_state = 'disconnected'")


async def grant(connection: AsyncConnection[Any], points_a_minute: int, **of: str) -> int:
    ramp = Ramp(4 * points_a_minute, 4)
    at = NOW - MINUTE
    return await set_mark(connection, "amnesty", Marked(**of), WHY, from_at=at, ramp=ramp)


async def line_works(
    connection: AsyncConnection[Any], line: str, now: datetime, *, is_up: bool = True
) -> list[int]:
    """All that a line does now; the points that it sent a reconnect to."""
    sent = []
    while (step := await take_step(connection, ARMED, line, now)) is not None:
        command = step.command
        if step.kind == "send":
            sent.append(command.point_id)
            if is_up:
                await take_answer(connection, command, "acked", "accepted", now)
            else:
                await take_answer(connection, command, "unknown", "silence", now)
        else:
            await take_observation(connection, command, CLOSED if is_up else None, now)
    return sent


def most_within_a_minute(sent: Iterable[tuple[datetime, int]]) -> int:
    """Points that got a frame within any minute."""
    known = [*sent]
    return max(
        len({point for at, point in known if until - MINUTE < at <= until})
        for until in {at for at, _ in known}
    )


def test_two_thousand_come_back_and_never_exceed_the_ramp(database_url: str) -> None:
    most = 300

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(2000)
        for meter in site.meters[:40]:
            meter["line"] = "down at first"
        await all_cut(connection, site)
        await grant(connection, most)
        sent: list[tuple[datetime, int]] = []
        now = NOW
        while await rows(connection, STILL_DARK) != [0]:
            now += timedelta(seconds=20)
            assert now < NOW + timedelta(hours=2)
            await restore_on_ramps(connection, now)
            # A line that sends all at once whatever waits, and whose meters close.
            sent += [(now, point) for point in await rows(connection, SENDS_ALL, now)]
            is_up = now > NOW + timedelta(minutes=4)
            line = await line_works(connection, "down at first", now, is_up=is_up)
            sent += [(now, point) for point in line]
        assert most_within_a_minute(sent) == most
        assert set(await rows(connection, CAUSES)) == {"amnesty 1"}

    on(database_url, story)


def test_of_an_area_others_stay_as_they_are(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(3)
        site.points[0]["area"] = "T1"
        await all_cut(connection, site)
        number = await grant(connection, 5, area="T1")
        await sweep(connection, ARMED, NOW)
        assert dict(await rows(connection, STATES)) == {
            "reconnect_commanded": 1,
            "disconnected": 2,
        }
        await lift_mark(connection, number, {"amnesty"}, WHY)
        await grant(connection, 5)
        await sweep(connection, ARMED, NOW)
        assert dict(await rows(connection, STATES)) == {"reconnect_commanded": 3}

    on(database_url, story)


def test_one_that_is_over_restores_nobody(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await all_cut(connection, Site.of(1))
        await lift_mark(connection, await grant(connection, 5), {"amnesty"}, WHY)
        await sweep(connection, ARMED, NOW)
        assert dict(await rows(connection, STATES)) == {"disconnected": 1}

    on(database_url, story)


ASKED_FOR = "SELECT point_id FROM command ORDER BY sequence"
ORDERED_OFF = (
    "INSERT INTO cut_order (point_id, cause, actor, reason, second, agreed_at) "
    "VALUES (1, 'safety', 'li', 'wet', 'wang', now())"
)


@pytest.mark.parametrize("by", ["lock", "order"])
def test_where_somebody_works_nobody_else_waits(database_url: str, by: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await all_cut(connection, Site.of(4))
        await grant(connection, 1)

        async def keep_off(point: int) -> None:
            if by == "lock":
                of = Marked(point=f"P{point}")
                await set_mark(connection, "keep_off", of, WHY, from_at=NOW - MINUTE)
            else:
                await connection.execute(ORDERED_OFF.replace("(1", f"({point}").encode())

        # It was cut as long as the others, and stands first.
        await keep_off(1)
        await sweep(connection, ARMED, NOW)
        assert await rows(connection, ASKED_FOR) == [2]
        # Its reconnect has been asked for, and stays.
        await keep_off(2)
        await sweep(connection, ARMED, NOW + timedelta(seconds=10))
        assert await rows(connection, ASKED_FOR) == [2, 3]
        assert await line_works(connection, "line", NOW + timedelta(seconds=10)) == [3]

    on(database_url, story)


def test_a_line_that_is_down_keeps_nobody_else_waiting_and_comes_back_on_the_ramp(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(4)
        site.meters[0]["line"] = site.meters[1]["line"] = "down"
        await all_cut(connection, site)
        await grant(connection, 1)
        await sweep(connection, ARMED, NOW)
        await sweep(connection, ARMED, NOW + timedelta(seconds=59))
        assert await rows(connection, ASKED_FOR) == [1]
        await connection.execute(
            "INSERT INTO outage (line, since, tries, reason) VALUES ('down', %s, 1, 'refused')",
            (NOW,),
        )
        later = NOW + timedelta(seconds=61)
        await sweep(connection, ARMED, later)
        assert await rows(connection, ASKED_FOR) == [1, 3]
        assert await line_works(connection, "line", later) == [3]
        # The place of this minute is taken.
        assert await line_works(connection, "down", later) == []
        assert await line_works(connection, "down", later + MINUTE) == [1]

    on(database_url, story)


def test_whoever_pays_does_not_wait_for_the_ramp(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await all_cut(connection, Site.of(4))
        await grant(connection, 1)
        await sweep(connection, ARMED, NOW)
        assert await rows(connection, CAUSES) == ["amnesty 1"]
        # The one that is on its way is sent again and again.
        assert len(await line_works(connection, "line", NOW, is_up=False)) == 1
        await pay(connection, "A4", 1000)
        assert len(await line_works(connection, "line", NOW)) == 1
        assert await rows(connection, CAUSES) == ["amnesty 1", "payment pay:counter:1"]
        # Both count: nobody else comes back within this minute.
        await sweep(connection, ARMED, NOW + timedelta(seconds=59))
        assert len(await rows(connection, CAUSES)) == 2
        await sweep(connection, ARMED, NOW + MINUTE)
        assert len(await rows(connection, CAUSES)) == 3

    on(database_url, story)


def test_a_repeat_waits_for_the_ramp_until_its_customer_has_paid(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await all_cut(connection, Site.of(2))
        await grant(connection, 1)
        await sweep(connection, ARMED, NOW)
        assert len(await line_works(connection, "line", NOW, is_up=False)) == 1
        later = NOW + MINUTE
        await connection.execute("UPDATE command SET next_at = 'infinity'")
        await sweep(connection, ARMED, later)
        assert len(await line_works(connection, "line", later, is_up=False)) == 1
        # The first one is to be sent again, and the ramp is full.
        first = "UPDATE command SET state = 'persisted', next_at = %s WHERE point_id = 1"
        await connection.execute(first, (later,))
        await connection.execute("UPDATE command SET next_at = 'infinity' WHERE point_id = 2")
        assert await line_works(connection, "line", later) == []
        await pay(connection, "A1", 1000)
        assert await line_works(connection, "line", later + timedelta(seconds=16)) == [1]

    on(database_url, story)


def test_nobody_is_cut_until_it_ends(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await all_cut(connection, Site.of(1))
        await connection.execute("UPDATE account SET credit_state = 'exhausted', trip_fen = 100")
        number = await grant(connection, 5)
        await sweep(connection, ARMED, NOW)
        await line_works(connection, "line", NOW)
        await line_works(connection, "line", NOW + timedelta(seconds=6))
        await sweep(connection, ARMED, NOW + MINUTE)
        (reasons,) = await rows(connection, "SELECT reasons FROM guard_verdict")
        assert "HOLD" in reasons
        assert dict(await rows(connection, STATES)) == {"energised": 1}
        await lift_mark(connection, number, {"amnesty"}, WHY)
        await sweep(connection, ARMED, NOW + 2 * MINUTE)
        newest = "SELECT reasons FROM guard_verdict ORDER BY id DESC LIMIT 1"
        assert "HOLD" not in (await rows(connection, newest))[0]

    on(database_url, story)


def test_a_ramp_on_which_nobody_would_come_back_is_refused(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        with pytest.raises(MarkRefused, match="with 3 kW a minute and 4 kW a point nobody"):
            await set_mark(connection, "amnesty", Marked(), WHY, ramp=Ramp(3, 4))

    on(database_url, story)
