"""The types of ``findings.json``, which the report only places.

Every difference is written as first minus second. Scores carry the metric's own direction;
losses are lower-is-better everywhere.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.findings.figures import Comparison, Interval, Lacking, Metric, NotMeasured, Outcome
from sweeper.spec import Scalar, Task
from sweeper.trials import (
    BaselineResult,
    EncodingNote,
    Failure,
    FirstStageResult,
    GeneratedAnswers,
    Origin,
    Seen,
)

VerdictKind = Literal["recommend", "tie", "insufficient", "none"]
Retention = Literal["kept", "lost", "unresolved"]
Choice = Literal["left", "right", "tie"]
Role = Literal["base", "default", "winner", "runner-up"]
GroupKind = Literal["improved", "worsened", "random", "suspect", "confident"]
RATINGS_FORMAT = "sweeper-human-ratings"


class SeedScore(Record):
    """One training of a finalist."""

    seed: int
    validation_loss: float
    test_score: float | None = None


class Finalist(Record):
    """A configuration that was trained again, with its figures over all of its seeds."""

    trial: int
    strategy: str
    order: int = Field(description="1 is best on validation, fixed before the test was opened")
    parameters: dict[str, Scalar]
    seeds: tuple[SeedScore, ...]
    validation_loss: Interval
    objective: Interval | None = Field(None, description="where it is another than the loss")
    test_score: Interval | None = None
    test_metrics: dict[str, float] = Field(default_factory=dict)
    peak_memory_gib: float | None = Field(None, description="median of its trainings")
    seconds: float


class TestedModel(Record):
    """One model on the opened test split, over all of its seeds.

    ``score`` is the headline metric's, ``loss`` in nats; ``generated`` is of one training.
    ``seconds_per_thousand`` items are those of answers in writing where the model writes, else of
    scoring.
    """

    __test__ = False

    name: str
    title: str
    trial: int | None = None
    seeds: int = 1
    score: Interval
    loss: Interval | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    generated: GeneratedAnswers | None = None
    seconds_per_thousand: float | None = None


class ClassRow(Record):
    """One class on the test split. A share is None where nothing is in it."""

    label: str
    rows: int = Field(description="of the class, over all splits")
    items: int = Field(description="test items of the class")
    chosen: int = Field(description="test items that were taken for it")
    right: int
    precision: float | None
    recall: float | None
    f1: float | None


class ClassFindings(Record):
    """One model, class by class, in the order of the names.

    ``confusion``: (true class, predicted class, test items) of every pair that occurred, by place.
    """

    name: str
    title: str
    classes: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, int, int], ...]


class Verdict(Record):
    """The answer to "what do I train?", honest about noise.

    ``sentence`` stands alone. ``comparisons`` hold winner against runner-up, default and
    baselines. ``fine_tuning_needed`` is true only if the winner changes the base model and is shown
    to be better than every baseline that scored the same test items; None where that could not be
    decided.
    """

    kind: VerdictKind
    sentence: str
    because: tuple[str, ...] = ()
    recommended_trial: int | None = None
    best_trial: int | None = Field(
        None, description="the recommended one, or the best so far that keeps to --max-forgetting"
    )
    best_baseline: str | None = Field(
        None, description="the best one on validation among those that were scored on the test"
    )
    recommended_baseline: str | None = Field(
        None, description="the best one that the winner is not shown to beat"
    )
    baseline_score: Interval | None = Field(
        None, description="of the recommended baseline, else of the best one, on the test"
    )
    comparisons: tuple[Comparison, ...] = ()
    worsened: tuple[Comparison, ...] = Field(
        (),
        description="metrics in which the winner is worse than a model that it beats in loss",
    )
    fine_tuning_needed: bool | None = None
    test_items: int | None = Field(None, description="that were scored")
    seeds: int | None = Field(None, description="fewest trainings of a finalist that is compared")


class SearchGain(Record):
    """A strategy's default against the best that the search found, by the objective.

    ``default_value`` and ``best_value`` are of the one training that the search saw, the means over
    all trainings of these trials: ``gain`` is the difference of the means.
    """

    strategy: str
    default_trial: int | None
    default_value: float | None
    best_trial: int | None
    best_value: float | None
    default_interval: Interval | None = None
    best_interval: Interval | None = None
    default_mean: float | None = None
    best_mean: float | None = None
    default_seeds: int | None = None
    best_seeds: int | None = None
    gain: Interval | None = Field(None, description="positive is a gain, whatever the direction")
    outcome: Outcome | None = Field(None, description="of the best against the default")
    lacking: Lacking | None = Field(None, description="why nothing is claimed from the gain")
    comparisons: int = Field(1, description="Holm's correction is taken over strategies")


class WarmStartResult(Record):
    """The warm start of one candidate from an earlier study, and its result here.

    ``trial`` is the one that tried it, None where none has yet; losses are values of the
    objective, the earlier one on another data set.
    """

    strategy: str
    study: str
    similarity: float
    parameters: dict[str, Scalar]
    earlier_loss: float
    trial: int | None = None
    loss: float | None = None
    default_loss: float | None = None
    best_loss: float | None = None


class PairFinding(Record):
    """A strategy's trials with and without something, compared on validation."""

    strategy: str
    with_trial: int
    without_trial: int
    same_configuration: bool = Field(description="the two differ in nothing else")
    gain: Interval | None = Field(None, description="positive is a gain of the trial with it")
    outcome: Outcome | None = Field(None, description="of the trial with it against the other")
    lacking: Lacking | None = Field(None, description="why nothing is claimed from the gain")
    comparisons: int = Field(1, description="that Holm's correction was taken over")


