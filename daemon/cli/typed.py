"""What a person types: words, days, moments, registers, ratios."""

from __future__ import annotations

import re
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from config.cells import how_to_write_day, how_to_write_number, positive

MOST_LETTERS: Final = 500
YEARS: Final = range(1970, 2200)
MOST: Final = 2**63 - 1
"""Of a number in the database."""
_WHOLE: Final = re.compile("-?[0-9]{1,19}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_YUAN: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,2}0*)?")
_AMOUNT: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,4})?")
_CYCLE: Final = re.compile(r"20[0-9]{2}(-(0[1-9]|1[0-2]))?")


class Text(click.ParamType[str]):
    """A few words that can be printed, without blanks around them."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The words; a wrong use where there are none, too many, or control characters."""
        words = str(value).strip()
        if not words or not words.isprintable() or len(words) > MOST_LETTERS:
            self.fail(f"must be 1 to {MOST_LETTERS} printable characters", param, ctx)
        return words


class Day(click.ParamType[Any]):
    """A local day of the site, in one of these years."""

    name = "day"

    def __init__(self, years: range = YEARS) -> None:
        self._years = years

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The date; a wrong use for anything but ISO 8601 in ASCII."""
        try:
            return _date(value, "%Y-%m-%d", self._years)
        except ValueError:
            between = f"from {self._years[0]} to {self._years[-1]}"
            self.fail(f"{value!r} is no day {between}, {_day_meant(value)}", param, ctx)


class Month(click.ParamType[Any]):
    """A month of the site."""

    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Its first day; a wrong use for anything but year and month in ASCII."""
        try:
            return _date(value, "%Y-%m")
        except ValueError:
            between = f"from {YEARS[0]} to {YEARS[-1]}"
            self.fail(f"{value!r} is no month {between}, write it as 2026-03", param, ctx)


class Moment(click.ParamType[datetime]):
    """A moment of one of these years, as the site's clocks show it, or with its offset from UTC.

    Naive until `in_zone`."""

    name = "moment"

    def __init__(self, *, may_be_day: bool = False) -> None:
        self._may_be_day = may_be_day

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """The moment; a wrong use for a day without a time of day, where that matters."""
        try:
            written = _ascii(value)
            if len(written) <= len("2026-03-12") and not self._may_be_day:
                raise ValueError(written)
            moment = datetime.fromisoformat(written)
            if moment.year not in YEARS:
                raise ValueError(written)
        except ValueError:
            between = f"from {YEARS[0]} to {YEARS[-1]}"
            self.fail(
                f'{value!r} is no moment {between}, write it as "2026-03-12 10:15"', param, ctx
            )
        else:
            return moment


class Whole(click.IntRange):
    """A whole number in ASCII digits: Python's own also takes 1_000 and the digits of every
    script."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; a wrong use for anything else."""
        if isinstance(value, str) and not _WHOLE.fullmatch(value):
            self.fail(f"{value!r} is no whole number", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number in ASCII digits with at most one point."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; a wrong use for anything else, `nan` and `1e3` among it."""
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            self.fail(f"{value!r} is no number", param, ctx)
        return super().convert(value, param, ctx)


class Yuan(click.ParamType[int]):
    """An amount of money in yuan, to integer fen."""

    name = "yuan"

    def __init__(self, most_fen: int) -> None:
        self._most_fen = most_fen

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Integer fen; a wrong use for parts of a fen, nothing, or more than `most_fen`."""
        written = str(value)
        fen = Decimal(written).scaleb(2) if _YUAN.fullmatch(written) else Decimal(0)
        if not 0 < fen <= self._most_fen:
            self.fail(
                f"{value} yuan is not a whole number of fen between 0.01 and "
                f"{self._most_fen // 100}: digits with at most one point",
                param,
                ctx,
            )
        return int(fen)


class RegisterList(click.ParamType[tuple[Decimal, ...]]):
    """Registers as a meter shows them, in kWh: the total, then the rates, with commas between."""

    name = "kwh"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Decimal, ...]:
        """Exact decimals; a wrong use for anything but ASCII digits and one point in each."""
        return tuple(self._one(part, param, ctx) for part in str(value).split(","))

    def _one(
        self, written: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        whole, _, fraction = written.strip().partition(".")
        digits = whole + fraction
        is_number = digits.isascii() and digits.isdigit() and bool(whole)
        if not is_number or len(whole) > 12 or len(fraction) > 4:
            self.fail(
                f"{written!r} is no register: write the total in kWh, then the rates, such as "
                "1234.56 or 1234.56,400.00,834.56",
                param,
                ctx,
            )
        return Decimal(written.strip())


class Ratio(click.ParamType[Decimal]):
    """CT x PT: what a register is multiplied with."""

    name = "ratio"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """An exact decimal above zero, as points.csv would have it."""
        written = str(value).strip()
        if not _NUMBER.fullmatch(written):
            self.fail(f"{written!r} is no ratio{how_to_write_number(written)}", param, ctx)
        try:
            return positive(written)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Kwh(click.ParamType[Decimal]):
    """An amount of energy, from nothing up to `most`."""

    name = "kwh"

    def __init__(self, most: int) -> None:
        self._most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """An exact decimal; a wrong use for more than `most`, and for anything but digits."""
        written = str(value)
        if not _AMOUNT.fullmatch(written) or Decimal(written) > self._most:
            self.fail(f"{written!r} is no number of kWh between 0 and {self._most}", param, ctx)
        return Decimal(written)


class Cycle(click.ParamType[str]):
    """A year or a month, as `2026` or `2026-07`."""

    name = "cycle"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same; a wrong use for anything else."""
        written = str(value)
        if not _CYCLE.fullmatch(written):
            self.fail(f"{written!r} is no year or month, write 2026 or 2026-07", param, ctx)
        return written


def _date(value: object, form: str, years: range = YEARS) -> date:
    found = datetime.strptime(_ascii(value), form).date()  # noqa: DTZ007 - a date
    if found.year not in years:
        raise ValueError(found)
    return found


def _day_meant(value: object) -> str:
    """What to write in place of what was typed."""
    typed_day = str(value).strip()
    hint = how_to_write_day(typed_day)
    return "write it as 2026-03-12" if typed_day in hint else hint


def _ascii(value: object) -> str:
    written = str(value).strip()
    if not written.isascii():
        raise ValueError(written)
    return written


def refuse_to_come(month: date, today: date) -> None:
    """BadParameter for a month that has not begun: a paper about it would say nothing, and look as
    if it did."""
    if month > today:
        raise click.BadParameter(f"{month:%Y-%m} has not begun")


def in_zone(moment: datetime, zone: ZoneInfo, option: str) -> datetime:
    """A typed moment as an instant; BadParameter for one that clocks skip or show twice."""
    if moment.tzinfo is not None:
        return moment
    local = moment.replace(tzinfo=zone)
    there = local.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    if there != moment:
        message = f"{moment} was skipped: clocks were put forward"
        raise click.BadParameter(message, param_hint=option)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise click.BadParameter(
            f"{moment} was twice: clocks were put back; add the offset, such as "
            f'"{local.isoformat(sep=" ", timespec="minutes")}"',
            param_hint=option,
        )
    return local


def typed(
    question: str, kind: click.ParamType[Any], options: str, default: str | None = None
) -> Any:
    """What a person answers on a terminal; a program is told which options are missing."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"say {options}")
    return click.prompt(question, type=kind, default=default)
