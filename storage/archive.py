"""The site's meters, points, accounts and tariffs as the database knows them."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from protocols.errors import MeterdError
from storage import point_pricing, tariff_filing
from storage.chains import act_as, lock_chains
from storage.settling import ALL_DAYS, NO_DAYS, mark_accounts, mark_points
from storage.sql import (
    Connection,
    Row,
    fetch_dicts,
    fetch_records,
    fetch_row,
    fetch_rows,
    load,
    table_text,
)

SQL = load("archive")
BEGINNING: Final = date(2000, 1, 1)
"""The first day of a ratio or limit that was taken from the files: it always held."""

COPIED_AT_ONCE: Final = 10_000
"""Rows that are made text together."""


class Conflict(NamedTuple):
    """Words for a row of what may not change, and the commands that tell it instead.

    Each command with when it is right."""

    told: str
    ways: tuple[tuple[str, str], ...]


CONFLICTS: Final = {
    "moved_points": Conflict(
        "point {0} is billed to account {1}; configured now: account {2}",
        (("from today on", "meterd point assign {0} {2} --from {3}"),),
    ),
    "changed_ratios": Conflict(
        "point {0} is billed with ratio {1}; configured now: ratio {2}",
        (
            ("if it always was so", "meterd meter ratio {0} --from {4} --ratio {2}"),
            ("if it changed today", "meterd meter ratio {0} --from {3} --ratio {2}"),
        ),
    ),
    "exchanged_meters": Conflict(
        "meter {0} serves {1}; configured now: {2} at {3}",
        (("if it was exchanged", "meterd meter exchange {3} --at {4} --new-address {2}"),),
    ),
    "changed_registers": Conflict(
        "meter {0} was read with a register of {1}; configured now: {2}",
        (
            (
                "if its register began anew",
                "meterd meter exchange {3} --at {4} --same-serial --modulus {5} --decimals {6}",
            ),
        ),
    ),
    "changed_starts": Conflict(
        "meter {0} is billed from {1}; configured now: from {2}",
        (("if that is right", "meterd meter correct {3} --installed-at {2}"),),
    ),
}
"""By the question about what may not change."""
STALE: Final = "{0}, {1}: {2}: write {3} instead of {4}{5}"
MERGING: Final = (
    "lock_points",
    "update_points",
    "add_points",
    "number_points",
    "add_ratios",
    "edit_ratios",
    "add_limits",
    "retell_limits",
    "update_meters",
    "register_serials",
    "add_meters",
    "number_meters",
    "remove_misplaced",
    "find_forgotten",
    "forget_installations",
    "forget_ratios",
    "forget_limits",
    "forget_assignments",
    "forget_supply",
    "forget_points",
    "forget_meters",
)
"""Statements that bring points and meters to the staged ones; each needs those before."""


class ArchiveConflict(MeterdError):
    """The configuration contradicts what was already billed.

    Whoever edits the files acts; nothing was changed."""


@dataclass(frozen=True, slots=True)
class SiteMeter:
    """One meter at its point.

    `point` is the number that persons use, `point_id` the row. `modulus` in the register's
    smallest step; `max_daily_kwh` before the ratio."""

    meter_id: int
    address: str
    line: str
    protocol: str
    modulus: int
    decimals: int
    installed_on: date
    point_id: int
    point: str
    max_daily_kwh: Decimal
    profile: str | None = None
    identity_read_on: date | None = None
    """When it told last which meter it is, by UTC."""
    taken_in_on: date | None = None
    """Since when it is read here, by UTC; None: since it was installed."""
    keeps_standard_time: bool = False
    """Its clock is not put forward in summer."""
    relay_seen_on: date | None = None
    """When its relay was seen last, by UTC."""


@dataclass(frozen=True, slots=True)
class FirstVersion:
    """The day from which a tariff has a price."""

    id: str
    starts_on: date


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What a take-over met.

    `limited`: ids of points whose limit changed, with the day from which on: they have to be judged
    again.
    `differing_accounts`: numbers of accounts that the database knows otherwise than the files, and
    keeps. `stale`: what a document says otherwise than the files, and what to write where."""

    limited: Mapping[int, date]
    differing_accounts: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PointPage:
    """What is true of a point now. `account`: who is billed for it, None: nobody.

    `opening_kwh`: the register with which that begins, None while it is not published. `withheld`:
    which of its days are. `limit_basis`: what `max_daily_kwh` follows from."""

    point: str
    address: str | None
    installed_on: date | None
    ratio: Decimal
    max_daily_kwh: Decimal
    limit_basis: str
    account: str | None
    billed_from: date | None
    account_state: str | None
    opening_kwh: str | None
    withheld: Sequence[date]
    phases: int
    rates: Sequence[str]
    residual_rate: str | None


