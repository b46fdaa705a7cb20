from __future__ import annotations

import json

import pytest
from curve_backend import make_plan

from sweeper.execution.next_attempt import configure
from sweeper.trials import TrialConfig, within_limit


@pytest.mark.parametrize(
    ("lost", "limit", "within"),
    [(2.0, 2.0, True), (2.1, 2.0, False), (-1.0, 0.0, True), (9.0, None, True), (None, 2.0, True)],
)
def test_what_was_not_measured_is_within_any_limit(
    lost: float | None, limit: float | None, within: bool
) -> None:
    assert within_limit(lost, limit) is within


def test_a_configuration_that_repeats_the_plans_limit_is_read() -> None:
    plan = make_plan()
    config = configure(plan, plan.candidate("lora"), {}, number=0, attempt=1, origin="search")
    older = {**json.loads(config.to_json()), "forgetting_limit": 0.05}
    assert TrialConfig.from_json(json.dumps(older)) == config
