"""What VeRA and (IA)³ are planned to take, and the tensors of a dry run: run where installed."""

import pytest

from sweeper.facts.models.model import model_facts
from sweeper.features.memory_estimate._dry_run import follow
from sweeper.memory.estimate import estimate, tensors_gib
from sweeper.memory.setup import Setup
from sweeper.spec import ModelSpec


@pytest.mark.parametrize(("strategy", "rank"), [("ia3", 16), ("vera", 256)])
def test_plan_and_dry_run_agree(strategy, rank):
    model = model_facts(ModelSpec(id="packaged:smollm2"))
    setup = Setup(strategy=strategy, r=rank, micro_batch=2, sequence_length=256)
    tensors = tensors_gib(estimate(model, setup, 0.0))
    assert tensors == pytest.approx(follow(model, setup).peak_gib, rel=0.05)
