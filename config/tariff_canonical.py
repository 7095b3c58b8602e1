"""A version of a tariff in the one form in which two that charge the same are equal.

The inverse of `tariff_form.read_version`: numbers are texts without needless zeros."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from config.tariff_version import TOTAL, Fixed, Ladder, TariffVersion


def canonical_form(version: TariffVersion) -> dict[str, Any]:
    """The version as `read_version` takes it, for JSON."""
    form: dict[str, Any] = {
        "id": version.version_id,
        "effective_from": version.effective_from.isoformat(),
    }
    if version.energy:
        form["energy"] = _energy(version.energy)
    if version.ladder is not None:
        form["ladder"] = _ladder(version.ladder)
    if version.surcharges:
        form["surcharges"] = [
            {"code": it.code, "per_kwh": _text(it.per_kwh), "included": it.is_included}
            for it in version.surcharges
        ]
    if version.fixed is not None:
        form["fixed"] = _fixed(version.fixed)
    if version.minimum_yuan is not None:
        form["minimum"] = {"monthly_yuan": _text(version.minimum_yuan)}
    if version.tax_rate is not None:
        form["tax"] = {"mode": "exclusive", "rate": _text(version.tax_rate)}
    if version.included_tax_rate is not None:
        form["tax"] = {"mode": "inclusive", "rate": _text(version.included_tax_rate)}
    return form


def _energy(prices: Mapping[str, Decimal]) -> dict[str, Any]:
    if TOTAL in prices:
        return {"mode": "flat", "price": _text(prices[TOTAL])}
    return {"mode": "tou", "prices": _texts_by_rate(prices)}


def _ladder(ladder: Ladder) -> dict[str, Any]:
    form: dict[str, Any] = {
        "cycle": ladder.cycle,
        "method": ladder.method,
        "bounds_kwh": list(map(_text, ladder.bounds_kwh)),
        "partial_year": ladder.partial_year,
    }
    if ladder.method == "matrix":
        form["matrix"] = list(map(_texts_by_rate, ladder.matrix))
    else:
        held = "adders" if ladder.method == "adder" else "prices"
        form[held] = list(map(_text, ladder.prices))
    if ladder.whole_above_kwh is not None:
        form["whole_above_kwh"] = _text(ladder.whole_above_kwh)
    return form


def _fixed(fixed: Fixed) -> dict[str, Any]:
    if fixed.daily_yuan is not None:
        return {"daily_yuan": _text(fixed.daily_yuan)}
    form: dict[str, Any] = {"proration": fixed.proration}
    if fixed.monthly_yuan is not None:
        form["monthly_yuan"] = _text(fixed.monthly_yuan)
    if fixed.by_slab is not None:
        form["by_slab"] = {str(it): list(map(_text, fees)) for it, fees in fixed.by_slab.items()}
    return form


def _texts_by_rate(prices: Mapping[str, Decimal]) -> dict[str, str]:
    return {rate: _text(price) for rate, price in prices.items()}


def _text(number: Decimal) -> str:
    return f"{number.normalize():f}"
