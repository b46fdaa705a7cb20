from __future__ import annotations

from typing import Any

import pytest

from sweeper.planning.costs.setups import candidate_setup
from sweeper.planning.planner import make_plan


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_the_setup_of_a_configuration_places_its_adapters(scene: Any, placement: str) -> None:
    plan = make_plan(*scene(aim={"strategies": ["adapter"]}))
    (candidate,) = plan.candidates
    chosen = candidate.defaults() | {"placement": placement}
    assert candidate_setup(candidate, chosen, 128, 0, "cuda").placement == placement
