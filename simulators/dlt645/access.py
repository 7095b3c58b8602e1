"""What opens a simulated DL/T 645 meter for control and writing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from simulators.dlt645.security import HEAD_WIDTH, SecurityModule

SECRET_WIDTH: Final = 4
"""PA P0 P1 P2: level and password."""
# DL/T 645-2007, status word 3; bit 13 is of the State Grid addendum.
_STATUS_PROGRAMMING: Final = 1 << 3
_STATUS_AUTHENTICATED: Final = 1 << 13


@dataclass(frozen=True, slots=True)
class AccessSpec:
    """How a meter is protected when it is installed."""

    level: str = "02"
    """2 digits."""
    password: str = "000000"  # noqa: S105 - what a meter has whose password was never set
    """6 digits."""
    programming_key: bool = False
    """The key is held pressed."""
    security_module: bool = False
    """With a module only levels 98 and 99 are obeyed."""


class Access:
    """The protection of one meter. The passwords of all levels are one, whatever their number."""

    def __init__(self, spec: AccessSpec, address: str) -> None:
        self.level = spec.level
        self.password = spec.password
        self.programming_key = spec.programming_key
        self.security = SecurityModule(address) if spec.security_module else None

    def is_opened_by(self, secret: bytes) -> bool:
        """True for the right PA P0 P1 P2."""
        level = bytes.fromhex(self.level)
        # DL/T 645-2007, write data: the password goes low byte first.
        password = bytes.fromhex(self.password)[::-1]
        return secret == level + password

    def authorised(self, data: bytes) -> bytes | None:
        """What stands behind PA P0 P1 P2 C0 C1 C2 C3, None when they do not open this meter."""
        if self.security is not None:
            return self.security.opens(data)
        if len(data) < HEAD_WIDTH or not self.is_opened_by(data[:SECRET_WIDTH]):
            return None
        return data[HEAD_WIDTH:]

    def change_password(self, old: bytes, new: bytes) -> bool:
        """Another PA P0 P1 P2; False when the old one is wrong or the new one is none."""
        if len(new) != SECRET_WIDTH or not self.is_opened_by(old):
            return False
        self.level = new[:1].hex()
        self.password = new[:0:-1].hex()
        return True

    def status_bits(self) -> int:
        """Its bits of status word 3."""
        bits = _STATUS_PROGRAMMING if self.programming_key else 0
        if self.security is not None and self.security.is_authenticated:
            bits |= _STATUS_AUTHENTICATED
        return bits
