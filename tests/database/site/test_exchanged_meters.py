"""A document says which meter serves a point; until a reload the files name the one before."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from daemon.acquisition.lines import Lines
from daemon.site.reload import Configuration
from daemon.transactions.documents.correction import AddressCorrection
from daemon.transactions.documents.crossing import Crossing
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.filing import Document, approve, file_document
from storage.documents import Said
from tests.database.site.running import edit, with_a_running_site
from tests.database.small_site import DAY, NOW, TODAY, connect, freeze, noon, store

LI = Said("li", "seen there")
WANG = Said("wang", "seen too")
EXCHANGE = Exchange("P1", noon(TODAY - 3 * DAY), "000000000009", (Decimal(22),), (Decimal(0),))


async def told(connection: AsyncConnection[Any], document: Document) -> None:
    """It counts, with the second person that it may need."""
    filed = await file_document(connection, document, LI, NOW)
    if filed.state == "waits":
        assert filed.number is not None
        await approve(connection, filed.number, WANG, NOW)


async def read(connection: AsyncConnection[Any], lines: Lines) -> None:
    """Each meter told three days."""
    for line in lines:
        for meter in line.meters:
            days = [TODAY - age * DAY for age in (5, 4, 3)]
            await store(connection, *(freeze(meter, day, 20) for day in days))


def meters(lines: Lines) -> dict[str, list[tuple[str, str]]]:
    return {line.name: [(meter.address, meter.point) for meter in line.meters] for line in lines}


def on_a_running_site(
    url: str,
    folder: Path,
    test: Callable[[AsyncConnection[Any], Configuration, Lines], Awaitable[None]],
) -> None:
    async def connected(configuration: Configuration, lines: Lines) -> None:
        async with await connect(url) as connection:
            await test(connection, configuration, lines)

    with_a_running_site(url, folder, connected)


def test_the_line_reads_the_meter_that_came_and_no_longer_the_one_that_went(
    database_url: str, tmp_path: Path
) -> None:
    async def test(
        connection: AsyncConnection[Any], configuration: Configuration, lines: Lines
    ) -> None:
        await read(connection, lines)
        untouched = lines.get("b")
        await told(connection, EXCHANGE)
        await configuration.follow_documents()
        assert meters(lines)["a"] == [("000000000009", "P1")]
        assert lines.meter("000000000001") is None
        assert lines.get("b") is untouched
        following = lines.get("a")
        await configuration.follow_documents()
        assert lines.get("a") is following

    on_a_running_site(database_url, tmp_path, test)


def test_the_look_for_gaps_follows_a_document_that_nobody_told_of(
    database_url: str, tmp_path: Path
) -> None:
    async def test(
        connection: AsyncConnection[Any], configuration: Configuration, lines: Lines
    ) -> None:
        await read(connection, lines)
        await told(connection, EXCHANGE)
        await configuration.refresh()
        assert meters(lines)["a"] == [("000000000009", "P1")]

    on_a_running_site(database_url, tmp_path, test)


def test_so_it_is_after_a_start_and_after_a_reload_that_builds_the_line_anew(
    database_url: str, tmp_path: Path
) -> None:
    async def exchanged(
        connection: AsyncConnection[Any], configuration: Configuration, lines: Lines
    ) -> None:
        await read(connection, lines)
        await told(connection, EXCHANGE)
        edit(tmp_path, "meterd.toml", ":1", ":2")
        assert list((await configuration.reload()).changed) == ["a"]
        assert meters(lines)["a"] == [("000000000009", "P1")]

    async def started_again(
        connection: AsyncConnection[Any], configuration: Configuration, lines: Lines
    ) -> None:
        assert meters(lines) == {"a": [("000000000009", "P1")], "b": [("000000000002", "P2")]}

    on_a_running_site(database_url, tmp_path, exchanged)
    on_a_running_site(database_url, tmp_path, started_again)


def test_plan_and_reload_name_the_cell_until_it_is_mended(
    database_url: str, tmp_path: Path
) -> None:
    async def test(
        connection: AsyncConnection[Any], configuration: Configuration, lines: Lines
    ) -> None:
        await read(connection, lines)
        site = tmp_path / "meterd.toml"
        assert (await configuration.plan(site)).stale == ()
        await told(connection, EXCHANGE)
        stale = (
            "meters.csv, P1: address: write 000000000009 instead of 000000000001 (document 1)",
        )
        plan = await configuration.plan(site)
        assert plan.is_empty
        assert plan.stale == stale
        assert (await configuration.reload()).stale == stale
        # Beside a change of another row, once.
        edit(tmp_path, "points.csv", "P1,C1", "P1,C2")
        edit(tmp_path, "points.csv", "P2,C2", "P2,C1")
        moved = await configuration.plan(site)
        assert moved.stale == stale
        assert not set(stale) & set(moved.days)
        edit(tmp_path, "meters.csv", "000000000001", "000000000009")
        assert (await configuration.plan(site)).stale == ()
        await configuration.reload()
        assert meters(lines)["a"] == [("000000000009", "P1")]

    on_a_running_site(database_url, tmp_path, test)


def test_an_address_that_a_document_mended_is_read(database_url: str, tmp_path: Path) -> None:
    async def test(
        connection: AsyncConnection[Any], configuration: Configuration, lines: Lines
    ) -> None:
        await told(connection, AddressCorrection("P1", "000000000011"))
        await configuration.follow_documents()
        assert meters(lines)["a"] == [("000000000011", "P1")]

    on_a_running_site(database_url, tmp_path, test)


def test_meters_that_were_crossed_are_read_for_their_own_points(
    database_url: str, tmp_path: Path
) -> None:
    async def test(
        connection: AsyncConnection[Any], configuration: Configuration, lines: Lines
    ) -> None:
        await read(connection, lines)
        await told(connection, Crossing("P1", "P2", None))
        await configuration.follow_documents()
        assert meters(lines) == {"a": [("000000000001", "P2")], "b": [("000000000002", "P1")]}

    on_a_running_site(database_url, tmp_path, test)


def test_a_meter_that_was_known_on_another_line_is_read_there(
    database_url: str, tmp_path: Path
) -> None:
    async def test(
        connection: AsyncConnection[Any], configuration: Configuration, lines: Lines
    ) -> None:
        await read(connection, lines)
        await told(connection, Exchange("P2", EXCHANGE.at, "000000000003", None, None))
        await told(connection, Exchange("P1", NOW - DAY / 8, "000000000002", None, None))
        await configuration.follow_documents()
        assert meters(lines) == {"a": [], "b": [("000000000002", "P1"), ("000000000003", "P2")]}

    on_a_running_site(database_url, tmp_path, test)
