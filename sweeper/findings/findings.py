"""The types of ``findings.json``: the verdict and the figures it is based on.

Every difference is first minus second. Scores have the metric's direction;
losses are lower-is-better everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.spec import Task
from sweeper.traits.traits import StrategyOnModel
from sweeper.trials import BaselineResult, EncodingNote, GeneratedAnswers, Trial

Outcome = Literal["better", "worse", "equivalent", "within noise"]
# Why a difference supports no claim: under 20 items, or no model was trained more than once.
Lacking = Literal["items", "seeds"]


class Interval(Record):
    """A figure with its 95% confidence interval; an unknown ``low`` or ``high`` is None."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = Field(None, description="number of items or seeds")

    @property
    def ends(self) -> tuple[float, float]:
        """Low and high end; the value itself if an end is unknown."""
        return (
            self.value if self.low is None else self.low,
            self.value if self.high is None else self.high,
        )


class Metric(Record):
    """A metric by name. ``unit`` is ``points`` if differences are shown times 100."""

    name: str
    title: str
    higher_is_better: bool
    unit: str = ""

    @property
    def direction_in_words(self) -> str:
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    def as_cost(self, value: float) -> float:
        """A value as a cost: its sign is changed if higher is better."""
        return -value if self.higher_is_better else value


class Comparison(Record):
    """Two models on the same items. ``first`` and ``second`` are ``trial-N`` or a baseline name."""

    first: str
    second: str
    metric: str
    difference: Interval
    outcome: Outcome
    lacking: Lacking | None = Field(None, description="why the difference supports no claim")
    adjusted_p: float | None = Field(None, description="Holm, over trials or over baselines")
    comparisons: int = Field(1, description="number of comparisons in Holm's correction")
    not_worse: bool | None = Field(
        None,
        description="whether the interval excludes that the first is worse by the margin or more; "
        "None if nothing is claimed",
    )
    more_items: int | None = Field(None, description="further test items that would settle it")
    seed_share: float | None = Field(
        None, description="share of the variance from seeds; the rest is from items"
    )


class Gain(Record):
    """The gain of one trial over another on the same validation items."""

    gain: Interval | None = Field(None, description="positive is a gain, whatever the direction")
    outcome: Outcome | None = Field(None, description="of the trial whose gain this is")
    lacking: Lacking | None = Field(None, description="why the gain supports no claim")
    comparisons: int = Field(1, description="number of comparisons in Holm's correction")


class NotMeasured(Record):
    """A section without numbers, with the reason and the command that would measure it."""

    reason: str
    command: str = ""


def front_of(points: Iterable[tuple[float, float, int]]) -> list[int]:
    """The trials that no other trial beats in both costs, sorted by the first cost.

    Args:
        points: First cost, second cost and number of each trial.

    >>> front_of([(1.0, 5.0, 0), (2.0, 3.0, 1), (3.0, 4.0, 2)])
    [0, 1]
    """
    front: list[int] = []
    lowest = float("inf")
    for _, cost, number in sorted(points):
        if cost < lowest:
            lowest = cost
            front.append(number)
    return front


# Fewest finalists, and trainings of each, for a recommendation. With fewer trainings there are too
# few degrees of freedom for the spread of seeds.
MIN_FINALISTS, MIN_SEEDS = 2, 3

VerdictKind = Literal["recommend", "tie", "insufficient", "none"]
RunStatus = Literal["running", "interrupted", "timeout", "failed", "complete"]


class SeedScore(Record):
    """One training of a finalist."""

    seed: int
    validation_loss: float
    test_score: float | None = None


class Finalist(Record):
    """A confirmed configuration, with its figures over all of its seeds."""

    trial: int
    strategy: StrategyOnModel
    order: int = Field(description="1 is best on validation, fixed before the test was opened")
    seeds: tuple[SeedScore, ...]
    validation_loss: Interval
    test_score: Interval | None = None
    peak_memory_gib: float | None = Field(None, description="median of its trainings")
    seconds: float


