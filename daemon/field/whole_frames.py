"""Puts the pieces of a wire trace together to whole frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from daemon.field.decode import describe_bytes

Piece = dict[str, Any]
"""What the daemon tells of a line: `at`, `direction` and `bytes`, or `dropped`."""


def whole_frames(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Pieces of one direction joined until they are frames.

    Each with `at` of its first piece, `direction`, `bytes`, and `frames` in words."""
    begun: Piece | None = None
    for piece in pieces:
        if "bytes" not in piece:
            if "dropped" in piece:
                yield piece
            continue
        if begun is not None and _continues(begun, piece):
            begun["bytes"] += " " + piece["bytes"]
        else:
            if begun is not None:
                yield _with_frames(begun)
            begun = dict(piece)
        described = _with_frames(begun)
        if _is_whole(described):
            yield described
            begun = None
    if begun is not None:
        yield _with_frames(begun)


def _hides_bytes(piece: Piece) -> bool:
    """True for words instead of bytes: a frame with a password is shown only by its length."""
    return "(" in piece["bytes"]


def _continues(begun: Piece, piece: Piece) -> bool:
    return begun["direction"] == piece["direction"] and not _hides_bytes(piece)


def _is_whole(described: Piece) -> bool:
    return not any("skipped" in frame for frame in described["frames"])


def _with_frames(piece: Piece) -> Piece:
    frames = [] if _hides_bytes(piece) else describe_bytes(bytes.fromhex(piece["bytes"]))
    return {**piece, "frames": frames}
