"""Finds every mistake of a scenario at once, each with its line and a hint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.problems import Problem, did_you_mean
from config.profiles import load_profile
from config.toml_lines import line_of
from protocols.dlt645.frame import BROADCAST
from protocols.errors import MeterdError
from protocols.modbus.profile import Profile
from simulators.bench.tables import (
    DEFAULT_HOST,
    MODBUS,
    MOST_METERS,
    STUCK_RELAY,
    FaultTable,
    FleetTable,
    LineTable,
    MeterTable,
    ModbusFleetTable,
    Table,
)
from simulators.modbus.meter import HIGHEST_UNIT

Place = tuple[str | int, ...]
T = TypeVar("T", bound=Table)

_ADDRESS = re.compile(r"[0-9]{12}")
TOP_KEYS = ("zone", "seed", "lines", "meters", "overrides")


class Checker:
    """Reads the tables of one file and collects their mistakes."""

    def __init__(self, file: str, line_numbers: Mapping[Place, int]) -> None:
        self.mistakes: list[Problem] = []
        self.zone = ZoneInfo("UTC")
        self.seed = 1
        self.lines: dict[str, LineTable] = {}
        self.fleets: dict[int, FleetTable | ModbusFleetTable] = {}
        self.profiles: dict[str, Profile] = {}
        self.overrides: dict[str, MeterTable] = {}
        self._file = file
        self._line_numbers = line_numbers

    def read(self, content: dict[str, Any]) -> None:
        """Fill in zone, seed, lines, fleets and overrides; what is wrong is left out and told in
        `mistakes`."""
        for key in content:
            if key not in TOP_KEYS:
                self._add((key,), f"unknown key{did_you_mean(key, TOP_KEYS)}")
        self._read_zone(content.get("zone", "Asia/Shanghai"))
        self._read_seed(content.get("seed", 1))
        line_tables = self._tables(
            content, "lines", "[lines.NAME] with a port, a link, mqtt or dial"
        )
        fleet_tables = self._tables(content, "meters", "[[meters]] with a line and an address")
        override_tables = self._tables(content, "overrides", "")
        self.lines = {
            str(name): line for name, line in self._valid(LineTable, "lines", line_tables).items()
        }
        modbus = {key: table for key, table in fleet_tables.items() if _is_modbus(table)}
        dlt645 = {key: table for key, table in fleet_tables.items() if key not in modbus}
        fleets: list[tuple[str | int, FleetTable | ModbusFleetTable]] = [
            *self._valid(FleetTable, "meters", dlt645).items(),
            *self._valid(ModbusFleetTable, "meters", modbus).items(),
        ]
        self.fleets = dict(sorted((int(key), fleet) for key, fleet in fleets))
        self.overrides = {
            str(key): it
            for key, it in self._valid(MeterTable, "overrides", override_tables).items()
        }
        self._check_lines(line_tables)
        owners = self._check_fleets(fleet_tables, set(map(str, line_tables)))
        self._check_units()
        if len(self.fleets) == len(fleet_tables):
            self._check_that_all_are_used(set(map(str, line_tables)), owners)

    def _read_zone(self, name: object) -> None:
        try:
            self.zone = ZoneInfo(str(name))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self._add(("zone",), f"{name!r} is no IANA time zone (such as Asia/Shanghai)")

    def _read_seed(self, seed: object) -> None:
        if isinstance(seed, int) and not isinstance(seed, bool):
            self.seed = seed
        else:
            self._add(("seed",), f"must be a whole number, not {seed!r}")

    def _tables(self, content: dict[str, Any], name: str, needed: str) -> dict[str | int, Any]:
        """The tables below `name`; `needed`: what to write when there is none."""
        tables = content.get(name)
        if not tables:
            if needed:
                self._add((name,), f"there are none; write {needed}")
            return {}
        kind = list if name == "meters" else dict
        if not isinstance(tables, kind):
            self._add(
                (name,),
                f"must be tables, written {'[[meters]]' if kind is list else f'[{name}.NAME]'}",
            )
            return {}
        return dict(enumerate(tables) if isinstance(tables, list) else tables.items())

    def _valid(self, model: type[T], name: str, tables: dict[str | int, Any]) -> dict[str | int, T]:
        valid = {}
        for key, table in tables.items():
            try:
                valid[key] = model.model_validate(table)
            except ValidationError as error:
                for detail in error.errors():
                    self._add((name, key, *detail["loc"]), _in_words(detail, model))
        return valid

    def _check_lines(self, tables: dict[str | int, Any]) -> None:
        """Over the tables as they were written: one mistake must not hide another."""
        taken: dict[object, str | int] = {}
        for name, table in tables.items():
            if not isinstance(table, dict):
                continue
            places = [key for key in ("port", "link", "mqtt", "dial") if key in table]
            if len(places) > 1:
                self._add(
                    ("lines", name, places[-1]), f"a line has a {' or a '.join(places)}, not both"
                )
            elif not places and name in self.lines:
                self._add(
                    ("lines", name),
                    "needs a port (TCP, 0 = a free one), a link (pseudo-terminal), mqtt (a broker) or dial (a call)",
                )
            for key in ("port", "link"):
                place = (
                    key,
                    table.get(key),
                    table.get("host", DEFAULT_HOST) if key == "port" else None,
                )
                if place[1] and taken.setdefault(str(place), name) != name:
                    self._add(
                        ("lines", name, key), f"{place[1]} is taken by line {taken[str(place)]}"
                    )
        for name, line in self.lines.items():
            if line.mqtt is None and any(fault.kind == "retained" for fault in line.faults):
                self._add(("lines", name, "faults"), "only a message over mqtt can be retained")
            if any(fault.kind == STUCK_RELAY for fault in line.faults):
                self._add(
                    ("lines", name, "faults"), "stuck_relay is a fault of meters, not of a line"
                )

    def _check_fleets(
        self, tables: dict[str | int, Any], line_names: set[str]
    ) -> dict[int, str | int]:
        """Likewise. Returns which table owns each address."""
        owners: dict[int, str | int] = {}
        for number, table in tables.items():
            if not isinstance(table, dict):
                continue
            line = table.get("line")
            if isinstance(line, str) and line not in line_names:
                self._add(
                    ("meters", number, "line"),
                    f"there is no line {line!r}{did_you_mean(line, line_names)}",
                )
            addresses = _claimed_addresses(table)
            if addresses.stop > int(BROADCAST):
                many = f"{len(addresses)} meters from {table['address']} on"
                self._add(("meters", number, "count"), f"{many} do not fit below {BROADCAST}")
                continue
            clash = next((it for it in addresses if owners.setdefault(it, number) != number), None)
            if clash is not None:
                other = line_of(self._line_numbers, ("meters", owners[clash]))
                self._add(
                    ("meters", number, "address"),
                    f"meter {clash:012d} is also one of the [[meters]] in line {other}",
                )
        return owners

    def _check_units(self) -> None:
        """Units and profiles of the Modbus meters."""
        owners: dict[str, int] = {}
        for number, fleet in self.fleets.items():
            if not isinstance(fleet, ModbusFleetTable):
                continue
            if fleet.unit + fleet.count - 1 > HIGHEST_UNIT:
                self._add(("meters", number, "count"), f"units end at {HIGHEST_UNIT}")
            clash = next(
                (name for name in fleet.addresses() if owners.setdefault(name, number) != number),
                None,
            )
            if clash is not None:
                other = line_of(self._line_numbers, ("meters", owners[clash]))
                self._add(
                    ("meters", number, "unit"),
                    f"{clash} is also one of the [[meters]] in line {other}",
                )
            try:
                self.profiles[fleet.profile] = load_profile(fleet.profile)
            except MeterdError as error:
                self._add(("meters", number, "profile"), str(error).splitlines()[0])

    def _check_that_all_are_used(self, line_names: set[str], owners: dict[int, str | int]) -> None:
        for name in line_names - {fleet.line for fleet in self.fleets.values()}:
            self._add(("lines", name), "has no meters; give it some [[meters]] or remove it")
        units = {
            name
            for it in self.fleets.values()
            if isinstance(it, ModbusFleetTable)
            for name in it.addresses()
        }
        for address in self.overrides:
            if address not in units and (
                not _ADDRESS.fullmatch(address) or int(address) not in owners
            ):
                self._add(
                    ("overrides", address),
                    "there is no such meter (12 digits, one of the [[meters]])",
                )

    def _add(self, place: Place, message: str) -> None:
        where = ".".join(map(str, place))
        self.mistakes.append(
            Problem(self._file, line_of(self._line_numbers, place), where, message)
        )


def _claimed_addresses(table: dict[str, Any]) -> range:
    """The addresses of a [[meters]] table as it was written; none when they cannot be
    understood."""
    address, count = table.get("address"), table.get("count", 1)
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address) or type(count) is not int:
        return range(0)
    return range(int(address), int(address) + min(max(count, 0), MOST_METERS))


def _is_modbus(table: object) -> bool:
    return isinstance(table, dict) and table.get("protocol") == MODBUS


def _in_words(detail: ErrorDetails, model: type[Table]) -> str:
    """A mistake as the file's author needs it."""
    match detail["type"]:
        case "extra_forbidden":
            return (
                f"unknown key{did_you_mean(str(detail['loc'][-1]), _keys_at(detail['loc'], model))}"
            )
        case "missing":
            return "missing"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            return f"{detail['msg'].removeprefix('Input ')}, not {detail['input']!r}"


def _keys_at(place: Place, model: type[Table]) -> Iterable[str]:
    return FaultTable.model_fields if "faults" in place[:-1] else model.model_fields
