"""The forward active energy that a simulated meter has counted, as an exact function of time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from operator import sub

from simulators.state.load import MWH_PER_DIGIT, MWH_PER_KWH, REGISTER_WRAPS, LoadCurve
from simulators.state.relay import Move, Relay
from simulators.state.spec import MeterSpec

Energies = tuple[int, ...]
"""The total and each tariff, in thousandths of a watt-hour."""


class EnergyCounter:
    """The load curve since the installation, less what did not flow.

    That is what an open relay held back, and what a meter clear took away. Times are true site
    times up to now."""

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
        self._lost_mwh = [nothing]
        """What did not flow up to each movement of the relay that was counted, and before all."""
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
        return 0 if self._relay.was_open(at) else self.curve.power_mw(at)

    def clear(self, at: datetime, initial_kwh: Decimal = Decimal(0)) -> None:
        """Begin anew at 0, or at another register."""
        begins_at = self._shared(int(initial_kwh * MWH_PER_KWH))
        self._cleared_mwh = tuple(map(sub, self._uncleared_mwh(at), begins_at))
        self.cleared_at = at

    def count_moves(self) -> Iterator[Move]:
        """The movements of the relay that were not counted yet, each when it is."""
        counted = len(self._lost_mwh) - 1
        for move in self._relay.moves[counted:]:
            self._lost_mwh.append(self._lost_until(move.at))
            yield move

    def _uncleared_mwh(self, at: datetime) -> Energies:
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

    def _at_installation(self, initial_mwh: int) -> Energies:
        """What to add to the curve so that it shows the initial register on that day."""
        curve_mwh = self.curve.energy_mwh(self._installed_at, self._tariffs)
        return tuple(map(sub, self._shared(initial_mwh), curve_mwh))

    def _shared(self, initial_mwh: int) -> Energies:
        """An initial register, used like the curve uses: each rate has its share of a day."""
        shares = [rate[24] for rate in self.curve.shape.used_before_hour]
        return tuple(initial_mwh * share // shares[0] for share in shares[: 1 + self._tariffs])

    def _lost_until(self, at: datetime) -> Energies:
        """What the curve would have used while the relay was open."""
        moves = self._relay.moves
        counted = min(len(moves), len(self._lost_mwh) - 1)
        before = bisect_right(
            moves,
            at,
            key=lambda move: move.at,
            hi=counted,
        )
        lost = self._lost_mwh[before]
        last = moves[before - 1] if before else None
        if last is None or not last.to_open:
            return lost
        since = self.curve.energy_mwh(last.at, self._tariffs)
        until = self.curve.energy_mwh(at, self._tariffs)
        parts = zip(lost, until, since, strict=True)
        return tuple(earlier + end - begin for earlier, end, begin in parts)
