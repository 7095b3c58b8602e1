"""Moments as persons type them."""

from datetime import datetime
from zoneinfo import ZoneInfo

import click
import pytest

from daemon.cli.typed import Moment, in_zone

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "typed", ["0001-01-01 00:00", "1969-12-31 23:59", "2200-01-01 00:00", "9999-12-31 23:59"]
)
def test_a_moment_that_nobody_can_mean_is_a_wrong_use(typed: str) -> None:
    """The ends of what Python knows have no instant in every zone."""
    with pytest.raises(click.BadParameter, match="no moment from 1970 to 2199"):
        Moment().convert(typed, None, None)


@pytest.mark.parametrize("typed", ["1970-01-01 00:00", "2199-12-31T23:59"])
def test_the_first_and_the_last_moment_have_an_instant(typed: str) -> None:
    moment = in_zone(Moment().convert(typed, None, None), BERLIN, "--from")
    assert moment == datetime.fromisoformat(typed).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("typed", "words"),
    [("2026-03-29 02:30", "was skipped"), ("2026-10-25 02:30", "was twice: .* add the offset")],
)
def test_a_moment_that_clocks_skip_or_show_twice_is_a_wrong_use(typed: str, words: str) -> None:
    with pytest.raises(click.BadParameter, match=words):
        in_zone(Moment().convert(typed, None, None), BERLIN, "--from")
