"""Guards against forgetting: prepares replay and the base for a KL penalty.

Knows a trial's parameters; what replay and nearness are is told elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sweeper.errors import UsageError
from sweeper.strategies.base import Strategy
from sweeper.training.base_model.keeper import BaseKeeper
from sweeper.training.loop.kl_to_base import NearBase, frozen_copy, text_task
from sweeper.training.loop.out_of_memory import TrialPhase
from sweeper.training.loop.replay import Replay
from sweeper.training.loop.sharding import rank_here, ranks_in_all
from sweeper.training.loop.trainer import Guards
from sweeper.training.trial.job import TrialJob


@dataclass(frozen=True)
class PreparedGuards:
    """The guards that can be prepared before the model is assembled.

    Args:
        replay: None where nothing is replayed.
        kl_weight: 0 where the model is not held near its base.
        copied: A frozen copy of the base, where the strategy changes it.
    """

    job: TrialJob
    strategy: Strategy
    replay: Replay | None
    kl_weight: float
    copied: nn.Module | None

    def beside(self, model: nn.Module) -> Guards:
        """The guards of the assembled model."""
        if not self.kl_weight:
            return Guards(self.replay)
        task = text_task(self.job.context.task)
        near = NearBase(task, self.strategy, model, self.kl_weight, self.copied)
        return Guards(self.replay, near)


def look_at_general(job: TrialJob, strategy: Strategy, phase: TrialPhase) -> None:
    """Score the untrained base on general text, if this trial is scored on it.

    Before any other base is loaded: on a GPU one is held at a time. It is scored in the trial's own
    precision, so that rounding is no part of what was forgotten; where several GPUs hold the model
    together, in the smallest that one of them may have room for.

    Raises:
        UsageError: There is no general text that can be scored.
    """
    if not job.watches_general:
        return
    shared, config = job.shared, job.config
    alone = config.gpus == 1
    dtype = strategy.base_dtype(config.precision) if alone else shared.context.plain_dtype
    phase.evaluating = True
    job.base_on_general = shared.general.of_base(dtype, job.mixed, job.batching.evaluation)
    phase.evaluating = False


def prepared(job: TrialJob, strategy: Strategy, keeper: BaseKeeper) -> PreparedGuards:
    """Tokenise replayed text and copy the base, as far as needed.

    Args:
        keeper: Lends the base that the trial trains on.

    Raises:
        UsageError: The model will write no text any more, or there is no general text.
    """
    config = job.config
    share = float(config.parameters.get("replay_share", 0.0))
    weight = float(config.parameters.get("kl_weight", 0.0))
    if weight:
        text_task(job.context.task)
        _refuse_shards(job)
    return PreparedGuards(
        job, strategy, _replay(job, share), weight, _copy(job, strategy, keeper, weight)
    )


def _replay(job: TrialJob, share: float) -> Replay | None:
    if not share:
        return None
    task, features = job.shared.general.replayed
    return Replay(task, features, share, job.config.seed, rank_here(), ranks_in_all())


def _copy(job: TrialJob, strategy: Strategy, keeper: BaseKeeper, weight: float) -> nn.Module | None:
    config = job.config
    if not weight or not strategy.changes_base(config.parameters):
        return None
    base = keeper.lend(strategy.base_dtype(config.precision), will_change=True)
    return frozen_copy(base, config.precision)


def _refuse_shards(job: TrialJob) -> None:
    if job.config.sharding == "fsdp":
        raise UsageError(
            "kl_weight does not work where FSDP spreads the model over GPUs",
            why="The base's forward pass would have to gather the weights a second time.",
            fix="Train on one GPU, or leave kl_weight out.",
        )
