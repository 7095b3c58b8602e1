"""meterd payment: a payment is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, print_json, yuan
from daemon.cli.site_option import site_option
from daemon.cli.typed import Text
from daemon.transactions.payment_reversal import Cause, Reversed, file_reversal
from storage.documents import Said


@click.group()
def payment() -> None:
    """Payments after they were taken in. `meterd topup` takes one in."""


@payment.command()
@click.argument("key", type=Text(), metavar="pay:CHANNEL:KEY")
@click.option("--reason", type=Text(), required=True, help="Why.")
@actor_option
@click.option("--evidence", type=Text(), help="Where it can be looked up: the bank's notice.")
@click.option(
    "--cause",
    type=click.Choice(["bounced", "mistaken"]),
    default="bounced",
    show_default=True,
    help="It did not arrive, or was meant for another account or amount.",
)
@site_option
@as_json
def reverse(
    key: str,
    reason: str,
    actor: str | None,
    evidence: str | None,
    cause: str,
    site_path: Path,
    as_json: bool,
) -> None:
    """Take a payment back, whole and once. It counts when a second person approves it."""
    said = Said(acting(actor), reason, evidence or "")

    async def ask(connection: AsyncConnection[Any]) -> int:
        return await file_reversal(connection, key, cast(Cause, cause), said)

    number = on_database(load_settings(site_path), ask)
    if as_json:
        print_json({"document": number, "state": "waits", "payment": key, "cause": cause})
        return
    at = "" if site_path == Path("meterd.toml") else f" -c {site_path}"
    echo(f"document {number} waits for a second person, nothing is posted yet:")
    echo(f"  meterd document approve {number} --actor NAME{at}")


def print_reversed(number: int, done: Reversed, *, as_json: bool) -> None:
    """What came of a document that was approved."""
    if as_json:
        print_json(
            {
                "document": number,
                "state": "approved",
                "payment": done.payment,
                "account": done.account,
                "amount_fen": done.amount_fen,
                "balance_fen": done.balance_fen,
                "credit_state": done.credit_state,
            }
        )
        return
    echo(
        f"{done.payment} of {yuan(done.amount_fen)} yuan is taken back from {done.account}: "
        f"balance {yuan(done.balance_fen)} yuan, credit {done.credit_state}"
    )
    echo(f"document {number} counts")
