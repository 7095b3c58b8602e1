"""What bytes mean for the requests under way, told without I/O."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645.exchanges import CODEC_2007
from protocols.dlt645.frame import Frame, encode
from protocols.exchange import AnswerMatcher, Meaning

METER, OTHER = "000000001600", "000000001601"
ENERGY, POWER = bytes.fromhex("00010000")[::-1], bytes.fromhex("02030000")[::-1]
REQUEST = Frame(METER, 0x11, ENERGY)
ANSWER = Frame(METER, 0x91, ENERGY + bytes(4))
REFUSAL = Frame(METER, 0xD1, b"\x02")
STRANGERS = {
    "another meter's answer": Frame(OTHER, 0x91, ENERGY + bytes(4)),
    "an answer to another identifier": Frame(METER, 0x91, POWER + bytes(3)),
    "another master's request": Frame(OTHER, 0x11, ENERGY),
    "another request to the same meter": Frame(METER, 0x11, POWER),
}


def damaged(frame: bytes) -> bytes:
    return frame[:-2] + bytes((frame[-2] ^ 1,)) + frame[-1:]


def meanings(
    data: bytes, *requests: Frame, matcher: AnswerMatcher[Frame] | None = None
) -> list[Meaning]:
    matcher = matcher or AnswerMatcher(CODEC_2007)
    return [received.meaning for received in matcher.feed(data, requests)]


@pytest.mark.parametrize("frame", [ANSWER, REFUSAL], ids=["answer", "refusal"])
def test_an_answer_says_what_it_answers(frame: Frame) -> None:
    (received,) = AnswerMatcher(CODEC_2007).feed(encode(frame), (REQUEST,))
    assert received.meaning is Meaning.ANSWER
    assert received.frame == frame
    assert received.request == REQUEST


def test_of_several_requests_each_has_its_answer_in_any_order() -> None:
    requests = [REQUEST, Frame(OTHER, 0x11, ENERGY), Frame(METER, 0x11, POWER)]
    answers = [Frame(of.address, 0x91, of.data + bytes(4)) for of in reversed(requests)]
    received = AnswerMatcher(CODEC_2007).feed(b"".join(map(encode, answers)), requests)
    assert [item.request for item in received] == requests[::-1]


def test_a_second_answer_to_one_request_is_foreign() -> None:
    assert meanings(2 * encode(ANSWER), REQUEST) == [Meaning.ANSWER, Meaning.FOREIGN]


@pytest.mark.parametrize("frame", STRANGERS.values(), ids=STRANGERS)
def test_a_good_frame_that_concerns_none_of_ours_is_foreign(frame: Frame) -> None:
    assert meanings(encode(frame) + encode(ANSWER), REQUEST) == [Meaning.FOREIGN, Meaning.ANSWER]


def test_an_answer_is_foreign_while_nothing_is_asked() -> None:
    assert meanings(encode(ANSWER)) == [Meaning.FOREIGN]


def test_our_own_request_is_an_echo_before_and_behind_its_answer() -> None:
    echo = encode(REQUEST)
    came = meanings(echo + encode(ANSWER) + echo, REQUEST)
    assert came == [Meaning.ECHO, Meaning.ANSWER, Meaning.ECHO]


def test_an_answer_to_the_request_that_was_given_up_is_late_once() -> None:
    matcher = AnswerMatcher(CODEC_2007)
    matcher.unanswered = REQUEST
    now = Frame(OTHER, 0x11, ENERGY)
    assert meanings(2 * encode(ANSWER), now, matcher=matcher) == [Meaning.LATE, Meaning.FOREIGN]
    assert matcher.unanswered is None


def test_the_echo_of_a_request_that_was_given_up_is_no_foreign_request() -> None:
    matcher = AnswerMatcher(CODEC_2007)
    matcher.unanswered = REQUEST
    assert meanings(encode(REQUEST), Frame(OTHER, 0x11, ENERGY), matcher=matcher) == [Meaning.ECHO]
    assert matcher.unanswered == REQUEST


def test_when_the_same_is_asked_again_its_answer_is_no_late_one() -> None:
    matcher = AnswerMatcher(CODEC_2007)
    matcher.unanswered = REQUEST
    assert meanings(encode(ANSWER), REQUEST, matcher=matcher) == [Meaning.ANSWER]


def test_a_wrong_checksum_is_damage_and_hides_nothing() -> None:
    came = meanings(damaged(encode(ANSWER)) + encode(ANSWER), REQUEST)
    assert came == [Meaning.DAMAGED, Meaning.ANSWER]


def test_bytes_in_which_no_frame_begins_are_noise() -> None:
    assert meanings(b"\x00\x55" + encode(ANSWER), REQUEST) == [Meaning.NOISE, Meaning.ANSWER]


def test_a_part_is_kept_until_its_rest_comes_or_the_line_falls_silent() -> None:
    matcher = AnswerMatcher(CODEC_2007)
    answer = encode(ANSWER)
    assert meanings(answer[:9], REQUEST, matcher=matcher) == [Meaning.PART]
    assert meanings(answer[9:], REQUEST, matcher=matcher) == [Meaning.ANSWER]
    assert meanings(answer[:9], REQUEST, matcher=matcher) == [Meaning.PART]
    assert [item.meaning for item in matcher.flush((REQUEST,))] == [Meaning.DAMAGED]
    assert meanings(answer, REQUEST, matcher=matcher) == [Meaning.ANSWER]


def test_a_part_that_is_forgotten_does_not_eat_the_next_answer() -> None:
    matcher = AnswerMatcher(CODEC_2007)
    assert meanings(encode(ANSWER)[:9], REQUEST, matcher=matcher) == [Meaning.PART]
    matcher.unanswered = REQUEST
    matcher.reset()
    assert matcher.unanswered == REQUEST
    assert matcher.flush(()) == []
    assert meanings(encode(ANSWER), REQUEST, matcher=matcher) == [Meaning.ANSWER]


BEFORE = {
    encode(REQUEST): Meaning.ECHO,
    encode(STRANGERS["another meter's answer"]): Meaning.FOREIGN,
    encode(STRANGERS["another master's request"]): Meaning.FOREIGN,
}


@given(st.lists(st.sampled_from(list(BEFORE)), max_size=5), st.lists(st.floats(0, 1), max_size=6))
def test_however_bytes_are_split_they_mean_the_same(pieces: list[bytes], cuts: list[float]) -> None:
    stream = b"".join((*pieces, encode(ANSWER)))
    places = [0, *sorted(int(cut * len(stream)) for cut in cuts), len(stream)]
    matcher = AnswerMatcher(CODEC_2007)
    came: list[Meaning] = []
    for start, end in itertools.pairwise(places):
        came += meanings(stream[start:end], REQUEST, matcher=matcher)
    told = [meaning for meaning in came if meaning is not Meaning.PART]
    assert told == [*(BEFORE[piece] for piece in pieces), Meaning.ANSWER]
