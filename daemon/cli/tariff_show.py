"""meterd tariff check, show, diff: what tariffs say, without a daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import click
from psycopg import AsyncConnection

from config.problems import ConfigError, Problem
from config.settings_file import load_settings
from config.tariff_files import load_tariff_file
from config.tariff_form import read_version
from config.tariff_version import Fixed, Ladder, TariffVersion, Versions
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, fail, print_json, print_table
from daemon.cli.site_option import site_option
from storage import tariff_filing
from storage.tariff_filing import FiledVersion, State

Line = tuple[str, str]
FILES = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Shown(NamedTuple):
    """`state`: of a version in the database."""

    tariff: str
    version: TariffVersion
    state: State | None = None


@click.command(short_help="Name every mistake of tariff files.")
@click.argument("paths", metavar="TARIFF.toml...", type=FILES, nargs=-1, required=True)
def check(paths: tuple[Path, ...]) -> None:
    """Name every mistake of tariff files at once, each with its line and what to write instead.

    Exit code 78 if there is any."""
    problems: list[Problem] = []
    for path in paths:
        try:
            tariffs = load_tariff_file(path)
        except ConfigError as error:
            problems += error.problems
            continue
        for name, versions in tariffs.items():
            days = ", ".join(str(version.effective_from) for version in versions.all)
            echo(f"{path}: {name} is good, in force from {days}")
    if problems:
        raise ConfigError(problems)


@click.command(short_help="Show what tariffs cost, version by version.")
@click.argument("what", metavar="TARIFF.toml|NAME")
@site_option
@as_json
def show(what: str, site_path: Path, as_json: bool) -> None:
    """Show each version of the tariffs of a file: what a kWh, a day and a month cost.

    With a NAME the versions of that tariff that count or wait in the site's database. Exit code 78
    if the file has mistakes."""
    path = Path(what)
    is_file = path.suffix == ".toml" or path.is_file()
    for shown in _of_file(path) if is_file else _of_database(what, site_path):
        lines = list(_lines(shown.version))
        if as_json:
            print_json(_object(shown, lines))
        else:
            title = "waits for a second person" if shown.state == "waits" else ""
            rows = [(shown.tariff, str(shown.version.effective_from), *line) for line in lines]
            print_table(("tariff", "from", "what", "yuan"), rows, title=title)


def _of_file(path: Path) -> list[_Shown]:
    return [
        _Shown(name, version)
        for name, versions in load_tariff_file(path).items()
        for version in versions.all
    ]


def _of_database(tariff: str, site_path: Path) -> list[_Shown]:
    """Those that count or wait."""

    async def ask(connection: AsyncConnection[Any]) -> list[FiledVersion]:
        return await tariff_filing.versions(connection, "counts", "waits", tariff=tariff)

    found = on_database(load_settings(site_path), ask)
    if not found:
        raise fail(f"there is no tariff {tariff} in the database, and no such file")
    shown = []
    for filed in found:
        version, _ = read_version(json.loads(filed.form), tariff)
        assert version is not None, "what was stored was read before"
        shown.append(_Shown(tariff, version, filed.state))
    return shown


@click.command(short_help="Show what differs between two tariff files.")
@click.argument("old", metavar="OLD.toml", type=FILES)
@click.argument("new", metavar="NEW.toml", type=FILES)
def diff(old: Path, new: Path) -> None:
    """Show each line of `show` that differs between two tariff files, and both values.

    A version that only one of them has differs in all its lines. Where each file holds one tariff,
    these two are compared whatever their names. Exit code 78 if a file has mistakes."""
    tariffs, others = load_tariff_file(old), load_tariff_file(new)
    if len(tariffs) == len(others) == 1:
        tariffs = dict(zip(others, tariffs.values(), strict=True))
    before = _costs(tariffs)
    after = _costs(others)
    rows = [
        (*key, before.get(key, ""), after.get(key, ""))
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    ]
    rows.sort(key=lambda row: row[:2])
    print_table(("tariff", "from", "what", "old", "new"), rows)


def _costs(tariffs: Mapping[str, Versions]) -> dict[tuple[str, str, str], str]:
    return {
        (name, str(version.effective_from), what): yuan
        for name, versions in tariffs.items()
        for version in versions.all
        for what, yuan in _lines(version)
    }


def _object(shown: _Shown, lines: list[Line]) -> Mapping[str, Any]:
    told = {
        "tariff": shown.tariff,
        "effective_from": shown.version.effective_from,
        "costs": dict(lines),
    }
    return told if shown.state is None else {**told, "state": shown.state}


def _lines(version: TariffVersion) -> Iterator[Line]:
    """(what, yuan) of everything that a version charges."""
    ladder = version.ladder
    if ladder is None or not ladder.replaces_energy:
        for register, price in version.energy.items():
            yield f"kWh of {register}", _plain(price)
    if ladder is not None:
        yield from _steps(ladder)
    for surcharge in version.surcharges:
        how = "inside the price" if surcharge.is_included else "added"
        yield f"kWh, {surcharge.code} ({how})", _plain(surcharge.per_kwh)
    if version.fixed is not None:
        yield from _fees(version.fixed, ladder)
    if version.minimum_yuan is not None:
        yield "month, at least", _plain(version.minimum_yuan)
    if version.tax_rate is not None:
        yield "tax added", _percent(version.tax_rate)
    if version.included_tax_rate is not None:
        yield "tax inside the prices", _percent(version.included_tax_rate)


def _steps(ladder: Ladder) -> Iterator[Line]:
    more = " more" if ladder.method == "adder" else ""
    for number, name in enumerate(_ranges(ladder)):
        if ladder.method == "matrix":
            for rate, price in ladder.matrix[number].items():
                yield f"kWh of {rate}, {name} in a {ladder.cycle}", _plain(price)
            continue
        bound = ladder.bounds_kwh[number - 1] if number else Decimal(-1)
        is_whole = ladder.whole_above_kwh is not None and bound >= ladder.whole_above_kwh
        whole = ", for every kWh of it" if is_whole else ""
        yield f"kWh{more}, {name} in a {ladder.cycle}{whole}", _plain(ladder.prices[number])
    if ladder.cycle == "year" and ladder.partial_year == "months":
        yield "bounds in the year of a close", "by months in service"


def _fees(fixed: Fixed, ladder: Ladder | None) -> Iterator[Line]:
    if fixed.daily_yuan is not None:
        yield "day", _plain(fixed.daily_yuan)
    if fixed.monthly_yuan is not None:
        yield f"month, by {fixed.proration}", _plain(fixed.monthly_yuan)
    if fixed.by_slab is not None and ladder is not None:
        for phases, fees in fixed.by_slab.items():
            for name, fee in zip(_ranges(ladder), fees, strict=True):
                yield f"month of {phases} phase, {name}, by {fixed.proration}", _plain(fee)


def _ranges(ladder: Ladder) -> Iterator[str]:
    below = Decimal(0)
    for bound in ladder.bounds_kwh:
        yield f"{_plain(below)} to {_plain(bound)} kWh"
        below = bound
    yield f"above {_plain(below)} kWh"


def _percent(rate: Decimal) -> str:
    return f"{_plain(rate * 100)} %"


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
