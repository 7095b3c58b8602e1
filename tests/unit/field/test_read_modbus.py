"""Which quantities of a profile a name means."""

import pytest

from config.profiles import load_profile
from daemon.field.read_modbus import UnknownQuantity, chosen_quantities


def labels(*names: str) -> list[str]:
    return [quantity.label for quantity in chosen_quantities(load_profile("eastron-sdm630"), names)]


def test_a_group_is_all_quantities_that_begin_so_and_each_is_read_once() -> None:
    voltages = ["voltage_a", "voltage_b", "voltage_c"]
    assert labels("voltage") == voltages
    assert labels("voltage_b", "voltage") == ["voltage_b", "voltage_a", "voltage_c"]


def test_a_name_that_the_profile_lacks_is_answered_with_those_it_has() -> None:
    with pytest.raises(UnknownQuantity, match=r"speed: profile eastron-sdm630 has energy, .*"):
        labels("speed")
