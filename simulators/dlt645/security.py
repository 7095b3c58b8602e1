"""The security module of a simulated meter, without any cryptography.

It asks for the forms of authority 98 and 99.

A master without keys can still see the whole exchange. A ciphertext here is the clear text, filled
up to 16 bytes, and every message authentication code is taken."""

from __future__ import annotations

from typing import Final

from simulators.state.seeded import series

AUTHENTICATION: Final = "070000"
FAMILY: Final = "07"
CIPHERTEXT: Final = 0x98
"""Level of ciphertext with MAC."""
CLEAR_TEXT: Final = 0x99
"""Level of clear text with MAC."""
MAC_WIDTH: Final = 4
HEAD_WIDTH: Final = 8
"""PA P0 P1 P2 C0 C1 C2 C3."""
OTHER_ERROR: Final = b"\x01\x00"
NOT_AUTHENTICATED: Final = b"\x08\x00"
"""Security error words, low byte first: bit 0 other error, bit 3 identity authentication failed."""


class SecurityModule:
    """One module; `is_authenticated` after an identity authentication."""

    def __init__(self, address: str) -> None:
        self.is_authenticated = False
        self._key = series(address, "security module")
        self._authentications = 0

    def carry(self, identifier: str) -> tuple[bytes, bool]:
        """The answer to function 03 and True, or the security error word and False.

        The answer stands behind the identifier."""
        if not identifier.startswith(FAMILY):
            return OTHER_ERROR, False
        if identifier.startswith(AUTHENTICATION):
            self._authentications += 1
            self.is_authenticated = True
            random = series(self._key, self._authentications).to_bytes(8, "big")
            serial_number = self._key.to_bytes(8, "big")
            return random[:4] + serial_number, True
        # Key update and purse recharge are confirmed and do nothing.
        if not self.is_authenticated:
            return NOT_AUTHENTICATED, False
        return b"", True

    def opens(self, data: bytes) -> bytes | None:
        """What stands behind level, password and operator, without its MAC.

        None when it may not be obeyed."""
        if not self.is_authenticated or len(data) < HEAD_WIDTH + MAC_WIDTH:
            return None
        if data[0] not in (CIPHERTEXT, CLEAR_TEXT):
            return None
        return data[HEAD_WIDTH:-MAC_WIDTH]
