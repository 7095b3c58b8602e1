"""What a cell of the archive may say: each parser takes its text, or tells what to write instead.

Spreadsheets turn what people type into something else: days into numbers, numbers of meters into
rounded ones, yes into TRUE."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from config.problems import did_you_mean

Parse = Callable[[str], Any]
BILLION: Final = 1_000_000_000
OFTEN: Final = 4096
"""Values of a column that stand in many rows: each is parsed once."""
UNITS_OF_RTU: Final = range(1, 248)
"""0 is the broadcast address, those above are reserved."""
UNITS_OF_TCP: Final = range(256)
MOST_RATES: Final = 63
"""DL/T 645-2007 has 63 tariff registers of each energy (table A.1)."""
ADDRESS_DIGITS: Final = 12
AMPERES: Final = ("0.5", "200")
"""From meters for transformers of 1 A to the largest that carry the load themselves."""
VOLTS: Final = ("50", "1000")
"""From 57.7 V behind transformers to the highest low voltage."""
KILOWATTS: Final = ("0.1", "1000000")
_LONGEST_NUMBER: Final = 12
"""A third of an hour has no end."""
_SMALL: Final = frozenset("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉½¼¾")
_RATE_NAME: Final = re.compile(r"[\w-]+")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?|[+-]?\.[0-9]+")
"""ASCII digits with one point: what Python takes besides is a number that nobody meant."""
_THOUSANDS: Final = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?")
"""1,000 is a thousand; 60,5 is a half more than 60."""
_LABEL: Final = re.compile(r"[0-9.]+\(([0-9.]+)\) ?A?")
"""Of a meter: basic and highest current, 5(60) A."""
_MEASURED: Final = re.compile(r"(¥?) ?([+-]?[0-9]+(?:\.[0-9]+)?) ?([^\W\d_]*)")
_PER_KWH: Final = re.compile(r" ?/ ?(kWh|度)", re.IGNORECASE)
_SIZES: Final[Sequence[Mapping[str, Decimal]]] = [
    {word: Decimal(size) for size, words in sizes.items() for word in words.split()}
    for sizes in (
        {
            "0.001": "ms 毫秒",
            "1": "s sec second seconds 秒",
            "60": "min minute minutes 分钟",
            "3600": "h hour hours 小时",
            "86400": "d day days 天 日",
        },
        {"0.001": "wh", "1": "kwh 度 千瓦时", "1000": "mwh"},
        {"0.001": "w va", "1": "kw kva 千瓦 千伏安", "1000": "mw mva"},
        {"0.001": "ma", "1": "a 安", "1000": "ka"},
        {"1": "v 伏", "1000": "kv"},
        {"0.01": "fen 分", "0.1": "角", "1": "yuan 元 ¥ 块 rmb cny"},
    )
]
"""By what people call them, units of one kind and how large each is."""
_ROUNDED: Final = re.compile(r"[0-9]+([.,][0-9]+)?[eE][+-]?[0-9]+")
"""As a spreadsheet shows a long number: 1.2E+11."""
_YEAR_FIRST: Final = re.compile(
    r"([0-9]{4})[-/.年]([0-9]{1,2})[-/.月]([0-9]{1,2})日?( 0?0:00(:00)?)?"
)
_YEAR_FIRST_SOMEHOW: Final = re.compile(
    r"((?:19|20)[0-9]{2})"
    r"(?:[-/.年 ]([0-9]{1,2})[-/.月 ]([0-9]{1,2})日?|([0-9]{2})([0-9]{2}))([T ].*)?"
)
"""Without marks between them month and day have two digits: 2026-12 and 2026121 may be any day."""
_MONTHS: Final = "janfebmaraprmayjunjulaugsepoctnovdec"
_MONTH_IN_LETTERS: Final = re.compile(
    rf"([0-9]{{1,2}})[- ]({'|'.join(re.findall('...', _MONTHS))})[a-z]*[- ]((?:20)?[0-9]{{2}})",
    re.IGNORECASE,
)
_YEAR_LAST: Final = re.compile(r"([0-9]{1,2})[-/.]([0-9]{1,2})[-/.]([0-9]{4})")
_SPREADSHEET_TEXT: Final = re.compile("=?[\"']?([0-9][0-9 .-]*)[\"']?")
_FIRST_DAY_OF_EXCEL: Final = date(1899, 12, 30)
_DAYS_OF_EXCEL: Final = range(30_000, 80_000)
"""Numbers of days from 1982 to 2119."""
YES: Final = frozenset({"yes", "y", "true", "1", "是", "真"})
NO: Final = frozenset({"no", "n", "false", "0", "否", "假"})


def word(cell: str) -> str:
    """An identifier: not empty, printable, without blanks at its ends."""
    if not cell or not cell.isprintable():
        raise ValueError(f"{cell!r} is empty or not printable{_without_what_is_not_seen(cell)}")
    return cell


def _without_what_is_not_seen(cell: str) -> str:
    """What to write in place of a word with marks in it that nobody sees, as pages have them."""
    plain = "".join(filter(str.isprintable, cell))
    return f": write {plain}" if plain else ""


def address(cell: str) -> str:
    """A DL/T 645 address: 12 digits as printed on the meter."""
    if len(cell) != ADDRESS_DIGITS or not _is_digits(cell):
        raise ValueError(f'"{cell}" is not 12 digits: {_how_to_write_address(cell)}')
    # 99...99 is for the commands 08 (time) and 16 (freeze); no meter replies to it.
    if cell == "999999999999":
        raise ValueError("999999999999 is the broadcast address, no meter has it")
    return cell


def _how_to_write_address(cell: str) -> str:
    plain = _plain_width(cell)
    if _ROUNDED.fullmatch(plain):
        return (
            "a spreadsheet rounded it and its digits are lost; make the column a text and copy "
            "the label of the meter again"
        )
    # As a spreadsheet is told that it is a text, and as labels part the digits.
    plain = _SPREADSHEET_TEXT.sub(r"\1", plain).removesuffix(".0")
    plain = re.sub("[ -]", "", plain)
    if _is_digits(plain) and len(plain) <= ADDRESS_DIGITS:
        zeros = "" if len(plain) == ADDRESS_DIGITS else ", with zeros in front as on the label"
        return f"write {plain:0>{ADDRESS_DIGITS}}{zeros}"
    return "write those on the label of the meter, with zeros in front"


def _is_digits(cell: str) -> bool:
    return cell.isascii() and cell.isdigit()


def _plain_width(cell: str) -> str:
    """Full-width letters and digits as plain ones. A small digit is another number: 3² is no 32."""
    return unicodedata.normalize("NFKC", cell) if _SMALL.isdisjoint(cell) else cell


def unit(cell: str, line: str, protocol: str) -> str:
    """A Modbus unit to the name of the meter: LINE/UNIT.

    On a wire 1 to 247. Over TCP a device of its own has 0 or 255 (MODBUS Messaging on TCP/IP
    Implementation Guide V1.0b, 4.4.1.2), and gateways may give their meters any number."""
    units = UNITS_OF_TCP if protocol == "modbus-tcp" else UNITS_OF_RTU
    if not (cell.isascii() and cell.isdigit()) or int(cell) not in units:
        raise ValueError(f'"{cell}" is no {protocol} unit ({units[0]} to {units[-1]})')
    return f"{line}/{int(cell)}"


@lru_cache(OFTEN)
def day(cell: str) -> date:
    """A local date with its year first: 2026-03-01, 2026/3/1, 2026年3月1日."""
    found = _YEAR_FIRST.fullmatch(cell)
    try:
        if found is not None:
            return date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        pass  # no such day
    raise ValueError(f'"{cell}" is no date, {how_to_write_day(cell)}') from None


def moment(cell: str) -> datetime:
    """A moment as ISO 8601 has it, or as spreadsheets show it: 2026/3/12 9:05."""
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        pass  # as spreadsheets show it
    written, _, clock = cell.partition(" ")
    try:
        clock = re.sub(r"^(?=[0-9]:)", "0", clock)
        return datetime.combine(day(written), time.fromisoformat(clock))
    except ValueError:
        raise ValueError(f'"{cell}" is no moment, write it as 2026-03-12 10:15') from None


def how_to_write_day(cell: str) -> str:
    """The day that was meant, where that is clear."""
    found = _YEAR_FIRST.fullmatch(cell)
    if found is not None:
        meant_day = _day_of(int(found[1]), int(found[2]), int(found[3]))
        return f"write {meant_day}" if meant_day else "the calendar has no such day"
    found = _YEAR_LAST.fullmatch(cell)
    if found is not None:
        first, second, year = int(found[1]), int(found[2]), int(found[3])
        days = [_day_of(year, second, first), _day_of(year, first, second)]
        # With points the day comes first, wherever they are written.
        meant = days[:1] if "." in cell and days[0] else list(dict.fromkeys(filter(None, days)))
        if meant:
            return f"write {' or '.join(map(str, meant))}"
    written = _written_otherwise(_plain_width(cell))
    if written is not None:
        return f"write {written}"
    if _is_digits(cell) and int(cell) in _DAYS_OF_EXCEL:
        meant_day = _FIRST_DAY_OF_EXCEL + timedelta(days=int(cell))
        return f"but Excel's number of one: write {meant_day}"
    return "write the year first, as 2026-03-01"


def _written_otherwise(cell: str) -> date | None:
    """20260301, 2026-03-01T08:30, 1-Mar-26."""
    found = _YEAR_FIRST_SOMEHOW.fullmatch(cell)
    if found is not None:
        return _day_of(int(found[1]), int(found[2] or found[4]), int(found[3] or found[5]))
    found = _MONTH_IN_LETTERS.fullmatch(cell)
    if found is None:
        return None
    month = _MONTHS.index(found[2].lower()) // len("jan") + 1
    return _day_of(int(f"20{found[3][-2:]}"), month, int(found[1]))


def _day_of(year: int, month: int, day_of_month: int) -> date | None:
    try:
        return date(year, month, day_of_month)
    except ValueError:
        return None


@lru_cache(OFTEN)
def positive(cell: str, unit: str = "") -> Decimal:
    """A number above zero of a size that can be meant: at most a billion, at most 8 decimals.

    `unit`: of what it is a number."""
    value = _number(cell, "number", unit)
    if value <= 0:
        raise ValueError(f"{cell} is not greater than zero")
    exponent = value.as_tuple().exponent
    if value > BILLION or not isinstance(exponent, int) or exponent < -8:
        raise ValueError(f"{cell} is out of reason: at most {BILLION}, with at most 8 decimals")
    return value


def _number(cell: str, what: str, unit: str) -> Decimal:
    """A number as people write it, and no other that Python takes: 1_0, 1e3, NaN, ١٢."""
    if not _NUMBER.fullmatch(cell):
        raise ValueError(f'"{cell}" is no {what}{how_to_write_number(cell, unit)}')
    return Decimal(cell)


def without_unit(written: str, unit: str) -> str | None:
    """The number alone of what is written with a unit, in the unit that is wanted: 600 of 10 min
    where seconds are. None where it has no unit, or one of something else."""
    plain = _PER_KWH.sub("", _plain_width(written)) if unit == "yuan" else _plain_width(written)
    found = _MEASURED.fullmatch(plain.strip())
    sizes = next((it for it in _SIZES if unit in it), {})
    if found is None or (found[1] or found[3]).lower() not in sizes:
        return None
    number = Decimal(found[2]) * sizes[(found[1] or found[3]).lower()] / sizes[unit]
    meant = f"{number.normalize():f}"
    return meant if len(meant) <= _LONGEST_NUMBER else None


def how_to_write_number(cell: str, unit: str = "") -> str:
    """Behind what is no number: the one that was meant, where that is clear."""
    plain = _plain_width(cell)
    meant = without_unit(cell, unit)
    if meant is not None:
        return f": write {meant} without a unit"
    parted = re.fullmatch(r"([0-9]+)/([0-9]+)A?", plain)
    if parted and int(parted[2]) and not int(parted[1]) % int(parted[2]):
        return f": write {int(parted[1]) // int(parted[2])}"
    whole = plain.replace(",", "") if _THOUSANDS.fullmatch(plain) else plain
    for written in (whole, plain.replace(" ", ""), plain.replace(",", ".")):
        if _NUMBER.fullmatch(written):
            return f": write {written}, digits with one point"
    return ": write digits with one point"


def kilowatt_hours(cell: str) -> Decimal:
    """An energy above zero."""
    return positive(cell, "kwh")


def modulus(cell: str) -> Decimal:
    """Where a register starts again at zero: a power of ten, or of two times its smallest step."""
    value = kilowatt_hours(cell)
    if not _is_power(value):
        full = 10 ** len(str(int(value)))
        raise ValueError(
            f"{cell} is where no register starts again at 0: write what it cannot show any more, "
            f"as {full} for one that ends with {full - 1}"
        )
    return value


def _is_power(value: Decimal) -> bool:
    digits = int("".join(map(str, value.normalize().as_tuple().digits)))
    if digits == 1:
        return True
    # 2 ** 16, 2 ** 31, 2 ** 32 ... steps, each of a power of ten: without their zeros.
    powers = (2**bits for bits in (15, 16, 24, 31, 32, 48, 63, 64))
    return digits in {int(str(power).rstrip("0")) for power in powers}


@lru_cache(OFTEN)
def rate_names(cell: str) -> tuple[str, ...]:
    """Names of rate registers with blanks between them, in the order of their numbers."""
    names = tuple(cell.split())
    for name in names:
        if name == "total" or not _RATE_NAME.fullmatch(name):
            raise ValueError(
                f'"{name}" is no name of a rate register: letters, digits, _ and -, as "peak"'
            )
        if names.count(name) > 1:
            raise ValueError(f"{name} stands twice")
    if len(names) > MOST_RATES:
        raise ValueError(f"{len(names)} rates; a meter has at most {MOST_RATES}")
    return names


def phases(cell: str) -> int:
    """How many phases a connection has."""
    if cell not in ("1", "3"):
        raise ValueError(f'"{cell}" is neither 1 nor 3')
    return int(cell)


def amperes(cell: str) -> Decimal:
    """The current that a meter carries, as the second number on its label: 60 of 5(60) A."""
    label = _LABEL.fullmatch(_plain_width(cell))
    if label:
        raise ValueError(f'"{cell}" is no number: write {label[1]}, the most that it carries')
    return _within(
        cell,
        AMPERES,
        "a",
        "A: write the most that the meter carries by its label, as 60 of 5(60) A, and behind "
        "current transformers 6 of 1.5(6) A",
    )


def volts(cell: str) -> Decimal:
    """The nominal voltage at a meter's terminals."""
    return _within(
        cell,
        VOLTS,
        "v",
        "V: write the voltage at the meter, as 220 of one phase or 380 between two of three, and "
        "behind voltage transformers 100",
    )


