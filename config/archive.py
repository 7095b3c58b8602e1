"""The archive: meters, points and accounts of a site, as CSV files that scale to a million rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from config.meters import Meter, Meters, Named
from config.problems import Problem, did_you_mean, shown
from config.table import (
    REQUIRED,
    Columns,
    Keys,
    Mistakes,
    day,
    fen,
    one_of,
    positive,
    read_table,
    text,
    word,
    yes_no,
)
from config.tariffs import TariffVersion
from protocols.modbus.profile import Profile

Tariffs = Mapping[str, Sequence[TariffVersion]]
"""The versions of each tariff by its name, in order of their start."""
SINGLE_PHASE_60_A_KWH: Final = Decimal(380)
"""1.2 x 0.22 kV x 60 A x 24 h: the most a domestic single-phase meter can advance in a day."""

ACCOUNT_COLUMNS: Final[Columns] = {
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
POINT_COLUMNS: Final[Columns] = {
    "point": (word, REQUIRED),
    "account": (word, None),
    "ratio": (positive, Decimal(1)),
    "max_daily_kwh": (positive, SINGLE_PHASE_60_A_KWH),
    "area": (text, ""),
    "reconnect": (one_of("allow_close", "close"), "allow_close"),
    "protected": (yes_no, False),
    "life_support": (yes_no, False),
}


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
    """Thresholds in fen.

    Open (billed) from `open_from` 00:00 when that and `agreement` are given."""

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
    tariffs: Tariffs | None,
) -> tuple[Archive, list[Problem]]:
    """Read meters.csv, points.csv and accounts.csv of `folder`.

    What could not be read is in the problems. `tariffs`: their versions by name, None when that
    file is wrong itself."""

    def mistakes_of(name: str) -> Mistakes:
        return Mistakes(shown(folder / name, base))

    of_accounts = mistakes_of("accounts.csv")
    known_accounts = Keys()
    accounts = _accounts(
        folder / "accounts.csv",
        tariffs,
        known_accounts,
        of_accounts,
    )

    of_points = mistakes_of("points.csv")
    known_points = Keys()
    points = _points(
        folder / "points.csv",
        known_accounts,
        known_points,
        of_points,
    )

    of_meters = mistakes_of("meters.csv")
    meters = Meters(base, Named(lines, gateways, known_points), of_meters)
    meters.read(folder / "meters.csv")

    archive = Archive(
        meters=tuple(meters.by_address.values()),
        points=tuple(points.values()),
        accounts=tuple(accounts.values()),
        profiles=meters.profiles,
    )
    return archive, [*of_accounts.problems, *of_points.problems, *of_meters.problems]


def _accounts(
    path: Path,
    tariffs: Tariffs | None,
    keys: Keys,
    mistakes: Mistakes,
) -> dict[str, Account]:
    found: dict[str, Account] = {}
    for row in read_table(
        path,
        ACCOUNT_COLUMNS,
        mistakes,
        keys,
    ):
        account = _account(row)
        if account.account in found:
            mistakes.tell("account", f"{account.account} stands twice")
        if tariffs is not None:
            _check_tariff(account, tariffs, mistakes)
        if account.open_from is not None and account.agreement is None:
            mistakes.tell("agreement", "an account is opened only with a signed agreement")
        _check_thresholds(account, mistakes)
        found[account.account] = account
    return found


def _account(row: dict[str, Any]) -> Account:
    """A row with its default: supply is restored at the amount at which it is cut."""
    reconnect_fen = row["reconnect_yuan"]
    return Account(
        account=row["account"],
        name=row["name"],
        tariff=row["tariff"],
        open_from=row["open_from"],
        agreement=row["agreement"],
        warn_fen=row["warn_yuan"],
        trip_fen=row["trip_yuan"],
        reconnect_fen=row["trip_yuan"] if reconnect_fen is None else reconnect_fen,
        credit_limit_fen=row["credit_limit_yuan"],
    )


def _check_tariff(account: Account, tariffs: Tariffs, mistakes: Mistakes) -> None:
    versions = tariffs.get(account.tariff)
    if versions is None:
        hint = did_you_mean(account.tariff, tariffs)
        mistakes.tell("tariff", f"no tariff {account.tariff} in the tariffs file{hint}")
    elif _opens_before(account, versions):
        opening = f"{account.account} opens on {account.open_from}"
        message = f"{opening}, before the first version of {account.tariff}"
        mistakes.tell("open_from", message)


def _opens_before(account: Account, versions: Sequence[TariffVersion]) -> bool:
    """True if the account would be billed on a day on which its tariff has no price."""
    if account.open_from is None or not versions:
        return False
    return account.open_from < versions[0].effective_from


def _check_thresholds(account: Account, mistakes: Mistakes) -> None:
    if account.reconnect_fen < account.trip_fen:
        mistakes.tell("reconnect_yuan", "must not be below trip_yuan")
    if account.warn_fen < account.trip_fen:
        mistakes.tell("warn_yuan", "must not be below trip_yuan")
    if account.credit_limit_fen < 0:
        mistakes.tell("credit_limit_yuan", "must not be negative")


def _points(
    path: Path,
    accounts: Keys,
    keys: Keys,
    mistakes: Mistakes,
) -> dict[str, Point]:
    found: dict[str, Point] = {}
    for row in read_table(
        path,
        POINT_COLUMNS,
        mistakes,
        keys,
    ):
        point = Point(**row)
        if point.point in found:
            mistakes.tell("point", f"{point.point} stands twice")
        if point.account is not None and accounts.lack(point.account):
            hint = did_you_mean(point.account, accounts.seen)
            mistakes.tell("account", f"no account {point.account} in accounts.csv{hint}")
        found[point.point] = point
    return found
