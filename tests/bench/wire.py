"""One read of a daily freeze on the wire, laid out by hand: what the limit sends and what proves a
contender right.

It shares nothing with `protocols`, so that a mistake there can not prove itself right."""

from __future__ import annotations

IDENTIFIER = "05060101"
"""Energies of the newest daily freeze: total and four tariffs."""
ANSWER = 40
"""Bytes of its answer: 4 x FE and 36."""
HEAD = 14
"""So many of them, behind the wake-up, are known before: 68H to the identifier."""


def request_of(address: str) -> bytes:
    """4 x FE and the 16 bytes of the request."""
    identifier = bytes(byte + 0x33 & 0xFF for byte in bytes.fromhex(IDENTIFIER)[::-1])
    body = b"\x68" + bytes.fromhex(address)[::-1] + b"\x68\x11\x04" + identifier
    return b"\xfe" * 4 + body + bytes((sum(body) & 0xFF, 0x16))


def head_of(address: str) -> bytes:
    """The bytes with which the answer to `request_of` begins behind its wake-up."""
    request = request_of(address)
    return request[4:12] + b"\x91\x18" + request[14:18]


def registers_in(answer: bytes) -> tuple[int, ...]:
    """The five energies at the end of an answer in 0.01 kWh, decoded slowly: proof, not part of the
    work."""
    data = bytes(byte - 0x33 & 0xFF for byte in answer[-22:-2])
    return tuple(int(data[start : start + 4][::-1].hex()) for start in range(0, 20, 4))
