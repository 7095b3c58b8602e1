"""The lists of terminals that dial in: which of them are lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.cells import word
from config.problems import Mistakes, Problem, shown
from config.table import REQUIRED, Columns, Keys, read_table
from config.table_text import table_bytes, table_file
from config.values import line_name, network
from protocols.dial_in.callers import Network
from protocols.dial_in.registration import Registration

_FINGERPRINT: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Terminal:
    """A line, and the terminal that it is, in the spelling of its registration.

    `networks`: from which it calls, empty: from those of its listener. `fingerprint`: SHA-256 of
    its certificate, empty: the certificate has the terminal's id as a name."""

    line: str
    terminal: str
    networks: tuple[Network, ...] = ()
    fingerprint: str = ""


def load_terminals(
    path: Path, base: Path, form: Registration | None, taken: dict[str, str]
) -> tuple[tuple[Terminal, ...], list[Problem]]:
    """The list of one listener; what could not be read is in the problems.

    `form`: None when it is wrong itself. `taken`: names that lines have already, and who has them;
    those of the list are added."""
    mistakes = Mistakes(shown(table_file(path), base))
    columns: Columns = {
        "line": (line_name, REQUIRED),
        "terminal": (word if form is None else form.spelled, REQUIRED),
        "permitted_networks": (_networks, ()),
        "fingerprint": (_fingerprint, ""),
    }
    found: dict[str, Terminal] = {}
    for row in read_table(table_bytes(path, mistakes), columns, mistakes, Keys()):
        line = row["line"]
        terminal = row["terminal"]
        if line in taken:
            mistakes.tell("line", f"{line} is {taken[line]} already")
        if terminal in found:
            mistakes.tell("terminal", f"{terminal} is line {found[terminal].line} already")
        taken.setdefault(line, f"the name of a line at {mistakes.file}:{mistakes.line}")
        found.setdefault(
            terminal, Terminal(line, terminal, row["permitted_networks"], row["fingerprint"])
        )
    return tuple(found.values()), mistakes.problems


def _networks(cell: str) -> tuple[Network, ...]:
    """Several stand in one cell with blanks between them."""
    return tuple(network(word) for word in cell.split())


def _fingerprint(cell: str) -> str:
    """As openssl prints it, with or without its colons."""
    digits = cell.rpartition("=")[2].replace(":", "").lower()
    if cell and not _FINGERPRINT.fullmatch(digits):
        raise ValueError(
            f'"{cell}" is no SHA-256 fingerprint: 64 hexadecimal digits, as '
            '"openssl x509 -noout -fingerprint -sha256" prints them'
        )
    return digits
