"""What a site's files say and nobody can have meant, or has not thought of.

Only `meterd check` asks: days go by, and what was right yesterday must not keep a daemon from
starting today."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from config.archive import ACCOUNTS, METERS, POINTS, TABLES, Point
from config.calendars import country_days
from config.contacts import CONTACTS, ENOUGH, reached_badly
from config.load import LoadedSite
from config.point_limit import CONTRACT, CURRENT, TOLD, VOLTAGE, column_of, meter_kw
from config.problems import Mistakes, Problem, shown
from config.settings_file import SettingsFile
from config.table import Keys, read_table
from config.table_text import table_file
from config.tariff_version import TariffVersion
from config.toml_lines import line_of, read_toml
from protocols.mqtt.tasmota import device_of

FIRST_DAY: Final = date(1990, 1, 1)
"""Before it no meter had a memory or an interface."""
YEAR: Final = timedelta(days=366)
MEMORY: Final = timedelta(days=62)
"""Of a DL/T 645-2007 meter: daily freezes."""
MOST_YUAN_PER_KWH: Final = Decimal(10)
"""The dearest hours of the dearest tariff have a seventh of it."""
MOST_OF_ONE_PHASE_V: Final = 300
AGAINST_NEUTRAL_V: Final = ((55, 70), (110, 130), (210, 260))
"""Of 3x57.7/100 V behind transformers, of 3x120/208 V, of 3x220/380 to 3x240/415 V."""
MOST_BEHIND_TRANSFORMERS_A: Final = 20
SHOWN: Final = 5
FRIDAY: Final = 5
MOST_LETTERS: Final = 82
"""Of the folder of the embedded database, whose socket is in it."""
CHINA: Final = "CN"
TOLD_BEFORE: Final = timedelta(days=31)
"""So long before a year begins its days off should be known."""


@dataclass(slots=True)
class Doubts:
    """`mistakes`: what cannot be meant; `warnings`: what may be."""

    mistakes: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def doubts_of(site: LoadedSite, today: date) -> Doubts:
    """What is to be said of a site that has no mistake in its files by themselves."""
    doubts = Doubts()
    doubts.mistakes += _zone(site)
    doubts.mistakes += _data_directory(site)
    doubts.mistakes += _ports(site)
    doubts.mistakes += _signer(site)
    doubts.mistakes += _days_off(site)
    doubts.mistakes += _prices(site)
    doubts.mistakes += _limits(site)
    doubts.mistakes += _installations(site, today)
    doubts.mistakes += _beginnings(site, today)
    doubts.warnings += _connections(site)
    doubts.warnings += _nothing_charged(site)
    mistakes, warnings = _openings(site, today)
    doubts.mistakes += mistakes
    doubts.warnings += warnings
    doubts.warnings += _points_without_meter(site)
    doubts.warnings += _parts_of_devices(site)
    doubts.warnings += _notices(site)
    doubts.warnings += _on_call(site)
    doubts.warnings += _calendar(site, today)
    return doubts


def _zone(site: LoadedSite) -> Iterator[Problem]:
    name = site.settings.site.zone.key
    if not name.startswith("Etc/GMT+") or name == "Etc/GMT+0":
        return
    hours = name.removeprefix("Etc/GMT+")
    message = (
        f"{name} is {hours} h WEST of Greenwich, as POSIX counts; name a place, as Asia/Shanghai"
    )
    file = SettingsFile.read(site.path)
    yield file.problem(("site", "zone"), "site.zone", message)


def _data_directory(site: LoadedSite) -> Iterator[Problem]:
    folder = site.settings.site.data_directory
    embedded = site.settings.database.url is None
    message = ""
    if "~" in folder.parts or any(part.startswith("$") for part in folder.parts):
        message = f"{folder}: write ~ and $NAME out, nothing takes their place here"
    elif folder.exists() and not folder.is_dir():
        message = f"{folder} is no folder"
    elif embedded and len(str(folder)) > MOST_LETTERS:
        message = f"has {len(str(folder))} letters: the embedded database takes {MOST_LETTERS}"
    if message:
        file = SettingsFile.read(site.path)
        yield file.problem(("site", "data_directory"), "site.data_directory", message)


def _ports(site: LoadedSite) -> Iterator[Problem]:
    file = SettingsFile.read(site.path)
    for number, listener in enumerate(site.settings.listener):
        if not listener.listen[1]:
            where = ("listener", number, "listen")
            message = "port 0 is another one at each start: no terminal finds it"
            yield file.problem(where, f"listener.{listener.name}.listen", message)


def _signer(site: LoadedSite) -> Iterator[Problem]:
    program = site.settings.control.signer
    # Where it cannot be started nobody is cut, and nobody who was cut is lit.
    if program is not None and not (program.is_file() and os.access(program, os.X_OK)):
        message = f"{program} is no program that can be started"
        yield SettingsFile.read(site.path).problem(("control", "signer"), "control.signer", message)


def _days_off(site: LoadedSite) -> Iterator[Problem]:
    control = site.settings.control
    file = SettingsFile.read(site.path)
    where = ("control", "makeup_workdays")
    for day in sorted(control.makeup_workdays):
        message = ""
        if day in control.holidays:
            message = f"{day} is a day off in holidays"
        elif day.isoweekday() <= FRIDAY and not control.calendar:
            message = f"{day} is no Saturday or Sunday: it is worked anyway"
        if message:
            yield file.problem(where, "control.makeup_workdays", message)


def _prices(site: LoadedSite) -> Iterator[Problem]:
    for name, versions in site.tariffs.items():
        for version in versions.all:
            highest = max(_prices_per_kwh(version), default=Decimal(0))
            if highest > MOST_YUAN_PER_KWH:
                message = (
                    f"version from {version.effective_from}: {highest} yuan/kWh cannot be meant, "
                    f"more than {MOST_YUAN_PER_KWH}: is it in fen, or a digit too far left?"
                )
                yield _in_tariffs(site, name, message)


def _beginnings(site: LoadedSite, today: date) -> Iterator[Problem]:
    for name, versions in site.tariffs.items():
        first = min(version.effective_from for version in versions.all)
        if first > today + YEAR:
            message = f"begins on {first}: nothing is billed before, which cannot be meant"
            yield _in_tariffs(site, name, message)


def _nothing_charged(site: LoadedSite) -> Iterator[Problem]:
    for name, versions in site.tariffs.items():
        for version in versions.all:
            if not any(_prices_per_kwh(version)):
                message = f"version from {version.effective_from}: each kWh costs 0 yuan"
                yield _in_tariffs(site, name, message)


def _in_tariffs(site: LoadedSite, name: str, message: str) -> Problem:
    path = site.settings.site.tariffs
    file = shown(path, site.path.absolute().parent)
    _, lines = read_toml(path, file)
    return Problem(file, line_of(lines, ("tariff", name)), f"tariff.{name}", message)


def _prices_per_kwh(version: TariffVersion) -> Iterator[Decimal]:
    yield from version.energy.values()
    if version.ladder is not None:
        yield from version.ladder.prices
        for step in version.ladder.matrix:
            yield from step.values()


def _installations(site: LoadedSite, today: date) -> Iterator[Problem]:
    for row, meter in enumerate(site.archive.meters):
        day = meter.installed_on
        if FIRST_DAY <= day <= today + YEAR:
            continue
        why = "in the future" if day > today else f"before {FIRST_DAY.year}"
        yield _in_archive(
            site,
            METERS,
            "installed_on",
            f"meter {meter.address} is installed on {day}, {why}: nothing would be read of it",
            row,
        )


def _limits(site: LoadedSite) -> Iterator[Problem]:
    """From a quarter of the register on nobody can tell a step on from a step back; of less than a
    step of it nothing would ever be published."""
    meters = {meter.point: meter for meter in site.archive.meters}
    for row, point in enumerate(site.archive.points):
        most = point.max_daily_kwh
        meter = meters.get(point.point)
        if meter is None:
            continue
        end = meter.modulus_kwh
        step = Decimal(1).scaleb(-meter.decimals)
        message = ""
        if 4 * most >= end:
            message = (
                f"{most} kWh a day is a quarter or more of {end}, where the register of point "
                f"{point.point} starts again at 0: a step back would be taken for use"
            )
        elif most < step:
            message = (
                f"{most} kWh a day is less than {step}, the smallest step of the register of "
                f"point {point.point}: whatever is used would be withheld"
            )
        if message and point.limit_basis != TOLD:
            message = f"{message}; it follows from {point.limit_basis}; write max_daily_kwh instead"
        if message:
            yield _in_archive(site, POINTS, column_of(point.limit_basis), message, row)


def _connections(site: LoadedSite) -> Iterator[Problem]:
    """What a limit is worked out from, and may be meant otherwise."""
    for doubt in _OF_CONNECTIONS:
        found = [it.point for it in site.archive.points if doubt.holds(it)]
        if found:
            yield _in_archive(site, POINTS, doubt.column, doubt.message.format(_some(found)))


def _is_one_phase_between_two(point: Point) -> bool:
    volts = point.connection.u_n_v
    return point.phases == 1 and volts is not None and volts > MOST_OF_ONE_PHASE_V


def _is_three_against_neutral(point: Point) -> bool:
    volts = point.connection.u_n_v
    return (
        point.phases != 1
        and volts is not None
        and any(a <= volts <= b for a, b in AGAINST_NEUTRAL_V)
    )


def _is_primary_current(point: Point) -> bool:
    current = point.connection.i_max_a
    return point.ratio != 1 and current is not None and current > MOST_BEHIND_TRANSFORMERS_A


def _is_contract_too_large(point: Point) -> bool:
    """The meter's figure counts, being the smaller."""
    carried = meter_kw(point.connection)
    contract = point.connection.contract_kw
    return carried is not None and contract is not None and contract > carried * point.ratio


