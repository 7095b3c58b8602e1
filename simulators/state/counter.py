"""The forward active energy that a simulated meter has counted, as an exact function of time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from operator import add, sub

from simulators.state.load import MWH_PER_DIGIT, MWH_PER_KWH, REGISTER_WRAPS, LoadCurve
from simulators.state.relay import Move, Relay
from simulators.state.spec import MeterSpec

Energies = tuple[int, ...]
"""The total and each tariff, in thousandths of a watt-hour."""


class EnergyCounter:
    """The load curve since the installation, less what did not flow.

    That is what an open relay or an outage held back, and what a meter clear took away; and what
    the register jumped by. Times are true site times up to now."""

    def __init__(
        self,
        curve: LoadCurve,
        spec: MeterSpec,
        relay: Relay,
    ) -> None:
        self.curve = curve
        self.cleared_at = datetime.min  # noqa: DTZ901
        """The last meter clear."""
        self._relay = relay
        self._installed_at = spec.installed_at
        self._tariffs = spec.tariffs
        self._base_mwh = self._at_installation(int(spec.initial_kwh * MWH_PER_KWH))
        nothing: Energies = (0,) * (1 + spec.tariffs)
        self._has_power = True
        self._counted_moves = 0
        self.breaks: list[Move] = []
        """When the current stopped, by the relay or for want of power, and flowed again."""
        self._lost_mwh = [nothing]
        """What did not flow up to each of the breaks, and before all."""
        self._jumps: list[tuple[datetime, Energies]] = []
        """By how much the registers were higher from a time on than what had flowed."""
        self._cleared_mwh: Energies = ()

    def energy_mwh(self, at: datetime) -> Energies:
        """Counted since the installation or the last meter clear."""
        energies = self._uncleared_mwh(at)
        if self._cleared_mwh and at >= self.cleared_at:
            return tuple(map(sub, energies, self._cleared_mwh))
        return energies

    def registers(self, at: datetime) -> tuple[int, ...]:
        """Total and each tariff in whole 0.01 kWh, truncated as a display does."""
        return tuple(mwh // MWH_PER_DIGIT % REGISTER_WRAPS for mwh in self.energy_mwh(at))

    def power_mw(self, at: datetime) -> int:
        """Active power in thousandths of a watt."""
        return 0 if self._is_broken(at) else self.curve.power_mw(at)

    def clear(self, at: datetime, initial_kwh: Decimal = Decimal(0)) -> None:
        """Begin anew at 0, or at another register."""
        begins_at = self._shared(int(initial_kwh * MWH_PER_KWH))
        self._cleared_mwh = tuple(map(sub, self._uncleared_mwh(at), begins_at))
        self.cleared_at = at

    def jump(self, at: datetime, by_kwh: Decimal) -> None:
        """From `at` on the registers show so much more, shared like the use."""
        self._jumps.append((at, self._shared(int(by_kwh * MWH_PER_KWH))))

    def set(self, at: datetime, to_kwh: Decimal) -> None:
        """From `at` on the total shows so much, and each rate its share of the difference."""
        by_mwh = int(to_kwh * MWH_PER_KWH) - self.energy_mwh(at)[0]
        self._jumps.append((at, self._shared(by_mwh)))

    def power(self, at: datetime, *, is_on: bool) -> None:
        """The supply of the meter itself is switched."""
        self._has_power = is_on
        if not self._relay.is_open:
            self._break(at, to_open=not is_on)

    def count_moves(self) -> Iterator[Move]:
        """The movements of the relay that were not counted yet, each when it is."""
        for move in self._relay.moves[self._counted_moves :]:
            self._counted_moves += 1
            if self._has_power:
                self._break(move.at, to_open=move.to_open)
            yield move

    def _break(self, at: datetime, *, to_open: bool) -> None:
        lost = self._lost_until(at)
        self.breaks.append(Move(at, to_open))
        self._lost_mwh.append(lost)

    def _breaks_before(self, at: datetime) -> int:
        return bisect_right(
            self.breaks,
            at,
            key=lambda move: move.at,
        )

    def _is_broken(self, at: datetime) -> bool:
        before = self._breaks_before(at)
        return before > 0 and self.breaks[before - 1].to_open

    def flowed_mwh(self, at: datetime) -> Energies:
        """What flowed since the installation on top of the first register, whatever was set."""
        counted_until = max(at, self._installed_at)
        flowed = self.curve.energy_mwh(counted_until, self._tariffs)
        lost = self._lost_until(at)
        parts = zip(
            self._base_mwh,
            flowed,
            lost,
            strict=True,
        )
        return tuple(base + used - unused for base, used, unused in parts)

    def _uncleared_mwh(self, at: datetime) -> Energies:
        energies = self.flowed_mwh(at)
        for jumped_at, by_mwh in self._jumps:
            if jumped_at <= at:
                energies = tuple(map(add, energies, by_mwh))
        return energies

    def _at_installation(self, initial_mwh: int) -> Energies:
        """What to add to the curve so that it shows the initial register on that day."""
        curve_mwh = self.curve.energy_mwh(self._installed_at, self._tariffs)
        return tuple(map(sub, self._shared(initial_mwh), curve_mwh))

    def _shared(self, initial_mwh: int) -> Energies:
        """An initial register, used like the curve uses: each rate has its share of a day."""
        shares = [rate[24] for rate in self.curve.shape.used_before_hour]
        return tuple(initial_mwh * share // shares[0] for share in shares[: 1 + self._tariffs])

    def _lost_until(self, at: datetime) -> Energies:
        """What the curve would have used while no current flowed."""
        before = self._breaks_before(at)
        lost = self._lost_mwh[before]
        last = self.breaks[before - 1] if before else None
        if last is None or not last.to_open:
            return lost
        since = self.curve.energy_mwh(last.at, self._tariffs)
        until = self.curve.energy_mwh(at, self._tariffs)
        parts = zip(lost, until, since, strict=True)
        return tuple(earlier + end - begin for earlier, end, begin in parts)
