"""meterd topup: take in a payment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from daemon.api.asking import NotRunning, RequestFailed, SocketUnusable, ask
from daemon.billing.posting import MOST_PAYMENT_FEN, MUST_BE, UnfitPaymentKey, payment_key
from daemon.cli.actor import acting, actor_option_or, by_way_of
from daemon.cli.output import as_json, echo, fail, print_json, yuan
from daemon.cli.running import data_directory
from daemon.cli.site_option import site_option
from daemon.cli.typed import Text, Yuan

BUTTON: Final = (
    "the meter will allow it: the customer then holds the button of the meter until its relay "
    "closes (3 seconds); until that is done there is no supply"
)

DAEMON_S: Final = 60.0
"""It waits for a connection and uses it for less. A daemon that says nothing for longer stands
still, and who pays is not let wait for it."""


@click.command()
@click.argument("account", type=Text())
@click.argument("amount", type=Yuan(MOST_PAYMENT_FEN), metavar="YUAN")
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
@actor_option_or("--operator")
@click.option("--yes", is_flag=True, help="Do not ask, however much it is.")
@site_option
@as_json
def topup(
    *,
    account: str,
    amount: int,
    key: str,
    channel: str,
    actor: str | None,
    yes: bool,
    site_path: Path,
    as_json: bool,
) -> None:
    """Post a payment to ACCOUNT; if it suffices, the supply is restored.

    On a terminal it asks before it posts more than payment.ask_above_yuan."""
    # The key makes a payment idempotent (R51): what cannot be one is refused at once.
    try:
        payment_key(channel, key)
    except UnfitPaymentKey as error:
        option = "key" if error.part == "reference" else error.part
        raise click.BadParameter(f"--{option} {MUST_BE}") from None
    if not yes and sys.stdin.isatty():
        _confirm(site_path, account, amount)
    payment = {
        "account": account,
        "amount_fen": amount,
        "channel": channel,
        "reference": key,
        "actor": f"person:{acting(actor)}",
        "by_way_of": by_way_of(),
    }
    try:
        done = _by_daemon(site_path, payment)
    except _NotKnown:
        # By ourselves: what the daemon may have posted nevertheless has this key, and is not
        # posted again.
        done = _by_database(site_path, payment)
    is_shadow = done.pop("is_shadow")
    try:
        if as_json:
            print_json(done)
        else:
            _print(account, done, is_shadow=is_shadow)
    except OSError as error:
        raise fail(
            f"the payment is posted, but what became of it cannot be written: {error.strerror}; "
            "the same command again posts nothing and tells it"
        ) from None


def _confirm(site_path: Path, account: str, amount: int) -> None:
    # Only here: pydantic takes as long to load as the payment itself.
    from config.settings_file import load_settings

    if amount > load_settings(site_path).payment.ask_above_fen:
        click.confirm(f"Post {yuan(amount)} yuan to account {account}?", abort=True, err=True)


class _NotKnown(Exception):
    """No daemon runs, or it is not known how far it came."""


def _by_daemon(site_path: Path, payment: Mapping[str, Any]) -> dict[str, Any]:
    """It posts together what comes together."""
    asked = ask(data_directory(site_path), {"do": "topup", **payment}, silent_s=DAEMON_S)
    try:
        with closing(asked) as answers:
            return next(answers)
    except (NotRunning, SocketUnusable):
        raise _NotKnown from None
    except RequestFailed as error:
        if error.kind:
            raise fail(str(error)) from None
        raise _NotKnown from None


def _by_database(site_path: Path, payment: Mapping[str, Any]) -> dict[str, Any]:
    # Only here: a daemon that does it needs none of this.
    from psycopg import AsyncConnection

    from config.settings_file import load_settings
    from daemon.api.payment_request import UnknownAccount, as_told, payment_request
    from daemon.cli.on_site import on_database
    from daemon.transactions.payment import TopUp, post_payment
    from storage import supply
    from storage.database import USE_S

    settings = load_settings(site_path)
    told = payment_request(payment)
    # How it was typed is noted by whatever uses a database.
    noted = replace(told, by_way_of="")

    async def post(connection: AsyncConnection[Any]) -> TopUp | None:
        return await post_payment(connection, noted, await supply.database_clock(connection))

    done = on_database(settings, post, lasts_s=USE_S)
    if done is None:
        raise UnknownAccount(told.account)
    return {**as_told(done), "is_shadow": settings.control.mode == "shadow"}


def _print(account: str, done: Mapping[str, Any], *, is_shadow: bool) -> None:
    outcome = done["outcome"].replace("_", " ")
    echo(f"{outcome}: balance {yuan(done['balance_fen'])} yuan, credit {done['credit_state']}")
    points = "; ".join(done["points"]) or "no point"
    customer = ", ".join(filter(None, (done["name"] or "no name", done["address"])))
    echo(f"account {account}: {customer}; {points}")
    if done["reconnects"] and is_shadow:
        echo("the site is in shadow mode, nothing is sent: restore the supply by hand")
    elif done["reconnects"]:
        echo(BUTTON if done["at_button"] else "the supply is being restored")
    elif done["missing_fen"]:
        echo(f"{yuan(done['missing_fen'])} yuan are missing until the supply is restored")
