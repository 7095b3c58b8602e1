"""meterd why, of what the database knows: each cause as the daemon would have written it down."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from psycopg import AsyncConnection

from config.notice_texts import shipped_texts
from daemon.notices import why as rules
from storage import gaps, supply
from storage import why as stored
from storage.gaps import Failures, Outage, SlotAttempt
from storage.supply import CommandMove, NewCommand
from tests.database.cli.test_ledger_commands import FILES
from tests.database.cli.test_readings_commands import meterd
from tests.database.small_site import DAY, NOW, TODAY, ZONE, Site, freeze, on, pay, rows, store

MINUTE: Final = timedelta(minutes=1)
LOOK: Final = NOW + 3 * MINUTE
ENGLISH: Final = shipped_texts()["en"]


async def why(connection: AsyncConnection[Any], name: str) -> list[rules.Why]:
    points = await stored.points_asked_for(connection, name)
    found = await stored.supplies(connection, points, rules.PointSupply, now=LOOK, today=TODAY)
    return [rules.why(it, ENGLISH, ZONE, LOOK) for it in found]


async def causes(connection: AsyncConnection[Any], names: Sequence[str]) -> list[str]:
    return [it.cause for name in names for it in await why(connection, name)]


async def command(connection: AsyncConnection[Any], point: str, action: str, state: str) -> None:
    """A command that was sent and is in this state, and the supply as it is then."""
    ((point_id, meter_id, address),) = await rows(
        connection,
        "SELECT p.id, m.id, m.address FROM point p JOIN installation i ON i.point_id = p.id "
        "JOIN meter m ON m.id = i.meter_id WHERE p.number = %s",
        point,
    )
    new = NewCommand(
        uuid4(), point_id, meter_id, address, "line", action, "test", {}, NOW, NOW + DAY
    )
    await supply.add_commands(connection, [new])
    await supply.move_command(connection, new.id, CommandMove("sent", NOW, sends=1), NOW)
    await supply.set_supply(connection, [point_id], state)


async def silence(connection: AsyncConnection[Any], *numbers: int) -> None:
    """These meters were asked in vain a minute later."""
    attempts = []
    for number in numbers:
        (meter_id,) = await rows(
            connection, "SELECT id FROM meter WHERE address = %s", f"{number:012d}"
        )
        attempts.append(SlotAttempt(meter_id, TODAY, 1, "no_answer", NOW + MINUTE, NOW))
    failures = Failures()
    failures.attempts.extend(attempts)
    await gaps.write_down(connection, failures)


async def end_commands(connection: AsyncConnection[Any]) -> None:
    await connection.execute("UPDATE command SET state = 'verified'")


def test_each_cause_is_told_of_what_is_written_down(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(4, area="T7")
        for number, line in ((5, "line"), (6, "other"), (7, "line")):
            site.add(number, line=line)
        meters = await site.take_over(connection)
        for point in ("P1", "P2", "P3", "P4", "P5", "P6"):
            await store(connection, freeze(meters[point], TODAY, 100))
        names = [f"P{number}" for number in range(1, 8)]
        assert await causes(connection, names) == [*["on"] * 6, "never_read"]

        await pay(connection, "A1", 300)
        await command(connection, "P1", "trip", "trip_commanded")
        await connection.execute("UPDATE account SET reconnect_fen = 1000 WHERE number = 'A1'")
        assert await causes(connection, ["P1"]) == ["trip"]
        await end_commands(connection)
        await connection.execute(
            "UPDATE point_supply SET supply_state = 'disconnected' WHERE point_id = 1"
        )
        (cut,) = await why(connection, "A1")
        assert (cut.cause, cut.missing_fen) == ("cut", 700)
        assert "pay 7.00 yuan" in cut.sentence

        await command(connection, "P1", "allow_close", "reconnect_commanded")
        assert await causes(connection, ["P1"]) == ["reconnect"]
        await connection.execute(
            "UPDATE point_supply SET supply_state = 'wait_customer_button' WHERE point_id = 1"
        )
        assert await causes(connection, ["P1"]) == ["button"]

        (seen,) = await rows(connection, "SELECT id FROM point WHERE number = 'P2'")
        await supply.observe_relay(
            connection, seen, is_open=True, is_ordered_open=True, keep_power=False, now=NOW
        )
        assert await causes(connection, ["P2"]) == ["foreign_open"]

        await silence(connection, 3, 5, 7)
        assert await causes(connection, ["P3", "P5", "P7", "P4"]) == [
            *("meter_silent", "meter_silent", "never_read", "on")
        ]
        await silence(connection, 1, 2, 4)
        assert await causes(connection, ["P3", "P4", "P5"]) == [
            *("area_silent", "area_silent", "meter_silent")
        ]
        # Whoever answers again is not silent.
        for point in ("P3", "P5"):
            again = freeze(meters[point], TODAY - DAY, 90)
            told = replace(again.freeze, arrived_at=NOW + 2 * MINUTE)
            await store(connection, replace(again, freeze=told))
        assert await causes(connection, ["P3", "P5"]) == ["on", "on"]

        failures = Failures()
        failures.outages.append(Outage("other", NOW - MINUTE, 3, "refused", None))
        await gaps.write_down(connection, failures)
        assert await causes(connection, ["P6", "P5"]) == ["line_down", "on"]

        await connection.execute(
            "INSERT INTO supply_mark (kind, area, from_at, to_at, actor, reason) "
            "VALUES ('planned_outage', 'T7', %s, %s, 'li', 'new transformer')",
            (NOW - MINUTE, NOW + DAY),
        )
        (planned,) = await why(connection, "P4")
        assert planned.cause == "planned_outage"
        assert "new transformer" in planned.sentence
        assert await causes(connection, ["P5", "P1"]) == ["on", "button"]

        await connection.execute("UPDATE point_supply SET cut_for = 'theft' WHERE point_id = 1")
        await connection.execute(
            "INSERT INTO cut_order (point_id, cause, actor, reason, second, agreed_at) "
            "VALUES (1, 'theft', 'li', 'a bridge over the meter', 'wang', now())"
        )
        (stolen,) = await why(connection, "P1")
        assert (stolen.cause, stolen.missing_fen) == ("theft", 0)
        assert "a bridge over the meter" in stolen.sentence
        await connection.execute(
            "UPDATE point_supply SET supply_state = 'disconnected' WHERE point_id = 1"
        )
        await connection.execute(
            "UPDATE cut_order SET ended_at = now(), ended_by = 'li', ended_why = 'settled'"
        )
        assert await causes(connection, ["P1"]) == ["order_over"]

        await connection.execute("UPDATE installation SET to_at = now() WHERE point_id = 5")
        assert await causes(connection, ["P5"]) == ["no_meter"]

    on(database_url, story)


def test_the_command_says_it_in_both_languages_and_as_json(
    database_url: str, tmp_path: Path
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(1).take_over(connection)
        await store(connection, freeze(meters["P1"], TODAY, 100))

    on(database_url, story)
    for name, text in {**FILES, "url": database_url}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    english = meterd(tmp_path, "why", "P1")
    assert english.returncode == 0, english.stderr
    assert "P1  Not dark as far as the meter tells." in english.stdout
    assert "last heard at" in english.stdout
    assert "就电表所知没有停电" in meterd(tmp_path, "why", "A1", "--language", "zh").stdout
    told = json.loads(meterd(tmp_path, "why", "A1", "--json").stdout)
    assert (told["cause"], told["point"], told["account"]) == ("on", "P1", "A1")
    unknown = meterd(tmp_path, "why", "P9")
    assert unknown.returncode == 1
    assert unknown.stderr == "meterd: no point and no account with points P9\n"