class FirstStageFinding(PairFinding):
    """A strategy's trials with and without a first stage. Tokens and seconds are the stage's own,
    and so are the losses on documents that it did not read (nats per token)."""

    tokens: int
    seconds: float
    held_out_loss_before: float | None = None
    held_out_loss_after: float | None = None


class AugmentationFinding(PairFinding):
    """A strategy's trials with and without augmented rows."""

    augmented_rows: int = Field(description="that the trial trained on, repetitions included")
    rows: int = Field(description="all that it trained on")


class StrategySummary(Record):
    """One strategy over all of its trials."""

    strategy: str
    complete: int
    pruned: int
    failed: int
    best_trial: int | None
    best_value: float | None = Field(description="of the objective")
    best_interval: Interval | None = None
    best_metrics: dict[str, float] = Field(default_factory=dict)
    test_score: Interval | None = None
    against_baseline: Comparison | None = Field(
        None, description="its best scored trial against the best baseline, on the test split"
    )
    seconds_per_trial: float | None = Field(
        None, description="median of its full trials; of all that completed where none was full"
    )
    peak_memory_gib: float | None = None
    trainable_share: float | None = None
    forgetting_points: float | None = None


class PredictedFigure(Record):
    """A figure of the plan beside what was measured.

    ``sweep`` is the whole sweep on the clock, with every phase that the plan has; ``search`` goes
    from the start to the last trial, baselines among it; ``download`` and ``conversion`` are phases
    that the command does itself, ``own_text`` is the base writing general text; phases of features
    have their names; ``trial`` is a full trial, the median of ``trials`` of them; ``memory`` the
    highest peak that a trial measured of itself; ``energy`` and ``money`` are those of the devices
    while the sweep held them.
    """

    what: str
    strategy: str = ""
    unit: Literal["s", "GiB", "kWh", "USD"]
    predicted: float
    low: float
    high: float
    actual: float
    trials: int
    beside: str = Field(
        "", description="what the plan's figure of memory has besides: the process, the driver"
    )
    disturbed: float = Field(
        0.0, ge=0, lt=1, description="share of the time in which other programs had the processor"
    )

    @property
    def factor(self) -> float | None:
        """Measured over predicted, as on an idle machine; None where nothing was predicted."""
        own = self.actual * (1 - self.disturbed)
        return own / self.predicted if self.predicted > 0 else None


class QualityShare(Record):
    """Which share of one strategy's quality another one reached, on the same items."""

    first: str
    second: str
    first_trial: int
    second_trial: int
    share: Interval
    split: Literal["validation", "test"]


class CurvePoint(Record):
    """Losses at one rung."""

    rung: int
    optimizer_steps: int
    tokens: int
    epochs: float
    validation_loss: float | None
    train_loss: float | None = None
    seconds: float = 0.0


