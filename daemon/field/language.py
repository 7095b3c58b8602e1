"""How the two versions of DL/T 645 are spoken, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from protocols.dlt645 import exchanges, exchanges_1997, writing
from protocols.dlt645.frame import Frame
from protocols.dlt645.values import DIGITS_OF_1997
from protocols.dlt645.writing import Authority
from protocols.exchange import Codec, Exchange

DLT645_2007: Final = "dlt645-2007"
DLT645_1997: Final = "dlt645-1997"


@dataclass(frozen=True, slots=True)
class Language:
    """The exchanges of one version that an engineer needs. Meters are named by their 12 digits."""

    codec: Codec[Frame]
    read: Callable[[str, str], Exchange[Frame, bytes]]
    """(meter, identifier)"""
    read_address: Callable[[], Exchange[Frame, str]]
    read_clock: Callable[[str], Exchange[Frame, datetime]]
    write: Callable[[str, str, bytes, Authority], Exchange[Frame, None]]
    """(meter, identifier, data in wire order, authority)"""
    set_clock: Callable[[str, Callable[[], datetime], Authority], Exchange[Frame, None]]
    """(meter, clock that is looked at when each frame leaves, authority)"""
    broadcast_time: Callable[[datetime], Exchange[Frame, None]]
    identifier_digits: int
    quantities: Mapping[str, tuple[str, ...]]
    """Identifiers to try in turn: a meter without a block of phases is asked for the single
    value."""


def _set_clock_2007(
    meter: str, now: Callable[[], datetime], authority: Authority
) -> Exchange[Frame, None]:
    # Two writes: 0400010C, which has both, is an addendum that older meters lack.
    yield from writing.write_date(meter, now(), authority)
    yield from writing.write_time(meter, now(), authority)


def _write_1997(
    meter: str, identifier: str, data: bytes, authority: Authority
) -> Exchange[Frame, None]:
    return exchanges_1997.write(
        meter,
        identifier,
        data,
        level=authority.level,
        password=authority.password,
    )


def _set_clock_1997(
    meter: str, now: Callable[[], datetime], authority: Authority
) -> Exchange[Frame, None]:
    return exchanges_1997.set_clock(
        meter,
        now(),
        level=authority.level,
        password=authority.password,
    )


LANGUAGES: Final[Mapping[str, Language]] = {
    DLT645_2007: Language(
        codec=exchanges.CODEC_2007,
        read=exchanges.read,
        read_address=exchanges.read_address,
        read_clock=exchanges.read_clock,
        write=writing.write,
        set_clock=_set_clock_2007,
        broadcast_time=exchanges.set_clock,
        identifier_digits=8,
        quantities={
            "energy": ("00010000",),
            "voltage": ("0201FF00", "02010100"),
            "current": ("0202FF00", "02020100"),
            "power": ("0203FF00", "02030000"),
            "status": ("04000503",),
        },
    ),
    DLT645_1997: Language(
        codec=exchanges_1997.CODEC_1997,
        read=exchanges_1997.read,
        read_address=exchanges_1997.read_address,
        read_clock=exchanges_1997.read_clock,
        write=_write_1997,
        set_clock=_set_clock_1997,
        broadcast_time=exchanges_1997.broadcast_time,
        identifier_digits=DIGITS_OF_1997,
        quantities={
            "energy": ("9010",),
            "voltage": ("B61F", "B611"),
            "current": ("B62F", "B621"),
            "power": ("B63F", "B630"),
            "status": ("C020",),
        },
    ),
}


def language_of(identifier: str) -> Language:
    """The version to which an identifier belongs: it has 4 digits in 1997, 8 in 2007."""
    is_1997 = len(identifier) == DIGITS_OF_1997
    return LANGUAGES[DLT645_1997 if is_1997 else DLT645_2007]
