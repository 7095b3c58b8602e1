"""Secrets: named in the configuration, kept elsewhere, printed as ***."""

from __future__ import annotations

import os
from pathlib import Path


class Secret:
    """A value that must not appear in a log, a message or a dump. `reveal` is the only way to
    it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


def read_secret(source: object, base: Path) -> Secret:
    """`{ file = "..." }`, `{ env = "..." }` or `{ credential = "..." }` (systemd) to its value,
    without line end.

    ValueError, in words for the editor of the file, when the source is none of these or is empty.
    """
    if (
        not isinstance(source, dict)
        or len(source) != 1
        or not isinstance(next(iter(source.values())), str)
    ):
        raise ValueError(
            'a secret is given as { file = "PATH" }, { env = "NAME" } or { credential = "NAME" }'
        )
    ((kind, name),) = source.items()
    if kind == "env":
        if name not in os.environ:
            raise ValueError(f"the environment has no {name}")
        value = os.environ[name]
    elif kind in ("file", "credential"):
        folder = base if kind == "file" else Path(os.environ.get("CREDENTIALS_DIRECTORY", ""))
        if kind == "credential" and "CREDENTIALS_DIRECTORY" not in os.environ:
            raise ValueError(
                "credentials are only there when systemd starts the service (LoadCredential=)"
            )
        try:
            value = (folder / name).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"cannot read {folder / name}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{folder / name} is not written in UTF-8") from None
    else:
        raise ValueError(f"{kind} is no source of secrets; use file, env or credential")
    if not value:
        raise ValueError(f"the secret in {kind} {name} is empty")
    return Secret(value)
