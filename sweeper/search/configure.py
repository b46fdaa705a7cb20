"""From a candidate and suggested parameters to the configuration that a worker trains.

Pure: the same plan, number and parameters give the same configuration. Knows no Optuna.
"""

from __future__ import annotations

from collections.abc import Mapping

from sweeper.hyperparameters import BATCH, EPOCHS, OPTIMIZER
from sweeper.plans import Candidate, Plan
from sweeper.search.problem import rungs_of
from sweeper.spec import Scalar
from sweeper.trials import Origin, TrialBudget, TrialConfig

# A trial that is expected to take longer saves checkpoints, and continues from the last one when
# it was interrupted. A shorter one starts again.
LONG_TRIAL_SECONDS = 30 * 60


def configure(
    plan: Plan,
    candidate: Candidate,
    parameters: Mapping[str, Scalar],
    *,
    number: int,
    attempt: int,
    origin: Origin,
) -> TrialConfig:
    """The configuration of one trial.

    All trials of a study train with the plan's seed, so that they see the same batches and differ
    by their parameters alone; confirmation is what tries other seeds.
    """
    batch = int(parameters.get(BATCH, candidate.micro_batch * _accumulation(candidate)))
    micro, accumulation = split_batch(batch, candidate.micro_batch, candidate.gpus_per_trial)
    budget = trial_budget(plan, parameters)
    return TrialConfig(
        number=number,
        attempt=attempt,
        seed=plan.seed,
        origin=origin,
        task=plan.facts.task,
        strategy=candidate.strategy,
        model=candidate.model,
        parameters=dict(parameters),
        budget=budget,
        micro_batch=micro,
        gradient_accumulation_steps=accumulation,
        evaluation_batch=candidate.evaluation_batch,
        gradient_checkpointing=candidate.gradient_checkpointing,
        precision=candidate.precision,
        sequence_length=candidate.sequence_length,
        optimizer=str(parameters.get(OPTIMIZER, candidate.optimizer)),
        quantization=candidate.quantization,
        gpus=candidate.gpus_per_trial,
        # The plan takes several GPUs for a trial only where one does not hold the model.
        sharding="fsdp" if candidate.gpus_per_trial > 1 else "none",
        keep_weights=True,
        checkpoints=_seconds(plan, candidate, budget) > LONG_TRIAL_SECONDS,
    )


def _seconds(plan: Plan, candidate: Candidate, budget: TrialBudget) -> float:
    """How long the plan expects a trial of this budget to take."""
    return candidate.duration.seconds * budget.epochs / plan.budget.epochs


def _accumulation(candidate: Candidate) -> int:
    return candidate.gradient_accumulation_steps * candidate.gpus_per_trial


def split_batch(batch: int, largest_micro: int, gpus: int = 1) -> tuple[int, int]:
    """Micro-batch and accumulation steps whose product with ``gpus`` is the effective batch.

    >>> split_batch(12, 8)
    (6, 2)
    >>> split_batch(4, 8)
    (4, 1)
    """
    share = max(1, batch // gpus)
    micro = next(size for size in range(min(share, largest_micro), 0, -1) if share % size == 0)
    return micro, share // micro


def trial_budget(plan: Plan, parameters: Mapping[str, Scalar]) -> TrialBudget:
    """A trial's budget: the study's, or the part of it that the trial's epochs are."""
    budget = plan.budget
    rungs = rungs_of(parameters, budget)
    epochs = min(budget.epochs, float(parameters.get(EPOCHS, budget.epochs)))
    return TrialBudget(
        epochs=epochs,
        full_tokens=round(budget.full_tokens * epochs / budget.epochs),
        rungs=rungs,
        rung_items=rung_items(plan),
        rung_every=budget.rung_every,
        stop_overfitting=budget.stop_overfitting,
    )


def rung_items(plan: Plan) -> int:
    """How many validation items a rung below the last scores: what the plan says, else all.

    They are the first items of the split, so that rungs are nested in the whole.
    """
    splits = plan.facts.data.splits
    whole = next((split.rows for split in splits if split.name == "validation"), 0)
    return plan.budget.rung_items or max(1, whole)
