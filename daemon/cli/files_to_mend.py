"""Which cells of the archive a document made stale: the files own what stands in them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from datetime import time
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

from config.bounded_file import MOST_TABLE_BYTES, read_file
from config.settings_file import SettingsFile
from daemon.transactions.documents.correction import AddressCorrection, DateCorrection
from daemon.transactions.documents.crossing import Crossing
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.filing import Document
from daemon.transactions.documents.handover import Assignment, Release
from daemon.transactions.documents.ratio_change import RatioChange

Cells = Mapping[str, object]
"""What the cells of a row have to say, by column; None: anything."""


def cells_to_mend(site_path: Path, document: Document, zone: ZoneInfo) -> list[str]:
    """What to write where, now that the document counts; nothing if the files say it already.

    Files that cannot be read say nothing: `meterd check` tells what is wrong with them."""
    folder = SettingsFile.read(site_path).path_of("site", "archive")
    if folder is None:
        return []
    if isinstance(document, Crossing):
        return [
            f"{folder.name}/meters.csv: point: each of {document.point} and {document.other} in "
            "the row of the other, if that is not so yet",
            "then: meterd reload",
        ]
    found: list[str] = []
    for table, cells in _cells_of(document, zone).items():
        said = {column: str(value) for column, value in cells.items() if value is not None}
        try:
            found += _stale(folder / table, document.point, said)
        except (OSError, csv.Error, UnicodeDecodeError):
            continue
    return [*found, "then: meterd reload"] if found else []


def _cells_of(document: Document, zone: ZoneInfo) -> Mapping[str, Cells]:
    """By table what stands in the row of the point."""
    match document:
        case Exchange():
            of_meter = {
                "address": _in_file(document.address),
                "modulus_kwh": document.modulus,
                "decimals": document.decimals,
            }
            return {"meters.csv": of_meter, "points.csv": {"ratio": document.ratio}}
        case AddressCorrection():
            return {"meters.csv": {"address": _in_file(document.address)}}
        case DateCorrection():
            local = document.installed_at.astimezone(zone)
            # A file knows days; the moment of an exchange is the document's alone.
            day = local.date() if local.time() == time() else None
            return {"meters.csv": {"installed_on": day}}
        case RatioChange():
            return {"points.csv": {"ratio": document.ratio}}
        case Assignment():
            return {"points.csv": {"account": document.account}}
        case Release():
            return {"points.csv": {"account": ""}}
    return {}


def _in_file(address: str | None) -> str | None:
    """A Modbus meter stands there by its unit alone."""
    return None if address is None else address.rpartition("/")[2]


def _stale(path: Path, point: str, said: Mapping[str, str]) -> Iterator[str]:
    text = read_file(path, MOST_TABLE_BYTES).decode("utf-8-sig")
    with StringIO(text, newline="") as file:
        rows = csv.DictReader(file)
        for row in rows:
            if (row.get("point") or "").strip() != point:
                continue
            for column, right in said.items():
                written = (row.get(column) or "").strip()
                if written != right:
                    instead = f" instead of {written}" if written else ""
                    yield (
                        f"{path.parent.name}/{path.name}:{rows.line_num}: {column}: "
                        f"write {right or 'nothing'}{instead}"
                    )
