"""Optuna's Gaussian process within each strategy, as the benchmark compares it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from spaces import SPACE, report

from sweeper.search.alone import StopCondition, search
from sweeper.trials import RungReport


def bowl(strategy: str, parameters: dict[str, float]) -> Iterator[RungReport]:
    away = math.log10(parameters["learning_rate"] / 1e-3)
    yield report(8, (0.3 if strategy == "lora" else 0.6) + 0.2 * away**2, 1.0)


@pytest.mark.filterwarnings("ignore")
def test_every_second_trial_belongs_to_the_strategy_that_leads_and_its_rate_is_found() -> None:
    sampler = "benchmarks.search.by_strategy:GaussianProcess"
    searched = search(SPACE, bowl, StopCondition(trials=14), sampler=sampler)
    strategies = [one.config.strategy for one in searched.trials]
    assert set(strategies[3::2]) == {"lora"}
    assert set(strategies[2::2]) == {"lora", "full"}
    assert searched.best is not None
    assert searched.best.config.parameters["learning_rate"] == pytest.approx(1e-3, rel=0.5)
