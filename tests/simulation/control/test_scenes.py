"""Each reason of the guard alone keeps somebody from being cut, and nothing else does; orders; and
what happens between two steps of one command."""

from __future__ import annotations

import pytest

from tests.simulation.control.moment_scenes import MOMENT_SCENES, MomentScene
from tests.simulation.control.order_scenes import ORDER_SCENES, OrderScene
from tests.simulation.control.relay_scenes import RELAY_SCENES
from tests.simulation.control.scenes import SCENES, Scene, faults


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.reason)
def test_nobody_is_cut_while_one_reason_speaks_against_it(scene: Scene) -> None:
    assert faults(scene) == []


@pytest.mark.parametrize("scene", [*MOMENT_SCENES, *RELAY_SCENES], ids=lambda scene: scene.__name__)
def test_what_comes_between_two_steps_of_a_command_does_no_harm(scene: MomentScene) -> None:
    assert list(scene()) == []


@pytest.mark.parametrize("scene", ORDER_SCENES, ids=lambda scene: scene.__name__)
def test_orders_cut_and_keep_off_whom_they_may(scene: OrderScene) -> None:
    assert list(scene()) == []
