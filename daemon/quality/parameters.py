"""V28: what is set in the meter against what the archive says of it."""

from __future__ import annotations

from collections.abc import Mapping


def differing_parameters(meter: Mapping[str, str], archive: Mapping[str, str]) -> list[str]:
    """Names of the parameters that both know and that differ: ratio, tables of rates and zones.

    Where a table of rates differs the total stays usable, and rates are not billed separately."""
    return sorted(name for name in meter.keys() & archive.keys() if meter[name] != archive[name])