class _Doubt(NamedTuple):
    """Of points; the column that says it, and the message, in which {0} is the points."""

    holds: Callable[[Point], bool]
    column: str
    message: str


_OF_CONNECTIONS: Final = (
    _Doubt(
        _is_one_phase_between_two,
        VOLTAGE,
        "{0}: u_n_v is a voltage between two phases, and phases is 1: write that of one, as 220, "
        "or 3 phases",
    ),
    _Doubt(
        _is_three_against_neutral,
        VOLTAGE,
        "{0}: u_n_v is the voltage of one phase: of three write that between two, as 380 of "
        "3x220/380 V",
    ),
    _Doubt(
        _is_primary_current,
        CURRENT,
        "{0}: i_max_a is more than meters behind current transformers carry: write that of the "
        "meter, as 6 of 1.5(6) A; ratio holds the transformers",
    ),
    _Doubt(
        _is_contract_too_large,
        CONTRACT,
        "{0}: contract_kw is more than i_max_a, u_n_v and ratio let through: the limit is that of "
        "the meter",
    ),
)


def _openings(site: LoadedSite, today: date) -> tuple[list[Problem], list[Problem]]:
    """(mistakes, warnings) of the days on which accounts open."""
    mistakes = []
    later: list[str] = []
    before_memory: list[str] = []
    for row, account in enumerate(site.archive.accounts):
        day = account.open_from
        if day is None:
            continue
        if day > today + YEAR or day < FIRST_DAY:
            message = f"account {account.account} opens on {day}, which cannot be meant"
            mistakes.append(_in_archive(site, ACCOUNTS, "open_from", message, row))
        elif day > today:
            later.append(account.account)
        elif day < today - MEMORY:
            before_memory.append(account.account)
    warnings = []
    if later:
        message = f"{_some(later)}: not billed before that day, which is in the future"
        warnings.append(_in_archive(site, ACCOUNTS, "open_from", message))
    if before_memory:
        message = (
            f"{_some(before_memory)}: opened before the {MEMORY.days} days that meters remember, "
            "so the opening freeze must be in the database already"
        )
        warnings.append(_in_archive(site, ACCOUNTS, "open_from", message))
    return mistakes, warnings


