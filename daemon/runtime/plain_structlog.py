"""structlog without the library that it would colour lines by: no line of ours is coloured.

Whoever loads structlog first decides it for a process; a daemon does it here, and starts a tenth of
a second earlier."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Meanwhile a module that is not loaded yet is not found either."""
    modules: dict[str, Any] = sys.modules
    if name in modules:
        yield
        return
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]


with _absent("rich"):
    import structlog

__all__ = ["structlog"]
