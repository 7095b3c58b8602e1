"""How terminals that dial in register and show that they are alive. Bytes and times in, no I/O.

A channel knows no frames, so a heartbeat is told from an answer by where it stands;
`HeartbeatFilter` says how."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import re2

Kind = Literal["hex", "text", "regex"]

LONGEST_REGISTRATION: Final = 256
LONGEST_HEARTBEAT: Final = 64
MOST_HEARTBEATS: Final = 1024
"""Of one terminal in a minute: they come every few seconds, and those of an hour's outage at once.
"""
LONGEST_GREETING: Final = 256
"""Of heartbeats that come in one piece with a registration."""
LONGEST_EXPRESSION: Final = 512
LARGEST_PROGRAM: Final = 1 << 16
"""Bytes of memory for an expression: one that needs more is refused."""
ANSWER_GAP_S: Final = 0.5
"""A pause inside an answer after which a conversation gives the answer up."""
HOLD_S: Final = 0.2
"""How long bytes that may be a heartbeat are kept from the line."""
DISTINCT_BYTES: Final = 4
DISTINCT_VALUES: Final = 3

_HEX: Final = re.compile(r"([0-9A-Fa-f]{2})|\{id:([0-9]{1,2})\}|\{([0-9]{1,3})\}|\s+")
_TEXT_ID: Final = re.compile(r"\{id(?::([0-9]{1,2}))?\}")
_OPEN_END: Final = re.compile(r"(?<!\\)(?:\\\\)*(?:[*+?]|\{[0-9]*,[0-9]*\})\)*(?:\$|\\Z)?$")
_PRINTABLE: Final = re.compile(rb"[!-~]{1,64}")


@dataclass(frozen=True, slots=True)
class Registration:
    """What a terminal sends first.

    `is_binary`: its id is written in hexadecimal digits. `id_length`: characters of the id, None
    where it varies. `id_group`: the number of the group in the pattern.
    """

    pattern: re.Pattern[bytes]
    is_binary: bool
    id_length: int | None
    id_group: int = 1

    def read(self, data: bytes, start: int = 0) -> tuple[str, int] | None:
        """(id, where the frame ends) of one that begins there; None for no registration (yet)."""
        found = self.pattern.match(data[start : start + LONGEST_REGISTRATION])
        if found is None:
            return None
        identity: bytes = found[self.id_group] or b""
        if self.is_binary:
            return identity.hex().upper(), start + found.end()
        if _PRINTABLE.fullmatch(identity) is None:
            return None
        return identity.decode("ascii"), start + found.end()

    def spelled(self, terminal: str) -> str:
        """An id as `read` gives it. ValueError when no registration of this form can carry it."""
        if self.is_binary:
            terminal = terminal.upper()
            if not re.fullmatch(f"[0-9A-F]{{{self.id_length}}}", terminal):
                digits = f"{self.id_length} hexadecimal digits"
                raise ValueError(f'"{terminal}" is not {digits}, as the registration has')
        elif not _PRINTABLE.fullmatch(terminal.encode()):
            raise ValueError(
                f"{terminal!r} is not 1 to 64 letters, digits and signs without blanks"
            )
        elif self.id_length not in (None, len(terminal)):
            raise ValueError(
                f'"{terminal}" is not {self.id_length} characters, as the registration has'
            )
        return terminal


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a terminal sends while it has nothing to say.

    `at_end` finds one that ends the bytes. `fixed`: the bytes, where they are always the same; only
    such a heartbeat is recognised in pieces.
    """

    pattern: re.Pattern[bytes]
    at_end: re.Pattern[bytes]
    fixed: bytes

    def end(self, data: bytes, start: int = 0) -> int:
        """Where the heartbeat that begins there ends; `start` when there is none."""
        found = self.pattern.match(data[start : start + LONGEST_HEARTBEAT])
        return start + found.end() if found else start

    def is_begun(self, data: bytes) -> bool:
        """True when these bytes are the beginning of one."""
        return bool(data) and len(data) < len(self.fixed) and self.fixed.startswith(data)

    def ending(self, data: bytes) -> int:
        """Bytes at the end of `data` that are distinct heartbeats or the beginning of one."""
        if not self.fixed:
            found = self.at_end.search(data, max(0, len(data) - LONGEST_HEARTBEAT))
            return len(found[0]) if found and is_distinct(found[0]) else 0
        # The last byte says no for nearly every answer.
        if data[-1] not in self.fixed or not is_distinct(self.fixed):
            return 0
        begun = self._begun_at_end(data)
        return max(self._whole_at_end(data), begun + self._whole_at_end(data[: len(data) - begun]))

    def _begun_at_end(self, data: bytes) -> int:
        for count in range(min(len(self.fixed) - 1, len(data)), 0, -1):
            if data.endswith(self.fixed[:count]):
                return count
        return 0

    def _whole_at_end(self, data: bytes) -> int:
        end = len(data)
        while data.endswith(self.fixed, 0, end):
            end -= len(self.fixed)
        return len(data) - end


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """How terminals of one kind register and show that they are alive, and what answers them.

    Answers are bytes, or the heartbeat again.
    """

    registration: Registration
    heartbeat: Heartbeat | None = None
    registration_answer: bytes = b""
    heartbeat_answer: bytes | Literal["echo"] = b""

    def read(self, data: bytes) -> tuple[str, int] | None:
        """(id, bytes up to the end of the registration); LONGEST_GREETING bytes of heartbeats
        before it are passed over."""
        found = self.registration.read(data)
        if found is not None:
            return found
        start = self._end_of_heartbeats(data)
        return self.registration.read(data, start) if start else None

    def answer(self, beat: bytes) -> bytes:
        """What a terminal is sent after a heartbeat, or after a registration that it repeats."""
        if self.heartbeat is None or not self.heartbeat.end(beat):
            return self.registration_answer
        return beat if self.heartbeat_answer == "echo" else self.heartbeat_answer

    def _end_of_heartbeats(self, data: bytes) -> int:
        if self.heartbeat is None:
            return 0
        start = 0
        while start < LONGEST_GREETING and (end := self.heartbeat.end(data, start)) > start:
            start = end
        return start


