"""Whether a tariff can price what the meter of a point tells, and the phases of an account
(money.md sections 4 and 15a)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from typing import NamedTuple

from config.problems import did_you_mean
from config.tariff_version import TariffVersion, Versions

Tariffs = Mapping[str, Versions]
"""By their names."""


class Billing(NamedTuple):
    """By which tariff somebody is billed, and from which day on."""

    tariff: str
    open_from: date | None


class Registers(NamedTuple):
    """The rate registers of a meter, and the one that is billed as the rest."""

    rates: tuple[str, ...]
    residual_rate: str | None


Check = Callable[[Billing, Registers], Sequence[tuple[str, str]]]
"""Column and message of what does not fit."""


def ask_for_rates(tariffs: Tariffs) -> bool:
    """Whether any of them asks for more than the total of a meter."""
    return any(version.rates for it in tariffs.values() for version in it.all)


def ask_for_phases(tariffs: Tariffs) -> bool:
    """Whether any of them has fees by phases."""
    fixed = [version.fixed for it in tariffs.values() for version in it.all]
    return any(it is not None and it.by_slab for it in fixed)


def register_check(tariffs: Tariffs) -> Check:
    """Looks whether a tariff prices all that a meter tells, once for each kind of meter."""

    @cache
    def check(billing: Billing, told: Registers) -> Sequence[tuple[str, str]]:
        return [
            (column, f"tariff {billing.tariff} from {version.effective_from} {message}")
            for version in _in_force(tariffs, billing)
            for column, message in _unfit(version, told)
        ]

    return check


def lacking_fees(tariffs: Tariffs, billing: Billing, phases: int) -> str | None:
    """What to say where a version has no fee of an account with so many phases."""
    for version in _in_force(tariffs, billing):
        fees = version.fixed.by_slab if version.fixed else None
        if fees is not None and phases not in fees:
            return (
                f"{billing.tariff} from {version.effective_from} has no fees of {phases} phases, "
                "which its largest point has"
            )
    return None


def _in_force(tariffs: Tariffs, billing: Billing) -> Sequence[TariffVersion]:
    """The versions that price a day since the opening."""
    if billing.tariff not in tariffs:
        return ()
    versions = tariffs[billing.tariff]
    first = versions.number_on(billing.open_from) if billing.open_from else 0
    return versions.all[first or 0 :]


def _unfit(version: TariffVersion, told: Registers) -> Iterator[tuple[str, str]]:
    if not version.rates:
        return  # the total is enough
    unknown = [rate for rate in version.rates if rate not in told.rates]
    if unknown:
        hint = did_you_mean(unknown[0], told.rates)
        yield "rates", f"prices {' '.join(unknown)}, which is none of {' '.join(told.rates)}{hint}"
    elif told.residual_rate is None:
        unpriced = [rate for rate in told.rates if rate not in version.rates]
        if unpriced:
            yield (
                "rates",
                f"has no price of {' '.join(unpriced)}; name only the rates that the meter has, or "
                "a residual_rate that takes the others in",
            )
    elif told.residual_rate not in version.rates:
        yield (
            "residual_rate",
            f"has no price of {told.residual_rate}; it prices {' '.join(version.rates)}",
        )