def kilowatts(cell: str) -> Decimal:
    """A power that a connection can have."""
    return _within(cell, KILOWATTS, "kw", "kW or kVA: write the power of the connection")


@lru_cache(OFTEN)
def _within(cell: str, bounds: tuple[str, str], unit: str, hint: str) -> Decimal:
    value = positive(cell, unit)
    least, most = map(Decimal, bounds)
    if not least <= value <= most:
        raise ValueError(f"{cell} is not between {least} and {most} {hint}")
    return value


def decimals(cell: str) -> int:
    """How many decimals a register has: 0 to 4."""
    if cell not in ("0", "1", "2", "3", "4"):
        raise ValueError(f'"{cell}" is not 0, 1, 2, 3 or 4')
    return int(cell)


@lru_cache(OFTEN)
def fen(cell: str) -> int:
    """An amount in yuan with at most two decimals, to integer fen."""
    value = _number(cell, "amount in yuan", "yuan")
    if abs(value) > BILLION:
        raise ValueError(f"{cell} yuan is out of reason")
    if value.scaleb(2) != int(value.scaleb(2)):
        raise ValueError(f"{cell} yuan is not a whole number of fen")
    return int(value.scaleb(2))


def text(cell: str) -> str:
    """Anything that can be printed; may be empty."""
    if not cell.isprintable():
        raise ValueError(
            f"{cell!r} holds characters that cannot be printed{_without_what_is_not_seen(cell)}"
        )
    return cell


def yes_no(cell: str) -> bool:
    """The words yes and no, in any case, and what spreadsheets and people write for them."""
    word = cell.lower()
    if word in YES:
        return True
    if word in NO:
        return False
    raise ValueError(f'"{cell}" is neither yes nor no')


def one_of(*choices: str) -> Parse:
    """A parser that takes these words and no other."""

    def parse(cell: str) -> str:
        if cell not in choices:
            raise ValueError(
                f'"{cell}" is not one of {", ".join(choices)}{did_you_mean(cell, choices)}'
            )
        return cell

    return parse
