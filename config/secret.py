"""Secrets: named in the configuration, kept elsewhere, printed as ***."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from config.bounded_file import read_file

_NAME: Final = re.compile(r"[\w./ -]+")
"""Of a file or a variable. A URL has more."""


class Secret:
    """A value that must not appear in a log, a message or a dump.

    `reveal` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """What is hidden; it must not leave the place that needs it."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


def revealed(secret: Secret | None) -> str | None:
    """What is hidden, where something is."""
    return None if secret is None else secret.reveal()


def read_secret(source: object, base: Path) -> Secret:
    """The value, without line end, of a secret that is kept elsewhere.

    `source` is `{ file = "..." }`, `{ env = "..." }` or `{ credential = "..." }` (systemd).
    ValueError, in words for the editor of the file, when it is none of these or is empty."""
    kind, name = _kind_and_name(source)
    match kind:
        case "file":
            value = _content(base / name)
        case "env":
            value = _of_environment(name)
        case "credential":
            value = _content(_credentials() / name)
        case _:
            raise ValueError(f"{kind} is no source of secrets; use file, env or credential")
    if not value:
        raise ValueError(f"the secret in {kind} {name} is empty")
    return Secret(value)


def _kind_and_name(source: object) -> tuple[str, str]:
    if isinstance(source, dict) and len(source) == 1:
        ((kind, name),) = source.items()
        if isinstance(name, str):
            return str(kind), name
    raise ValueError(
        'a secret is given as { file = "PATH" }, { env = "NAME" } or { credential = "NAME" }'
    )


def _of_environment(name: str) -> str:
    if name not in os.environ:
        raise ValueError(f"the environment has no {_if_a_name(name)}")
    return os.environ[name]


def _credentials() -> Path:
    """Where systemd puts what a unit loads (systemd.exec, LoadCredential=)."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        raise ValueError(
            "credentials are only there when systemd starts the service (LoadCredential=)"
        )
    return Path(folder)


def _if_a_name(text: str) -> str:
    """Not what may be the secret itself, written where its place belongs."""
    return text if _NAME.fullmatch(text) else "*** (that looks like the secret, not its place)"


def _content(path: Path) -> str:
    try:
        return read_file(path).decode().strip()
    except OSError as error:
        shown = f"cannot read {_if_a_name(str(path))}: {error.strerror}"
        raise ValueError(shown) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not written in UTF-8") from None
