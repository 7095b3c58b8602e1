"""What a request to collect must hold: JSON of another program, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final, get_args

from daemon.acquisition.on_demand import Request
from daemon.acquisition.planning.reads import What
from daemon.api.bad_request import BadRequest, is_number

KINDS: Final[tuple[str, ...]] = get_args(What)
FREEZE: Final = "freeze"
LONGEST_WAIT_S: Final = 86_400


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_wait(value: Any) -> bool:
    return is_number(value) and 0 < value <= LONGEST_WAIT_S


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of the request, what stands for it when it is missing, and what it must be."""

    name: str
    default: Any
    is_fit: Callable[[Any], bool]
    must_be: str

    def value(self, request: Mapping[str, Any]) -> Any:
        value = request.get(self.name, self.default)
        if not self.is_fit(value):
            raise BadRequest(self.must_be)
        return value


_LINE_OR_FAILED: Final = "line must be a name, failed and withheld true or false"
_KEYS: Final = (
    _Key(
        "what",
        FREEZE,
        lambda value: value in KINDS,
        f"what must be one of {', '.join(KINDS)}",
    ),
    _Key("meters", [], _is_names, "meters must be a list of addresses or points"),
    _Key("line", None, lambda value: value is None or isinstance(value, str), _LINE_OR_FAILED),
    _Key("failed", False, lambda value: isinstance(value, bool), _LINE_OR_FAILED),
    _Key("withheld", False, lambda value: isinstance(value, bool), _LINE_OR_FAILED),
    _Key("within_s", 60, _is_wait, "within_s must be a number of seconds, at most a day"),
)


def collect_request(request: Mapping[str, Any]) -> Request:
    """The request, checked. BadRequest names the first thing that is wrong with it."""
    given = {key.name: key.value(request) for key in _KEYS}
    given["meters"] = tuple(given["meters"])
    wanted = Request(**given)
    _refuse_unclear_choice(wanted)
    day = _day(request.get("day"))
    if day is None:
        return wanted
    if wanted.what != FREEZE:
        raise BadRequest("a day belongs to a freeze")
    if wanted.withheld:
        raise BadRequest("what is withheld has its days")
    return replace(wanted, day=day)


def _refuse_unclear_choice(wanted: Request) -> None:
    choices = (bool(wanted.meters), wanted.failed, wanted.withheld)
    if sum(choices) != 1 and not (wanted.line and not any(choices)):
        raise BadRequest("name meters, a line, those that failed, or what is withheld")
    if wanted.withheld and wanted.what != FREEZE:
        raise BadRequest("what is withheld are freezes")


def _day(text: Any) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except (TypeError, ValueError):
        raise BadRequest(f"day {text!r} is no date, write 2026-03-01") from None
