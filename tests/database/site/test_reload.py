"""A reload is all or nothing, also when the database goes away in the middle of it."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from daemon.acquisition.lines import Lines
from daemon.acquisition.planning.wanted import due_day
from daemon.quality.use_checks import USUAL
from daemon.site.reload import Configuration, DarkLeft, thresholds_of
from tests.database.site.running import ZONE, edit, with_a_running_site
from tests.database.small_site import connect, freeze, store

pytestmark = pytest.mark.hypertables


def lines_of_meters(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT address, line FROM meter ORDER BY address").fetchall()


def test_a_meter_moves_with_its_line_and_only_those_lines_are_built_anew(
    database_url: str, tmp_path: Path
) -> None:
    async def test(configuration: Configuration, lines: Lines) -> None:
        before = {line.name: line for line in lines}
        edit(
            tmp_path,
            "meterd.toml",
            '[[line]]\nname = "b"',
            '[[line]]\nname = "c"\ntcp = "127.0.0.1:3"\n\n[[line]]\nname = "b"',
        )
        edit(tmp_path, "meters.csv", "000000000002,b", "000000000002,c")
        found = await configuration.reload()
        assert (found.added, list(found.changed)) == (("c",), ["b"])
        assert lines_of_meters(database_url) == [("000000000001", "a"), ("000000000002", "c")]
        assert lines.get("a") is before["a"]
        assert lines.get("b") is not before["b"]
        assert {line.name: [meter.address for meter in line.meters] for line in lines} == {
            "a": ["000000000001"],
            "b": [],
            "c": ["000000000002"],
        }

    with_a_running_site(database_url, tmp_path, test)


def test_a_database_that_goes_away_in_the_middle_changes_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(configuration: Configuration, lines: Lines) -> None:
        before = {line.name: line for line in lines}
        stop = lines.stop

        async def stop_and_lose_the_database(names: Iterable[str]) -> None:
            await stop(names)
            async with await psycopg.AsyncConnection.connect(
                database_url, autocommit=True
            ) as other:
                await other.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

        edit(tmp_path, "meters.csv", "000000000002,b", "000000000002,a")
        with monkeypatch.context() as patched:
            patched.setattr(lines, "stop", stop_and_lose_the_database)
            with pytest.raises(psycopg.OperationalError):
                await configuration.reload()
        assert {line.name: line for line in lines} == before
        assert lines_of_meters(database_url) == [("000000000001", "a"), ("000000000002", "b")]
        assert {"line a", "line b"} <= {task.get_name() for task in asyncio.all_tasks()}
        for _ in range(4):  # the other connections of the pool died too
            with suppress(psycopg.OperationalError):
                await configuration.reload()
        assert lines_of_meters(database_url) == [("000000000001", "a"), ("000000000002", "a")]
        assert [len(line.meters) for line in lines] == [2, 0]

    with_a_running_site(database_url, tmp_path, test)


def test_a_plan_changes_nothing(database_url: str, tmp_path: Path) -> None:
    async def test(configuration: Configuration, lines: Lines) -> None:
        before = {line.name: line for line in lines}
        edit(tmp_path, "meters.csv", "000000000002,b", "000000000002,a")
        plan = await configuration.plan(tmp_path / "meterd.toml")
        assert sorted(plan.changed) == ["a", "b"]
        assert {line.name: line for line in lines} == before
        assert lines_of_meters(database_url) == [("000000000001", "a"), ("000000000002", "b")]
        assert await configuration.reload() == plan

    with_a_running_site(database_url, tmp_path, test)


def test_what_a_site_says_of_quality_is_planned_in_days_and_taken_over(
    database_url: str, tmp_path: Path
) -> None:
    async def test(configuration: Configuration, lines: Lines) -> None:
        assert thresholds_of(configuration.site) == USUAL
        with psycopg.connect(database_url) as connection:
            limits = connection.execute("SELECT max_daily_kwh, basis FROM point_limit").fetchall()
        assert set(limits) == {(380, "quality.max_daily_kwh")}
        site = tmp_path / "meterd.toml"
        told = "\n[quality]\nmax_daily_kwh = 500\nhigh_factor = 2\nstopped_days = 3\n"
        site.write_text(site.read_text() + told)
        plan = await configuration.plan(site)
        assert plan.settings == (
            "quality.high_factor",
            "quality.max_daily_kwh",
            "quality.stopped_days",
        )
        assert plan.needs_restart == ()
        assert [it.partition(" (from")[0] for it in plan.days] == [
            f"P{n}: at most 500 kWh a day" for n in (1, 2)
        ]
        assert thresholds_of(configuration.site) == USUAL
        await configuration.reload()
        assert thresholds_of(configuration.site) == replace(USUAL, high_factor=2, stopped_days=3)
        with psycopg.connect(database_url) as connection:
            query = "SELECT DISTINCT n.max_daily_kwh FROM point p, limit_now(p.id) n"
            assert connection.execute(query).fetchall() == [(500,)]

    with_a_running_site(database_url, tmp_path, test)


def test_a_version_that_waits_is_told_by_plan_and_reload_with_the_command_that_approves_it(
    database_url: str, tmp_path: Path
) -> None:
    async def test(configuration: Configuration, lines: Lines) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("UPDATE tariff_version SET is_used = true")
        tariffs = tmp_path / "tariffs.toml"
        later = tariffs.read_text().replace("2020", "2035")
        tariffs.write_text(tariffs.read_text() + later)
        site = f"{tmp_path}/meterd.toml"
        told = f"waits for a second person: meterd tariff approve home 2035-01-01 --actor NAME -c {site}"
        owner = tariffs.owner()
        plan = await configuration.plan(tmp_path / "meterd.toml")
        assert plan.waiting == (f"tariff home from 2035-01-01, told by {owner}, {told}",)
        found = await configuration.reload("li")
        by = f"told by li in a file of {owner}"
        assert found.waiting == (f"tariff home from 2035-01-01, {by}, {told}",)
        again = await configuration.plan(tmp_path / "meterd.toml")
        assert again.is_empty
        assert again.waiting == found.waiting

    with_a_running_site(database_url, tmp_path, test)


LINE_B = '[[line]]\nname = "b"\ntcp = "127.0.0.1:8"\n'


def cut(url: str, point: str, supply_state: str = "disconnected") -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE point_supply SET supply_state = %s FROM point WHERE id = point_id AND number = %s",
            (supply_state, point),
        )


@pytest.mark.parametrize("supply_state", ["disconnected", "reconnect_commanded"])
def test_a_line_on_which_somebody_is_cut_stops_only_by_its_name(
    database_url: str, tmp_path: Path, supply_state: str
) -> None:
    async def test(configuration: Configuration, lines: Lines) -> None:
        cut(database_url, "P2", supply_state)
        before = {line.name: line for line in lines}
        edit(tmp_path, "meterd.toml", LINE_B, f"{LINE_B}enabled = false\n")
        refusal = "line b would stop, and 1 points on it are cut: P2. .* --leave-dark b"
        with pytest.raises(DarkLeft, match=refusal):
            await configuration.plan(tmp_path / "meterd.toml")
        for leave_dark in (frozenset(), frozenset({"a"})):
            with pytest.raises(DarkLeft, match=refusal):
                await configuration.reload("li", leave_dark)
        assert {line.name: line for line in lines} == before
        leave_dark = frozenset({"b"})
        plan = await configuration.plan(tmp_path / "meterd.toml", leave_dark)
        assert plan.removed == ("b",)
        assert await configuration.reload("li", leave_dark) == plan
        assert [line.name for line in lines] == ["a"]

    with_a_running_site(database_url, tmp_path, test)


def test_a_line_may_stop_whose_points_are_on_or_go_to_another_line(
    database_url: str, tmp_path: Path
) -> None:
    async def test(configuration: Configuration, lines: Lines) -> None:
        cut(database_url, "P1")
        cut(database_url, "P2")
        edit(tmp_path, "meters.csv", "000000000002,b", "000000000002,a")
        edit(tmp_path, "meterd.toml", LINE_B, f"{LINE_B}enabled = false\n")
        assert (await configuration.reload()).removed == ("b",)
        assert [line.name for line in lines] == ["a"]

    with_a_running_site(database_url, tmp_path, test)


def test_two_who_ask_at_once_are_both_told(database_url: str, tmp_path: Path) -> None:
    async def test(configuration: Configuration, lines: Lines) -> None:
        edit(tmp_path, "meterd.toml", ":1", ":2")
        first, second = await asyncio.gather(configuration.reload(), configuration.reload())
        assert first == second
        assert list(first.changed) == ["a"]

    with_a_running_site(database_url, tmp_path, test)


def test_routes_know_exactly_the_days_that_the_database_has(
    database_url: str, tmp_path: Path
) -> None:
    async def test(configuration: Configuration, lines: Lines) -> None:
        today = due_day(datetime.now(ZONE))
        days = [today - timedelta(days=age) for age in range(4)]
        line = next(line for line in lines if line.name == "a")
        (meter,) = line.meters
        async with await connect(database_url) as connection:
            await store(connection, freeze(meter, days[0], "20"), freeze(meter, days[2], "10"))
        assert [line._jobs.wanted.is_wanted(0, day) for day in days] == [True] * 4
        await configuration.rebuild()
        assert [line._jobs.wanted.is_wanted(0, day) for day in days] == [False, True, False, True]

    with_a_running_site(database_url, tmp_path, test)