@dataclass(frozen=True, slots=True)
class ArchiveRows:
    """Rows of the files in the columns of the staged tables. `tariffs_owner`, `points_owner`: who
    may have written those."""

    tariffs: Sequence[Row]
    accounts: Sequence[Row]
    points: Sequence[Row]
    meters: Sequence[Row]
    tariffs_owner: str | None = None
    points_owner: str | None = None


async def take_over(
    connection: Connection,
    rows: ArchiveRows,
    now: datetime,
    site_option: str = "",
    left_out: Collection[str] | None = None,
    actor: str = "daemon",
) -> TakenOver:
    """Bring the database to what is configured, all or nothing; only what differs is written.

    Accounts that are open are left as they are: see `import_accounts`. ArchiveConflict, naming
    every case and the command that tells it, where the files would change what was already billed;
    `site_option` is what those commands need to find the site. `left_out`: the points that the
    files name no more, where the rows are a part of them; None: all that the rows do not name.
    `now`: in the site's zone. `actor`: who asked for it, which versions of tariffs remember."""
    today = now.date()
    async with connection.transaction():
        await lock_chains(connection)
        await _stage(connection, rows)
        filing = await tariff_filing.compare(connection)
        await _refuse_conflicts(connection, filing.conflicts, now, site_option)
        priced = await point_pricing.follow_files(connection, actor, rows.points_owner)
        limited = await _merge_points_and_meters(connection, today, left_out)
        await mark_points(connection, dict.fromkeys(priced.rated_anew, ALL_DAYS), "facts")
        await _merge_accounts(connection, today)
        # Behind the accounts: who settles has locked those when it marks a version as used.
        await tariff_filing.follow_files(connection, filing, actor, rows.tariffs_owner, today)
        differing = await fetch_rows(connection, SQL["differing_accounts"])
        stale = await _stale(connection)
        await _refuse_unpriced(connection)
    return TakenOver(
        limited=limited,
        differing_accounts=tuple(number for (number,) in differing),
        stale=(*stale, *filing.rejected, *priced.rejected),
    )


async def documented_points(connection: Connection) -> set[str]:
    """Points of which a document says who is billed, the ratio or the meter."""
    return {number for (number,) in await fetch_rows(connection, SQL["documented_points"])}


async def stale(connection: Connection, rows: ArchiveRows) -> tuple[str, ...]:
    """What documents say otherwise than these points and meters of the files, and what to write
    where."""
    async with connection.transaction(force_rollback=True):
        await _stage(connection, rows)
        return await _stale(connection)


async def _stale(connection: Connection) -> tuple[str, ...]:
    rows = await fetch_rows(connection, SQL["stale"])
    return tuple(STALE.format(*row[:5], _by_document(row[5])) for row in rows)


