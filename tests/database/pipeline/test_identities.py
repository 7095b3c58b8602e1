"""Who the meters said they are, on its way through the pipeline."""

from __future__ import annotations

from pathlib import Path

from daemon.pipeline.pipeline import MOST_IDENTITIES
from daemon.quality.arrival import IdentityRead
from protocols.reading import MeterIdentity
from storage.archive import SiteMeter
from tests.database.pipeline.test_pipeline import a_running, going, read_only, tell, until
from tests.database.small_site import NOW, OPEN, connect, freeze, rows

SERIALS = "SELECT serial FROM meter ORDER BY id"


def said(meter: SiteMeter, serial: str) -> IdentityRead:
    return IdentityRead(meter, MeterIdentity(serial, "none"), NOW)


def test_what_meters_said_is_stored_beside_readings(database_url: str, tmp_path: Path) -> None:
    async def story(meters: dict[str, SiteMeter]) -> None:
        found = list(meters.values())
        async with a_running(database_url, tmp_path / "spool", found) as running, going(running):
            for number, meter in enumerate(found):
                assert running.pipeline.identified(said(meter, str(number)))
                assert running.pipeline.submit(freeze(meter, OPEN, 100))
            await until(lambda: len(running.stored) == len(found))
            await until(lambda: not running.pipeline._identities)
        async with await connect(database_url) as connection:
            assert await rows(connection, SERIALS) == ["0", "1", "2"]

    tell(database_url, 3, story)


def test_what_the_database_cannot_store_now_is_stored_later_and_no_more_is_taken(
    database_url: str, tmp_path: Path
) -> None:
    """It can be asked again, and a line that runs without the database knows no row of it."""

    async def story(meters: dict[str, SiteMeter]) -> None:
        (meter,) = meters.values()
        async with a_running(database_url, tmp_path / "spool", [meter]) as running, going(running):
            with read_only(database_url):
                assert running.pipeline.identified(said(meter, "1"))
                await until(lambda: not running.pipeline.condition()["stores"])
                assert not running.pipeline.identified(said(meter, "2"))
            await until(lambda: not running.pipeline._identities)
        async with await connect(database_url) as connection:
            assert await rows(connection, SERIALS) == ["1"]

    tell(database_url, 1, story)


def test_there_is_room_for_so_many_and_no_more(database_url: str, tmp_path: Path) -> None:
    async def story(meters: dict[str, SiteMeter]) -> None:
        (meter,) = meters.values()
        async with a_running(database_url, tmp_path / "spool", [meter]) as running:
            taken = [
                running.pipeline.identified(said(meter, "1")) for _ in range(MOST_IDENTITIES + 1)
            ]
            assert (taken.count(True), taken[-1]) == (MOST_IDENTITIES, False)
            async with going(running):
                await until(lambda: not running.pipeline._identities)

    tell(database_url, 1, story)
