"""Meters that answer, and with nothing that can be used: what they cost the others of their line,
and how often they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest
import structlog

from protocols.dlt645.frame import Frame, encode
from tests.bench.faults import bcd
from tests.wire.acquisition.test_wire_line import Answer, Site, address_of, refused

METERS, LIARS, DAYS = 20, 5, 20


def other_identifier(frame: Frame, clock: datetime) -> bytes:
    """The answer to another question than the one that was asked."""
    return encode(Frame(frame.address, 0x91, frame.data[:3] + b"\x77" + bcd(1, 4)))


def other_day(frame: Frame, clock: datetime) -> bytes:
    """A stamp of a day that nobody asked for."""
    return encode(Frame(frame.address, 0x91, frame.data[:4] + bytes.fromhex("0000010101")))


def damaged(frame: Frame, clock: datetime) -> bytes:
    good = encode(Frame(frame.address, 0x91, frame.data[:4] + bcd(1, 4) * 5))
    return good[:-2] + bytes((good[-2] ^ 1,)) + good[-1:]


def short(frame: Frame, clock: datetime) -> bytes:
    """Three bytes where a register has four."""
    return encode(Frame(frame.address, 0x91, frame.data[:4] + b"\x33" * 3))


def no_data(frame: Frame, clock: datetime) -> bytes:
    return encode(Frame(frame.address, 0x91, frame.data[:4] + b"\xff" * 20))


def silence(frame: Frame, clock: datetime) -> None:
    """It tells its stamp and says nothing more."""


LIES: dict[str, tuple[str, Answer]] = {
    "another identifier": ("050600", other_identifier),
    "the stamp and not the energies": ("050601", silence),
    "the stamp and other energies": ("050601", other_identifier),
    "a stamp of another day": ("050600", other_day),
    "damaged energies": ("050601", damaged),
    "energies too short": ("050601", short),
    "energies without value": ("050601", no_data),
    "a refusal": ("0506", refused(b"\x04")),
    "no such freeze": ("0506", refused(b"\x02")),
    "another clock's time": ("040001", other_identifier),
}


def site_of_liars(begins: str, lie: Answer) -> Site:
    """Every fourth meter lies whenever it is asked something that begins so."""
    site = Site(meters=METERS, days=DAYS)
    liars = {address_of(number) for number in range(0, METERS, METERS // LIARS)}

    def answer(frame: Frame, clock: datetime) -> bytes | None:
        chosen: Callable[[Frame, datetime], bytes | None] = site._true_answer
        if frame.address in liars:
            chosen = lie
        return chosen(frame, clock)

    site.script[begins] = answer
    return site


@pytest.mark.parametrize(("begins", "lie"), LIES.values(), ids=LIES)
def test_whoever_lies_costs_the_honest_little(begins: str, lie: Answer) -> None:
    """Every fourth meter lies: by the time that the honest have told all, the liars were asked
    no more often than as many honest ones are."""
    site = site_of_liars(begins, lie)
    liars = {address_of(number) for number in range(0, METERS, METERS // LIARS)}
    honest = (METERS - LIARS) * DAYS

    async def scene() -> None:
        async with site.line():
            await site.until(lambda: len(site.arrived) >= honest)

    asyncio.run(scene())
    assert {address for address, _ in site.days}.isdisjoint(liars)
    assert site.took_the_truth()
    of_liars = sum(frame.address in liars for frame in site.requests)
    of_honest = len(site.requests) - of_liars
    assert of_liars <= of_honest * LIARS / (METERS - LIARS)


def test_a_meter_that_tells_its_stamp_alone_is_backed_off() -> None:
    """It answers every time, and never what is asked for."""
    site = site_of_liars("050601", silence)

    async def scene() -> None:
        async with site.line() as line:
            await site.until(lambda: line.backed_off == LIARS)
            assert not line.is_silent

    asyncio.run(scene())


def test_a_meter_that_refuses_every_day_is_told_once_a_day_and_left_in_peace() -> None:
    site = Site(meters=1, days=DAYS)
    site.script["0506"] = refused(b"\x04")

    async def scene() -> None:
        async with site.line() as line:
            await site.until(lambda: line.backed_off == 1)
            site.at += timedelta(days=1)
            line._interrupt()
            await site.until(lambda: len(told()) == 2)

    def told() -> list[date]:
        return [it["day"] for it in logged if it["event"] == "freeze not read"]

    with structlog.testing.capture_logs() as logged:
        asyncio.run(scene())
    assert len(told()) == len(set(told())) == 2


def test_a_meter_that_tells_again_is_read_like_the_others() -> None:
    site = Site(meters=3, days=DAYS)
    site.script["050601"] = lambda frame, clock: (
        silence(frame, clock) if frame.address == address_of(1) else site._true_answer(frame, clock)
    )

    async def scene() -> None:
        async with site.line() as line:
            await site.until(lambda: line.backed_off == 1)
            del site.script["050601"]
            await site.until(lambda: len(site.arrived) == 3 * DAYS)
            assert line.backed_off == 0

    asyncio.run(scene())
    assert site.took_the_truth()