async def import_accounts(connection: Connection, accounts: Sequence[Row], actor: str) -> list[str]:
    """Give accounts the values of the files, as `actor` asked for; returns the changed ones.

    They are settled anew, and their journal says what they were. ArchiveConflict where money stands
    behind a tariff or opening day that would change."""
    async with connection.transaction():
        await lock_chains(connection)
        await act_as(connection, actor)
        await connection.execute(SQL["stage_accounts"])
        await _copy(connection, "staged_account", accounts)
        locked = await fetch_rows(connection, SQL["lock_imported"])
        ids = [account for account, _ in locked]
        moved = await fetch_rows(connection, SQL["moved_accounts"], {"accounts": ids})
        if moved:
            raise ArchiveConflict(
                "\n".join(line for row in moved for line in _moved_in_words(*row))
            )
        imported = await fetch_rows(connection, SQL["import_accounts"], {"accounts": ids})
        whole = {account for account, _, state in imported if state == "pending"}
        whole |= {account for account, is_settled_otherwise in locked if is_settled_otherwise}
        await mark_accounts(connection, sorted(whole), ALL_DAYS, "imported")
        await mark_accounts(connection, ids, NO_DAYS, "imported")
        await _refuse_unpriced(connection)
    return sorted(number for _, number, _ in imported)


def _moved_in_words(
    account: str,
    tariff: str,
    opened_on: date,
    file_tariff: str,
    file_opened_on: date | None,
    is_tariff: bool,
) -> Iterator[str]:
    yield (
        f"account {account} is open with {tariff} from {opened_on}; in the files: {file_tariff} "
        f"from {file_opened_on or opened_on}"
    )
    if is_tariff:
        typed = f"{shlex.quote(account)} {shlex.quote(file_tariff)}"
        yield "  if it has another tariff from a day on:"
        yield f"    meterd account tariff {typed} --from DAY"


async def _stage(connection: Connection, rows: ArchiveRows) -> None:
    await tariff_filing.stage(connection, rows.tariffs)
    staged = {
        "account": rows.accounts,
        "point": rows.points,
        "meter": rows.meters,
    }
    for subject, of_subject in staged.items():
        await connection.execute(SQL[f"stage_{subject}s"])
        await _copy(connection, f"staged_{subject}{STAGED.get(subject, '')}", of_subject)
    await connection.execute(SQL["analyze_roughly"])
    await connection.execute(SQL["analyze_staged"])
    await connection.execute(SQL["find_points"])
    await connection.execute(SQL["find_meters"])
    await connection.execute(SQL["find_misplaced"])


STAGED: Final = {
    "point": "(number, account, area, ratio, max_daily_kwh, limit_basis, reconnect, protected, "
    "life_support, phases, rates, residual_rate)",
    "meter": "(address, line, protocol, modulus, decimals, wire_decimals, point, installed_on, "
    "from_at, profile, serial, has_relay, relay_type)",
}
"""Columns that come from the files, where a staged table has further ones."""


async def _refuse_conflicts(
    connection: Connection, of_tariffs: Sequence[str], now: datetime, site_option: str
) -> None:
    """What was billed stays as it was billed: changes of it are documents (R26)."""
    conflicts = [*of_tariffs]
    values = {"today": now.date(), "moment": f"{now:%Y-%m-%d %H:%M}"}
    for question, conflict in CONFLICTS.items():
        for row in await fetch_rows(connection, SQL[question], values):
            conflicts.append(conflict.told.format(*row))
            typed = [shlex.quote(str(value)) for value in row]
            for when, command in conflict.ways:
                conflicts += [f"  {when}:", f"    {command.format(*typed)}{site_option}"]
    if conflicts:
        conflicts.append("a change of these needs a document, not an edit")
        raise ArchiveConflict("\n".join(conflicts))


