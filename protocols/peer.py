"""The far end of a line: who it says it is, and how far it has shown that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum


class Proof(IntEnum):
    """How far a far end has shown who it is; the numbers stand in the database."""

    NONE = 0
    """It said an id, and anybody could have."""
    NETWORK = 1
    """It said an id, in plain text, from a network that the site permits."""
    VOUCHED = 2
    """It said an id, in plain text, and the site says by name that this is enough."""
    NAMED = 3
    """We opened the way, to a port or an address that the site's files name."""
    CERTIFICATE = 4
    """It holds the key of a certificate that is bound to the terminal."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who tells what comes over an open channel.

    `terminal`, `certificate` (SHA-256 in hexadecimal digits) and `session_at`, when the session
    began (aware UTC), are those of a terminal that dialled in, else empty and None."""

    address: str
    proof: Proof = Proof.NAMED
    terminal: str = ""
    certificate: str = ""
    session_at: datetime | None = None

    @property
    def identity(self) -> str:
        """What stays the same as long as it is certainly the same far end."""
        match self.proof:
            case Proof.CERTIFICATE:
                return self.certificate
            case Proof.NAMED | Proof.VOUCHED:
                return self.address
            case _:
                assert self.session_at is not None, "only a session says an id"
                return f"{self.address} since {self.session_at.isoformat()}"
