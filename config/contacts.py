"""How customers are reached: contacts.csv of the archive, which a site may have."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from config.cells import Parse, one_of, word, yes_no
from config.problems import Mistakes, Problem, did_you_mean, shown
from config.table import REQUIRED, Columns, Keys, read_table
from config.table_text import table_bytes, table_file
from config.translation import LANGUAGES

CONTACTS: Final = "contacts.csv"
ENOUGH: Final = 2
"""Ways to reach a customer: one may be lost (control, notices)."""
_ROUNDED: Final = re.compile(r"[0-9]+([.,][0-9]+)?[eE][+-]?[0-9]+")
_ORDER: Final = range(1, 100)


def _address(cell: str) -> str:
    if _ROUNDED.fullmatch(cell):
        raise ValueError(
            "a spreadsheet rounded it and its digits are lost; make the column a text and type the "
            "number again"
        )
    return word(cell)


def _order(cell: str) -> int:
    if not (cell.isascii() and cell.isdigit()) or int(cell) not in _ORDER:
        raise ValueError(f'"{cell}" is no place in an order: write 1, 2, 3 ...')
    return int(cell)


CONTACT_COLUMNS: Final[Columns] = {
    "account": (word, REQUIRED),
    "channel": (word, REQUIRED),
    "address": (_address, REQUIRED),
    "consent": (yes_no, REQUIRED),
    "language": (one_of(*LANGUAGES), "zh"),
    "order": (_order, 1),
}


@dataclass(frozen=True, slots=True)
class Contact:
    """`channel`: a [[notice_channel]]. `consent`: the customer agreed to be reached so.

    `order`: the lower is tried first, of equal ones the first row."""

    account: str
    channel: str
    address: str = field(repr=False)
    """Of a person: it must not appear in a log or a message."""
    consent: bool
    language: str
    order: int


def load_contacts(
    folder: Path, base: Path, *, accounts: Collection[str] | None, channels: Collection[str]
) -> tuple[tuple[Contact, ...], list[Problem]]:
    """The contacts of a site, none where it has no such table.

    `accounts`: None where they are wrong themselves. `channels`: the names that there are."""
    path = folder / CONTACTS
    if not table_file(path).exists():
        return (), []
    mistakes = Mistakes(shown(table_file(path), base))
    found: dict[tuple[str, str, str], Contact] = {}
    columns = {**CONTACT_COLUMNS, "channel": (_channel(channels), REQUIRED)}
    for row in read_table(table_bytes(path, mistakes), columns, mistakes, Keys()):
        contact = Contact(**row)
        _check_account(contact, accounts, mistakes)
        key = (contact.account, contact.channel, contact.address)
        if key in found:
            mistakes.tell("address", f"stands twice for {contact.account} and {contact.channel}")
        found[key] = contact
    return tuple(found.values()), mistakes.problems


def _channel(channels: Collection[str]) -> Parse:
    def parse(cell: str) -> str:
        if cell not in channels:
            hint = did_you_mean(cell, channels)
            raise ValueError(f"no [[notice_channel]] {cell} in meterd.toml{hint}")
        return cell

    return parse


def _check_account(contact: Contact, accounts: Collection[str] | None, mistakes: Mistakes) -> None:
    if accounts is not None and contact.account not in accounts:
        hint = did_you_mean(contact.account, accounts)
        message = f"no account {contact.account} in accounts.csv{hint}"
        mistakes.tell("account", message, contact.account)


def reached_badly(contacts: Collection[Contact], accounts: Collection[str]) -> list[str]:
    """The accounts that have fewer than ENOUGH ways to be reached with their consent."""
    ways: dict[str, int] = dict.fromkeys(accounts, 0)
    for contact in contacts:
        if contact.consent and contact.account in ways:
            ways[contact.account] += 1
    return [account for account, count in ways.items() if count < ENOUGH]


def row_of(contact: Contact) -> tuple[Any, ...]:
    """As it is staged for the database."""
    return (
        contact.account,
        contact.channel,
        contact.address,
        contact.language,
        contact.consent,
        contact.order,
    )
