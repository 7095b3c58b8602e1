"""Which protocol recorded bytes are, where nobody names it."""

from pathlib import Path

import pytest

from daemon.field.decode import describe_bytes, describe_recording, streams_of
from daemon.field.whole_frames import whole_frames

READ = bytes.fromhex("68120000001020681104 33323433F316")
MODBUS = bytes.fromhex("010300000001840A")


@pytest.mark.parametrize(
    ("data", "protocols"),
    [
        (READ, ["dlt645-2007"]),
        (MODBUS, ["modbus-rtu"]),
        (MODBUS[:-1] + b"\x0b", [None]),  # one damaged Modbus frame
        (READ[:-2] + b"\x00\x16", [None]),  # one damaged DL/T 645 frame
    ],
)
def test_the_protocol_is_found_out(data: bytes, protocols: list[str | None]) -> None:
    assert [item.get("protocol") for item in describe_bytes(data)] == protocols


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (MODBUS[:-1] + b"\x0b", "bad_checksum"),
        (b"\x01\x63" + MODBUS[2:], "noise"),  # function 63 is none that meters know
        (READ[:-2] + b"\x00\x16", "bad_checksum"),
    ],
)
def test_what_is_damaged_is_called_so_in_its_own_protocol(data: bytes, reason: str) -> None:
    (item,) = describe_bytes(data)
    assert item["reason"] == reason


def crc(data: bytes) -> bytes:
    """CRC-16 of Modbus RTU, low byte first."""
    remainder = 0xFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0xA001 if remainder & 1 else 0)
    return remainder.to_bytes(2, "little")


def test_a_good_modbus_frame_around_a_damaged_frame_of_dlt645_is_taken_for_the_latter() -> None:
    damaged = READ[:-2] + b"\x00\x16"
    answer = b"\x01\x03" + bytes((len(damaged),)) + damaged
    reasons = {item.get("reason") for item in describe_bytes(answer + crc(answer))}
    assert "bad_checksum" in reasons
    assert not any("protocol" in item for item in describe_bytes(answer + crc(answer)))


def test_a_file_that_decodes_and_is_no_text_is_one_stream(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    recording.write_bytes(b"\x01\x03\x00\x0a\x02")
    assert streams_of(recording) == [recording.read_bytes()]


def test_a_modbus_frame_whose_last_byte_begins_frames_of_dlt645_is_modbus(tmp_path: Path) -> None:
    write = bytes.fromhex("010F0000000A02CD01")
    data = write + crc(write)
    assert data[-1:] == b"\x68"
    recording = tmp_path / "recording.txt"
    recording.write_text(f"{READ.hex()}\n{data.hex()}\n", encoding="ascii")
    (alone,) = describe_bytes(data)
    in_a_file = describe_recording(streams_of(recording))[1]
    assert [item.get("protocol") for item in (alone, *in_a_file)] == ["modbus-rtu"] * 2


def piece(direction: str, data: bytes, at: str = "0") -> dict[str, str]:
    return {"at": at, "direction": direction, "bytes": data.hex(" ").upper()}


def test_pieces_of_one_direction_are_joined_until_they_are_a_frame() -> None:
    pieces = [piece("rx", READ[:5], "1"), piece("rx", READ[5:], "2"), piece("rx", READ, "3")]
    found = list(whole_frames(pieces))
    assert [(frame["at"], frame["bytes"]) for frame in found] == [
        ("1", READ.hex(" ").upper()),
        ("3", READ.hex(" ").upper()),
    ]
    assert [frame["frames"][0]["function"] for frame in found] == ["read", "read"]


def test_pieces_of_two_directions_are_not_joined_and_what_is_no_frame_comes_at_the_end() -> None:
    found = list(whole_frames([piece("tx", READ[:5]), piece("rx", READ), piece("tx", b"\x68")]))
    assert [(frame["direction"], len(frame["frames"])) for frame in found] == [
        ("tx", 1),
        ("rx", 1),
        ("tx", 1),
    ]
    assert "skipped" in found[0]["frames"][0]


def test_words_instead_of_bytes_and_dropped_pieces_pass_as_they_are() -> None:
    hidden = {"at": "0", "direction": "tx", "bytes": "(29 bytes with a password, not shown)"}
    dropped = {"dropped": 3}
    assert list(whole_frames([hidden, dropped, {"end": True}])) == [
        {**hidden, "frames": []},
        dropped,
    ]