async def _merge_points_and_meters(
    connection: Connection, today: date, left_out: Collection[str] | None
) -> dict[int, date]:
    """Returns the points whose limit changed, and from which day on."""
    values = {
        "beginning": BEGINNING,
        "today": today,
        "left_out": None if left_out is None else sorted(left_out),
    }
    for question in MERGING:
        await connection.execute(SQL[question], values)
    raised = await fetch_rows(connection, SQL["raise_limits"])
    lowered = await fetch_rows(connection, SQL["lower_limits"], values)
    moved = await fetch_rows(connection, SQL["move_assignments"])
    await connection.execute(SQL["edit_installations"])
    await connection.execute(SQL["edit_relays"])
    await connection.execute(SQL["install_meters"])
    await mark_accounts(connection, _ids(moved), ALL_DAYS, "first day of a meter")
    return dict.fromkeys(_ids(raised), BEGINNING) | dict.fromkeys(_ids(lowered), today)


async def _merge_accounts(connection: Connection, today: date) -> None:
    await connection.execute(SQL["add_accounts"])
    followed = _ids(await fetch_rows(connection, SQL["lock_accounts"]))
    await connection.execute(SQL["follow_accounts"], {"accounts": sorted(followed)})
    values = {"today": today}
    edited = await fetch_rows(connection, SQL["edit_assignments"], values)
    assigned = await fetch_rows(connection, SQL["assign_points"], values)
    changed = followed | _ids(edited) | _ids(assigned)
    await mark_accounts(connection, changed, ALL_DAYS, "taken over")


def _by_document(number: int | None) -> str:
    return "" if number is None else f" (document {number})"


def _ids(rows: Iterable[Row]) -> set[int]:
    return {row[0] for row in rows}


async def _refuse_unpriced(connection: Connection) -> None:
    """An account that opens before its tariff has a price could never be billed."""
    unpriced = await fetch_rows(connection, SQL["unpriced_accounts"])
    if unpriced:
        told = (
            f"account {account} {begins} {day}, before the first version of tariff {tariff}"
            for account, begins, day, tariff in unpriced
        )
        raise ArchiveConflict("\n".join(told))


async def site_meters(
    connection: Connection,
    lines: Sequence[str] | None = None,
    *,
    addresses: Sequence[str] | None = None,
) -> list[SiteMeter]:
    """Every meter that serves a point, by line and address.

    `lines`: only those of these; `addresses`: only these."""
    values = {
        "lines": None if lines is None else list(lines),
        "addresses": None if addresses is None else list(addresses),
    }
    return await fetch_records(connection, SiteMeter, SQL["site_meters"], values)


async def put_by_documents(connection: Connection) -> list[tuple[str, str, int]]:
    """(line, address, point id) of each meter that serves where a document put it."""
    return await fetch_rows(connection, SQL["put_by_documents"])


async def pages(connection: Connection, points: Collection[str]) -> dict[str, PointPage]:
    """What is true of points, by their numbers; those that are unknown are left out."""
    values = {"points": sorted(points)}
    found = await fetch_records(connection, PointPage, SQL["pages"], values)
    return {page.point: page for page in found}


async def point_id(connection: Connection, number: str) -> int | None:
    """The row of a point; None where there is none of this number."""
    row = await fetch_row(connection, SQL["point_id"], {"point": number})
    return row[0] if row else None


async def account_id(connection: Connection, number: str) -> int | None:
    """The row of a customer number."""
    row = await fetch_row(connection, SQL["account_id"], {"account": number})
    return row[0] if row else None


