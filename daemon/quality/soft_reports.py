"""What is unusual about the use of a point on its newest closed day (V09, V12, V14, V15).

Reasons to look: they withhold nothing, and no judgement looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Final

from daemon.quality.use_checks import (
    USUAL,
    Thresholds,
    Uses,
    has_stopped,
    is_out_of_season,
    is_unusual,
)

SOFT: Final = ("V09", "V12", "V14", "V15")


def soft_reports(
    uses: Uses,
    day: date,
    month_kwh: Decimal | None,
    last_year_kwh: Decimal | None,
    than: Thresholds = USUAL,
) -> Mapping[str, bool]:
    """By code whether it is so on `day`.

    `uses`: of `than.looked_back` up to it. `month_kwh` and `last_year_kwh`: of the last whole month
    and of the same one a year before; None where not all of it is known."""
    is_known = month_kwh is not None and last_year_kwh is not None
    months = (month_kwh or Decimal(0), last_year_kwh or Decimal(0))
    return {
        "V09": has_stopped(uses, day, than),
        "V14": is_unusual(uses, day, than),
        "V15": is_known and is_out_of_season(*months, than),
    }
