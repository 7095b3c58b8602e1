"""What a frame says, as records: the result of `meterd decode`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.dlt645.values import Value

FrameDescription = dict[str, Any]
"""One frame or one skipped stretch, ready for JSON, with the keys of `meterd decode`."""


@dataclass(frozen=True, slots=True)
class ErrorDescription:
    """What is wrong with a frame, or what the meter refuses.

    `bits`: the names of the bits of the meter's error word; empty when the frame itself is
    wrong."""

    bits: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Description:
    """One frame.

    `direction`: request or response; `identifier`: 8 digits DI3..DI0, or 4 digits DI1 DI0 of the
    1997 version; `raw`: from 68 to 16, in hex."""

    protocol: str
    direction: str
    address: str
    control: str
    function: str
    identifier: str | None
    values: tuple[Value, ...]
    error: ErrorDescription | None
    follow: bool
    raw: str

    def as_dict(self) -> FrameDescription:
        """The fields by their names, values and error likewise."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields["values"] = [value._asdict() for value in self.values]
        if self.error is not None:
            fields["error"] = {
                "bits": list(self.error.bits),
                "text": self.error.text,
            }
        return fields


@dataclass(frozen=True, slots=True)
class SkippedBytes:
    """A stretch that is no frame, in hex, and why.

    `reason`: noise, bad_checksum, truncated, bad_length or bad_end."""

    skipped: str
    reason: str

    def as_dict(self) -> FrameDescription:
        """The fields by their names."""
        return {"skipped": self.skipped, "reason": self.reason}
