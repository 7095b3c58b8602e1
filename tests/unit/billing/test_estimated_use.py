"""What a register of this moment shows since the last billed one, or why it shows nothing."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.billing.estimated_use import Current, estimated_link
from daemon.billing.links import Link

ZONE = ZoneInfo("Asia/Shanghai")
LAST = Link(7, date(2026, 3, 1), date(2026, 3, 2), 5, (0, 0), (1000, 400), 100_000, 2, Decimal(30))
AT = datetime(2026, 3, 3, 6, tzinfo=UTC)
CURRENT = Current(5, AT, (1400, 500))


def found(last: Link | None = LAST, current: Current | None = CURRENT, **facts: Any) -> Any:
    told: dict[str, Any] = {"is_documented": False, "max_daily_kwh": Decimal(2)} | facts
    return estimated_link(last, current, zone=ZONE, **told)


def test_it_is_the_use_from_the_last_midnight_as_if_the_day_ended_now() -> None:
    assert found() == Link(
        7, date(2026, 3, 2), date(2026, 3, 4), 5, (1000, 400), (1400, 500), 100_000, 2, Decimal(30)
    )


def test_a_register_that_goes_round_goes_on() -> None:
    link = found(LAST._replace(ends=(99_900, 400)), CURRENT._replace(registers=(100, 500)))
    assert (link.begins[0], link.ends[0]) == (99_900, 100)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"last": None}, "not_billed_yet"),
        ({"last": LAST._replace(hold="span")}, "held"),
        ({"current": None}, "not_read"),
        ({"is_documented": True}, "document"),
        ({"current": CURRENT._replace(meter_id=6)}, "document"),
        ({"current": CURRENT._replace(registers=(1401, 500))}, "implausible"),
        ({"current": CURRENT._replace(registers=(999, 500))}, "implausible"),
        # Two days by the site's clock, one by another.
        ({"current": CURRENT._replace(at=datetime(2026, 3, 2, 15, 59, tzinfo=UTC))}, "implausible"),
    ],
)
def test_nothing_is_invented(changes: dict[str, Any], reason: str) -> None:
    assert found(**changes) == reason