def _points_without_meter(site: LoadedSite) -> Iterator[Problem]:
    served = {meter.point for meter in site.archive.meters}
    lacking = [it.point for it in site.archive.points if it.point not in served]
    if not lacking:
        return
    message = f"{_some(lacking)}: no meter in {METERS}, nothing is billed there"
    yield _in_archive(site, POINTS, "point", message)


def _parts_of_devices(site: LoadedSite) -> Iterator[Problem]:
    """A channel of a Tasmota beside the whole of it, which counts it once more."""
    tasmota = {it.name for it in site.settings.gateway if it.family == "tasmota"}
    meters = {(it.line, it.device): it.address for it in site.archive.meters if it.line in tasmota}
    for row, meter in enumerate(site.archive.meters):
        whole, channel = device_of(meter.device)[1:]
        address = meters.get((meter.line, whole))
        if address is not None and channel is not None:
            message = f"{meter.device} is a part of {whole}, which is {address}: counted twice"
            yield _in_archive(site, METERS, "device", message, row)


def _notices(site: LoadedSite) -> Iterator[Problem]:
    if not site.settings.notice_channel:
        return
    lacking = reached_badly(site.contacts, [it.account for it in site.archive.accounts])
    if lacking:
        message = f"{_some(lacking)}: fewer than {ENOUGH} ways to reach them with their consent"
        yield _in_archive(site, CONTACTS, "account", message)


