"""One tree of errors, sorted by who must act."""

from __future__ import annotations


class MeterdError(Exception):
    """Root of every expected error; its text is written for the person who must act."""


class LineDown(MeterdError):
    """The carrier of a line is gone: cable, address, speed.

    The installer acts; opening is tried again."""


class NoReply(MeterdError):
    """A meter stayed silent, or nothing that came was an answer to the question."""


class FrameError(MeterdError, ValueError):
    """Bytes that are not what the protocol demands: a codec refuses to decode or to build them."""


class MeterRefused(MeterdError):
    """The meter answered with an error word.

    The operator acts (password, right, identifier); the request is not repeated as it is."""

    def __init__(
        self,
        address: str,
        asked: str,
        word: int,
        bits: tuple[str, ...],
    ) -> None:
        self.address = address
        self.asked = asked
        """What was wanted, in words."""
        self.word = word
        self.bits = bits
        """The standard's words for the bits that are set, bit 0 first."""
        reason = ", ".join(bits).replace("_", " ") or "no reason given"
        super().__init__(f"meter {address} refused {asked}: {reason} (ERR {word:02X})")


class NoFreezeYet(MeterdError):
    """A meter has not lived through a midnight that it froze; the next one helps."""


class WriteUnconfirmed(MeterdError):
    """A write was sent and whether the meter keeps it is not known. The operator reads it back."""


class SecretWithheld(MeterdError):
    """A frame with a password, or a control frame, was for a far end of which it is open who it is.

    It was not sent. Whoever runs the site finds out who calls."""


class ControlForbidden(MeterdError, AssertionError):
    """A control frame was about to leave a process without authority over supply (shadow mode)."""
