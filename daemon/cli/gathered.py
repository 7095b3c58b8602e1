"""Options of a command that say one thing together reach it as one argument."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

Command = Callable[..., Any]


def gathered(name: str, record: type[Any]) -> Callable[[Command], Command]:
    """The command gets those of its options that are fields of this dataclass as one of it."""
    options = [field.name for field in fields(record)]

    def gather(command: Command) -> Command:
        @functools.wraps(command)
        def with_record(**given: Any) -> Any:
            said = {option: given.pop(option) for option in options}
            return command(**given, **{name: record(**said)})

        return with_record

    return gather