def _on_call(site: LoadedSite) -> Iterator[Problem]:
    """Areas of whose alarms nobody is told, or nobody in between; cuts that nobody answers for."""
    on_call = site.settings.on_call
    if not on_call:
        mode = site.settings.control.mode
        if mode != "shadow":
            message = f"nobody is on call, who would answer for a cut in mode {mode}"
            yield SettingsFile.read(site.path).problem(("control", "mode"), "on_call", message)
        return
    areas = sorted({it.area for it in site.archive.points})
    levels = {area: {it.level for it in on_call if it.is_for(area)} for area in areas}
    gaps = {
        area: sorted(set(range(1, max(of_area))) - of_area)
        for area, of_area in levels.items()
        if of_area
    }
    nobody = [area for area in areas if not levels[area]]
    skipped = [f"{area}: {missing[0]}" for area, missing in gaps.items() if missing]
    file = SettingsFile.read(site.path)
    if nobody:
        message = f"nobody is on call for areas {_some(nobody)}: of their alarms nobody is told"
        yield file.problem(("on_call",), "on_call", message)
    if skipped:
        message = f"areas without a level below another: {_some(skipped)}"
        yield file.problem(("on_call",), "on_call", message)


def _calendar(site: LoadedSite, today: date) -> Iterator[Problem]:
    """China tells a year's make-up workdays at the end of the year before."""
    control = site.settings.control
    if control.calendar != CHINA:
        return
    soon = {today.year, (today + TOLD_BEFORE).year}
    for year in sorted(soon - {day.year for day in control.makeup_workdays}):
        if country_days(CHINA, [year])[1]:
            continue
        message = (
            f"no make-up workdays of {year} are known: write holidays and makeup_workdays of that "
            "year, or install a newer `holidays`"
        )
        file = SettingsFile.read(site.path)
        yield file.problem(("control", "calendar"), "control.calendar", message)


def _some(names: Sequence[str]) -> str:
    """How many, and the first of them."""
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})"


def _in_archive(
    site: LoadedSite, table: str, column: str, message: str, row: int | None = None
) -> Problem:
    """`row`: the number of the record that it is about; its line is looked for only now."""
    base = site.path.absolute().parent
    line = 1
    if row is not None:
        reading = Mistakes(table)
        rows = read_table(site.archive.texts[table], TABLES[table], reading, Keys())
        line = next((reading.line for number, _ in enumerate(rows) if number == row), 1)
    file = table_file(site.settings.site.archive / table)
    return Problem(shown(file, base), line, column, message, column)
