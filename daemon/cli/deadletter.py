"""meterd deadletter: readings that could not be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option_or
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, fail, print_json, print_table
from daemon.cli.site_option import site_option
from daemon.cli.typed import Whole
from daemon.transactions import dead_letters as transactions
from storage import dead_letters as storage
from storage.dead_letters import DeadLetter, NoOpenLetter

by_option = actor_option_or("--by")
ids_argument = click.argument("ids", metavar="ID...", nargs=-1, type=Whole(min=1))


@click.group()
def deadletter() -> None:
    """Look at readings that the database refused, store them after all, or give them up."""


@deadletter.command("list")
@click.option("--all", "settled", is_flag=True, help="Also those that were replayed or dropped.")
@site_option
@as_json
def list_letters(settled: bool, site_path: Path, as_json: bool) -> None:
    """List the readings that could not be stored, each with the reason."""

    async def ask(connection: AsyncConnection[Any]) -> list[DeadLetter]:
        return await storage.dead_letters(connection, settled=settled)

    found = on_database(load_settings(site_path), ask)
    if as_json:
        for letter in found:
            print_json({**asdict(letter), "age_s": int(_age(letter).total_seconds())})
        return
    head = ("id", "age", "meter", "stamp", "kWh", "reason", "settled")
    print_table(head, map(_cells, found), whole=("id", "age"))


@deadletter.command()
@ids_argument
@click.option("--all", "everything", is_flag=True, help="All that wait for somebody.")
@by_option
@site_option
@as_json
def replay(
    ids: Sequence[int],
    everything: bool,
    actor: str | None,
    site_path: Path,
    as_json: bool,
) -> None:
    """Store readings as if they arrived now, once what kept them from it is mended.

    Exit code 1 if one still cannot be stored; the others are."""
    if bool(ids) == everything:
        raise click.UsageError("give the ids of dead letters, or --all")
    settings = load_settings(site_path)
    who = acting(actor)

    async def ask(connection: AsyncConnection[Any]) -> dict[int, str | None]:
        wanted = dict.fromkeys(ids)
        if everything:
            wanted = dict.fromkeys(letter.id for letter in await storage.dead_letters(connection))
        outcomes: dict[int, str | None] = {}
        for letter_id in wanted:
            try:
                outcomes[letter_id] = await transactions.replay(
                    connection, letter_id, who, settings.site.zone
                )
            except NoOpenLetter as error:
                outcomes[letter_id] = str(error)
        return outcomes

    outcomes = on_database(settings, ask)
    for letter_id, why in outcomes.items():
        _print_outcome(letter_id, why, as_json=as_json)
    left = sum(why is not None for why in outcomes.values())
    if left:
        raise fail(f"{left} of {len(outcomes)} dead letters are left")


@deadletter.command()
@ids_argument
@click.option("--reason", required=True, help="Why nobody needs it.")
@by_option
@site_option
def drop(ids: Sequence[int], reason: str, actor: str | None, site_path: Path) -> None:
    """Give readings up. They stay in the database, with who did it and why."""
    if not ids:
        raise click.UsageError("give the ids of dead letters")
    if not reason.strip():
        raise click.BadParameter("--reason must say why")
    who = acting(actor)

    async def ask(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            for letter_id in dict.fromkeys(ids):
                await transactions.drop(connection, letter_id, who, reason.strip())

    on_database(load_settings(site_path), ask)
    for letter_id in dict.fromkeys(ids):
        echo(f"dead letter {letter_id} is dropped")


def _print_outcome(letter_id: int, why: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": letter_id, "stored": why is None, "reason": why})
    elif why is None:
        echo(f"dead letter {letter_id} is stored")
    else:
        echo(f"dead letter {letter_id} still cannot be stored: {why}")


def _age(letter: DeadLetter) -> timedelta:
    return datetime.now(UTC) - letter.at


def _cells(letter: DeadLetter) -> tuple[object, ...]:
    content = letter.content
    settled = None
    if letter.replayed_at is not None:
        settled = f"replayed by {letter.actor}"
    elif letter.dropped_at is not None:
        settled = f"dropped by {letter.actor}: {letter.drop_reason}"
    return (
        letter.id,
        timedelta(seconds=int(_age(letter).total_seconds())),
        content.get("address"),
        content.get("frozen_at"),
        _kwh(content),
        letter.reason,
        settled,
    )


def _kwh(content: Mapping[str, Any]) -> str:
    decimals = content.get("decimals", 0)
    registers = content.get("registers", ())
    return " ".join(
        "-" if value is None else str(Decimal(value).scaleb(-decimals)) for value in registers
    )
