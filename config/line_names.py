"""Which lines run, for commands that need no more of the site than their names."""

from __future__ import annotations

from pathlib import Path

from config.settings_file import SettingsFile
from config.terminals import load_terminals


def running_lines(file: SettingsFile) -> set[str]:
    """Names of the lines that are switched on, whatever else is wrong with the file."""
    names = {
        str(table.get("name"))
        for section in ("line", "gateway")
        for table in file.tables(section)
        if table.get("enabled", True)
    }
    for listener in file.tables("listener"):
        path = listener.get("terminals")
        if listener.get("enabled", True) and isinstance(path, str):
            listed, _ = load_terminals(file.base / Path(path), file.base, None, {})
            names |= {terminal.line for terminal in listed}
    return names