class HeartbeatFilter:
    """Takes heartbeats, and repeated registrations, out of what one terminal sends.

    A distinct heartbeat is taken out where it is a whole segment, at the start of one that begins
    an answer, and at the end of one unless more follows within HOLD_S. Any other (`00`, `FE FE`) is
    taken out only where segments consist of it and no answer is under way: it stands inside answers
    too often. What is left in is noise between two frames."""

    __slots__ = ("_answer_until", "_settings", "_terminal", "held")

    def __init__(self, settings: RegistrationSettings, terminal: str) -> None:
        self._settings = settings
        self._terminal = terminal
        self.held = b""
        """What may be a heartbeat or its beginning; `settle` when nothing follows."""
        self._answer_until = 0.0

    def feed(self, data: bytes, now: float) -> tuple[bytes, list[bytes]]:
        """(what is for the line, heartbeats) of a segment that came at `now` (seconds)."""
        data = self.held + data
        self.held = b""
        beats, end = self._beats(data)
        if len(beats) > MOST_HEARTBEATS:
            return b"", beats
        rest = data[end:]
        heartbeat = self._settings.heartbeat
        is_begun = heartbeat is not None and heartbeat.is_begun(rest)
        is_all_beats = not rest or is_begun
        if not self._may_take_out(beats, is_begun, is_all_beats, now):
            rest = data
            beats = []
        elif is_all_beats:
            self.held = rest
            return b"", beats
        count = heartbeat.ending(rest) if heartbeat is not None else 0
        if count:
            self.held = rest[-count:]
            rest = rest[:-count]
        if rest:
            self._answer_until = now + ANSWER_GAP_S
        return rest, beats

    def settle(self) -> tuple[bytes, list[bytes]]:
        """The same of what is held, because nothing followed it."""
        held = self.held
        self.held = b""
        beats, end = self._beats(held)
        return held[end:], beats

    def request_sent(self) -> None:
        """A request was sent: what comes next begins an answer."""
        self._answer_until = 0.0

    def _may_take_out(
        self, beats: list[bytes], is_begun: bool, is_all_beats: bool, now: float
    ) -> bool:
        is_answering = now < self._answer_until
        are_distinct = all(map(is_distinct, beats))
        if is_begun and self._settings.heartbeat is not None:
            are_distinct = are_distinct and is_distinct(self._settings.heartbeat.fixed)
        if is_all_beats:
            return are_distinct or not is_answering
        return are_distinct and not is_answering

    def _beats(self, data: bytes) -> tuple[list[bytes], int]:
        """The heartbeats at the start of the bytes, and where the last of them ends.

        One more than a terminal may send is enough to hang up on it."""
        beats: list[bytes] = []
        start = 0
        while len(beats) <= MOST_HEARTBEATS and (end := self._end(data, start)) > start:
            beats.append(data[start:end])
            start = end
        return beats, start

    def _end(self, data: bytes, start: int) -> int:
        heartbeat = self._settings.heartbeat
        if heartbeat is not None and (end := heartbeat.end(data, start)) > start:
            return end
        # Some terminals register again and again instead of a heartbeat.
        found = self._settings.registration.read(data, start)
        if found is None:
            return start
        terminal, end = found
        return end if terminal == self._terminal else start


def is_distinct(beat: bytes) -> bool:
    """True when chance does not put it at the edge of a segment (once in 2^32)."""
    return len(beat) >= DISTINCT_BYTES and len(set(beat)) >= DISTINCT_VALUES


