"""S3 through the commands: what was collected on demand is evidence, for two persons (R13, R14)."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.transactions.raw_rows import keep_current
from storage import identity
from storage.identity import Told
from tests.database.cli.test_document_commands import Place, place
from tests.database.small_site import DAY, OPEN, ZONE, meters, on

__all__ = ["place"]
pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
MISSED = OPEN + DAY
AFTERNOON = timedelta(hours=15, minutes=20)
OF_POINT = ("quality", "substitute", "P1", str(MISSED), "--method", "S3")
SAID = ("--evidence", "load profile, 4.20 kWh", "--reason", "no answer at night", "--actor", "Li")


def collected(place: Place, day: date, kwh: str, *rates: str) -> None:
    """The meter of P1 told its registers on that day at 15:20."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await keep(connection, day, kwh, *rates)

    on(place.url, story)


async def keep(connection: AsyncConnection[Any], day: date, kwh: str, *rates: str) -> None:
    at = datetime.combine(day, datetime.min.time(), ZONE) + AFTERNOON
    current = SimpleNamespace(
        meter=(await meters(connection))["P1"],
        registers=tuple(map(Decimal, (kwh, *rates))),
        at=at.astimezone(UTC),
        arrived_at=at.astimezone(UTC),
        told_by=None,
    )
    await keep_current(connection, current, ZONE)


def raw(place: Place) -> list[dict[str, Any]]:
    told = place.done("readings", "P1", "--from", str(OPEN), "--raw", "--json")
    return [json.loads(row) for row in told.splitlines()]


def refused(place: Place, *more: str) -> str:
    done = place.meterd(*OF_POINT, *SAID, *more, "--json")
    assert done.returncode == 65, done.stdout
    return str(json.loads(done.stdout)["refused"])


def test_a_substitute_is_worked_out_from_what_was_collected_and_counts_for_two(
    place: Place,
) -> None:
    place.read_on("P1", OPEN, "112.00")
    collected(place, MISSED, "122.30")
    (frozen, current) = raw(place)
    assert (frozen["kind"], current["kind"]) == ("daily freeze", "current")
    assert (current["register"], current["source"]) == ("122.30", "on demand")
    assert (current["stamp"], current["shown"]) == (f"{MISSED} 15:20:00", False)
    number = ("--reading", str(current["reading"]))
    place.done(*OF_POINT, *SAID, *number, "--total", "118.10")
    told = place.done("quality", "waiting")
    assert f"load profile, 4.20 kWh; the meter told 122.30 at {MISSED} 15:20:00" in told
    own = place.meterd("quality", "approve", "1", "--actor", "Li")
    assert (own.returncode, "same_person" in own.stderr) == (65, True)
    place.done("quality", "approve", "1", "--actor", "Wang")
    of_day = f"SELECT state::text, total FROM slot WHERE point_id = 1 AND day = '{MISSED}'"
    assert place.ask(of_day) == [("substituted", 11810)]


def test_registers_fill_no_day_and_bill_nothing(place: Place) -> None:
    place.read_on("P1", OPEN, "112.00")
    collected(place, MISSED, "122.30", "100.00", "22.30")
    assert place.ask("SELECT day::text FROM slot WHERE point_id = 1") == [(str(OPEN),)]
    assert place.ask("SELECT count(*) FROM link") == [(0,)]
    assert "nothing" not in place.done("readings", "P1", "--from", str(OPEN), "--raw")


def test_the_same_registers_again_are_one_reading(place: Place) -> None:
    collected(place, MISSED, "122.30")
    collected(place, MISSED, "122.30")
    assert len(raw(place)) == 1
    collected(place, MISSED, "122.31")
    assert len(raw(place)) == 2


def test_s3_must_name_what_was_collected_that_day(place: Place) -> None:
    place.read_on("P1", OPEN, "112.00")
    collected(place, MISSED + DAY, "130.00")
    assert refused(place, "--total", "118.10") == "no_current_reading"
    frozen, current = (str(it["reading"]) for it in raw(place))
    for other in (frozen, current, "1"):
        assert refused(place, "--total", "118.10", "--reading", other) == "not_read_then"


def test_s3_is_never_above_what_the_register_showed_later(place: Place) -> None:
    place.read_on("P1", OPEN, "112.00")
    collected(place, MISSED, "122.30")
    number = str(raw(place)[-1]["reading"])
    assert refused(place, "--total", "122.31", "--reading", number) == "above_current"


def test_what_another_meter_told_is_no_evidence(place: Place) -> None:
    place.read_on("P1", OPEN, "112.00")

    async def story(connection: AsyncConnection[Any]) -> None:
        since = datetime.combine(OPEN, datetime.min.time(), ZONE)
        meter = (await meters(connection))["P1"]
        await identity.store(connection, [Told(meter.meter_id, since, "7", "8", "8", None)])
        await keep(connection, MISSED, "122.30")

    on(place.url, story)
    number = str(raw(place)[-1]["reading"])
    assert refused(place, "--total", "118.10", "--reading", number) == "not_read_then"