class TestedModel(Record):
    """One model on the opened test split, over all of its seeds.

    ``score`` is the headline metric's, ``test_loss`` is in ``loss_unit``. ``generated`` has the
    answers of one training. ``seconds_per_thousand`` is the time to generate answers to 1,000
    items, or to score them if none were generated.
    """

    __test__ = False

    name: str
    title: str
    trial: int | None = None
    seeds: int = 1
    score: Interval
    test_loss: Interval | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    generated: GeneratedAnswers | None = None
    seconds_per_thousand: float | None = None


class Verdict(Record):
    """The answer to "what do I train?", with its uncertainty.

    ``sentence`` is self-contained and begins with ``answer``. ``comparisons`` are of winner against
    runner-up, default and baselines. ``fine_tuning_needed`` is true only if the winner changes the
    base model and is shown to be better than every baseline that scored the same test items; None
    where that could not be decided.
    """

    kind: VerdictKind
    answer: str = Field("", description="what to do, in a few words")
    sentence: str
    recommended_trial: int | None = None
    best_trial: int | None = Field(None, description="the recommended one, or the best so far")
    best_baseline: str | None = Field(
        None, description="the best one on validation among those that were scored on the test"
    )
    recommended_baseline: str | None = Field(
        None, description="the best one that the winner is not shown to beat"
    )
    comparisons: tuple[Comparison, ...] = ()
    in_loss: tuple[Comparison, ...] = Field(
        (), description="the same in test loss, if the headline metric is another"
    )
    worsened: tuple[Comparison, ...] = Field(
        (),
        description="metrics in which the winner is worse than a model that it beats in loss",
    )
    fine_tuning_needed: bool | None = None
    test_items: int | None = Field(None, description="number of scored test items")
    seeds: int | None = Field(None, description="fewest trainings of a finalist that is compared")

    @property
    def reasons(self) -> str:
        """The sentence without the answer."""
        return self.sentence.removeprefix(f"{self.answer}: ")


class StrategySummary(Record):
    """One strategy over all of its trials."""

    strategy: StrategyOnModel
    complete: int
    pruned: int
    failed: int
    best_trial: int | None
    best_value: float | None = Field(description="of the objective")
    best_interval: Interval | None = None
    best_metrics: dict[str, float] = Field(default_factory=dict)
    seconds_per_trial: float | None = Field(
        None, description="median of its full trials; of all completed ones if none was full"
    )
    peak_memory_gib: float | None = None
    trainable_share: float | None = None


class MeasuredTrials(Record):
    """One measure in the completed trials that have it.

    ``changes`` are in its unit, by trial. ``limit`` is the largest change that the user allows.
    """

    title: str
    unit: str
    limit: float | None = None
    changes: dict[int, float]


class Limitation(Record):
    """A reason to trust the verdict less, with its numbers and the action that removes it."""

    id: str
    text: str
    action: str
    rows: int | None = Field(None, description="rows of the data with the fault")
    share: float | None = Field(None, description="share of the test items that it concerns")
    could_change_verdict: bool = Field(
        False, description="it concerns more test items than the verdict's closest comparison needs"
    )


class RunSummary(Record):
    """The run and its progress."""

    name: str
    place: str = Field("", description="path of the run's folder, for commands")
    task: Task
    models: tuple[str, ...]
    device: str = Field(description="device of its trainings: cpu or cuda")
    status: RunStatus
    failed_because: str = Field("", description="the error that ended the run")
    trials_requested: int
    complete: int
    pruned: int
    failed: int
    started_at: str = ""
    ended_at: str = ""
    seconds: float | None = Field(None, description="of all trials")
    confirmation_seconds: float | None = Field(None, description="of all confirmation runs")
    search_ended: str = Field("", description="why the search ended before its last trial")
    outlook: str = Field("", description="what more trials may bring and cost; empty if unknown")

    @property
    def ended(self) -> int:
        """Number of trials that have ended."""
        return self.complete + self.pruned + self.failed

    @property
    def started(self) -> str:
        """The start in UTC as readable text."""
        return self.started_at.replace("T", " ").removesuffix("Z")

    @property
    def training_seconds(self) -> float:
        """Seconds of all trials and confirmation runs."""
        return (self.seconds or 0.0) + (self.confirmation_seconds or 0.0)


