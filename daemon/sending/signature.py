"""Who sent a body, and when: HMAC-SHA256 over its time stamp, a point and the body."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

TIMESTAMP: Final = "X-Meterd-Timestamp"
SIGNATURE: Final = "X-Meterd-Signature"
VALID_S: Final = 300
"""A signature is taken for so long before and after its time stamp: what was overheard is of no
use later."""


def signature(key: str, timestamp: str, body: bytes) -> str:
    """What stands in SIGNATURE. `timestamp`: seconds since 1970, as in TIMESTAMP."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(key.encode(), signed, sha256).hexdigest()


def is_signed(key: str, timestamp: str, told: str, body: bytes, now_s: float) -> bool:
    """Whether who has the key signed this body a short time ago."""
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= len("9999999999")):
        return False
    is_recent = abs(now_s - int(timestamp)) <= VALID_S
    is_right = hmac.compare_digest(signature(key, timestamp, body).encode(), told.encode())
    return is_recent and is_right
