"""The link layer: no split, no noise and no wrong byte deceives it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols.dlt645.frame import Decoder, Frame, encode, raw
from protocols.errors import FrameError
from protocols.exchange import Skipped
from protocols.frame_search import MOST_NOISE_KEPT
from tests.examples import examples
from tests.growth import growth

ENERGY = bytes.fromhex("FEFEFEFE681234567810126891083333343 3AB8967454C16".replace(" ", ""))
"""A foreign server's answer: 123456.78 kWh, four wake-up bytes."""

addresses = st.text("0123456789", min_size=12, max_size=12) | st.just("AAAAAAAAAAAA")
frames = st.builds(Frame, addresses, st.integers(0, 255), st.binary(max_size=255))
short_frames = st.builds(Frame, addresses, st.integers(0, 255), st.binary(max_size=12))
treacherous = st.lists(st.sampled_from([0x68, 0x16, 0xFE, 0x00, 0x68, 0x91]), max_size=40).map(
    bytes
)


def decode_all(stream: bytes) -> list[Frame | Skipped]:
    decoder = Decoder()
    return decoder.feed(stream) + decoder.flush()


@given(frames)
def test_decoding_is_the_inverse_of_encoding(frame: Frame) -> None:
    assert decode_all(encode(frame)) == [frame]
    assert raw(frame) == encode(frame)


@given(short_frames)
@examples(30)
def test_a_frame_survives_every_split_of_its_bytes(frame: Frame) -> None:
    stream = b"\xfe\xfe" + encode(frame)
    for cut in range(len(stream) + 1):
        decoder = Decoder()
        assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == [frame]
        assert not decoder.pending
    decoder = Decoder()
    assert [item for byte in stream for item in decoder.feed(bytes((byte,)))] == [frame]


@given(
    st.lists(treacherous | st.binary(max_size=30) | short_frames.map(encode), max_size=6), st.data()
)
def test_the_split_of_a_stream_does_not_change_what_is_found(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = Decoder()
    found: list[Frame | Skipped] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[start:end])
    assert found + decoder.flush() == decode_all(stream)


@given(st.lists(treacherous | st.binary(max_size=30) | short_frames.map(encode), max_size=6))
def test_every_byte_is_told_once_as_frame_or_as_skipped_except_wake_up(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    told = b"".join(
        item.data if isinstance(item, Skipped) else raw(item) for item in decode_all(stream)
    )
    assert told.replace(b"\xfe", b"") == stream.replace(b"\xfe", b"")


@given(treacherous | st.binary(max_size=300), short_frames)
@example(bytes.fromhex("68FEFEFEFEFEFE"), Frame("888888888888", 0x11, bytes.fromhex("00000100")))
@example(bytes.fromhex("680102"), Frame("888888888888", 0x11))
def test_noise_never_hides_the_frame_behind_it(noise: bytes, frame: Frame) -> None:
    found = decode_all(noise + encode(frame))
    assert found[-1] == frame or any(
        _overlaps(noise, item) for item in found if isinstance(item, Frame)
    )


def _overlaps(noise: bytes, found: Frame) -> bool:
    """Noise that holds the start of what is by itself a good frame, reaching into the next one."""
    return raw(found) not in noise and any(
        noise.endswith(raw(found)[:length]) for length in range(1, len(raw(found)))
    )


@pytest.mark.parametrize(
    "frame",
    [
        ENERGY,
        bytes.fromhex("68AAAAAAAAAAAA681300DF16"),
        encode(Frame("1" * 12, 0xD1, b"\x02")),
        # DL/T 645-1997, vectors d97-051 and d97-045
        bytes.fromhex("6854071300801368010243C3DA16"),
        bytes.fromhex(
            "6875000000000068811F52C363C63A345B685333B7C86333B48B5B336A365B333333333333333333DD5F16"
        ),
    ],
)
def test_no_single_wrong_byte_is_taken_for_a_frame(frame: bytes) -> None:
    start = frame.index(0x68)
    for place in range(start, len(frame)):
        for wrong in set(range(256)) - {frame[place]}:
            damaged = frame[:place] + bytes((wrong,)) + frame[place + 1 :]
            assert all(isinstance(item, Skipped) for item in decode_all(damaged)), (place, wrong)


def test_an_address_and_data_with_16_do_not_end_the_frame() -> None:
    frame = Frame("161616161616", 0x91, b"\x16\xe3" * 8)
    assert decode_all(encode(frame)) == [frame]


def test_a_checksum_of_zero_and_of_16_is_a_checksum() -> None:
    sums = {}
    for last in range(256):
        frame = Frame("000000000001", 0x91, bytes((last,)))
        sums[encode(frame)[-2]] = frame
    for checksum in (0x00, 0x16, 0x68):
        assert decode_all(encode(sums[checksum])) == [sums[checksum]]


@pytest.mark.parametrize("count", range(8))
def test_any_number_of_wake_up_bytes_is_silently_accepted(count: int) -> None:
    frame = Frame("000000000001", 0x11, b"\0\0\1\0")
    assert decode_all(b"\xfe" * count + encode(frame)) == [frame]


def test_a_longer_answer_than_the_standard_allows_is_still_taken() -> None:
    frame = Frame("000000000001", 0x91, bytes(255))
    assert decode_all(encode(frame)) == [frame]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        ("6812907856341268910833333433896745335516", "bad_checksum"),
        ("6812907856341268910833333433896745335417", "bad_end"),
        ("6812907856341269910833333433896745335416", "noise"),
        ("681290785634126891FF3333", "bad_length"),
        ("68129078563412689108", "truncated"),
        ("68", "truncated"),
        ("FEFE", "noise"),
        ("0102", "noise"),
    ],
)
def test_what_is_no_frame_is_told_with_its_reason(stream: str, reason: str) -> None:
    assert decode_all(bytes.fromhex(stream)) == [Skipped(bytes.fromhex(stream), reason)]


