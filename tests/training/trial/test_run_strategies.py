"""Trials of the strategies that leave the base alone: it comes back, quantised or not."""

import pytest

from sweeper.training.trial.train import train_trial

ADAPTER = {"reduction_factor": 4, "placement": "houlsby"}
PROMPT = {"num_virtual_tokens": 4}
RANK = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}


@pytest.mark.parametrize(
    ("kind", "strategy", "parameters"),
    [
        ("bert", "adapter", ADAPTER),
        ("llama", "adapter", ADAPTER),
        ("bert", "ptuning", PROMPT),
        ("llama", "ptuning", PROMPT),
        ("llama", "prefix", PROMPT),
        ("llama", "prefix", PROMPT | {"prefix_init": "text"}),
        ("bert", "qlora", RANK),
        ("llama", "qlora", RANK),
    ],
)
def test_a_trial_gives_the_base_back_and_can_be_repeated(
    make_job, make_shared, answering, kind, strategy, parameters
):
    told = answering()
    rates = {"learning_rate": 1e-3, "head_learning_rate": 1e-2}
    job = make_job(
        make_shared(kind),
        told,
        strategy=strategy,
        parameters=rates | parameters,
        budget={"epochs": 1.5},
        keep_weights=True,
    )
    result = train_trial(job)
    assert result.state == "COMPLETE"
    assert [report.rung for report in told] == [1, 2, 3, 4]
    if strategy in ("adapter", "qlora"):  # a prompt can only steer what a model has learnt
        assert told[-1].train_loss < told[0].train_loss
    held = dict(job.context.base_lender._loaded)
    again = train_trial(job)
    assert again.validation_loss == result.validation_loss
    assert held == job.context.base_lender._loaded  # not loaded anew
    assert not any(w.requires_grad for one in held.values() for w in one.model.parameters())
