"""What a simulated prepaid meter answers of its remaining amount and its purchases.

A meter with a remaining amount bought it once, when it was installed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from protocols.dlt645.bcd import encode_bcd, encode_time
from simulators.dlt645.freezes import DAILY, FREEZE_TIME, KEPT, numbered
from simulators.dlt645.missing_value import missing_value
from simulators.state.meter import MeterState
from simulators.state.records import KEPT as RECORDS_KEPT
from simulators.state.spec import MeterSpec

ENERGY: Final = 1
MONEY: Final = 2
"""DI1 of the remaining energy in kWh and the remaining amount in yuan."""
PURCHASES: Final = 1
# DL/T 645-2007, prepaid records: 0332 of energy, 0333 of an amount, parts 01 to 06.
_OF_ENERGY: Final = 0x32
"""DI2 of the purchases of energy; 33 are those of an amount."""
_PARTS: Final = 6
_NONE: Final = Decimal(0)


def remaining(spec: MeterSpec, which: int) -> Decimal | None:
    """ENERGY or MONEY; negative is overdraft, None for a meter that is not prepaid so."""
    return spec.remaining_kwh if which == ENERGY else spec.remaining_yuan


def is_overdrawn(spec: MeterSpec) -> bool:
    """True when an overdraft is open."""
    amounts = (remaining(spec, ENERGY), remaining(spec, MONEY))
    return any(amount is not None and amount < 0 for amount in amounts)


def read_remaining(
    spec: MeterSpec,
    which: int,
    *,
    overdraft: bool,
) -> bytes | None:
    """The data behind 0090 0w 0o. One of remaining and overdraft is always 0."""
    amount = remaining(spec, which)
    if amount is None:
        return None
    return _amount(-amount if overdraft else amount)


def read_purchase(spec: MeterSpec, identifier: bytes) -> bytes | None:
    """The data behind 0332 or 0333, part, number of the record (1 is the newest)."""
    _, kind, part, number = identifier
    amount = remaining(spec, ENERGY if kind == _OF_ENERGY else MONEY)
    if amount is None or not 1 <= part <= _PARTS or not 1 <= number <= RECORDS_KEPT:
        return None
    if amount <= 0 or number > PURCHASES:
        return missing_value(spec, identifier)
    bought = _amount(amount)
    parts = (
        encode_time(spec.installed_at, FREEZE_TIME),
        encode_bcd(PURCHASES, 2),
        bought,
        bytes(4),  # before it
        bought,  # after it
        bought,  # in all
    )
    return parts[part - 1]


def read_frozen(
    state: MeterState,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    """The data behind 050802NN of the fee-control meters.

    The remaining amount and the number of purchases at a daily freeze."""
    amount = remaining(state.spec, MONEY)
    number = identifier[3]
    if amount is None or not 0 < number <= KEPT[DAILY]:
        return None
    if numbered(state, DAILY, number, at) is None:
        return missing_value(state.spec, identifier)
    return _amount(amount) + encode_bcd(PURCHASES if amount > 0 else 0, 2)


def _amount(amount: Decimal) -> bytes:
    return encode_bcd(max(amount, _NONE), 4, 2)
