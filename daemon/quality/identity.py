"""Is it the meter that is registered, is it there once, and does it deduct by itself? Pure.

V03 another serial than before or than registered, V25 one serial at two addresses, R18 a meter that
deducts from a balance of its own while its point is billed here too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from protocols.reading import MeterIdentity

Code = Literal["V03", "V25", "R18"]


@dataclass(frozen=True, slots=True)
class KnownMeter:
    """What is known of a meter that told who it is.

    `serial`: what it must tell, registered or told at first contact; None before that.
    `is_billed`: its point is billed to an account."""

    address: str
    point: str
    serial: str | None
    is_billed: bool


@dataclass(frozen=True, slots=True)
class IdentityFinding:
    """What is wrong, in words, and the command that settles it once somebody has looked."""

    code: Code
    text: str
    command: str


@dataclass(frozen=True, slots=True)
class IdentityVerdict:
    """What becomes of it.

    `serial`: what the meter must tell from now on. `other`: what it tells instead; values that are
    read under it are not those of the point (V03)."""

    serial: str | None
    other: str | None
    findings: tuple[IdentityFinding, ...]


def judge_identity(
    known: KnownMeter, told: MeterIdentity, elsewhere: Sequence[str]
) -> IdentityVerdict:
    """Compare what a meter told with what is known.

    `elsewhere`: other addresses at which the same serial was told or is registered."""
    serial = known.serial or told.serial
    # A meter that has no number, or does not tell it any more, proves nothing.
    other = told.serial if told.serial != serial else None
    findings = []
    if other is not None:
        findings.append(_another_meter(known, other))
    if elsewhere and told.serial is not None:
        findings.append(_twice(known, told.serial, elsewhere))
    if told.prepayment in ("energy", "money") and known.is_billed:
        findings.append(_deducts(known, told.prepayment))
    return IdentityVerdict(serial, other, tuple(findings))


def _another_meter(known: KnownMeter, other: str) -> IdentityFinding:
    return IdentityFinding(
        "V03",
        f"meter {known.address} tells serial {other}, not {known.serial}: another meter stands "
        f"behind the address, and its values are not those of {known.point}",
        f'meterd meter exchange {known.point} --at "DAY HH:MM" --new-address ADDRESS',
    )


def _twice(known: KnownMeter, serial: str, elsewhere: Sequence[str]) -> IdentityFinding:
    others = ", ".join(elsewhere)
    return IdentityFinding(
        "V25",
        f"serial {serial} is told at {known.address} and at {others}: crossed meters, a doubled "
        "address, or a copied number",
        f"meterd meter crossed {known.point} OTHER_POINT --reason WHY",
    )


def _deducts(known: KnownMeter, mode: str) -> IdentityFinding:
    of_what = "money" if mode == "money" else "energy"
    return IdentityFinding(
        "R18",
        f"meter {known.address} deducts {of_what} from a balance of its own, and {known.point} is "
        "billed here too: the customer pays twice",
        f"meterd point release {known.point} --on DAY --reason WHY",
    )
