"""meterd ledger: prove that nothing that was posted was changed; close a month."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.billing.sealing import LEAF_BYTES
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database, site_day
from daemon.cli.output import as_json, echo, fail, print_json
from daemon.cli.site_option import site_option
from daemon.cli.typed import Month, Text, Whole
from daemon.transactions.month_close import close_month
from daemon.transactions.sealing import Verified, verify
from storage import seals
from storage.documents import Said

NUMBERS = Whole(1)


class KnownHash(click.ParamType[tuple[int, bytes]]):
    """A block's number and hash, as the log of the daemon and this command show them."""

    name = "block:hash"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, bytes]:
        """The number and the 32 bytes; a wrong use for anything else."""
        number, _, digits = str(value).partition(":")
        try:
            known = bytes.fromhex(digits)
        except ValueError:
            known = b""
        if not number.isdecimal() or len(known) != LEAF_BYTES:
            self.fail(f"{value} is no BLOCK:HASH, such as 12:0f3a... of 64 digits", param, ctx)
        return int(number), known


@click.group()
def ledger() -> None:
    """The ledger: nothing in it is ever changed, and that can be proved."""


@ledger.command("verify", short_help="Compare sealed blocks with what is there.")
@click.option(
    "--from", "first", type=NUMBERS, default=1, show_default=True, help="From this block on."
)
@click.option(
    "--known",
    type=KnownHash(),
    help="A block's hash that was kept elsewhere: the whole chain could have been made anew.",
)
@site_option
@as_json
def verify_blocks(
    first: int, known: tuple[int, bytes] | None, site_path: Path, as_json: bool
) -> None:
    """Compute the hashes of sealed blocks again, and name the first row that is not as it was.

    Exit code 1 if there is one. What was posted in the last seconds may be in no block yet."""

    async def ask(connection: AsyncConnection[Any]) -> tuple[Verified, int]:
        if known is not None:
            await _refuse_other_hash(connection, *known)
        return await verify(connection, first), await seals.unsealed(connection)

    found, unsealed = on_database(load_settings(site_path), ask)
    if as_json:
        print_json(
            {
                "first": found.first,
                "last": found.last,
                "hash": found.hash.hex(),
                "places": found.places,
                "unsealed": unsealed,
                "fault": found.fault.told if found.fault else None,
                "fault_block": found.fault.block if found.fault else None,
                "fault_place": found.fault.place if found.fault else None,
            }
        )
    elif found.fault is None:
        echo(
            f"blocks {found.first} to {found.last} are as they were sealed: "
            f"{found.places} transactions, names and steps, {unsealed} transactions not sealed yet"
        )
        echo(f"{found.last}:{found.hash.hex()}")
    else:
        echo(f"block {found.fault.block}: {found.fault.told}")
    raise SystemExit(0 if found.fault is None else 1)


async def _refuse_other_hash(connection: AsyncConnection[Any], number: int, known: bytes) -> None:
    there = await seals.blocks(connection, number, number)
    if not there:
        raise fail(f"there is no block {number}; it was removed, or this is another database")
    if there[0].hash != known:
        raise fail(
            f"block {number} has the hash {there[0].hash.hex()}, not the known one: the chain was "
            f"made anew from a block up to {number} on"
        )


@ledger.command()
@click.argument("month", metavar="MONTH", type=Month())
@click.option("--reason", type=Text(), help="Why.")
@actor_option
@site_option
def close(month: date, reason: str | None, actor: str | None, site_path: Path) -> None:
    """Close MONTH (YYYY-MM) for ever: what counts for it later is posted as an adjustment.

    Waits for what is being posted. Months are closed in order."""
    settings = load_settings(site_path)
    said = Said(acting(actor), reason or "")

    async def ask(connection: AsyncConnection[Any]) -> None:
        today = await site_day(connection, settings.site.zone)
        await close_month(connection, month, said, today)

    on_database(settings, ask)
    echo(f"{month:%Y-%m} is closed")
