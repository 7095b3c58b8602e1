"""meterd prove: bills of a month that prove themselves to whoever doubts them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.billing.proof import verify
from daemon.billing.proof.bill import BillFacts, bill_files, packed
from daemon.cli.on_site import on_database, site_day
from daemon.cli.output import echo, fail
from daemon.cli.site_option import site_option
from daemon.cli.typed import MOST, Month, Whole, refuse_to_come
from daemon.transactions.proofs.bills import bills
from storage import proofs
from storage.proofs import NumberedAccount

AT_ONCE: Final = 250
"""Bills that are read together: so many links and transactions fit into memory anywhere."""


@click.command()
@click.argument("accounts", nargs=-1, metavar="ACCOUNT...")
@click.argument("month", metavar="MONTH", type=Month())
@click.option("--all", "is_all", is_flag=True, help="Of each account in service in that month.")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write ACCOUNT-MONTH.zip of each into this folder.",
)
@click.option(
    "--head",
    type=Whole(1, MOST),
    help="Up to this sealed block, whose hash was published; default: the newest one.",
)
@site_option
def prove(
    accounts: tuple[str, ...],
    month: date,
    is_all: bool,
    folder: Path | None,
    head: int | None,
    site_path: Path,
) -> None:
    """Write the bill of MONTH (YYYY-MM) as a zip that anybody can verify without meterd.

    It holds what the meters told, the prices, what was posted, the way to a sealed block, and a
    program of one file that computes each fen again: `python3 bill.zip`. That program has looked at
    each bill before it is written. One bill goes to standard output: `> bill.zip`."""
    if is_all == bool(accounts):
        raise click.UsageError("name accounts, or take --all")
    if folder is None and (is_all or len(accounts) > 1):
        raise click.UsageError("several bills go into a folder: --to FOLDER")
    if folder is None and sys.stdout.isatty():
        raise click.UsageError("a zip is not for the screen: > bill.zip, or --to FOLDER")
    settings = load_settings(site_path)

    async def ask(connection: AsyncConnection[Any]) -> tuple[int, int, BillFacts | None]:
        refuse_to_come(month, await site_day(connection, settings.site.zone))
        asked = await _asked(connection, accounts, month)
        last, count = None, 0
        for start in range(0, len(asked), AT_ONCE):
            portion = asked[start : start + AT_ONCE]
            for bill in await bills(connection, portion, month, settings.site.zone, head):
                write(bill, folder)
                last = bill
                count += 1
        return count, len(asked) - count, last

    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(folder, error) from None
    _tell(*on_database(settings, ask), month)


def _tell(count: int, to_come: int, last: BillFacts | None, month: date) -> None:
    if to_come:
        who = "1 account is" if to_come == 1 else f"{to_come} accounts are"
        echo(f"{who} settled by months: {month:%Y-%m} is billed when it is over", err=True)
    if last is None:
        raise fail("no bill" if to_come else f"no account was in service in {month:%Y-%m}")
    sealed = last.seals.head
    proved = "1 bill" if count == 1 else f"{count} bills"
    echo(f"{proved} proved up to {sealed.head.number}:{sealed.hash.hex()}", err=True)


async def _asked(
    connection: AsyncConnection[Any], numbers: Sequence[str], month: date
) -> list[NumberedAccount]:
    """The accounts of these numbers; of none all that were in service."""
    in_service = await proofs.in_service(connection, month)
    if not numbers:
        return in_service
    by_number = {account.number: account for account in in_service}
    for number in numbers:
        if number not in by_number:
            known = await proofs.numbered(connection, [number])
            raise fail(
                f"account {number} was not in service in {month:%Y-%m}"
                if known
                else f"no account {number}; accounts come from accounts.csv"
            )
    return [by_number[number] for number in dict.fromkeys(numbers)]


def write(bill: BillFacts, folder: Path | None) -> None:
    """The zip of a bill that was looked at, to standard output where there is no folder."""
    files = bill_files(bill)
    try:
        verify.verify_files(files, lambda *_: None)
    except verify.Wrong as wrong:
        why = wrong.message.format(*wrong.values)
        raise fail(
            f"account {bill.account}, {bill.month:%Y-%m}: the bill does not prove what was posted: "
            f"{wrong.place}: {why}; see meterd ledger verify, and tell who runs this site"
        ) from None
    content = packed(files)
    if folder is None:
        sys.stdout.buffer.write(content)
    else:
        name = f"{quote(bill.account, safe='')}-{bill.month:%Y-%m}.zip"
        try:
            (folder / name).write_bytes(content)
        except OSError as error:
            raise _not_writable(folder / name, error) from None


def _not_writable(path: Path, error: OSError) -> click.BadParameter:
    return click.BadParameter(f"{path}: {error.strerror}", param_hint="--to")
