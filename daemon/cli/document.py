"""meterd document: what was said of meters, points and payments, and the second person's word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import click
from psycopg import AsyncConnection

from config.persons import is_same_person
from config.settings_file import load_settings
from daemon.cli import account_entries as account_entry
from daemon.cli import account_tariff as tariff_change
from daemon.cli.actor import acting, actor_option, login
from daemon.cli.documented import filed_as_json, print_filed
from daemon.cli.files_to_mend import cells_to_mend
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, fail, print_columns, print_json, print_money
from daemon.cli.payment import print_reversed
from daemon.cli.rights import confirm_right_to_document
from daemon.cli.saying import said_by
from daemon.cli.site_option import site_option
from daemon.cli.tariff_versions import foreseen_as_json, print_approved, print_foreseen
from daemon.cli.typed import Text, Whole
from daemon.transactions import account_entries, account_tariff, payment_reversal
from daemon.transactions.account_entries import FiledEntry
from daemon.transactions.account_tariff import FiledChange
from daemon.transactions.documents import filing
from daemon.transactions.documents.filing import Filed
from daemon.transactions.point_pricing import ForeseenPricing, approve_pricing, in_words
from daemon.transactions.point_pricing import preview as preview_pricing
from daemon.transactions.tariff_versions import (
    ForeseenVersion,
    approve_document,
    preview_version,
)
from storage import documents, point_pricing, supply, tariff_filing
from storage.documents import Said, StoredDocument

Preview = Filed | FiledEntry | FiledChange | ForeseenVersion | ForeseenPricing | None
NUMBERS = Whole(1, 2**31 - 1)
NUMBER = click.argument("number", type=NUMBERS)
REASON = click.option("--reason", type=Text(), help="Why.")


@click.group()
def document() -> None:
    """Documents: who said what of a meter or a point, when and why. None is ever changed."""


@document.command("list", short_help="All documents, or those that wait.")
@click.option("--point", type=Text(), help="Only those of this point.")
@click.option("--waiting", is_flag=True, help="Only those that wait for a second person.")
@site_option
@as_json
def list_documents(point: str | None, waiting: bool, site_path: Path, as_json: bool) -> None:
    """Documents in order of their numbers.

    `counts`: it needed no second person; `waits`; `approved`, `rejected`."""

    async def ask(connection: AsyncConnection[Any]) -> list[StoredDocument]:
        return await documents.documents(connection, point=point, only_waiting=waiting)

    found = on_database(load_settings(site_path), ask)
    if as_json:
        for it in found:
            print_json(asdict(it))
        return
    print_columns(
        {
            "number": "number",
            "kind": "kind",
            "about": "about",
            "state": "state",
            "when": "at",
            "who": "actor",
            "second": "reviewer",
            "why": "reason",
        },
        [{**asdict(it), "about": _about(it)} for it in found],
    )


def _about(stored: StoredDocument) -> object:
    """The point, account, payment or tariff that it is about."""
    named = (stored.content.get(name) for name in ("point", "account", "payment", "tariff"))
    return stored.point or next(filter(None, named), None)


@document.command()
@NUMBER
@site_option
@as_json
def show(number: int, site_path: Path, as_json: bool) -> None:
    """A document; of one that waits, what it would change now."""
    settings = load_settings(site_path)

    async def ask(connection: AsyncConnection[Any]) -> tuple[StoredDocument, Preview]:
        found = await documents.documents(connection, number=number)
        if not found:
            raise fail(f"there is no document {number}; see meterd document list")
        (stored,) = found
        return stored, await _preview(connection, stored, settings.site.zone)

    stored, found = on_database(settings, ask)
    if as_json:
        print_json({**asdict(stored), **_preview_as_json(found, settings.site.zone)})
        return
    for name, value in asdict(stored).items():
        if value not in (None, ""):
            shown = json.dumps(value, ensure_ascii=False) if name == "content" else value
            echo(f"{name}: {shown}")
    _print_preview(found, settings.site.zone)


async def _preview(
    connection: AsyncConnection[Any], stored: StoredDocument, zone: ZoneInfo
) -> Preview:
    """What a document that waits would change now; None of one that does not, or moves money."""
    now = await supply.database_clock(connection)
    if stored.state != "waits":
        return None
    if stored.kind == tariff_filing.KIND:
        return await preview_version(connection, stored, zone, now.astimezone(zone).date())
    if stored.kind == point_pricing.KIND:
        return await preview_pricing(connection, stored.number, now)
    if stored.kind == account_tariff.KIND:
        return await account_tariff.preview(connection, stored, now)
    if stored.kind in account_entries.KINDS:
        return await account_entries.preview(connection, stored, now)
    if stored.point is None:
        return None
    return await filing.preview(connection, stored, now)


def _print_preview(found: Preview, zone: ZoneInfo) -> None:
    match found:
        case FiledEntry():
            account_entry.print_effect(found)
        case FiledChange():
            tariff_change.print_effect(found)
        case ForeseenVersion():
            print_foreseen(found)
        case ForeseenPricing():
            _print_pricing(found)
        case Filed():
            print_filed(found, zone)


def _preview_as_json(found: Preview, zone: ZoneInfo) -> dict[str, Any]:
    match found:
        case FiledEntry():
            return account_entry.effect_as_json(found)
        case FiledChange():
            return tariff_change.effect_as_json(found)
        case ForeseenVersion():
            return foreseen_as_json(found)
        case ForeseenPricing():
            return {"point": found.pricing.point, "balances_moved_fen": dict(found.fen)}
        case Filed():
            return filed_as_json(found, zone)
    return {}


def _print_pricing(found: ForeseenPricing) -> None:
    echo(in_words(found.pricing))
    print_money(found.fen)


@document.command()
@click.argument("numbers", metavar="NUMBER...", type=NUMBERS, nargs=-1, required=True)
@actor_option
@REASON
@site_option
@as_json
def approve(
    numbers: tuple[int, ...],
    actor: str | None,
    reason: str | None,
    site_path: Path,
    as_json: bool,
) -> None:
    """Let documents count, each by itself. Another person does that than who made it."""
    settings = load_settings(site_path)
    said = Said(acting(actor), reason or "")
    asked = _Asked(site_path, settings.site.zone, as_json)

    async def ask(connection: AsyncConnection[Any]) -> None:
        for number in numbers:
            kind = await _kind(connection, number)
            confirm_right_to_document(kind in OF_MONEY, said.actor, login(), site_path)
            if kind in OF_MONEY:
                await _approve_money(connection, number, kind, said, asked)
            else:
                await _approve_point(connection, number, said, asked)

    on_database(settings, ask)


OF_MONEY: Final = frozenset(
    {payment_reversal.KIND, tariff_filing.KIND, account_tariff.KIND, point_pricing.KIND}
    | {*account_entries.KINDS}
)
"""Documents that change no fact of a meter."""


class _Asked(NamedTuple):
    site_path: Path
    zone: ZoneInfo
    as_json: bool


async def _approve_money(
    connection: AsyncConnection[Any], number: int, kind: str | None, said: Said, asked: _Asked
) -> None:
    now, as_json = await supply.database_clock(connection), asked.as_json
    match kind:
        case payment_reversal.KIND:
            done = await payment_reversal.approve_reversal(connection, number, said, now)
            print_reversed(number, done, as_json=as_json)
        case tariff_filing.KIND:
            today = now.astimezone(asked.zone).date()
            version = await approve_document(connection, number, said, today)
            print_approved(version, as_json=as_json)
        case account_tariff.KIND:
            changed = await account_tariff.approve_change(connection, number, said)
            tariff_change.print_change(changed, asked.site_path, as_json=as_json)
        case point_pricing.KIND:
            priced = await approve_pricing(connection, number, said, now)
            _print_approved(number, priced, asked)
        case _:
            entered = await account_entries.approve_entry(connection, number, said)
            account_entry.print_entry(entered, asked.site_path, as_json=as_json)


async def _approve_point(
    connection: AsyncConnection[Any], number: int, said: Said, asked: _Asked
) -> None:
    stored, found = await filing.approve(
        connection, number, said, await supply.database_clock(connection)
    )
    to_do = cells_to_mend(asked.site_path, filing.document_of(stored), asked.zone)
    _print_approved(number, found, asked, to_do)


def _print_approved(number: int, found: Preview, asked: _Asked, to_do: Sequence[str] = ()) -> None:
    if asked.as_json:
        shown = _preview_as_json(found, asked.zone)
        print_json({"document": number, "state": "approved", **shown, "to_do": list(to_do)})
        return
    _print_preview(found, asked.zone)
    for line in (f"document {number} counts", *to_do):
        echo(line)


@document.command()
@NUMBER
@actor_option
@REASON
@site_option
def reject(number: int, actor: str | None, reason: str | None, site_path: Path) -> None:
    """A document that waits is not to count; who made it may take it back so."""
    said = said_by({"actor": actor, "reason": reason})

    async def ask(connection: AsyncConnection[Any]) -> StoredDocument:
        found = await documents.documents(connection, number=number)
        if not any(is_same_person(it.actor, said.actor) for it in found):
            of_money = any(it.kind in OF_MONEY for it in found)
            confirm_right_to_document(of_money, said.actor, login(), site_path)
        return await filing.reject(connection, number, said)

    on_database(load_settings(site_path), ask)
    echo(f"document {number} does not count; nothing was changed")


async def _kind(connection: AsyncConnection[Any], number: int) -> str | None:
    found = await documents.documents(connection, number=number)
    return found[0].kind if found else None
