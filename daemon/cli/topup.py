"""meterd topup: take in a payment."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import click

from daemon.api.asking import NotRunning, RequestFailed, SocketUnusable, ask
from daemon.billing.posting import UnfitPaymentKey, payment_key
from daemon.cli.actor import os_user
from daemon.cli.output import as_json, echo, fail, print_json, yuan
from daemon.cli.running import data_directory
from daemon.cli.site_option import site_option

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

    payment = {
        "account": account,
        "amount_fen": amount,
        "channel": channel,
        "reference": key,
        "actor": f"person:{os_user()}",
    }
    try:
        done = _by_daemon(site_path, payment)
    except _NotKnown:
        # By ourselves: what the daemon may have posted nevertheless has this key, and is not
        # posted again.
        done = _by_database(site_path, payment)
    is_shadow = done.pop("is_shadow")
    if as_json:
        print_json(done)
    else:
        _print(done, is_shadow=is_shadow)


class _NotKnown(Exception):
    """No daemon runs, or it is not known how far it came."""


def _by_daemon(site_path: Path, payment: Mapping[str, Any]) -> dict[str, Any]:
    """It posts together what comes together."""
    try:
        with closing(ask(data_directory(site_path), {"do": "topup", **payment})) as answers:
            return next(answers)
    except (NotRunning, SocketUnusable):
        raise _NotKnown from None
    except RequestFailed as error:
        if error.kind:
            raise fail(str(error)) from None
        raise _NotKnown from None


def _by_database(site_path: Path, payment: Mapping[str, Any]) -> dict[str, Any]:
    # Only here: a daemon that does it needs none of this.
    from config.settings_file import load_settings
    from daemon.api.payment_request import UnknownAccount, as_told, payment_request
    from daemon.cli.on_site import on_database
    from daemon.transactions.payment import post_payment

    settings = load_settings(site_path)
    told = payment_request(payment)
    done = on_database(settings, lambda it: post_payment(it, told, datetime.now(UTC)))
    if done is None:
        raise UnknownAccount(told.account)
    return {**as_told(done), "is_shadow": settings.control.mode == "shadow"}


def _print(done: Mapping[str, Any], *, is_shadow: bool) -> None:
    outcome = done["outcome"].replace("_", " ")
    echo(f"{outcome}: balance {yuan(done['balance_fen'])} yuan, credit {done['credit_state']}")
    if done["reconnects"] and is_shadow:
        echo("the site is in shadow mode, nothing is sent: restore the supply by hand")
    elif done["reconnects"]:
        echo("the supply is being restored")
    elif done["missing_fen"]:
        echo(f"{yuan(done['missing_fen'])} yuan are missing until the supply is restored")
