"""The archive: meters, points and accounts of a site, as CSV files that scale to a million rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from config.problems import ConfigError, Problem, did_you_mean, shown
from config.profiles import load_profile, shipped_profiles
from config.table import (
    REQUIRED,
    Columns,
    Keys,
    address,
    day,
    decimals,
    fen,
    one_of,
    positive,
    read_table,
    text,
    unit,
    word,
    yes_no,
)
from config.tariffs import TariffVersion
from protocols.modbus.profile import Profile
from protocols.reading import Quantity

DLT645 = ("dlt645-2007", "dlt645-1997")
MQTT = "mqtt"
MODBUS = ("modbus-rtu", "modbus-tcp")
MILLION_KWH = Decimal(1_000_000)
"""Where a DL/T 645 register rolls over."""
BILLION_KWH = Decimal(1_000_000_000)
SINGLE_PHASE_60_A_KWH = Decimal(380)
"""1.2 x 0.22 kV x 60 A x 24 h: the most a domestic single-phase meter can advance in a day."""


@dataclass(frozen=True, slots=True)
class Meter:
    """`modulus_kwh`: where the register rolls over; `decimals`: of its smallest step.
    `installed_on`: its freezes count from this day on. `profile`: the registers of a Modbus meter,
    whose `address` is LINE/UNIT. `relay`: it may be switched; of a Modbus meter that must be said,
    because its profile may fit models without relay too. `device`: what a gateway calls it."""

    address: str
    line: str
    point: str
    installed_on: date
    protocol: str
    modulus_kwh: Decimal
    decimals: int
    profile: str | None
    relay: bool
    device: str


@dataclass(frozen=True, slots=True)
class Point:
    """`ratio` is CT x PT; `max_daily_kwh` is in register units, before the ratio."""

    point: str
    account: str | None
    ratio: Decimal
    max_daily_kwh: Decimal
    area: str
    reconnect: str
    protected: bool
    life_support: bool


@dataclass(frozen=True, slots=True)
class Account:
    """Thresholds in fen. Open (billed) from `open_from` 00:00 when that and `agreement` are
    given."""

    account: str
    name: str
    tariff: str
    open_from: date | None
    agreement: str | None
    warn_fen: int
    trip_fen: int
    reconnect_fen: int
    credit_limit_fen: int


@dataclass(frozen=True, slots=True)
class Archive:
    """`profiles`: the register maps of its Modbus meters, by the name that stands in meters.csv."""

    meters: tuple[Meter, ...]
    points: tuple[Point, ...]
    accounts: tuple[Account, ...]
    profiles: Mapping[str, Profile]


def load_archive(
    folder: Path,
    base: Path,
    lines: Collection[str],
    gateways: Collection[str],
    tariffs: Mapping[str, list[TariffVersion]] | None,
) -> tuple[Archive, list[Problem]]:
    """Read meters.csv, points.csv and accounts.csv of `folder`; what could not be read is in the
    problems.

    `tariffs`: their versions by name, None when that file is wrong itself."""
    problems: list[Problem] = []
    known_accounts, known_points = Keys(), Keys()
    accounts = _accounts(
        folder / "accounts.csv",
        base,
        tariffs,
        known_accounts,
        problems,
    )
    points = _points(
        folder / "points.csv",
        base,
        known_accounts,
        known_points,
        problems,
    )
    profiles: dict[str, Profile] = {}
    meters = _meters(
        folder / "meters.csv",
        base,
        (lines, gateways),
        known_points,
        profiles,
        problems,
    )
    return Archive(
        tuple(meters.values()), tuple(points.values()), tuple(accounts.values()), profiles
    ), problems


def _accounts(
    path: Path,
    base: Path,
    tariffs: Mapping[str, list[TariffVersion]] | None,
    keys: Keys,
    problems: list[Problem],
) -> dict[str, Account]:
    name = shown(path, base)
    columns: Columns = {
        "account": (word, REQUIRED),
        "name": (text, ""),
        "tariff": (word, REQUIRED),
        "open_from": (day, None),
        "agreement": (word, None),
        "warn_yuan": (fen, 3000),
        "trip_yuan": (fen, 0),
        "reconnect_yuan": (fen, None),
        "credit_limit_yuan": (fen, 0),
    }
    found: dict[str, Account] = {}
    for line, row in read_table(
        path,
        name,
        columns,
        problems,
        keys,
    ):
        if row["account"] in found:
            problems.append(Problem(name, line, "account", f"{row['account']} stands twice"))
        if tariffs is not None and row["tariff"] not in tariffs:
            hint = did_you_mean(row["tariff"], tariffs)
            problems.append(
                Problem(
                    name, line, "tariff", f"no tariff {row['tariff']} in the tariffs file{hint}"
                )
            )
        elif (
            tariffs
            and row["open_from"]
            and row["open_from"] < tariffs[row["tariff"]][0].effective_from
        ):
            message = f"{row['account']} opens on {row['open_from']}, before the first version of {row['tariff']}"
            problems.append(Problem(name, line, "open_from", message))
        if row["open_from"] is not None and row["agreement"] is None:
            problems.append(
                Problem(
                    name, line, "agreement", "an account is opened only with a signed agreement"
                )
            )
        reconnect_fen = row["trip_yuan"] if row["reconnect_yuan"] is None else row["reconnect_yuan"]
        if reconnect_fen < row["trip_yuan"]:
            problems.append(Problem(name, line, "reconnect_yuan", "must not be below trip_yuan"))
        if row["warn_yuan"] < row["trip_yuan"]:
            problems.append(Problem(name, line, "warn_yuan", "must not be below trip_yuan"))
        if row["credit_limit_yuan"] < 0:
            problems.append(Problem(name, line, "credit_limit_yuan", "must not be negative"))
        found[row["account"]] = Account(
            account=row["account"],
            name=row["name"],
            tariff=row["tariff"],
            open_from=row["open_from"],
            agreement=row["agreement"],
            warn_fen=row["warn_yuan"],
            trip_fen=row["trip_yuan"],
            reconnect_fen=reconnect_fen,
            credit_limit_fen=row["credit_limit_yuan"],
        )
    return found


def _points(
    path: Path,
    base: Path,
    accounts: Keys,
    keys: Keys,
    problems: list[Problem],
) -> dict[str, Point]:
    name = shown(path, base)
    columns: Columns = {
        "point": (word, REQUIRED),
        "account": (word, None),
        "ratio": (positive, Decimal(1)),
        "max_daily_kwh": (positive, SINGLE_PHASE_60_A_KWH),
        "area": (text, ""),
        "reconnect": (one_of("allow_close", "close"), "allow_close"),
        "protected": (yes_no, False),
        "life_support": (yes_no, False),
    }
    found: dict[str, Point] = {}
    for line, row in read_table(
        path,
        name,
        columns,
        problems,
        keys,
    ):
        if row["point"] in found:
            problems.append(Problem(name, line, "point", f"{row['point']} stands twice"))
        if row["account"] is not None and accounts.lack(row["account"]):
            hint = did_you_mean(row["account"], accounts.seen)
            problems.append(
                Problem(name, line, "account", f"no account {row['account']} in accounts.csv{hint}")
            )
        found[row["point"]] = Point(**row)
    return found


def _meters(
    path: Path,
    base: Path,
    routes: tuple[Collection[str], Collection[str]],
    points: Keys,
    profiles: dict[str, Profile],
    problems: list[Problem],
) -> dict[str, Meter]:
    name = shown(path, base)
    columns: Columns = {
        "address": (word, REQUIRED),
        "line": (word, REQUIRED),
        "point": (word, REQUIRED),
        "installed_on": (day, REQUIRED),
        "protocol": (one_of(*DLT645, *MODBUS, MQTT), DLT645[0]),
        "modulus_kwh": (positive, None),
        "decimals": (decimals, None),
        "profile": (word, None),
        "relay": (yes_no, None),
        "device": (word, None),
    }
    found: dict[str, Meter] = {}
    served: dict[str, str] = {}
    devices: dict[tuple[str, str], str] = {}
    for line, row in read_table(
        path,
        name,
        columns,
        problems,
        Keys(),
    ):

        def problem(column: str, message: str, line: int = line) -> None:
            problems.append(Problem(name, line, column, message))

        profile = _profile(row, base, profiles, problem)
        try:
            key = (
                unit(row["address"], row["line"])
                if row["protocol"] in MODBUS
                else address(row["address"])
            )
        except ValueError as error:
            problem("address", str(error))
            key = row["address"]
        if key in found:
            problem("address", f"{key} stands twice")
        kind, known, others = (
            ("[[gateway]]", *routes[::-1]) if row["protocol"] == MQTT else ("[[line]]", *routes)
        )
        if row["line"] in others:
            problem("line", f"{row['line']} is no {kind}, and a {row['protocol']} meter needs one")
        elif row["line"] not in known:
            hint = did_you_mean(row["line"], known)
            terminals = "" if row["protocol"] == MQTT else " or terminal"
            problem("line", f"no {kind}{terminals} named {row['line']}{hint}")
        if points.lack(row["point"]):
            problem(
                "point",
                f"no point {row['point']} in points.csv{did_you_mean(row['point'], points.seen)}",
            )
        if row["point"] in served:
            problem("point", f"{row['point']} is served by {served[row['point']]} already")
        served[row["point"]] = key
        found[key] = Meter(
            address=key,
            line=row["line"],
            point=row["point"],
            installed_on=row["installed_on"],
            protocol=row["protocol"],
            modulus_kwh=row["modulus_kwh"] or _modulus_kwh(profile),
            decimals=_decimals(profile) if row["decimals"] is None else row["decimals"],
            profile=row["profile"],
            relay=row["protocol"] == DLT645[0] if row["relay"] is None else row["relay"],
            device=row["device"] or key,
        )
        if row["device"] is not None and row["protocol"] != MQTT:
            problem(
                "device",
                f"only a gateway calls its meters by names of its own; a {row['protocol']} meter has none",
            )
        name_there = (row["line"], found[key].device)
        if row["protocol"] == MQTT and name_there in devices:
            problem(
                "device", f"{found[key].device} is {devices[name_there]} already on {row['line']}"
            )
        devices[name_there] = key
        if row["protocol"] == MQTT and set(found[key].device) & set("+#/"):
            problem("device", "is part of a topic: it must not hold +, # or /")
        if row["protocol"] in DLT645 and found[key].decimals < 2:
            problem(
                "decimals", "a DL/T 645 meter tells 0.01 kWh: leave it empty, or write 2 or more"
            )
        if found[key].relay and row["protocol"] == DLT645[1]:
            problem("relay", "the standard of 1997 knows no relay")
        if found[key].relay and profile is not None and profile.relay is None:
            problem("relay", f"profile {row['profile']} says nothing of a relay")
    return found


def _profile(
    row: dict[str, Any],
    base: Path,
    profiles: dict[str, Profile],
    problem: Callable[[str, str], None],
) -> Profile | None:
    """The register map of a Modbus meter, loaded once for all meters that have it."""
    wanted = row["profile"]
    if row["protocol"] not in MODBUS:
        if wanted is not None:
            problem("profile", f"a {row['protocol']} meter has no register profile; leave it empty")
        return None
    if wanted is None:
        problem(
            "profile",
            f"a {row['protocol']} meter needs one: {', '.join(shipped_profiles())} or a path",
        )
        return None
    if wanted not in profiles:
        try:
            profiles[wanted] = load_profile(base / wanted if wanted.endswith(".toml") else wanted)
        except ConfigError as error:
            problem("profile", f"{wanted} cannot be used: {error.problems[0]}")
            return None
    return profiles[wanted]


def _modulus_kwh(profile: Profile | None) -> Decimal:
    """Where the register starts again: as the profile says, else so far that it never does in a
    meter's life."""
    if profile is None:
        return MILLION_KWH
    item = profile.item(Quantity.FORWARD_ACTIVE_ENERGY)
    return min(BILLION_KWH, item.modulus) if item and item.modulus else BILLION_KWH


def _decimals(profile: Profile | None) -> int:
    """The register's own resolution where it is an integer; 0.01 kWh otherwise."""
    item = profile.item(Quantity.FORWARD_ACTIVE_ENERGY) if profile else None
    if item is None or item.type.startswith("float"):
        return 2
    return min(4, max(0, -int(item.factor.normalize().as_tuple().exponent)))
