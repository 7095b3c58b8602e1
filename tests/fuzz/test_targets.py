"""A short portion of `make fuzz`, without its guidance: samples of each format and what chance
makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.fuzz.targets import TARGETS, TOLD, Target

MUTANTS = 60
DEEP = b"[" * 60_000


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    samples = target.samples()
    yield from (b"", DEEP, *samples)
    random = Random(seed)
    for _ in range(MUTANTS):
        data = bytearray(random.choice(samples)[: target.most_bytes])
        for _ in range(random.randint(1, 8)):
            at = random.randrange(len(data) + 1)
            match random.randrange(4):
                case 0:
                    data[at : at + 1] = bytes([random.randrange(256)])
                case 1:
                    del data[at : at + random.randint(1, 16)]
                case 2:
                    data[at:at] = data[at : at + random.randint(1, 64)]
                case 3:
                    data[at:at] = random.choice([b"9" * 40, b"\x00", b"\xff\xfe", b"-1", b"1e999"])
        yield bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_from_outside_are_understood_or_told(name: str) -> None:
    target = TARGETS[name]
    understood = 0
    for data in inputs(target, seed=12):
        try:
            target.take(data)
        except TOLD:
            continue
        understood += 1
    assert understood, "no sample was understood"
