"""The time of one trial: steps of whole batches, rungs, the last validation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from sweeper.facts.record import HardwareFacts, ModelFacts
from sweeper.memory.setup import Setup
from sweeper.planning.costs.corrections import Correction, lesson
from sweeper.planning.costs.device_speed import Speed, speed_of, step_seconds
from sweeper.planning.costs.step_work import evaluation
from sweeper.plans import Duration

# Metrics, orders and copies of weights at each validation: what eight rungs of 21 full trainings
# took beyond their batches, median.
_VALIDATION_SECONDS = 0.1
# A frozen probe's whole regularisation path on a CPU: four data sets of 440 to 3,000 rows and 2 to
# 77 classes took between 2.4 and about 14 s beyond their features.
_FIT_SECONDS, _FIT_SECONDS_PER_CELL = 2.5, 5e-5
# A trained model writes the answers to so many test items at once.
WRITING_BATCH = 8


@dataclass(frozen=True, slots=True)
class Course:
    """How much a trial of a study trains and scores.

    Args:
        train_rows: Examples of one epoch.
        rungs: Rungs of a full budget; the last one scores all of validation.
        rung_items: Validation items at each scored rung below.
        test_rows: Items that finalists are scored on once.
        item_tokens: Tokens of an example, on average.
        longest: The cap on the tokens of an example.
        answer_fraction: Share of answers in the tokens of a batch at the cap.
        scoring_tokens: Tokens that scoring one item reads.
        classes: Classes of a new head; 0 for the vocabulary.
        written_items: Test items that are answered in writing.
        written_tokens: Tokens of an answer.
        answered_rows: Validation items that each trial answers in writing at its end.
        further_tokens: Tokens that are scored for features, at rungs and at the end.
        rung_every: Rungs from one scored rung to the next.
        processes: Trials side by side that share the cores of a processor.
        all_rows: Examples of one epoch of all rows, where ``train_rows`` are a part; else 0.
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
    further_tokens: int = 0
    rung_every: int = 1
    processes: int = 1
    all_rows: int = 0

    @property
    def whole(self) -> Course:
        """That of a training on all rows."""
        return replace(self, train_rows=self.all_rows or self.train_rows)


class Clock(NamedTuple):
    """Times of one set-up on one machine, corrected by earlier measurements."""

    model: ModelFacts
    setup: Setup
    speed: Speed
    learned: Correction

    def training(self, course: Course) -> float:
        """A full budget's optimizer steps; for a frozen model its one pass over the examples."""
        if not self.setup.traits.gradients_through_base:
            return self.scoring(course, course.train_rows) + fit_seconds(course)
        batch = self.setup.micro_batch * self.setup.gradient_accumulation_steps * self.setup.gpus
        steps = max(1, math.ceil(course.epochs * math.ceil(course.train_rows / batch)))
        # An incomplete last batch makes steps cheaper than whole ones: count examples there.
        whole = course.epochs * course.train_rows / batch
        step = step_seconds(self.model, self.setup, self.speed) * self.learned.training
        return step * max(whole, 0.5 * steps)

    def scoring(self, course: Course, items: int) -> float:
        if items <= 0:
            return 0.0
        batch = max(1, min(self.setup.evaluation_batch or self.setup.micro_batch, items))
        length = max(1.0, course.scoring_tokens)
        work = evaluation(self.model, self.setup, batch, length)
        # The last batch is smaller: its tokens count, its passes through layers count fully.
        parts = math.ceil(items / batch)
        fixed = work.layers * self.speed.layer_seconds
        fixed += work.adapters * self.speed.adapter_seconds
        tokens = self.speed.seconds(work) - fixed
        return (tokens * items / batch + parts * fixed) * self.learned.evaluation

    def reading(self, tokens: float, batch: int) -> float:
        """One text of so many tokens, with others in a batch."""
        work = evaluation(self.model, self.setup, batch, tokens)
        return self.speed.seconds(work) / batch * self.learned.evaluation

    def rungs(self, course: Course) -> float:
        """All validation of a full budget."""
        if not self.setup.traits.gradients_through_base:
            return self.scoring(course, course.validation_rows)
        scored = course.rungs // course.rung_every
        below = (scored - 1) * self.scoring(course, course.rung_items)
        whole = self.scoring(course, course.validation_rows)
        further = self.passing(course.further_tokens)
        return below + whole + further + scored * _VALIDATION_SECONDS

    def passing(self, tokens: int) -> float:
        """So many tokens in batches of evaluation."""
        batch = max(1, self.setup.evaluation_batch or self.setup.micro_batch)
        length = self.setup.evaluation_length or self.setup.sequence_length
        return tokens / length * self.reading(length, batch)

    def whole(self, course: Course) -> float:
        """A full budget from its first step to its last validation."""
        answers = self.generating(course.answered_rows, course.written_tokens, WRITING_BATCH)
        return self.training(course) + self.rungs(course) + answers

    def writing(self, course: Course) -> float:
        """Answers to the first test items, token by token."""
        return self.generating(course.written_items, course.written_tokens, WRITING_BATCH)

    def generating(self, texts: int, tokens: float, batch: int) -> float:
        """So many texts of so many tokens, token by token, so many texts at a time."""
        work = evaluation(self.model, self.setup, batch, 1)
        token = self.speed.seconds(work) + work.layers * self.speed.writing_seconds
        return math.ceil(texts / batch) * tokens * token


@lru_cache(maxsize=4096)
def formula_duration(model: ModelFacts, setup: Setup, speed: Speed, course: Course) -> Duration:
    """A trial by the formula alone, whatever was measured on this machine."""
    return speed.range(Clock(model, setup, speed, Correction()).whole(course))


def fit_seconds(course: Course) -> float:
    """A linear head on frozen features, over its regularisation path."""
    return _FIT_SECONDS + _FIT_SECONDS_PER_CELL * course.train_rows * course.classes


def clock_of(model: ModelFacts, setup: Setup, hardware: HardwareFacts) -> Clock:
    """The clock of a set-up on a machine."""
    speed = speed_of(hardware, setup)
    return Clock(model, setup, speed, lesson(model, setup, hardware, speed))