async def open_account(
    connection: Connection,
    account: str,
    *,
    points: Sequence[str],
    opened_on: date,
    agreement: str,
    again: bool = False,
) -> int:
    """Give a pending account its opening day, agreement and points; returns its id.

    It is active when its opening freeze is there. ArchiveConflict when it is unknown or open
    already, or a point is unknown or another account's; and, unless `again`, when it is to be
    opened otherwise."""
    values = {
        "account": account,
        "opened_on": opened_on,
        "agreement": agreement,
    }
    async with connection.transaction():
        # A batch that is on its way must see to whom its points belong, or be seen itself.
        await lock_chains(connection)
        before = await fetch_row(connection, SQL["to_be_opened_from"], {"account": account})
        row = await fetch_row(connection, SQL["open_account"], values)
        if row is None:
            if await account_id(connection, account) is None:
                raise ArchiveConflict(
                    f"account {account} is unknown: accounts come from accounts.csv, by a start or "
                    "`meterd reload`"
                )
            raise ArchiveConflict(
                f"account {account} is open already (see `meterd account show {account}`)"
            )
        if before is not None and not again and _is_another(before, opened_on, agreement):
            raise ArchiveConflict(
                f"account {account} is to be opened from {before[0]} by agreement {before[1]}; "
                "`--again` lets this take its place"
            )
        opened: int = row[0]
        for point in points:
            await _give_point(connection, point, opened, opened_on)
        await mark_accounts(connection, [opened], ALL_DAYS, "opened")
        await _refuse_unpriced(connection)
    return opened


def _is_another(before: tuple[date | None, str | None], opened_on: date, agreement: str) -> bool:
    day, signed = before
    return day is not None and (day, signed) != (opened_on, agreement)


async def _give_point(connection: Connection, point: str, account: int, from_day: date) -> None:
    row = await fetch_row(connection, SQL["free_point"], {"point": point})
    if row is None:
        raise ArchiveConflict(f"point {point} is unknown or another account's")
    point_id, owner, ended_on = row
    if owner == account and ended_on is None:
        return
    if owner is not None and (ended_on is None or ended_on > from_day):
        raise ArchiveConflict(f"point {point} is unknown or another account's")
    values = {
        "point_id": point_id,
        "account_id": account,
        "from_day": from_day,
    }
    await connection.execute(SQL["give_point"], values)


async def account(connection: Connection, account: str) -> Mapping[str, Any] | None:
    """One account as persons know it, with its `balance_fen`."""
    found = await fetch_dicts(connection, SQL["account"], {"account": account})
    return found[0] if found else None


async def has_freeze(
    connection: Connection, account: str, points: Sequence[str], day: date
) -> bool:
    """True if a point of the account, or one of `points`, has a published value of that day."""
    values = {"account": account, "points": list(points), "day": day}
    row = await fetch_row(connection, SQL["has_freeze"], values)
    assert row is not None
    return bool(row[0])


class Payee(NamedTuple):
    """Whom a payment is for, as a clerk can compare it with who pays."""

    name: str
    address: str
    points: tuple[str, ...]
    """Each with its area and its meter."""


async def payees(connection: Connection, accounts: Iterable[int]) -> dict[int, Payee]:
    """Of each account its name and the points that are billed to it now."""
    rows = await fetch_rows(connection, SQL["payees"], {"accounts": list(accounts)})
    customers: dict[int, tuple[str, str]] = {}
    points: dict[int, list[str]] = {}
    for account, name, lives_at, point, area, address in rows:
        customers[account] = (name, lives_at)
        of_account = points.setdefault(account, [])
        if point is not None:
            place = f"{point} ({area})" if area else point
            of_account.append(f"{place}, meter {address}" if address else place)
    return {
        account: Payee(*customer, tuple(points[account])) for account, customer in customers.items()
    }


async def first_version(connection: Connection, account: str) -> FirstVersion | None:
    """The first version of an account's tariff. None if the account or any version is unknown."""
    values = {"account": account}
    found = await fetch_records(connection, FirstVersion, SQL["first_version"], values)
    return found[0] if found else None


async def points_of_account(connection: Connection, account: str) -> list[dict[str, Any]]:
    """Its points, each with meter address, line and the day of its last published freeze."""
    return await fetch_dicts(connection, SQL["points_of_account"], {"account": account})


async def _copy(connection: Connection, table: str, rows: Sequence[Row]) -> None:
    async with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for begin in range(0, len(rows), COPIED_AT_ONCE):
            await copy.write(table_text(rows[begin : begin + COPIED_AT_ONCE]))