class TrialRow(Record):
    """One trial in any state, for tables and charts."""

    number: int
    strategy: str
    model: str
    origin: Origin
    state: Literal["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]
    parameters: dict[str, Scalar]
    validation_loss: float | None
    objective: float | None = Field(None, description="what the study compares trials by")
    loss_note: str = Field("", description="why there is no validation loss, if there is none")
    metrics: dict[str, float] = Field(default_factory=dict)
    best_rung: int | None = None
    pruned_at_rung: int | None = None
    pruned_because: str = ""
    stopped_at_rung: int | None = Field(None, description="it completed there, before its budget")
    stopped_because: str = ""
    failure: Failure | None = None
    attempts: int = 1
    ended_attempts: tuple[str, ...] = Field((), description="without a result: number and why")
    micro_batch: int | None = None
    memory_note: str = Field("", description="why the batches are smaller than planned")
    tokens: int = 0
    seconds: float | None = None
    peak_memory_gib: float | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    weights: str | None = None
    weights_bytes: int | None = None
    base_bytes: int | None = Field(None, description="of the base that the weights need")
    first_stage: FirstStageResult | None = None
    seen: dict[str, Seen] = Field(default_factory=dict)
    validation_by_source: dict[str, float] = Field(default_factory=dict)
    curve: tuple[CurvePoint, ...] = ()


class ParameterFinding(Record):
    """What the trials of one strategy say about one parameter."""

    strategy: str
    parameter: str
    log: bool
    unit: str = ""
    trials: int = Field(0, description="number of completed trials used for this")
    default: Scalar | None = None
    low: float | None = Field(
        None, description="of the allowed range; in a plan, `low` is of best practice"
    )
    high: float | None = Field(None, description="of the allowed range")
    best: Scalar
    best_trial: int | None = None
    within_noise: tuple[Scalar, ...] = Field(
        (), description="choices that these trials cannot distinguish"
    )
    within_noise_trials: int = 0
    within_noise_low: float | None = None
    within_noise_high: float | None = None
    at_edge: Literal["low", "high"] | None = None
    importance: Interval | None = None
    varied: bool = True


class DataPoint(Record):
    """The trainings of one configuration on so many rows: a validation score of each."""

    rows: int
    scores: tuple[float, ...]


class DataBand(Record):
    """The curve at so many rows, with its 90% interval.

    Beyond all rows: the expected score with all rows plus the gain, with the interval of the gain.
    """

    rows: int
    value: float
    low: float
    high: float


class DataCurve(Record):
    """One configuration by the number of rows that it was trained on."""

    trial: int
    strategy: str
    default: bool
    points: tuple[DataPoint, ...]
    band: tuple[DataBand, ...]
    twice: Interval = Field(
        description="what twice the rows would bring, with a 90% interval; positive is a gain"
    )
    seen: bool = Field(description="the whole interval is a gain")


class DataNeed(Record):
    """How much data the task needs. Scores are those of ``metric`` on the validation split."""

    metric: Metric
    rows: int = Field(description="training rows that there are")
    items: int | None = Field(None, description="of validation")
    curves: tuple[DataCurve, ...] = Field(description="the winner first, then its default")
    sentence: str


class Limitation(Record):
    """A reason to trust the verdict less, with its numbers and the action that removes it."""

    id: str
    text: str
    action: str
    rows: int | None = Field(None, description="of the data, that have the fault")
    share: float | None = Field(None, description="of the test items that it concerns")
    could_change_verdict: bool = Field(
        False, description="it concerns more test items than the verdict's closest comparison needs"
    )


class RunSummary(Record):
    """The run and its progress."""

    name: str
    place: str = Field("", description="the run's folder, as a command names it")
    task: Task
    models: tuple[str, ...]
    status: Literal["running", "interrupted", "timeout", "failed", "complete"]
    failed_because: str = Field("", description="the error that ended the run")
    trials_asked: int
    complete: int
    pruned: int
    failed: int
    started_at: str = ""
    ended_at: str = ""
    seconds: float | None = None
    confirmation_seconds: float | None = None
    search_ended: str = Field("", description="why the search ended before its last trial")
    curve_told: str = Field(
        "", description="why there is a data curve that nobody asked for, or none"
    )
    outlook: str = Field("", description="what more trials may bring and cost; empty if unknown")
    saved_seconds: float | None = Field(None, description="what pruned trials did not train")
    median_prune_step: int | None = Field(None, description="optimizer steps")
    rung_items: int | None = Field(None, description="validation items scored below the last rung")

    @property
    def ended(self) -> int:
        """Trials that count towards the total."""
        return self.complete + self.pruned + self.failed

    @property
    def started(self) -> str:
        """The beginning in UTC, as people read it."""
        return self.started_at.replace("T", " ").removesuffix("Z")

    @property
    def training_seconds(self) -> float:
        """Of all trials, with the confirmation."""
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
    train_command: str = ""


class NextStep(Record):
    """The one thing that would most likely help next. ``command`` is empty where there is none."""

    kind: Literal[
        "resume",
        "use",
        "more-data",
        "more-trials",
        "resume",
        "more-finalists",
        "longer-training",
        "another-base",
        "more-test-rows",
        "more-seeds",
        "failures",
        "stop",
    ]
    because: str = Field(description="the figures that say so, in words")
    command: str = ""


class GeneralTask(Record):
    """One trial against its base on one task of general capability, on the same items.

    ``forgetting`` is what was lost in points, with its interval over items (one training); a point
    is a hundredth of a share or of a nat per token. ``detectable_points`` is the smallest true
    loss that these items would show in four of five studies.
    """

    task: str
    kind: str
    metric: str
    unit: Literal["points", "nats/token"]
    higher_is_better: bool
    harness: str
    shots: int | None = None
    items: int
    total_items: int
    trial: int
    strategy: str
    base: Interval
    tuned: Interval
    forgetting: Interval
    detectable_points: float
    adjusted_p: float = Field(description="Holm, over the tasks of this trial")
    outcome: Retention
    more_items: int | None = Field(None, description="further items that would settle it")


class TrialForgetting(Record):
    """One completed trial's loss on general text, before and after, beside its loss on the task."""

    trial: int
    strategy: str
    task_loss: float
    general_loss: float
    general_loss_base: float
    forgetting: Interval = Field(description="points: hundredths of a nat per token")


class Forgetting(Record):
    """What was lost, by task and by trial. ``front``: no other trial is better in both losses."""

    limit_points: float | None = None
    recommended_trial: int | None = None
    tasks: tuple[GeneralTask, ...] = ()
    trials: tuple[TrialForgetting, ...] = ()
    front: tuple[int, ...] = ()


class ComparedModel(Record):
    """A model whose answers are shown."""

    role: Role
    name: str = Field(description="as comparisons call it")
    title: str


class ShownAnswer(Record):
    """One model's answer to one item: what it wrote, or the class that it predicted."""

    text: str
    loss: float
    confidence: float | None = Field(None, description="probability of the predicted class")


class ShownItem(Record):
    """One test item with its answers, in the order of the models; None where one wrote none."""

    item: int = Field(description="place in the test split, from 0")
    line: int = Field(description="in its source file, from 1")
    asked: str
    reference: str
    answers: tuple[ShownAnswer | None, ...]


class OutputGroup(Record):
    """Items that were chosen for one reason; ``of`` says how many there are of the kind."""

    kind: GroupKind
    items: tuple[ShownItem, ...]
    of: int


class Outputs(Record):
    """Test items with the answers of the models that the verdict compares."""

    models: tuple[ComparedModel, ...]
    groups: tuple[OutputGroup, ...]
    written: bool = Field(description="answers are texts; else they are classes")


class RatedPair(Record):
    """The winner's answer and another model's to one test item, on the sides they are shown."""

    id: str
    item: int
    left: str
    right: str


class HumanPage(Artifact):
    """Which answers a page shows: the key that its raters do not see.

    ``same`` are pairs (item, model) whose two answers are equal: they are not shown and count as
    ties.
    """

    page: str = Field(description="digest of the pairs and of all texts")
    winner: str
    pairs: tuple[RatedPair, ...]
    same: tuple[tuple[int, str], ...] = ()


class Ratings(Artifact):
    """What one rater answered: the file that a page exports."""

    format: Literal["sweeper-human-ratings"]
    page: str
    rater: str = Field(min_length=1, max_length=60)
    ratings: dict[str, Choice]
    checksum: str

    def expected_checksum(self) -> str:
        """FNV-1a (32 bits) of page, rater and ratings: shows an edit, proves no identity."""
        lines = [self.page, self.rater, *(f"{k}={v}" for k, v in sorted(self.ratings.items()))]
        value = 0x811C9DC5
        for byte in "\n".join(lines).encode():
            value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
        return f"{value:08x}"


class AllRatings(Artifact):
    """The ratings of all raters of one page."""

    raters: tuple[Ratings, ...]


class WinRate(Record):
    """The winner against one model. Counts are of ratings, ``same`` of items."""

    other: str
    title: str
    won: int
    tied: int
    lost: int
    same: int
    win_rate: Interval = Field(description="share of items, ties as a half")
    outcome: Literal["preferred", "not preferred", "undecided"]


class HumanPreferences(Record):
    """What the raters of a run prefer."""

    winner: str
    raters: int
    items: int
    preferences: tuple[WinRate, ...]
    agreement: float | None = Field(
        None, description="share of equal ratings, over pairs of raters"
    )
    kappa: float | None = Field(None, description="Cohen's, mean over pairs of raters")
    left_share: Interval | None = Field(None, description="of the ratings that are no ties")


class Findings(Artifact):
    """All input of the report."""

    run: RunSummary
    metric: Metric
    objective: Metric = Field(description="what trials are compared by on validation")
    loss_unit: str
    margin_points: float
    verdict: Verdict
    baselines: tuple[BaselineResult, ...] = ()
    finalists: tuple[Finalist, ...] = ()
    tested: tuple[TestedModel, ...] = ()
    classes: ClassFindings | None = None
    outputs: Outputs | NotMeasured
    human: HumanPreferences | None = None
    notes: tuple[EncodingNote, ...] = Field((), description="what tokenising did to examples")
    gains: tuple[SearchGain, ...] = ()
    warm_starts: tuple[WarmStartResult, ...] = ()
    strategies: tuple[StrategySummary, ...] = ()
    quality_share: QualityShare | None = None
    predictions: tuple[PredictedFigure, ...] = ()
    trials: tuple[TrialRow, ...] = ()
    parameters: tuple[ParameterFinding, ...] = ()
    first_stage: tuple[FirstStageFinding, ...] = ()
    augmentation: tuple[AugmentationFinding, ...] = ()
    limits: tuple[Limitation, ...] = ()
    data_need: DataNeed | NotMeasured
    forgetting: Forgetting | NotMeasured
    reproduction: Reproduction
    next_step: NextStep | None = Field(None, description="None during the run")
    last_useful_trial: int | None = Field(None, description="the last one that lowered the best")

    def trial(self, number: int | None) -> TrialRow | None:
        """The row of a trial."""
        return next((trial for trial in self.trials if trial.number == number), None)

    def finalist(self, number: int | None) -> Finalist | None:
        """A trial as a finalist, if it was one."""
        return next((one for one in self.finalists if one.trial == number), None)

    def tested_trial(self, number: int | None) -> TestedModel | None:
        """A trial on the opened test split, if it was scored there."""
        found = (model for model in self.tested if model.trial is not None)
        return next((model for model in found if model.trial == number), None)

    @property
    def decisive_limit(self) -> Limitation | None:
        """The limit that could change the verdict; of several, the one with most test items."""
        found = [limit for limit in self.limits if limit.could_change_verdict]
        return max(found, key=lambda limit: limit.share or 0.0, default=None)

    def best_first(self) -> list[TrialRow]:
        """The completed trials, the best by the objective first."""
        known = [
            (self.objective.worse(trial.objective), trial.number, trial)
            for trial in self.trials
            if trial.objective is not None
        ]
        return [trial for _, _, trial in sorted(known, key=lambda one: one[:2])]

    def without_texts(self) -> Findings:
        """The findings without rows of the data and without answers."""
        left_out = NotMeasured(reason="texts of rows and answers were left out of this report")
        return self.model_copy(update={"outputs": left_out})
