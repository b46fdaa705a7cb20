"""The remedies against forgetting in one trial, and the score of what it forgets."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from sweeper.features.forgetting._general_data import RUNG_TEXTS, TEXT
from sweeper.features.forgetting._general_set import GeneralSet
from sweeper.features.forgetting._remedies import KLToBase, Remedies, Replay, frozen_copy, text_task
from sweeper.features.forgetting.options import Options
from sweeper.strategies.strategy import Strategy
from sweeper.tasks.task import Evaluation
from sweeper.training.base_model.base_lender import BaseLender
from sweeper.training.loop.extension import ItemMeasure
from sweeper.training.loop.ranks_here import current_rank, world_size
from sweeper.training.loop.training_progress import finite
from sweeper.training.trial.trial_job import TrialJob

NAME = "forgetting"


def extend(job: TrialJob, strategy: Strategy) -> ForgettingExtension | None:
    """The remedies and scores that the trial's parameters and the request ask for, if any.

    Raises:
        UsageError: The trained model will write no text, or there is no general text.
    """
    general = job.shared.feature_value(NAME, GeneralSet)
    has_remedy = any(job.config.parameters.get(name) for name in ("replay_share", "kl_weight"))
    watched = general.watched(job.config.parameters)
    return ForgettingExtension(job, strategy, general, watched) if has_remedy or watched else None


class ForgettingExtension(Remedies):
    """The remedies that a trial's parameters ask for; scores the model on general text."""

    def __init__(
        self, job: TrialJob, strategy: Strategy, general: GeneralSet, watched: bool
    ) -> None:
        super().__init__()
        self._job, self._strategy, self._general = job, strategy, general
        self._base = self._score_base() if watched else None

    def _score_base(self) -> Evaluation:
        """Score the untrained base on general text.

        This comes before any other base is loaded, since a GPU holds one at a time. The precision
        is the trial's own, so that rounding does not count as forgetting.

        Raises:
            UsageError: There is no general text that can be scored.
        """
        job = self._job
        job.evaluating = True
        with self._general.adding_writing_seconds(job.feature_seconds, NAME):
            base = self._general.of_base(self._strategy, job.config, job.setup.evaluation_batch)
        job.evaluating = False
        return base

    def begin(self, base_lender: BaseLender) -> None:
        job, config = self._job, self._job.config
        share = float(config.parameters.get("replay_share", 0.0))
        weight = float(config.parameters.get("kl_weight", 0.0))
        task = text_task(job.context.task) if weight else None
        if share:
            with self._general.adding_writing_seconds(job.feature_seconds, NAME):
                general_task, encoded_texts = self._general.replayed
            rank, ranks = current_rank(), world_size()
            seed = config.seed
            self.use(replay=Replay(general_task, encoded_texts, share, seed, rank, ranks))
        if task is None:
            return
        frozen_base = None
        if self._strategy.changes_base(config.parameters):
            precision = config.setup.precision
            # The trial then borrows and trains this same base.
            base = base_lender.lend(self._strategy.base_dtype(precision), will_change=True)
            frozen_base = frozen_copy(base, precision)
        self.use(kl_to_base=KLToBase(task, self._strategy, weight, frozen_base))

    def measure(self, model: nn.Module, *, at_end: bool) -> Mapping[str, ItemMeasure]:
        limited = self._job.context.task.spec.features.of(Options).max_points is not None
        if self._base is None or not (at_end or limited):
            return {}
        job, count = self._job, None if at_end else RUNG_TEXTS
        evaluation = self._general.measure(
            model, job.setup.evaluation_batch, job.mixed_dtype, count
        )
        finite(evaluation.loss, "loss on general text")
        return {
            TEXT: ItemMeasure.against("lost on general text", "nats/token", evaluation, self._base)
        }
