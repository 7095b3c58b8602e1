"""What a card meter still held when it is replaced, as prepaid money (R54). Pure."""

from __future__ import annotations

from fractions import Fraction

from daemon.billing.rounding import nearest_fen


def converted_fen(
    remaining_kwh: Fraction,
    price_yuan_per_kwh: Fraction,
    remaining_fen: int = 0,
    unloaded_orders_fen: int = 0,
    overdraft_fen: int = 0,
) -> int:
    """The credit of the customer: energy at the agreed price, money and orders, less the overdraft.

    Only the energy is rounded. Negative where the overdraft is larger: then it is owed."""
    energy_fen = nearest_fen(remaining_kwh * price_yuan_per_kwh * 100)
    return energy_fen + remaining_fen + unloaded_orders_fen - overdraft_fen
