"""Out of memory: smaller batches and clean weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from sweeper.facts.record import TrainingSetup
from sweeper.tasks.classification import Classification
from sweeper.training.loop.device_memory import (
    TooLarge,
    in_batches_that_fit,
    is_out_of_memory,
    shortage,
    smaller,
)
from sweeper.training.trial.train import train_trial
from sweeper.units import GIB

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB"
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
BITSANDBYTES = (
    "rank 1 of 2 ended with status 1: Error out of memory at line 380 in file /src/ops.cu"
)
CPU = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes."


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError(CUDA), True),
        (RuntimeError(CUDA), True),
        (RuntimeError(CPU), True),
        (RuntimeError("std::bad_alloc"), True),
        (MemoryError(), True),
        (RuntimeError(CUBLAS), True),
        (RuntimeError(CUBLAS.replace("ALLOC_FAILED", "NOT_INITIALIZED")), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError(BITSANDBYTES), True),
        (RuntimeError(CUBLAS.replace("ALLOC_FAILED", "EXECUTION_FAILED")), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_it_knows_memory_errors_from_others(error, expected):
    assert is_out_of_memory(error) is expected


def batches(micro, accumulation, evaluation):
    return TrainingSetup(
        micro_batch=micro, gradient_accumulation_steps=accumulation, evaluation_batch=evaluation
    )


@given(st.integers(1, 64), st.integers(1, 16))
def test_the_effective_batch_stays(micro, accumulation):
    setup = batches(micro, accumulation, 8)
    while (less := smaller(setup, evaluation=False)) is not None:
        assert less.micro_batch * less.gradient_accumulation_steps == micro * accumulation
        assert less.micro_batch <= setup.micro_batch // 2
        setup = less
    assert setup.micro_batch == 1


class Fails:
    """Runs out of memory above a size, in training or in evaluation."""

    def __init__(self, micro=99, evaluation=99, text=CUDA):
        self.micro, self.evaluation, self.text = micro, evaluation, text
        self.tried = []

    def __call__(self, setup):
        self.tried.append(setup)
        self.evaluating = False
        if setup.micro_batch > self.micro:
            raise torch.OutOfMemoryError(self.text)
        self.evaluating = True
        if setup.evaluation_batch > self.evaluation:
            raise RuntimeError(self.text)
        return setup


def test_training_that_does_not_fit_halves_the_micro_batch():
    attempt = Fails(micro=5)
    assert in_batches_that_fit(batches(16, 2, 64), attempt, lambda: attempt.evaluating) == batches(
        4, 8, 64
    )
    assert [tried.micro_batch for tried in attempt.tried] == [16, 8, 4]


def test_evaluation_that_does_not_fit_halves_its_own_batch_only():
    attempt = Fails(evaluation=16)
    assert in_batches_that_fit(batches(16, 2, 64), attempt, lambda: attempt.evaluating) == batches(
        16, 2, 16
    )


def test_what_never_fits_is_too_large_with_figures():
    with pytest.raises(TooLarge, match="Tried to allocate") as raised:
        in_batches_that_fit(batches(4, 1, 1), Fails(micro=0), lambda: False)
    assert raised.value.needed_gib > 2.0
    assert raised.value.had_gib > 0


def test_a_gpu_had_what_other_processes_left_of_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 9 * GIB)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 8 * GIB)
    lacking = shortage(torch.OutOfMemoryError(CUDA))
    assert (lacking.needed_gib, lacking.had_gib) == (10, 10)


def test_other_errors_pass():
    def broken(_setup):
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        in_batches_that_fit(batches(4, 1, 1), broken, lambda: False)


@pytest.fixture
def small_memory(monkeypatch):
    """Training fits at two examples at a time from the fifth micro-batch on, evaluation at four."""

    def limit(training, evaluation):
        loss, score, seen = Classification.loss, Classification.score, []

        def limited_loss(self, model, batch):
            seen.append(len(batch["labels"]))
            if len(seen) > 4 and seen[-1] > training:
                raise torch.OutOfMemoryError(CUDA)
            return loss(self, model, batch)

        def limited_score(self, model, batch):
            if len(batch["labels"]) > evaluation:
                raise RuntimeError(CPU)
            return score(self, model, batch)

        monkeypatch.setattr(Classification, "loss", limited_loss)
        monkeypatch.setattr(Classification, "score", limited_score)

    return limit


def trained_files(folder):
    files = sorted((folder / "weights").rglob("*.safetensors"))
    return {(f.name, name): weight for f in files for name, weight in load_file(f).items()}


@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_a_retry_ends_with_the_weights_of_a_run_that_began_smaller(
    make_job, make_shared, make_config, answering, small_memory, strategy
):
    shared = make_shared()
    parameters = make_config().parameters
    asked = {"strategy": strategy, "parameters": parameters}
    asked |= {"budget": {"epochs": 0.5}, "keep_weights": True}
    sizes = {"micro_batch": 2, "gradient_accumulation_steps": 4, "evaluation_batch": 4}
    clean = make_job(shared, **asked, **sizes)
    smaller = train_trial(clean)
    small_memory(training=2, evaluation=4)
    told = answering()
    job = make_job(shared, told, **asked)
    retried = train_trial(job)
    assert retried.micro_batch == 2
    assert job.setup == job.config.setup.model_copy(update=sizes)
    assert retried.validation_loss == smaller.validation_loss
    mine, others = (trained_files(one.folder) for one in (job, clean))
    assert mine.keys() == others.keys()
    assert all(torch.equal(mine[name], others[name]) for name in mine)
    assert retried.optimizer_steps == smaller.optimizer_steps == 6
    assert [report.rung for report in told] == [1, 2, 3, 4]


def test_rungs_that_were_reported_before_a_retry_are_not_reported_again(
    make_job, answering, monkeypatch
):
    loss, seen = Classification.loss, []

    def fails_late(self, model, batch):
        seen.append(len(batch["labels"]))
        if len(seen) == 14:
            raise torch.OutOfMemoryError(CUDA)
        return loss(self, model, batch)

    monkeypatch.setattr(Classification, "loss", fails_late)
    told = answering()
    result = train_trial(make_job(report=told))
    assert result.state == "COMPLETE"
    assert result.micro_batch == 4
    assert [report.rung for report in told] == [1, 2, 3, 4]


def test_a_trial_that_never_fits_fails_with_what_it_needed_and_had(make_job, monkeypatch):
    def never(self, model, batch):
        raise torch.OutOfMemoryError(CUDA)

    monkeypatch.setattr(Classification, "loss", never)
    result = train_trial(make_job())
    assert result.state == "FAIL"
    assert result.failure.kind == "out-of-memory"
    assert result.failure.needed_gib > 2.0
    assert result.failure.had_gib > 0
    assert result.micro_batch == 1
