"""meterd topup: take in a payment."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.billing.posting import UnfitPaymentKey, payment_key
from daemon.cli.actor import os_user
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, fail, print_json, yuan
from daemon.cli.site_option import site_option
from daemon.transactions.payment import TopUp, top_up

MOST_FEN: Final = 100_000_000
"""A million yuan in one payment is a slip of the finger."""


class Yuan(click.ParamType[int]):
    """An amount in yuan, to integer fen."""

    name = "yuan"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Integer fen; a wrong use for parts of a fen, nothing, or more than MOST_FEN."""
        try:
            fen = Decimal(value).scaleb(2)
        except ArithmeticError:
            self.fail(f"{value} is no amount in yuan", param, ctx)
        is_whole = fen.is_finite() and fen == int(fen)
        if not is_whole or not 0 < fen <= MOST_FEN:
            self.fail(
                f"{value} yuan is not a whole number of fen between 0.01 and {MOST_FEN // 100}",
                param,
                ctx,
            )
        return int(fen)


@click.command()
@click.argument("account")
@click.argument("amount", type=Yuan(), metavar="YUAN")
@click.option(
    "--key",
    required=True,
    help="The payment's number at its channel. The same payment again, with the same key, "
    "moves nothing.",
)
@click.option(
    "--channel",
    default="counter",
    show_default=True,
    help="Where it was paid (counter, bank, wallet, ...).",
)
@site_option
@as_json
def topup(
    account: str,
    amount: int,
    key: str,
    channel: str,
    site_path: Path,
    as_json: bool,
) -> None:
    """Post a payment to ACCOUNT; if it suffices, the supply is restored."""
    # The key makes a payment idempotent (R51): what cannot be one is refused at once.
    try:
        payment_key(channel, key)
    except UnfitPaymentKey as error:
        option = "key" if error.part == "reference" else error.part
        raise click.BadParameter(f"--{option} must not be empty nor hold a colon") from None

    async def ask(connection: AsyncConnection[Any]) -> TopUp | None:
        return await top_up(
            connection,
            account,
            amount,
            channel=channel,
            reference=key,
            now=datetime.now(UTC),
            actor=f"person:{os_user()}",
        )

    settings = load_settings(site_path)
    done = on_database(settings, ask)
    if done is None:
        raise fail(f"no account {account}; nothing was posted")
    if as_json:
        print_json(
            {
                "outcome": done.outcome.name.lower(),
                "balance_fen": done.balance_fen,
                "credit_state": done.credit_state,
                "missing_fen": done.missing_fen,
                "reconnects": [str(command) for command in done.commands],
            }
        )
    else:
        _print(done, is_shadow=settings.control.mode == "shadow")


def _print(done: TopUp, *, is_shadow: bool) -> None:
    click.echo(
        f"{done.outcome.value}: balance {yuan(done.balance_fen)} yuan, credit {done.credit_state}"
    )
    if done.commands and is_shadow:
        click.echo("the site is in shadow mode, nothing is sent: restore the supply by hand")
    elif done.commands:
        click.echo("the supply is being restored")
    elif done.missing_fen:
        click.echo(f"{yuan(done.missing_fen)} yuan are missing until the supply is restored")
