"""The policies that come with the program: when, and after which notices, somebody may be cut."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

STRICT: Final = "cn_strict"
"""As shipped."""
_SHIPPED: Final = files("config").joinpath("policies")


@cache
def shipped_policies() -> Mapping[str, Mapping[str, Any]]:
    """By name the keys of each, as they would stand in a table of `meterd.toml`."""
    found = sorted(_SHIPPED.iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(".toml"): tomllib.loads(file.read_text(encoding="utf-8"))
        for file in found
        if file.name.endswith(".toml")
    }
