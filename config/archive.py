"""The archive: meters, points and accounts of a site, as CSV files that scale to a million rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from config.cells import (
    amperes,
    day,
    fen,
    kilowatt_hours,
    kilowatts,
    one_of,
    phases,
    positive,
    rate_names,
    text,
    volts,
    word,
    yes_no,
)
from config.known_rows import NotPlain, all_differ, follow_rows
from config.meters import COLUMNS as METER_COLUMNS
from config.meters import Meter, Meters, Named, check_together, followed_profiles
from config.point_limit import (
    CONTRACT,
    CURRENT,
    ONE_PHASE_60_A_KWH,
    TOLD,
    TRANSFORMER,
    VOLTAGE,
    Connection,
    limit_of,
)
from config.priced_points import (
    Billing,
    Registers,
    Tariffs,
    ask_for_phases,
    ask_for_rates,
    lacking_fees,
    register_check,
)
from config.problems import Mistakes, Problem, did_you_mean, shown
from config.table import REQUIRED, Columns, Keys, read_table
from config.table_text import table_bytes, table_file
from config.tariff_version import Versions
from protocols.modbus.profile import Profile

ACCOUNTS: Final = "accounts.csv"
POINTS: Final = "points.csv"
METERS: Final = "meters.csv"
OF_CONNECTION: Final = itemgetter(*Connection._fields)
FOUR_RATES: Final = ("sharp", "peak", "flat", "valley")
"""The usual order of the tariff registers 1 to 4 of DL/T 645."""
LARGEST: Final = 3
"""Phases of a connection that has more than one."""

DAILY: Final = "daily"
SETTLEMENTS: Final = (DAILY, "near_real_time", "month")
"""When use is posted (R30)."""

ACCOUNT_COLUMNS: Final[Columns] = {
    "account": (word, REQUIRED),
    "name": (text, ""),
    "address": (text, ""),
    "tariff": (word, REQUIRED),
    "open_from": (day, None),
    "agreement": (word, None),
    "warn_yuan": (fen, 3000),
    "trip_yuan": (fen, 0),
    "reconnect_yuan": (fen, None),
    "credit_limit_yuan": (fen, 0),
    "settlement": (one_of(*SETTLEMENTS), DAILY),
}
POINT_COLUMNS: Final[Columns] = {
    "point": (word, REQUIRED),
    "account": (word, None),
    "ratio": (positive, Decimal(1)),
    TOLD: (kilowatt_hours, None),
    CURRENT: (amperes, None),
    VOLTAGE: (volts, None),
    CONTRACT: (kilowatts, None),
    TRANSFORMER: (kilowatts, None),
    "area": (text, ""),
    "reconnect": (one_of("allow_close", "close"), "allow_close"),
    "protected": (yes_no, False),
    "life_support": (yes_no, False),
    "phases": (phases, 1),
    "rates": (rate_names, FOUR_RATES),
    "residual_rate": (word, None),
}
TABLES: Final[Mapping[str, Columns]] = {
    ACCOUNTS: ACCOUNT_COLUMNS,
    POINTS: POINT_COLUMNS,
    METERS: METER_COLUMNS,
}
"""In the order in which their mistakes are told: each may refer to those before."""
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Point:
    """`ratio` is CT x PT; `max_daily_kwh` is in register units, before the ratio; `limit_basis`
    says what it follows from.

    `rates`: names of the meter's rate registers 1 to n; `residual_rate`: the one that is billed as
    the total without the others, None: each is billed by its own register."""

    point: str
    account: str | None
    ratio: Decimal
    max_daily_kwh: Decimal
    limit_basis: str
    connection: Connection
    area: str
    reconnect: str
    protected: bool
    life_support: bool
    phases: int
    rates: tuple[str, ...]
    residual_rate: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """Thresholds in fen.

    Open (billed) from `open_from` 00:00 when that and `agreement` are given. `settlement`: one of
    SETTLEMENTS."""

    account: str
    name: str
    address: str
    tariff: str
    open_from: date | None
    agreement: str | None
    warn_fen: int
    trip_fen: int
    reconnect_fen: int
    credit_limit_fen: int
    settlement: str = DAILY


@dataclass(frozen=True, slots=True)
class Archive:
    """`profiles`: the register maps of its Modbus meters, by the name that stands in meters.csv.

    `texts`: what stood in each file, by its name, where all of it is here; else nothing.
    `warnings`: what was taken as it stands, and may be meant otherwise."""

    meters: tuple[Meter, ...]
    points: tuple[Point, ...]
    accounts: tuple[Account, ...]
    profiles: Mapping[str, Profile]
    texts: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)
    warnings: tuple[Problem, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Around:
    """What the tables may refer to outside of them; paths in them are relative to `base`.

    `gateways`: by name the family. `tariffs`: their versions by name, None when that file is wrong
    itself. `one_phase_kwh`: the limit of a phase of which nothing is known."""

    base: Path
    lines: Collection[str]
    gateways: Mapping[str, str]
    tariffs: Tariffs | None
    one_phase_kwh: int = ONE_PHASE_60_A_KWH


def load_archive(
    folder: Path, around: Around, known: Archive | None = None
) -> tuple[Archive, list[Problem]]:
    """Read meters.csv, points.csv and accounts.csv of `folder`.

    What could not be read is in the problems. `known`: what they said when they were read last;
    what is found is the same with it and without, only sooner."""
    mistakes = {name: Mistakes(shown(table_file(folder / name), around.base)) for name in TABLES}
    texts = {name: table_bytes(folder / name, mistakes[name]) for name in TABLES}
    if known is not None:
        try:
            return _followed(known, texts, around), []
        except NotPlain:
            pass  # mistakes are told by who reads every row
    known_accounts = Keys()
    accounts: dict[str, Account] = {}
    of_accounts = mistakes[ACCOUNTS]
    for row in read_table(texts[ACCOUNTS], ACCOUNT_COLUMNS, of_accounts, known_accounts):
        if row["account"] in accounts:
            of_accounts.tell("account", f"{row['account']} stands twice")
        account = _checked_account(row, of_accounts, around.tariffs)
        accounts[account.account] = account

    known_points = Keys()
    points: dict[str, Point] = {}
    of_points = mistakes[POINTS]
    for row in read_table(texts[POINTS], POINT_COLUMNS, of_points, known_points):
        point = _checked_point(row, of_points, around.one_phase_kwh)
        if point.point in points:
            of_points.tell("point", f"{point.point} stands twice")
        if point.account is not None and known_accounts.lack(point.account):
            hint = did_you_mean(point.account, known_accounts.seen)
            message = f"no account {point.account} in accounts.csv{hint}"
            of_points.tell("account", message, point.account)
        points[point.point] = point
    unpriced = list(_unpriced(accounts.values(), points.values(), around.tariffs))
    for name in {it.table for it in unpriced}:
        _tell(
            texts[name], TABLES[name], mistakes[name], [it for it in unpriced if it.table == name]
        )

    named = Named(around.lines, around.gateways, known_points)
    meters = Meters(around.base, named, mistakes[METERS])
    meters.read(texts[METERS])
    archive = Archive(
        meters=tuple(meters.by_address.values()),
        points=tuple(points.values()),
        accounts=tuple(accounts.values()),
        profiles=meters.profiles,
        texts={name: text for name, text in texts.items() if text is not None},
        warnings=tuple(it for name in TABLES for it in mistakes[name].warnings),
    )
    return archive, [problem for name in TABLES for problem in mistakes[name].problems]


def _followed(known: Archive, texts: Mapping[str, bytes | None], around: Around) -> Archive:
    """The archive of files that differ here and there from the known one; NotPlain of others."""
    now = {name: text for name, text in texts.items() if text is not None}
    if known.texts.keys() != TABLES.keys() or now.keys() != TABLES.keys():
        raise NotPlain

    def follow(
        name: str, records: tuple[R, ...], record_of: Callable[[dict[str, Any], Mistakes], R]
    ) -> tuple[R, ...]:
        return follow_rows(known.texts[name], records, now[name], TABLES[name], record_of)

    mistakes = Mistakes("")
    accounts = follow(ACCOUNTS, known.accounts, partial(_checked_account, tariffs=around.tariffs))
    if around.tariffs is not None:
        openings = dict(
            zip(map(attrgetter("tariff", "open_from"), accounts), accounts, strict=True)
        )
        for account in openings.values():
            _check_tariff(account, around.tariffs, mistakes)
    account_keys = all_differ(map(attrgetter("account"), accounts))

    points = follow(
        POINTS, known.points, partial(_checked_point, one_phase_kwh=around.one_phase_kwh)
    )
    point_keys = all_differ(map(attrgetter("point"), points))
    billed = set(map(attrgetter("account"), points)) - {None}
    if any(_unpriced(accounts, points, around.tariffs)):
        raise NotPlain

    named = Named(around.lines, around.gateways, Keys(point_keys, is_complete=True))
    fresh = Meters(around.base, named, mistakes)
    meters = follow(METERS, known.meters, lambda row, _: fresh.take(row))
    profiles = followed_profiles(meters, known.profiles, around.base)
    check_together(meters, named)
    if mistakes.problems or not billed <= account_keys:
        raise NotPlain
    # A table that warns is never plain.
    return Archive(meters, points, accounts, profiles, now)


class _Unpriced(NamedTuple):
    """The tariff of an account cannot price what its points have."""

    table: str
    key: str
    column: str
    message: str


def _unpriced(
    accounts: Iterable[Account], points: Collection[Point], tariffs: Tariffs | None
) -> Iterator[_Unpriced]:
    """Of each account and point, where tariffs ask for more than the total of a meter."""
    if tariffs is None or not (ask_for_rates(tariffs) or ask_for_phases(tariffs)):
        return
    billings = {it.account: Billing(it.tariff, it.open_from) for it in accounts}
    if ask_for_rates(tariffs):
        yield from _unfit_registers(billings, points, tariffs)
    if ask_for_phases(tariffs):
        yield from _lacking_fees(billings, points, tariffs)


def _unfit_registers(
    billings: Mapping[str, Billing], points: Collection[Point], tariffs: Tariffs
) -> Iterator[_Unpriced]:
    check = register_check(tariffs)
    kind_of = attrgetter("rates", "residual_rate")
    of_points = map(billings.get, map(attrgetter("account"), points))
    # There are few kinds of a million points.
    kinds = set(zip(of_points, map(kind_of, points), strict=True))
    unfit: dict[object, Sequence[tuple[str, str]]] = {
        (billing, kind): found
        for billing, kind in kinds
        if billing is not None and (found := check(billing, Registers(*kind)))
    }
    for point in points if unfit else ():
        billing = billings.get(point.account or "")
        for column, message in unfit.get((billing, kind_of(point)), ()):
            yield _Unpriced(POINTS, point.point, column, message)


def _lacking_fees(
    billings: Mapping[str, Billing], points: Iterable[Point], tariffs: Tariffs
) -> Iterator[_Unpriced]:
    # An account has the phases of its largest point.
    large = {point.account for point in points if point.phases == LARGEST}
    for account, billing in billings.items():
        lacking = lacking_fees(tariffs, billing, LARGEST if account in large else 1)
        if lacking is not None:
            yield _Unpriced(ACCOUNTS, account, "tariff", lacking)


def _tell(
    text: bytes | None, columns: Columns, mistakes: Mistakes, unpriced: Collection[_Unpriced]
) -> None:
    """These mistakes, each with the line of its row, which is looked for only now."""
    key = next(iter(columns))
    reading = Mistakes(mistakes.file)
    rows = read_table(text, columns, reading, Keys())
    lines = {row[key]: reading.line for row in rows}
    for it in unpriced:
        mistakes.line = lines[it.key]
        mistakes.tell(it.column, it.message)


def _checked_point(row: dict[str, Any], mistakes: Mistakes, one_phase_kwh: int) -> Point:
    point = _point(row, one_phase_kwh)
    if point.residual_rate is not None and point.residual_rate not in point.rates:
        hint = did_you_mean(point.residual_rate, point.rates)
        mistakes.tell(
            "residual_rate",
            f"{point.residual_rate} is not one of the rates {' '.join(point.rates)}{hint}",
        )
    return point


def _point(row: dict[str, Any], one_phase_kwh: int) -> Point:
    connection = Connection._make(OF_CONNECTION(row))
    limit, basis = limit_of(connection, row[TOLD], one_phase_kwh)
    return Point(
        point=row["point"],
        account=row["account"],
        ratio=row["ratio"],
        max_daily_kwh=limit,
        limit_basis=basis,
        connection=connection,
        area=row["area"],
        reconnect=row["reconnect"],
        protected=row["protected"],
        life_support=row["life_support"],
        phases=row["phases"],
        rates=row["rates"],
        residual_rate=row["residual_rate"],
    )


def _checked_account(row: dict[str, Any], mistakes: Mistakes, tariffs: Tariffs | None) -> Account:
    account = _account(row)
    if tariffs is not None:
        _check_tariff(account, tariffs, mistakes)
    if account.open_from is not None and account.agreement is None:
        mistakes.tell("agreement", "an account is opened only with a signed agreement")
    _check_thresholds(account, mistakes)
    return account


def _account(row: dict[str, Any]) -> Account:
    """A row with its default: supply is restored at the amount at which it is cut."""
    reconnect_fen = row["reconnect_yuan"]
    return Account(
        account=row["account"],
        name=row["name"],
        address=row["address"],
        tariff=row["tariff"],
        open_from=row["open_from"],
        agreement=row["agreement"],
        warn_fen=row["warn_yuan"],
        trip_fen=row["trip_yuan"],
        reconnect_fen=row["trip_yuan"] if reconnect_fen is None else reconnect_fen,
        credit_limit_fen=row["credit_limit_yuan"],
        settlement=row["settlement"],
    )


def _check_tariff(account: Account, tariffs: Tariffs, mistakes: Mistakes) -> None:
    versions = tariffs.get(account.tariff)
    if versions is None:
        hint = did_you_mean(account.tariff, tariffs)
        mistakes.tell("tariff", f"no tariff {account.tariff} in the tariffs file{hint}")
    elif _opens_before(account, versions):
        opening = f"{account.account} opens on {account.open_from}"
        message = (
            f"{opening}, before the first version of {account.tariff}; of an account that changed "
            "to it later leave open_from empty: the database knows it"
        )
        mistakes.tell("open_from", message)


def _opens_before(account: Account, versions: Versions) -> bool:
    """True if the account would be billed on a day on which its tariff has no price."""
    if account.open_from is None or not versions.all:
        return False
    return versions.on(account.open_from) is None


def _check_thresholds(account: Account, mistakes: Mistakes) -> None:
    if account.reconnect_fen < account.trip_fen:
        mistakes.tell("reconnect_yuan", "must not be below trip_yuan")
    if account.warn_fen < account.trip_fen:
        mistakes.tell("warn_yuan", "must not be below trip_yuan")
    if account.credit_limit_fen < 0:
        mistakes.tell("credit_limit_yuan", "must not be negative")
