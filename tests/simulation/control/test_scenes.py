"""Each reason of the guard alone keeps somebody from being cut, and nothing else does."""

from __future__ import annotations

import pytest

from tests.simulation.control.scenes import SCENES, Scene, faults


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.reason)
def test_nobody_is_cut_while_one_reason_speaks_against_it(scene: Scene) -> None:
    assert faults(scene) == []
