"""The files of a `small_site.Site`, for what reads files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from config.load import LoadedSite, load_site
from tests.database.small_site import Site

SETTINGS: Final = """
[site]
name = "test"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"

[[line]]
name = "line"
tcp = "127.0.0.1:1"
"""
TARIFFS: Final = '[[tariff.T.version]]\neffective_from = 2026-01-01\nprice = "0.5"\n'
COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    "meters": {
        "address": "address",
        "line": "line",
        "point": "point",
        "installed_on": "installed_on",
    },
    "points": {"point": "number", "account": "account", "max_daily_kwh": "max_daily_kwh"},
    "accounts": {
        "account": "number",
        "tariff": "tariff_id",
        "open_from": "opened_on",
        "agreement": "agreement",
    },
}
"""By file, what each column holds of a row."""


def files_of(site: Site, folder: Path) -> LoadedSite:
    """The site as files say it."""
    (folder / "meterd.toml").write_text(SETTINGS)
    (folder / "tariffs.toml").write_text(TARIFFS)
    for name, columns in COLUMNS.items():
        _write(folder / f"{name}.csv", columns, getattr(site, name))
    return load_site(folder / "meterd.toml")


def _write(path: Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([row[key] for key in columns.values()] for row in rows)
