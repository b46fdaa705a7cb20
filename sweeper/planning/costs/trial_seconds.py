"""The time of one trial: optimizer steps and validations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from sweeper.facts.record import HardwareFacts, ModelFacts
from sweeper.memory.estimate import cache_bytes, prompts_at_once
from sweeper.memory.setup import OTHER, Setup
from sweeper.memory.states import base_weights
from sweeper.planning.costs.corrections import Correction, correction_for
from sweeper.planning.costs.step_time import Speed, evaluation, speed_of, step_seconds
from sweeper.plans import Duration

# Seconds of a validation besides its batches: metrics, ordering, copies of weights. The median of
# the eight rungs of 21 full trials.
_VALIDATION_SECONDS = 0.1
# Seconds to fit a probe's whole regularisation path on a CPU, besides its features: a fixed time,
# and that of each row and class. Four data sets of 440 to 3,000 rows and 2 to 77 classes took
# between 2.4 and about 14 s.
_FIT_SECONDS, _FIT_SECONDS_PER_CELL = 2.5, 5e-5


@dataclass(frozen=True, slots=True)
class Workload:
    """The amount of training and scoring in a trial of a study.

    An item is what training and scoring take as one text: an example, or with divided or joined
    texts a piece of one or several.

    Args:
        train_rows: Items of one epoch.
        rungs: Rungs of a full budget; the last one scores all of validation.
        rung_items: Validation items at each scored rung before the last.
        test_rows: Items of the test split.
        item_tokens: Mean tokens of an item.
        longest: The cap on the tokens of an example.
        answer_fraction: Share of answers in the tokens of a batch at the cap.
        scoring_tokens: Tokens that are read to score one item.
        classes: Classes of a new head; 0 for the vocabulary.
        written_items: Test items for which an answer is generated.
        written_tokens: Tokens of an answer.
        answered_rows: Validation items for which each trial generates an answer at its end.
        feature_tokens: Tokens that features score in a trial, at its rungs and at its end.
        rung_every: Rungs from one scored rung to the next.
        processes: Parallel trials that share the cores of a processor.
        all_rows: Items of an epoch over all rows if trials train on a part of them; else 0.
        full_tokens: Training tokens of a full budget.
    """

    train_rows: int
    epochs: float
    rungs: int
    rung_items: int
    validation_rows: int
    test_rows: int
    item_tokens: int
    scoring_tokens: float
    classes: int
    longest: int
    answer_fraction: float = 1.0
    written_items: int = 0
    written_tokens: float = 0.0
    answered_rows: int = 0
    feature_tokens: int = 0
    rung_every: int = 1
    processes: int = 1
    all_rows: int = 0
    full_tokens: int = 0

    @property
    def on_all_rows(self) -> Workload:
        """The workload of a training on all rows."""
        return replace(self, train_rows=self.all_rows or self.train_rows)


class SetupTimes(NamedTuple):
    """Estimates the seconds of work in one set-up on one machine.

    Args:
        learned: Factors from earlier measurements.
    """

    model: ModelFacts
    setup: Setup
    speed: Speed
    learned: Correction

    def training_seconds(self, workload: Workload) -> float:
        """Seconds of a full budget's optimizer steps; on a frozen base, of its features and the
        head's fit."""
        if not self.setup.traits.gradients_through_base:
            return self.scoring_seconds(workload, workload.train_rows) + fit_seconds(workload)
        batch = self.setup.micro_batch * self.setup.gradient_accumulation_steps * self.setup.gpus
        steps = max(1, math.ceil(workload.epochs * math.ceil(workload.train_rows / batch)))
        # An incomplete last batch of an epoch is cheaper than a full one, but is still a step.
        full_batches = workload.epochs * workload.train_rows / batch
        step = step_seconds(self.model, self.setup, self.speed) * self.learned.training
        return step * max(full_batches, 0.5 * steps)

    def scoring_seconds(self, workload: Workload, items: int) -> float:
        """Seconds to score items in batches, of which the last may be smaller."""
        if items <= 0:
            return 0.0
        batch = min(self._evaluation_batch, items)
        rest, tokens = items % batch, max(1.0, workload.scoring_tokens)
        seconds = (items - rest) * self.text_seconds(tokens, batch)
        return seconds + (rest * self.text_seconds(tokens, rest) if rest else 0.0)

    @property
    def _evaluation_batch(self) -> int:
        return max(1, self.setup.evaluation_batch or self.setup.micro_batch)

    @property
    def _evaluation_length(self) -> int:
        return self.setup.evaluation_length or self.setup.sequence_length

    def text_seconds(self, tokens: float, batch: int) -> float:
        """Seconds to score one text of ``tokens`` tokens, in a batch with others."""
        work = evaluation(self.model, self.setup, batch, tokens)
        return self.speed.seconds(work) / batch * self.learned.evaluation

    def validation_seconds(self, workload: Workload) -> float:
        """Seconds of all validations in a full budget."""
        if not self.setup.traits.gradients_through_base:
            return self.scoring_seconds(workload, workload.validation_rows)
        scored_rungs = workload.rungs // workload.rung_every
        earlier = (scored_rungs - 1) * self.scoring_seconds(workload, workload.rung_items)
        last = self.scoring_seconds(workload, workload.validation_rows)
        length = self._evaluation_length
        of_text = self.text_seconds(length, self._evaluation_batch)
        for_features = workload.feature_tokens / length * of_text
        return earlier + last + for_features + scored_rungs * _VALIDATION_SECONDS

    def full_trial_seconds(self, workload: Workload) -> float:
        """Seconds of a full budget from the first step to the last validation."""
        answers = self.generation_seconds(workload.answered_rows, workload.written_tokens)
        return self.training_seconds(workload) + self.validation_seconds(workload) + answers

    def generation_seconds(self, texts: int, tokens: float, batch: int | None = None) -> float:
        """Seconds to generate ``texts`` texts of ``tokens`` tokens.

        Args:
            batch: Texts that are generated together; if None, they are generated as in a trial.
        """
        model, setup = self.model, self.setup
        length = self._evaluation_length + tokens
        cached = cache_bytes(model.layers, model.key_value_heads * model.head_dim, length)
        if batch is None:
            free = self.speed.memory_bytes - sum(base_weights(model, setup).values())
            batch = max(1, min(texts, prompts_at_once(cached, free)))
            if setup.traits.adds == "low-rank" and not setup.quantization:
                setup = setup.replace(strategy=OTHER.name, trainable=0)  # adapter merged
        work = evaluation(model, setup, batch, 1)
        token_seconds = self.speed.seconds(work) + work.layers * self.speed.generation_seconds
        token_seconds += batch * cached / self.speed.bandwidth
        return math.ceil(texts / batch) * tokens * token_seconds


@lru_cache(maxsize=4096)
def formula_duration(model: ModelFacts, setup: Setup, speed: Speed, workload: Workload) -> Duration:
    """The duration of a full trial by the formula, without measurements on this machine."""
    times = SetupTimes(model, setup, speed, Correction())
    return speed.duration(times.full_trial_seconds(workload))


def fit_seconds(workload: Workload) -> float:
    """Seconds to fit a linear head on frozen features, over its regularisation path."""
    return _FIT_SECONDS + _FIT_SECONDS_PER_CELL * workload.train_rows * workload.classes


def setup_times(model: ModelFacts, setup: Setup, hardware: HardwareFacts) -> SetupTimes:
    """The times of a set-up on a machine, corrected by its earlier measurements."""
    speed = speed_of(hardware, setup)
    return SetupTimes(model, setup, speed, correction_for(model, setup, hardware, speed))
