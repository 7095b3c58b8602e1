"""meterd explain: why a balance, a charge or a day is what it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.explain_day import day
from daemon.cli.explain_trip import trip
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, fail, print_columns, print_json, print_table, yuan
from daemon.cli.site_option import site_option
from daemon.cli.typed import MOST, Day, Whole
from storage import archive, explanation, ledger
from storage.explanation import BilledLink, Movement, TransactionRow
from storage.ledger import Leg

WHY: Final = {
    "charge": "use and fees, as they first came",
    "true_up": "what later readings made of links that were billed",
    "adjustment": "what later readings or facts made of a closed month",
}


@click.group()
def explain() -> None:
    """Why a balance, a charge or a day is what it is, or why somebody was cut."""


class _Part(NamedTuple):
    """What all movements of one kind come to. `component`: of charges."""

    kind: str
    component: str | None
    transactions: int
    first_day: date
    last_day: date
    fen: int


@explain.command(short_help="What a balance is made of.")
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--from", "since", type=Day(), help="What was before this day is the opening.")
@site_option
@as_json
def balance(account_id: str, since: date | None, site_path: Path, as_json: bool) -> None:
    """Payments, charges by component and reversals of an account, which come to its balance.

    Exit code 1 if they do not."""

    async def ask(connection: AsyncConnection[Any]) -> tuple[int, list[Movement]]:
        async with explanation.one_moment(connection):
            found = await archive.account(connection, account_id)
            if found is None:
                raise fail(f"no account {account_id}")
            return found["balance_fen"], await explanation.movements(connection, account_id)

    balance_fen, movements = on_database(load_settings(site_path), ask)
    opening_fen = sum(it.fen for it in movements if since is not None and it.day < since)
    parts = _parts(it for it in movements if since is None or it.day >= since)
    if as_json:
        print_json(
            {
                "account": account_id,
                "opening_fen": opening_fen,
                "parts": [it._asdict() for it in parts],
                "balance_fen": balance_fen,
            }
        )
    else:
        rows: list[Sequence[object]] = [
            (it.kind, it.component, it.transactions, it.first_day, it.last_day, yuan(it.fen))
            for it in parts
        ]
        nothing = (None,) * 4
        print_table(
            ("what", "component", "transactions", "first day", "last day", "yuan"),
            [
                ("opening", *nothing, yuan(opening_fen)),
                *rows,
                ("balance", *nothing, yuan(balance_fen)),
            ],
        )
    if opening_fen + sum(it.fen for it in parts) != balance_fen:
        raise fail("the movements do not come to the balance: ask meterd ledger verify")


def _parts(movements: Iterable[Movement]) -> list[_Part]:
    """By kind, money that came in first, and component."""
    by_part: dict[tuple[str, str | None], list[Movement]] = {}
    for it in movements:
        by_part.setdefault((it.kind, it.component), []).append(it)
    parts = [
        _Part(
            *part,
            transactions=len({it.transaction for it in some}),
            first_day=min(it.day for it in some),
            last_day=max(it.day for it in some),
            fen=sum(it.fen for it in some),
        )
        for part, some in by_part.items()
    ]
    return sorted(parts, key=lambda it: (it.component is not None, it.kind, it.component or ""))


@explain.command(short_help="What a transaction of the ledger is.")
@click.argument("number", metavar="TRANSACTION", type=Whole(1, MOST))
@site_option
@as_json
def charge(number: int, site_path: Path, as_json: bool) -> None:
    """The links that a transaction of the ledger billed, why it is there, and its legs.

    Its number stands in `meterd explain day` and in the key of `meterd account show`."""

    async def ask(
        connection: AsyncConnection[Any],
    ) -> tuple[TransactionRow, list[BilledLink], list[Leg]]:
        found = await explanation.transaction(connection, number)
        if found is None:
            raise fail(f"there is no transaction {number}")
        billed = await explanation.billed_with(connection, number)
        return found, billed, await ledger.legs_of(connection, number)

    found, billed, legs = on_database(load_settings(site_path), ask)
    why = WHY.get(found.kind)
    if as_json:
        told = {**found._asdict(), "why": why, "links": [it._asdict() for it in billed]}
        print_json({**told, "legs": [_leg(it) for it in legs]})
        return
    print_table(
        ("transaction", "kind", "posted at", "counts for", "by", "key"),
        [(found.id, found.kind, found.recorded_at, found.value_date, found.actor, found.key)],
        title=why or "",
    )
    _print_relations(found)
    if billed:
        print_columns(
            {
                "point": "point",
                "from": "from_day",
                "to": "to_day",
                "kWh": "kwh",
                "replaced at": "left_at",
            },
            [it._asdict() for it in billed],
            title="billed links",
        )
    print_columns(
        {"ledger account": "account", "month": "month", "component": "component", "yuan": "yuan"},
        [{**_leg(it), "yuan": yuan(it.amount_fen)} for it in legs],
        title="legs",
    )


def _print_relations(found: TransactionRow) -> None:
    told = {
        "channel": found.channel,
        "document": found.document,
        "takes back transaction": found.reverses,
        "taken back by transaction": found.reversed_by,
        "days before cost more:": ", ".join(found.reasons) or None,
    }
    for what, value in told.items():
        if value is not None:
            echo(f"{what} {value}")


def _leg(leg: Leg) -> Mapping[str, Any]:
    return {
        "account": leg.account,
        "month": f"{leg.period:%Y-%m}" if leg.period else None,
        "component": leg.component,
        "amount_fen": leg.amount_fen,
    }


explain.add_command(day)
explain.add_command(trip)
