"""Options of a command that say one thing together reach it as one argument."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def gathered(name: str, record: type[Any]) -> Callable[[F], F]:
    """The command gets those of its options that are fields of this dataclass as one of it."""
    options = [field.name for field in fields(record)]

    def gather(command: F) -> F:
        @functools.wraps(command)
        def with_record(**given: Any) -> Any:
            said = {option: given.pop(option) for option in options}
            return command(**given, **{name: record(**said)})

        found: Any = with_record
        return found  # type: ignore[no-any-return]

    return gather