# --- from the words of a configuration


def registration(kind: Kind, words: str) -> Registration:
    """`hex`: bytes, `{id:N}` for the N bytes of the id, `{N}` for N bytes of any value.

    `text`: `{id}` for an id that ends before the next character, or `{id:N}`. `regex`: with a
    group `id`. ValueError says what is wrong.
    """
    if kind == "regex":
        compiled = _regex(words)
        number = compiled.groupindex.get(b"id")
        if number is None:
            raise ValueError("has no group named id: (?P<id>...) is the terminal's id")
        return Registration(compiled, is_binary=False, id_length=None, id_group=number)
    pattern, length = _hex(words) if kind == "hex" else _text(words)
    if length == 0:
        raise ValueError("an id has at least one byte")
    is_binary = kind == "hex"
    if is_binary and length is not None:
        length *= 2
    return Registration(re.compile(pattern, re.S), is_binary, length)


def heartbeat(kind: Kind, words: str) -> Heartbeat:
    """`hex` and `text`: always these bytes. ValueError says what is wrong."""
    if kind == "regex":
        compiled = _regex(words)
        return Heartbeat(compiled, _compiled(b"(?:" + compiled.pattern + rb")\z"), b"")
    fixed = fixed_bytes(kind, words)
    if len(fixed) > LONGEST_HEARTBEAT:
        raise ValueError(f"is longer than {LONGEST_HEARTBEAT} bytes")
    compiled = re.compile(re.escape(fixed))
    return Heartbeat(compiled, compiled, fixed)


def fixed_bytes(kind: Kind, words: str) -> bytes:
    """Bytes to be sent or expected.

    ValueError when there are none, or they are not always the same.
    """
    if kind == "regex":
        raise ValueError("an expression cannot be sent; write hex or text")
    if not words:
        raise ValueError("is empty")
    if kind == "text":
        return words.encode()
    try:
        return bytes.fromhex(words)
    except ValueError:
        raise ValueError(f'"{words}" is not pairs of hexadecimal digits') from None


def _hex(words: str) -> tuple[bytes, int]:
    pattern = b""
    length: int | None = None
    at = 0
    while at < len(words):
        found = _HEX.match(words, at)
        if found is None:
            raise ValueError(
                f'"{words[at:]}" is neither pairs of hexadecimal digits nor {{id:N}} nor {{N}}'
            )
        byte, id_bytes, any_bytes = found.groups()
        if byte:
            pattern += re.escape(bytes.fromhex(byte))
        elif id_bytes:
            if length is not None:
                raise ValueError("has more than one {id:N}")
            length = int(id_bytes)
            pattern += b"(?P<id>.{%d})" % length
        elif any_bytes:
            pattern += b".{%d}" % int(any_bytes)
        at = found.end()
    if length is None:
        raise ValueError("has no {id:N}, the N bytes of the terminal's id")
    return pattern, length


def _text(words: str) -> tuple[bytes, int | None]:
    before, *others = _TEXT_ID.split(words)
    if len(others) != 2:
        raise ValueError("needs one {id}, or {id:N} for an id of N characters")
    length, behind = others
    if length is not None:
        middle = b"[!-~]{%d}" % int(length)
    elif behind:
        # Printable ASCII up to the character that ends the id.
        middle = b"(?:(?!" + re.escape(behind[0].encode()) + b")[!-~]){1,64}"
    else:
        raise ValueError(
            "nothing follows {id}, so its end is not known: write {id:N} for an id of N characters"
        )
    pattern = re.escape(before.encode()) + b"(?P<id>" + middle + b")" + re.escape(behind.encode())
    return pattern, int(length) if length else None


def _regex(words: str) -> Any:
    """One whose end is known when it is there."""
    if len(words) > LONGEST_EXPRESSION:
        raise ValueError(f"is longer than {LONGEST_EXPRESSION} characters")
    try:
        compiled = _compiled(words.encode("latin-1"))
    except UnicodeEncodeError:
        raise ValueError("holds characters beyond one byte; write them as \\x..") from None
    except re2.error as error:
        raise ValueError(f"is no regular expression: {_in_words(error)}") from None
    if compiled.match(b""):
        raise ValueError("matches nothing at all: every terminal would fit")
    if _OPEN_END.search(words):
        raise ValueError(
            "ends with a repetition, so its end is not known: "
            "add what follows, or a count like {15}"
        )
    return compiled


@cache
def _compiled(expression: bytes) -> Any:
    """By RE2, which never backtracks: all lines have one thread, and no bytes from the network may
    make it slow. The same object for the same expression, so that settings can be compared."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = LARGEST_PROGRAM
    return re2.compile(expression, options)


def _in_words(error: re2.error) -> str:
    (why,) = error.args
    return why.decode("latin-1") if isinstance(why, bytes) else str(why)