class Reproduction(Record):
    """What is needed to repeat the run, without home folders, environment and tokens."""

    command: str
    spec_yaml: str
    versions: dict[str, str]
    hardware: str
    seeds: tuple[int, ...]
    split_rows: dict[str, int]
    data_sha256: str | None
    models: dict[str, str | None] = Field(description="id to revision")
    trial_yaml: str = ""


class NextStep(Record):
    """The step that would most likely help next. ``command`` is empty if there is none."""

    kind: Literal[
        "resume",
        "use",
        "more-data",
        "more-trials",
        "more-finalists",
        "longer-training",
        "another-base",
        "more-test-rows",
        "more-seeds",
        "failures",
        "stop",
    ]
    because: str = Field("", description="the figures that say so, in words")
    command: str = ""


class Findings(Artifact):
    """The verdict of a run and the figures it is based on; sections of the report add theirs."""

    run: RunSummary
    metric: Metric
    objective: Metric = Field(description="what trials are compared by on validation")
    loss_unit: str
    margin_points: float
    verdict: Verdict
    baselines: tuple[BaselineResult, ...] = ()
    finalists: tuple[Finalist, ...] = ()
    tested: tuple[TestedModel, ...] = ()
    notes: tuple[EncodingNote, ...] = Field((), description="changes of examples by tokenising")
    strategies: tuple[StrategySummary, ...] = ()
    trials: tuple[Trial, ...] = ()
    measures: dict[str, MeasuredTrials] = Field(
        default_factory=dict, description="what training changed, by measure"
    )
    limits: tuple[Limitation, ...] = ()
    reproduction: Reproduction
    next_step: NextStep | None = Field(None, description="None during the run")

    @property
    def margin(self) -> float:
        """The smallest difference that matters, in the unit of a score (0 to 1) or of a loss."""
        return self.margin_points / 100

    def trial(self, number: int | None) -> Trial | None:
        """A trial by its number."""
        return next((trial for trial in self.trials if trial.number == number), None)

    @property
    def recommended(self) -> Trial | None:
        """The trial that the verdict recommends."""
        return self.trial(self.verdict.recommended_trial)

    @property
    def best(self) -> Trial | None:
        """The recommended trial, or the best one so far."""
        return self.trial(self.verdict.best_trial)

    @property
    def best_trials(self) -> set[int]:
        """The best completed trial of each strategy."""
        return {best for row in self.strategies if (best := row.best_trial) is not None}

    def finalist(self, number: int | None) -> Finalist | None:
        """The finalist of a trial, if it is one."""
        return next((finalist for finalist in self.finalists if finalist.trial == number), None)

    def tested_model(self, name: str | None) -> TestedModel | None:
        """A model on the opened test split by its name, if it was scored there."""
        return next((model for model in self.tested if model.name == name), None)

    def tested_trial(self, number: int | None) -> TestedModel | None:
        """A trial on the opened test split, if it was scored there."""
        return None if number is None else self.tested_model(f"trial-{number}")

    def baseline(self, name: str | None) -> BaselineResult | None:
        """A baseline by its name."""
        return next((baseline for baseline in self.baselines if baseline.name == name), None)

    @property
    def decisive_limit(self) -> Limitation | None:
        """The limitation with the most test items among those that could change the verdict."""
        decisive = [limit for limit in self.limits if limit.could_change_verdict]
        return max(decisive, key=lambda limit: limit.share or 0.0, default=None)

    @property
    def last_gain(self) -> int | None:
        """The number of the last trial that was better than all before it."""
        best, last = float("inf"), None
        for trial in sorted(self.best_first(), key=lambda trial: trial.number):
            value = self.objective.as_cost(trial.value or 0.0)
            if value < best:
                best, last = value, trial.number
        return last

    def best_first(self) -> list[Trial]:
        """The completed trials, the best by the objective first."""
        ranked = [
            (self.objective.as_cost(trial.value), trial.number, trial)
            for trial in self.trials
            if trial.value is not None
        ]
        return [trial for _, _, trial in sorted(ranked, key=lambda entry: entry[:2])]
