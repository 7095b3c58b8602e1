"""Files with secrets that every user of the machine may read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from config.problems import Problem, shown
from config.settings_file import SettingsFile
from config.toml_lines import Path as Place

OF_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP
"""Rights that are no owner's. A group may read: of a service it is often its own."""
PRIVATE_KEY: Final = "tls_key"


def open_secrets(file: SettingsFile) -> Iterator[Problem]:
    """One warning for each file that `meterd.toml` names and that is open to others."""
    told = set()
    for place, name in _secret_files(file.content, ()):
        path = file.base / name
        rights = _rights(path)
        if not rights & OF_OTHERS or path in told:
            continue
        told.add(path)
        message = (
            f"{shown(path, file.base)} holds a secret and has the rights {rights:04o}: "
            "other users of this machine may read or change it; chmod 600 it"
        )
        yield file.problem_at(place, message)


def _secret_files(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Every `{ file = "PATH" }` and every private key, with its place."""
    match value:
        case {"file": str(name), **others} if not others and place:
            yield place, name
        case dict():
            for key, inner in value.items():
                if key == PRIVATE_KEY and isinstance(inner, str):
                    yield (*place, key), inner
                else:
                    yield from _secret_files(inner, (*place, key))
        case list():
            for index, inner in enumerate(value):
                yield from _secret_files(inner, (*place, index))


def _rights(path: Path) -> int:
    """0 where nobody can say: what cannot be read is told elsewhere."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0
