"""The fields of a case in JSON: each read as what it must be, or an error that names it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar, overload
from zoneinfo import ZoneInfo

from config.problems import quoted
from daemon.quality.facts import Registers
from protocols.errors import MeterdError

T = TypeVar("T")
S = TypeVar("S", bound=str)
_REQUIRED: Final = object()
YEARS: Final = range(1970, 2200)
MOST_DIGITS: Final = 20
"""Of a number in a case; the registers of meters have up to twelve."""
_DECIMAL: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


class CaseError(MeterdError):
    """A case that is not understood; the text begins with the path of the field."""


class Fields:
    """One object of a case and where it stands. Every method raises CaseError."""

    def __init__(self, given: object, path: str = "") -> None:
        if not isinstance(given, Mapping):
            raise CaseError(f"{path or 'case'}: must be an object, is {_kind(given)}")
        self._given = given
        self._path = path

    def inside(self, name: str) -> Fields:
        """An object that must be there."""
        return Fields(self._get(name, _REQUIRED), self._at(name))

    def each(self, name: str, default: Sequence[object] | None = None) -> list[Fields]:
        """A list of objects."""
        found = self._list(name, default)
        return [Fields(it, f"{self._at(name)}[{n}]") for n, it in enumerate(found)]

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty where it is not there."""
        items = self._items(name, [])
        return [items.text(number) for number in items.names()]

    def decimals(self, name: str) -> list[Decimal]:
        """A list of decimal numbers in texts."""
        items = self._items(name, None)
        return [items.decimal(number) for number in items.names()]

    def integers_or_none(self, name: str) -> list[int | None]:
        """A list of whole numbers; null where one is not known."""
        items = self._items(name, None)
        return [items.integer(number, None) for number in items.names()]

    def _items(self, name: str, default: Sequence[object] | None) -> Fields:
        """A list as an object by number, so that a mistake tells which it is."""
        found = self._list(name, default)
        return Fields({f"[{n}]": it for n, it in enumerate(found)}, self._at(name))

    def _list(self, name: str, default: Sequence[object] | None) -> Sequence[object]:
        found: object = self._get(name, _REQUIRED if default is None else default)
        if not isinstance(found, Sequence) or isinstance(found, str):
            raise self._wrong(name, "a list", found)
        return found

    @overload
    def text(self, name: str) -> str: ...
    @overload
    def text(self, name: str, default: T) -> str | T: ...
    def text(self, name: str, default: Any = _REQUIRED) -> Any:
        """A text."""
        found = self._get(name, default)
        if found is not default and not isinstance(found, str):
            raise self._wrong(name, "a text", found)
        return found

    def choice(self, name: str, choices: Sequence[S], default: S | None = None) -> S:
        """One of some words."""
        found = self._get(name, _REQUIRED if default is None else default)
        for choice in choices:
            if choice == found:
                return choice
        raise self.error(name, f"{quoted(found)} is none of {', '.join(choices)}")

    @overload
    def integer(self, name: str) -> int: ...
    @overload
    def integer(self, name: str, default: T) -> int | T: ...
    def integer(self, name: str, default: Any = _REQUIRED) -> Any:
        """A whole number."""
        found = self._get(name, default)
        if found is not default and (not isinstance(found, int) or isinstance(found, bool)):
            raise self._wrong(name, "a whole number", found)
        return found

    def whole(self, name: str, default: int | None = None) -> int:
        """A number of decimals: 0 to 9."""
        found = self.integer(name) if default is None else self.integer(name, default)
        if not 0 <= found <= 9:
            raise self.error(name, f"{found} is not between 0 and 9")
        return found

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True or false."""
        found = self._get(name, default)
        if not isinstance(found, bool):
            raise self._wrong(name, "true or false", found)
        return found

    def decimal(self, name: str, default: str | None = None) -> Decimal:
        """A decimal number in a text: a JSON number may have lost digits before it is read."""
        found = self._get(name, _REQUIRED if default is None else default)
        if not isinstance(found, str):
            raise self._wrong(name, 'a decimal number in a text, as "100.00"', found)
        # Decimal itself takes 1_000, 1e3 and the digits of every script.
        if len(found) > MOST_DIGITS or not _DECIMAL.fullmatch(found):
            raise self.error(name, f"{quoted(found)} is not a decimal number")
        return Decimal(found)

    def number(self, name: str) -> Decimal:
        """A count that is no money: a number, or a decimal number in a text."""
        found = self._get(name, _REQUIRED)
        is_number = isinstance(found, int | float | Decimal) and not isinstance(found, bool)
        number = Decimal(str(found)) if is_number else self.decimal(name)
        if not number.is_finite():
            raise self.error(name, f"{number} is not a number")
        return number

    @overload
    def count(self, name: str, *, least: int = 0) -> int: ...
    @overload
    def count(self, name: str, default: T, *, least: int = 0) -> int | T: ...
    def count(self, name: str, default: Any = _REQUIRED, *, least: int = 0) -> Any:
        """A whole number that is not below the least."""
        found = self.integer(name, default)
        if found is not default and found < least:
            raise self.error(name, f"{found} is less than {least}")
        return found

    def not_below_0(self, name: str, default: str | None = None) -> Decimal:
        """A decimal number of 0 or more."""
        number = self.decimal(name, default)
        if number < 0:
            raise self.error(name, f"{number} is below 0")
        return number

    def positive(self, name: str) -> Decimal:
        """A decimal number above 0."""
        number = self.decimal(name)
        if number <= 0:
            raise self.error(name, f"{number} is not above 0")
        return number

    def day(self, name: str) -> date:
        """A day, as 2026-03-01."""
        found = self.text(name)
        try:
            day = date.fromisoformat(found)
        except ValueError:
            raise self.error(name, f"{quoted(found)} is not a day, as 2026-03-01") from None
        self._check_year(name, day.year)
        return day

    def span_of_days(self, first: str, last: str) -> tuple[date, date]:
        """Two days, both included."""
        begin, end = self.day(first), self.day(last)
        if end < begin:
            raise self.error(last, f"{end} is before {begin}")
        return begin, end

    def moment(self, name: str, zone: ZoneInfo) -> datetime:
        """A moment in the zone's time, as 2026-03-01T00:07."""
        found = self._time(name, self.text(name))
        return found if found.tzinfo is not None else found.replace(tzinfo=zone)

    def day_or_moment(self, name: str, zone: ZoneInfo) -> date | datetime:
        """A midnight as its day, any other moment as what it is."""
        moment = self.moment(name, zone).astimezone(zone)
        return moment if any(moment.timetuple()[3:6]) else moment.date()

    def wall_time(self, name: str) -> datetime | None:
        """What a clock showed; None if it is not there."""
        found = self.time_as_written(name)
        return None if found is None else found.replace(tzinfo=None)

    def time_as_written(self, name: str) -> datetime | None:
        """With its offset if it names one; None if it is not there."""
        found = self.text(name, None)
        return None if found is None else self._time(name, found)

    def zone(self, name: str) -> ZoneInfo:
        """A zone by its IANA name."""
        found = self.text(name)
        try:
            return ZoneInfo(found)
        except (KeyError, ValueError, OSError):
            raise self.error(name, f"there is no zone {quoted(found)}") from None

    def error(self, name: str, message: str) -> CaseError:
        """What is wrong with a field, to be raised."""
        return CaseError(f"{self._at(name)}: {message}")

    def names(self) -> list[str]:
        """What the object holds."""
        return list(self._given)

    def whole_object(self) -> Mapping[str, Any]:
        """The object as it was written."""
        return self._given

    def registers(self, name: str) -> Registers:
        """An object of decimal numbers, `total` and rates."""
        given = self.inside(name)
        rates = sorted(rate for rate in given.names() if rate != "total")
        return Registers(given.decimal("total"), tuple((it, given.decimal(it)) for it in rates))

    def registers_or_none(self, name: str) -> Registers | None:
        """The same, or None where nobody knows them."""
        return None if self._get(name, None) is None else self.registers(name)

    def _get(self, name: str, default: object) -> Any:
        found = self._given.get(name, default)
        # What is null is as if it were not there.
        if found is None and default is not _REQUIRED:
            found = default
        if found is _REQUIRED:
            raise self.error(name, "is missing")
        return found

    def _time(self, name: str, text: str) -> datetime:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            wrong = f"{quoted(text)} is not a moment, as 2026-03-01T00:07"
            raise self.error(name, f"{wrong}") from None
        self._check_year(name, moment.year)
        return moment

    def _check_year(self, name: str, year: int) -> None:
        if year not in YEARS:
            years = f"{YEARS[0]} and {YEARS[-1]}"
            raise self.error(name, f"the year {year} is not between {years}")

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}".replace(".[", "[") if self._path else name

    def _wrong(self, name: str, wanted: str, found: object) -> CaseError:
        return self.error(name, f"must be {wanted}, is {_kind(found)}")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    if value is None:
        return "null"
    return names.get(type(value), f"the number {value}")
