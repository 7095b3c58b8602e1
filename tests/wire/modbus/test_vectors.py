"""Modbus frames from outside say what their source says they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocols.modbus.describe import describe_any, describe_pdu, describe_rtu, describe_tcp

VECTORS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("vectors_modbus.json").read_text(encoding="utf-8")
)["vectors"]
DESCRIBE = {"rtu": describe_rtu, "tcp": describe_tcp, "pdu": describe_pdu}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_a_frame_from_outside_says_what_its_source_says(vector: dict[str, Any]) -> None:
    data, meaning = bytes.fromhex(vector["hex"]), vector["meaning"]
    (told,) = DESCRIBE[meaning["kind"]](data)
    assert describe_any(data) == [told]
    if vector["expect"] != "ok":
        assert told == {"skipped": vector["hex"], "reason": "bad_checksum"}
        return
    assert told["protocol"] == f"modbus-{meaning['kind']}"
    if meaning["fc"] not in ANSWERED_BY_ITSELF:
        assert told["direction"] == vector["direction"]
    assert told["control"] == meaning["fc"]
    assert told["address"] == (str(meaning["unit"]) if "unit" in meaning else None)
    assert told["raw"] == vector["hex"]
    if "addr" in meaning or vector["direction"] == "response":
        assert told["identifier"] == (f"{meaning['addr']:04X}" if "addr" in meaning else None)
    assert (told["error"] is not None) == ("exception" in meaning)
    said = {value["name"]: value["value"] for value in told["values"]}
    wanted = {name: meaning[key] for key, name in NAMES.items() if key in meaning}
    assert {name: said[name] for name in wanted} == {
        name: str(value) for name, value in wanted.items()
    }


ANSWERED_BY_ITSELF = ("08",)
"""Functions whose answer is their question once more."""
NAMES = {
    "addr": "register",
    "count": "count",
    "data": "data",
    "value": "value",
    "exception": "exception",
}


def test_no_vector_is_left_out() -> None:
    assert len({vector["id"] for vector in VECTORS}) == len(VECTORS) == 40


def test_a_tcp_frame_is_told_with_unit_and_values() -> None:
    told = describe_any(bytes.fromhex("150100000006FF0300040001150100000005FF03020005"))
    assert [
        (item["protocol"], item["direction"], item["address"], item["identifier"]) for item in told
    ] == [
        ("modbus-tcp", "request", "255", "0004"),
        ("modbus-tcp", "response", "255", None),
    ]
    assert told[1]["values"][0] == {"name": "data", "value": "0005", "unit": "hex"}


def test_a_refusal_is_told_with_its_reason() -> None:
    (told,) = describe_rtu(bytes.fromhex("018302C0F1"))
    assert told["error"] == {
        "bits": ["illegal_data_address"],
        "text": "the meter refused: illegal data address (exception 02)",
    }


def test_a_request_that_no_meter_can_serve_is_told_as_wrong() -> None:
    (told,) = describe_pdu(bytes.fromhex("0300000000")) or [{}]
    assert told == {"skipped": "0300000000", "reason": "noise"}
    (told,) = describe_tcp(bytes.fromhex("0001000000060103000000FF"))
    assert "do not fit" in told["error"]["text"]


@pytest.mark.parametrize(
    ("pdu", "error"),
    [
        ("050001FF00", None),
        ("0500010000", None),
        ("0500011234", "1234 is no value of a coil: 0000 is off, FF00 is on"),
        ("05000100FF", "00FF is no value of a coil: 0000 is off, FF00 is on"),
        ("0600011234", None),
    ],
)
def test_a_coil_that_is_written_with_neither_of_its_values_is_told(
    pdu: str, error: str | None
) -> None:
    (told,) = describe_pdu(bytes.fromhex(pdu))
    assert (told["error"] and told["error"]["text"]) == error