def test_a_false_start_made_of_the_next_frames_own_start_is_noise() -> None:
    frame = Frame("888888888888", 0x11, bytes.fromhex("00000100"))
    assert decode_all(bytes.fromhex("68FEFEFEFEFEFE") + encode(frame)) == [
        Skipped(b"\x68", "noise"),
        frame,
    ]


def test_a_cut_frame_before_a_good_one_does_not_hide_it() -> None:
    frame = Frame("000000000001", 0x11, b"\0\0\1\0")
    cut = encode(frame)[:-3]
    assert decode_all(cut + encode(frame)) == [Skipped(cut, "bad_checksum"), frame]
    cut = encode(Frame("000000000001", 0x91, bytes(60)))[:-40]
    assert decode_all(cut + encode(frame)) == [Skipped(cut, "truncated"), frame]


def test_a_whole_frame_behind_half_a_one_is_not_taken_out_of_turn() -> None:
    half = encode(Frame("000000000001", 0x91, bytes(60)))[:-40]
    whole = encode(Frame("000000000001", 0x11, b"\0\0\1\0"))
    decoder = Decoder()
    assert decoder.feed(half) + decoder.feed(whole) + decoder.flush() == decode_all(half + whole)
    assert decoder.feed(b"\x01") + decoder.feed(whole) == decode_all(b"\x01" + whole)


def test_after_reset_nothing_of_before_is_left() -> None:
    frame = Frame("000000000001", 0x11, b"\0\0\1\0")
    decoder = Decoder()
    decoder.feed(b"\x01\x02" + encode(frame)[:-1])
    was_pending = decoder.pending
    decoder.reset()
    assert (bool(was_pending), bool(decoder.pending)) == (True, False)
    assert decoder.feed(encode(frame)) == [frame]
    assert decoder.flush() == []


@pytest.mark.parametrize("noise", [b"", bytes(20)])
def test_a_false_start_whose_second_68_is_the_frames_own_was_no_damaged_frame(noise: bytes) -> None:
    frame = Frame("000000001600", 0x91, bytes(8))
    babble = noise + b"\x68" + bytes(6)
    assert decode_all(babble + encode(frame)) == [Skipped(babble, "noise"), frame]


def test_an_endless_babble_does_not_fill_the_memory() -> None:
    decoder = Decoder()
    found = [item for _ in range(5) for item in decoder.feed(b"\x55" * 30_000)]
    assert [len(item.data) for item in found if isinstance(item, Skipped)] == [MOST_NOISE_KEPT] * 2
    assert decoder.flush() == [Skipped(b"\x55" * (150_000 - 2 * MOST_NOISE_KEPT), "noise")]


def test_noise_is_reported_as_soon_as_it_is_a_whole_piece() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x55" * MOST_NOISE_KEPT) == [Skipped(b"\x55" * MOST_NOISE_KEPT, "noise")]
    assert not decoder.pending


def test_of_a_stream_of_starts_no_more_is_kept_than_of_other_noise() -> None:
    assert decode_all(b"\x68" * 100_000)[0] == Skipped(b"\x68" * MOST_NOISE_KEPT, "bad_checksum")


@pytest.mark.parametrize(
    "false_start",
    [
        b"\x68",
        b"\x68\xfe",
        bytes.fromhex("6800000000000068 91FF"),
        bytes.fromhex("68686868686868 68FF68"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 7, 100_000])
def test_time_grows_with_the_length_of_false_starts_and_not_with_its_square(
    false_start: bytes, at_once: int
) -> None:
    def decode(length: int) -> None:
        stream = (false_start * length)[:length]
        decoder = Decoder()
        for at in range(0, length, at_once):
            decoder.feed(stream[at : at + at_once])
        decoder.flush()

    assert growth(decode, 4_000, 32_000, rounds=3) < 3 * 8


@pytest.mark.parametrize("address", ["", "1600", "00000000160B", "0000000016 0", "٠" * 12])
def test_an_address_that_no_meter_has_is_refused(address: str) -> None:
    with pytest.raises(FrameError, match="12 digits"):
        encode(Frame(address, 0x11))


def test_more_than_255_data_bytes_are_refused() -> None:
    with pytest.raises(FrameError, match="256 data bytes"):
        encode(Frame("000000000001", 0x11, bytes(256)))
