"""Frames from outside (logs, captures, other people's code) say what their source says they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocols.dlt645.describe.frames import Description, SkippedBytes, describe_stream, parse_hex

VECTORS: list[dict[str, Any]] = [
    vector
    for version in ("2007", "1997")
    for vector in json.loads(
        Path(__file__).with_name(f"vectors_dlt645_{version}.json").read_text(encoding="utf-8")
    )["vectors"]
]
REASONS = {
    "bad_checksum": "bad_checksum",
    "bad_end": "bad_end",
    "bad_start2": "noise",
    "len_too_long": "bad_length",
    "truncated": "truncated",
    "not_a_frame": "noise",
}
WRONG_WITHOUT_BITS = {"semantic_error", "bad_bcd"}


def _frames_expected(vector: dict[str, Any]) -> list[dict[str, Any]]:
    meaning = vector["meaning"]
    if vector["expect"] in REASONS:
        return []
    if "each" in meaning:
        each: list[dict[str, Any]] = meaning["each"]
        return each
    return [meaning] if "control" in meaning else []


def _pairs_of(decoded: Any) -> list[tuple[str | None, str | None]]:
    """(value, unit) as the vector tells them; None in place of a unit that it does not tell."""
    if isinstance(decoded, list):
        return [pair for item in decoded for pair in _pairs_of(item)]
    if not isinstance(decoded, dict):
        return [(decoded, None)]
    unit = decoded.get("unit")
    values = decoded.get("values", [decoded["value"]] if "value" in decoded else [])
    pairs: list[tuple[str | None, str | None]] = [(value, unit) for value in values]
    for key, value in decoded.items():
        if key == "undecoded_tail":
            pairs.append((value, "hex"))
        elif key == "word":
            pairs.append((value, ""))
        elif key not in ("unit", "value", "values"):
            pairs.append((value, key))
    return pairs


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_a_frame_from_outside_says_what_its_source_says(vector: dict[str, Any]) -> None:
    items = describe_stream(parse_hex(vector["hex"]))
    frames = [item for item in items if isinstance(item, Description)]
    skipped = [item for item in items if isinstance(item, SkippedBytes)]
    wanted = _frames_expected(vector)
    assert {frame.protocol for frame in frames} <= {vector["protocol"]}
    assert len(frames) == len(wanted) == vector["meaning"].get("frames", len(wanted))
    assert [item.reason for item in skipped] == (
        ["noise"]
        if vector["expect"] == "noise"
        else [REASONS[vector["expect"]]]
        if not wanted
        else []
    )
    for frame, meaning in zip(frames, wanted, strict=True):
        _check(frame, meaning, vector["expect"])


def _check(frame: Description, meaning: dict[str, Any], expect: str) -> None:
    for key in ("address", "control", "function", "direction"):
        assert getattr(frame, key) == meaning.get(key, getattr(frame, key)), key
    assert frame.identifier == meaning.get("di")
    assert frame.follow == meaning.get("follow", False)
    if "error_bits" in meaning:
        assert frame.error is not None
        assert list(frame.error.bits) == meaning["error_bits"]
        assert frame.values == ()
    elif expect in WRONG_WITHOUT_BITS:
        assert frame.error is not None
        assert frame.error.bits == ()
        assert frame.error.text
    else:
        assert frame.error is None
    _check_values(frame, meaning)


def _check_values(frame: Description, meaning: dict[str, Any]) -> None:
    said = {value.name: value.value for value in frame.values}
    for key, name in (
        ("level", "level"),
        ("operator", "operator"),
        ("n1", "n1"),
        ("n2", "n2"),
        ("action", "action"),
        ("expiry", "expiry"),
        ("expiry_yymmddhhmmss", "expiry"),
    ):
        if key in meaning:
            # Some sources name the action by its number.
            assert meaning[key] in (said[name], said.get("n1")), key
    if "seq" in meaning:
        assert said["sequence"] == str(meaning["seq"])
    if "extra" in meaning and frame.protocol == "dlt645-1997":
        assert said == {"extra": meaning["extra"]}
    if "baud_code" in meaning:
        assert said["baud_code"] == meaning["baud_code"]
    if "decoded" in meaning:
        pairs = _pairs_of(meaning["decoded"])
        for value, (wanted, unit) in zip(
            frame.values, pairs, strict="word" not in str(meaning["decoded"])
        ):
            assert value.value == wanted
            assert unit is None or value.unit.lower() == unit.lower()
    elif meaning.get("decode_error"):
        assert said == {}


def test_no_vector_is_left_out() -> None:
    assert len(VECTORS) == 189 + 28
    assert len({vector["id"] for vector in VECTORS}) == 189 + 28
