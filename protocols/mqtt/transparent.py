"""A transparent DTU: the bytes of its serial line in two topics, raw or as hex inside JSON."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from protocols.errors import FrameError
from protocols.mqtt.foreign import json_object

Wrapping = Literal["raw", "hex"]
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}\s*)*")


def wrap(data: bytes, wrapping: Wrapping, field: str = "data") -> bytes:
    """The payload that carries these bytes to the line: themselves, or {"data": "68AA..."}."""
    if wrapping == "raw":
        return data
    return msgspec.json.encode({field: data.hex().upper()})


def unwrap(topic: str, payload: bytes, wrapping: Wrapping, field: str = "data") -> bytes:
    """The bytes in a payload from the line. FrameError when it is not as agreed."""
    if wrapping == "raw":
        return payload
    text = json_object(topic, payload).get(field)
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise FrameError(f"{topic}: {field} must be a string of hex bytes, not {text!r}")
    return bytes.fromhex(text)
