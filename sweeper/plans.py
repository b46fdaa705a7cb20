"""The types of a plan: which strategies, over which space, at what cost, and why.

``sweeper plan --json`` prints a ``Plan``; a run stores it in ``plan.json`` and follows it on every
resume, even if the rules have changed since.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from sweeper.artifact import Artifact, Record
from sweeper.facts.record import Facts, TrainingSetup
from sweeper.facts.record import Precision as Precision
from sweeper.hyperparameters import BATCH, EPOCHS, OPTIMIZER, split_batch
from sweeper.objective import LOSS, Objective
from sweeper.spec import Declared, Scalar, SearchSpec
from sweeper.traits.traits import StrategyOnModel
from sweeper.units import joined, setting

Half = Literal["bfloat16", "float16"]
"""A 16-bit floating-point type, as torch names it."""


def autocast_dtype(precision: str) -> Half | None:
    """The dtype of autocast; None without autocast.

    >>> autocast_dtype("fp16-mixed"), autocast_dtype("bf16-pure")
    ('float16', None)
    """
    dtypes: dict[str, Half] = {"bf16-mixed": "bfloat16", "fp16-mixed": "float16"}
    return dtypes.get(precision)


def frozen_dtype(precision: str) -> Half:
    """The 16-bit type of frozen weights in a precision other than fp32."""
    return autocast_dtype(precision) or "bfloat16"


# Two candidates are about equally good if each is the better one with at least this probability.
_MIN_TOSS_UP_PROBABILITY = 0.3
#: Stands for a rule's name in warnings about parameters that the user declared.
DECLARED = "parameters"


class ParameterRange(Record):
    """A range or choices that a rule gives a parameter, with a default."""

    low: float | None = None
    high: float | None = None
    choices: tuple[Scalar, ...] | None = None
    default: Scalar
    searched: bool = True

    def __str__(self) -> str:
        *values, default = map(setting, (*(self.choices or (self.low, self.high)), self.default))
        if not self.searched or values == [default]:
            return default
        between = joined(values, "or") if self.choices else " to ".join(values)
        return f"{between}, default {default}"


class Quality(Record):
    """A strategy's expected quality as a normal distribution.

    It is in points (hundredths of the task's score) above tuned LoRA on the same model.
    """

    mean: float
    sd: float

    @classmethod
    def pooled(cls, estimates: Iterable[Self]) -> Self:
        """The mean of several estimates of one quality, weighted by their precision.

        >>> Quality.pooled([Quality(mean=0.0, sd=1.0), Quality(mean=1.0, sd=1.0)])
        Quality(mean=0.5, sd=0.7071)
        """
        pool = list(estimates)
        precision = math.fsum(estimate.sd**-2 for estimate in pool)
        mean = math.fsum(estimate.mean * estimate.sd**-2 for estimate in pool) / precision
        return cls(mean=round(mean, 4), sd=round(precision**-0.5, 4))

    def plus(self, other: Self) -> Self:
        """The sum of this quality and an independent effect."""
        return type(self)(
            mean=round(self.mean + other.mean, 4), sd=round(math.hypot(self.sd, other.sd), 4)
        )

    def widened(self, factor: float) -> Self:
        """The same mean with ``factor`` times the standard deviation."""
        return self.model_copy(update={"sd": round(self.sd * factor, 4)})

    def probability_above(self, other: Self) -> float:
        """The probability that this quality is the higher one.

        >>> Quality(mean=0.2, sd=0.3).probability_above(Quality(mean=0.0, sd=0.0))
        0.75
        """
        sd = math.hypot(self.sd, other.sd) or 1e-9
        return round(0.5 * (1 + math.erf((self.mean - other.mean) / sd / math.sqrt(2))), 2)

    def __str__(self) -> str:
        return f"{self.mean:+.1f} ± {self.sd:.1f}"


class Reason(Record):
    """A rule or note that fired, with effects. ``source`` is a paper, a table or a measurement."""

    rule: str
    title: str = Field("", description="empty for a note, which only adds texts to a plan")
    why: str
    source: str
    gap: Quality | None = Field(None, description="expected quality, relative to tuned LoRA")
    changes: dict[str, ParameterRange] = Field(
        default_factory=dict, description="the ranges that it sets, by parameter"
    )
    applied: bool = Field(
        True, description="False if the user's own strategy file sets these parameters"
    )
    disagrees_with: str = Field("", description="an earlier rule with other ranges")


class Condition(Record):
    """The condition of a parameter that exists only if ``parameter`` has one of ``values``."""

    parameter: str
    values: tuple[Scalar, ...]


class Prior(Record):
    """Where good values are expected.

    ``center`` and ``spread`` describe a normal density, in the parameter's unit; with ``log``,
    ``spread`` is in decades. ``weights`` has a weight for each choice.
    """

    center: float | None = None
    spread: float | None = None
    weights: tuple[float, ...] | None = None


class Parameter(ParameterRange):
    """One hyperparameter, named as transformers and peft name it.

    ``low``/``high``/``choices`` are the best-practice range in which the search starts;
    ``allowed_*`` is the range to which it may widen, and Optuna's distribution. A parameter
    with ``searched`` False has its default in every trial. A range that the user declared
    is also the allowed one; ``shipped`` is then the rule book's range.
    """

    kind: Literal["float", "int", "categorical"]
    log: bool = False
    allowed_low: float | None = None
    allowed_high: float | None = None
    allowed_choices: tuple[Scalar, ...] | None = None
    prior: Prior | None = None
    condition: Condition | None = None
    unit: str = ""
    source: str
    why: str = ""
    off_value: Scalar | None = Field(None, description="the value with which it has no effect")
    step: float | None = Field(None, description="distance between two values of the range")
    shipped: str = Field("", description="the rule book's range, where the user declared another")

    @property
    def range(self) -> ParameterRange:
        """The range in which the search starts."""
        return ParameterRange.taken_from(self)

    @property
    def allowed(self) -> tuple[Scalar, ...]:
        """All choices that a trial may have; empty for a number."""
        return self.allowed_choices or self.choices or ()

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The ends of the allowed range; None for choices."""
        low, high = self.allowed_low, self.allowed_high
        return self.low if low is None else low, self.high if high is None else high

    def holds(self, chosen: Mapping[str, Scalar]) -> bool:
        """Whether the parameter exists, given the values of parameters before it."""
        condition = self.condition
        return condition is None or chosen.get(condition.parameter) in condition.values


class MemoryEstimate(Record):
    """Predicted peak memory of one device in GiB, with its parts and a 90% interval."""

    peak_gib: float
    low_gib: float
    high_gib: float
    limit_gib: float
    parts: dict[str, float]
    assumptions: tuple[str, ...] = ()


Seconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 3))]


class Duration(Record):
    """Predicted seconds, as a range."""

    seconds: Seconds
    low: Seconds
    high: Seconds

    @classmethod
    def sum(cls, parts: Iterable[Self]) -> Self:
        """The sum, separately of low and of high ends: a fast machine is fast in all parts."""
        ends = zip(*((part.seconds, part.low, part.high) for part in parts), strict=True)
        seconds, low, high = map(math.fsum, ends)
        return cls(seconds=seconds, low=low, high=high)


class Stage(Record):
    """Work of a feature before trials, such as continued pretraining.

    From the base model of a candidate it makes others, its bases, which several trials share.

    Args:
        parameter: The parameter at whose ``off_value`` a trial does not need the stage.
        seconds: Seconds to make one base.
        key: An id that is equal for candidates whose trials may share bases.
        variants: The number of different bases that a search within the ranges may need.
        bases: Names of all bases that trials in the allowed ranges may need; equal bases have
            equal names.
        base_bytes: Bytes of each base on the disk.
    """

    parameter: str
    seconds: Seconds
    key: str
    variants: int
    bases: tuple[str, ...]
    base_bytes: int


class StrategySpace(Record):
    """A strategy on a base model, with its parameters.

    Args:
        parameters: Parameters by name; each comes after the parameter in its condition.
    """

    strategy: StrategyOnModel
    model: str = Field("", description="tells two candidates of one strategy apart")
    parameters: dict[str, Parameter]
    begins_as_base: bool = Field(False, description="before training, its model is the base model")
    one_trial: bool = Field(False, description="a second trial could not differ from the first")

    @property
    def searchable(self) -> bool:
        """Whether a second trial could differ from the first."""
        return not self.one_trial and any(each.searched for each in self.parameters.values())

    def defaults(self, given: Mapping[str, Scalar] | None = None) -> dict[str, Scalar]:
        """The given value or the default of every parameter whose condition holds."""
        chosen: dict[str, Scalar] = {}
        for name, parameter in self.parameters.items():
            if parameter.holds(chosen):
                chosen[name] = (given or {}).get(name, parameter.default)
        return chosen

    def searched(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """The values of parameters that the search chooses."""
        names = (name for name, each in self.parameters.items() if each.searched)
        return {name: values[name] for name in names if name in values}


class Remedy(Record):
    """A change that would make a strategy fit."""

    kind: Literal["rank", "length", "quantization", "machine", "gpus", "model"]
    text: str


class Candidate(StrategySpace):
    """One (model, strategy) pair that will compete in the study.

    ``per_device_train_batch_size`` in ``parameters`` is the effective batch of a trial; the
    device sees ``setup.micro_batch`` examples at a time.
    """

    setup: TrainingSetup = Field(description="of a trial with the default parameters")
    fits: bool = True
    reasons: tuple[Reason, ...]
    cautions: tuple[Reason, ...] = ()
    quality: Quality = Quality(mean=0.0, sd=0.0)
    memory: MemoryEstimate
    risk: float = Field(0.0, description="probability that it does not fit")
    least_gib: float | None = Field(
        None, description="device memory with which its whole range fits"
    )
    duration: Duration = Field(description="of a trial with the default parameters")
    attention: str = "sdpa"
    stages: dict[str, Stage] = Field(
        default_factory=dict, description="work of features before its trials, by feature"
    )
    stage_notes: tuple[str, ...] = ()
    trainable_parameters: int
    expected_quality: str = Field("", description="in words, from the strategy's file")
    quality_source: str = ""
    setup_notes: tuple[str, ...] = Field(
        (), description="on the length limit, the memory, the optimizer and the precision"
    )
    time_notes: tuple[str, ...] = Field((), description="what its predicted time was learnt from")

    def trial_setup(self, parameters: Mapping[str, Scalar]) -> TrainingSetup:
        """The set-up of a trial with these parameters, which may set its batch and optimizer."""
        planned = self.setup
        planned_batch = planned.micro_batch * planned.gradient_accumulation_steps * planned.gpus
        batch = int(parameters.get(BATCH, planned_batch))
        micro, accumulation = split_batch(batch, planned.micro_batch, planned.gpus)
        return TrainingSetup.taken_from(
            planned,
            micro_batch=micro,
            gradient_accumulation_steps=accumulation,
            optimizer=str(parameters.get(OPTIMIZER, planned.optimizer)),
        )


class Rejected(Record):
    """A strategy that does not compete, and what would let it compete."""

    strategy: StrategyOnModel
    model: str
    reason: str
    rule: str = ""
    source: str = ""
    needs_gib: float | None = Field(None, description="the upper end of the 90% interval")
    peak_gib: float | None = Field(None, description="expected peak of its smallest set-up")
    has_gib: float | None = None
    remedies: tuple[Remedy, ...] = Field((), description="the cheapest first")
    if_named: bool = Field(False, description="it competes if --strategies names it")

    @property
    def remedy(self) -> str:
        """What would let it compete, in words."""
        if self.if_named:
            return "to include it, name it with --strategies"
        return "; ".join(f"{remedy.text} would fit" for remedy in self.remedies)


class PhaseCost(Record):
    """The time that a feature's phase takes.

    A phase that is ``optional`` was neither asked for nor switched off by the user. It is
    ``planned`` if the budget leaves time for it, or if it is cheap compared with the search.
    """

    title: str = Field(description="its name in the plan")
    content: str = Field("", description="what it does, in a few words")
    flag: str = Field("", description="the flag that asks for it")
    seconds: Seconds = Field(description="of the whole phase, on the clock")
    uncertainty: float = Field(
        1.0, ge=1, description="factor on both ends of its interval, for work of unknown size"
    )
    optional: bool = False
    planned: bool = True
    in_search: bool = Field(
        False, description="done within the search, by the first trials that need it"
    )
    cheaper: str = Field("", description="how to make it cheaper, as a sentence")
    notes: tuple[str, ...] = Field((), description="sentences of the plan about it")


class TrialBudget(Record):
    """How much a trial trains and how often it reports.

    A trial ends after ``epochs`` passes over the train split (``full_tokens`` training tokens of
    the task); rung k of ``rungs`` lies at k/``rungs`` of the optimizer steps. It reports at every
    ``rung_every``-th rung and at the last. ``epochs`` and ``rungs`` are those of the longest
    trials: a trial with half of the epochs has half of the rungs.
    """

    epochs: float = Field(0.0, ge=0, description="0 only in a search alone that does not vary it")
    full_tokens: int = 0
    rungs: int = 8
    first_rung: int = Field(2, description="earliest rung at which a trial may be pruned")
    rung_items: int = Field(
        0, description="validation items scored at a rung below the last; 0 for all"
    )
    rung_every: int = Field(1, ge=1, description="rungs from one report to the next")
    stop_overfitting: bool = Field(
        False, description="a trial that overfits completes there, with its best rung"
    )
    choose_rung: bool = Field(
        True,
        description="whether the weights of the best rung on validation are kept; if false, as "
        "without validation rows, the last ones are",
    )

    def rungs_of(self, parameters: Mapping[str, Scalar]) -> int:
        """The number of rungs of a trial with these parameters, from 1 to ``rungs``."""
        epochs = parameters.get(EPOCHS)
        if epochs is None or not self.epochs:
            return self.rungs
        return min(self.rungs, max(1, round(self.rungs * float(epochs) / self.epochs)))


class Budget(TrialBudget):
    """The budget of a study: of a full trial, of all trials, and of the phases after them.

    ``trials`` does not count confirmation runs. ``phases`` has the time of each phase, the search
    included, in the order of a run; ``sweep`` is their sum.
    """

    trials: int
    epochs: float
    full_tokens: int
    first_rung: int = 1
    train_rows: int | None = Field(
        None, description="rows of the part that the search trains on; None for all"
    )
    trials_at_once: int = 1
    phases: dict[str, Duration]
    sweep: Duration
    features: dict[str, PhaseCost] = Field(
        default_factory=dict, description="phases of features, by the feature's name"
    )
    limit_seconds: float | None = Field(
        None, description="seconds in which the user's budget is spent with all devices busy"
    )
    finalists: int
    confirmation_seeds: int
    extra_seeds: int = Field(
        0, ge=0, description="more seeds of each finalist, if seeds cause most of the noise"
    )
    gpu_hours: float | None = None
    cost_usd: float | None = None
    cost_low_usd: float | None = None
    cost_high_usd: float | None = None
    timing: tuple[str, ...] = Field((), description="how the seconds were estimated")
    notes: tuple[str, ...] = ()
    limit_notes: tuple[str, ...] = Field((), description="what the user's budget does not pay for")

    @property
    def confirmed(self) -> str:
        """How finalists are trained again, in words."""
        if self.confirmation_seeds == 1:
            return "not trained again, so each has one seed"
        seeds, extra = self.confirmation_seeds, self.extra_seeds
        most = f", {seeds + extra} if seeds cause most of the noise between them" if extra else ""
        return f"trained again until each has {seeds} seeds{most}"

    @property
    def later(self) -> dict[str, PhaseCost]:
        """The phases of features that come after the search."""
        return {name: cost for name, cost in self.features.items() if not cost.in_search}


class ProposedTrial(Record):
    """A configuration that a feature proposes to try early.

    ``parameters`` are values of searched parameters; other parameters have the plan's default. The
    search also uses these values as a prior, which fades as trials end. ``record`` is data that the
    feature reads back from the plan.
    """

    feature: str
    strategy: str
    model: str
    parameters: dict[str, Scalar]
    weight: float = Field(1.0, gt=0, le=1, description="weight of the prior")
    text: str = Field("", description="why it is proposed, as a line of the run's log")
    record: dict[str, Any] = Field(default_factory=dict)


class Answer(Record):
    """One of the user's questions, answered in words and numbers."""

    question: str
    answer: str
    rules: tuple[str, ...] = ()


class RunnerUp(Record):
    """The second candidate (``strategy`` on ``model``), compared with the recommended one.

    Args:
        probability: Probability that the recommended one has the higher quality.
        points: Expected quality of the recommended one above this one.
        break_even_points: The ``points_per_doubling`` at which the two are equal. Above it, the
            faster one comes first. None if the recommended one is both better and faster.
    """

    strategy: str
    model: str
    probability: float
    points: float
    break_even_points: float | None = None

    @property
    def toss_up(self) -> bool:
        """Whether the two are about equally good."""
        return _MIN_TOSS_UP_PROBABILITY <= self.probability <= 1 - _MIN_TOSS_UP_PROBABILITY


class ModelOption(Record):
    """One of the models that were compared because the user named none.

    ``strategies`` are those that fit, the recommended one first; if empty, ``reason`` says why.
    ``scores`` are published scores, by measure.
    """

    model: str
    kind: str
    parameters: int
    strategies: tuple[str, ...] = ()
    memory: MemoryEstimate | None = Field(
        None, description="peak of a trial with the first strategy's default parameters"
    )
    search: Duration | None = Field(
        None, description="time of a search with the first strategy alone, features included"
    )
    trials: int | None = None
    scores: dict[str, float] = Field(default_factory=dict)
    reason: str = ""


class ModelChoice(Record):
    """The models that were compared, and why one of them was chosen.

    ``measures`` explains the names of the scores.
    """

    model: str
    options: tuple[ModelOption, ...]
    reasons: tuple[Reason, ...]
    measures: dict[str, str] = Field(default_factory=dict)


class Identity(Record):
    """What a resumed run must have in common with its beginning: a digest of each part."""

    model: str
    data: str
    task: str
    split: str
    space: str
    objective: str
    rungs: str
    seed: str
    features: dict[str, str] = Field(
        default_factory=dict, description="digests of features' parts, by the features' names"
    )


class NoPlan(Artifact):
    """The result if no strategy fits: a plan without candidates and budget."""

    facts: Facts
    recommended: None = None
    candidates: tuple[Candidate, ...] = ()
    nearest: str = Field(description="what comes nearest to fitting, in one sentence")
    rejected: tuple[Rejected, ...]
    warnings: tuple[Reason, ...] = ()
    advice: tuple[Reason, ...] = ()


Origin = Literal["default", "user", "search"]


class Configuration(Record):
    """The configuration of a trial: a candidate, and values of its parameters.

    ``parameters`` has every parameter whose condition holds, searched or not. Before the trial
    starts, some may be missing; these then get the plan's defaults.
    """

    number: int = Field(
        -1, description="number of the trial in the study, from 0; -1 before it starts"
    )
    strategy: StrategyOnModel
    model: str = ""
    parameters: dict[str, Scalar] = Field(default_factory=dict)
    origin: Origin = "default"


class Space(Record):
    """What a search needs: the candidates with their parameters, a full budget, the seed.

    Args:
        own_trials: The user's configurations. Their values may lie outside the allowed ranges.
        proposed: Configurations of features to try early, at most one per candidate.
        facts: Facts from which the pruner computes the loss of guessing; may be None.
    """

    candidates: tuple[StrategySpace, ...]
    budget: TrialBudget = TrialBudget()
    seed: int = 0
    objective: Objective = LOSS
    own_trials: tuple[Configuration, ...] = ()
    proposed: tuple[ProposedTrial, ...] = ()
    facts: Facts | None = None

    @property
    def keyed(self) -> dict[str, StrategySpace]:
        """Every candidate by its key, in the plan's order."""
        return {self.key(candidate): candidate for candidate in self.candidates}

    def key(self, candidate: StrategySpace | Configuration) -> StrategyOnModel:
        """A candidate's name in the study: its strategy, and its model if others have it too."""
        same_strategy = [each for each in self.candidates if each.strategy == candidate.strategy]
        return (
            candidate.strategy
            if len(same_strategy) == 1
            else StrategyOnModel(candidate.strategy, candidate.model)
        )


class Plan(Space, Artifact):
    """The plan of a study: a space with reasons, costs and facts."""

    facts: Facts
    model_choice: ModelChoice | None = Field(None, description="None where the user named a model")
    recommended: str = Field(description="the strategy to start with")
    candidates: tuple[Candidate, ...] = Field(
        description="in the order in which their defaults are tried"
    )
    rejected: tuple[Rejected, ...]
    warnings: tuple[Reason, ...] = ()
    advice: tuple[Reason, ...] = Field((), description="what to do besides training")
    answers: tuple[Answer, ...] = ()
    runner_up: RunnerUp | None = Field(None, description="None with one candidate")
    declared: Declared = Field(
        default_factory=dict, description="parameters that the user declared"
    )
    budget: Budget
    search_gain: Quality = Field(
        Quality(mean=0.0, sd=0.0), description="expected gain of the search over the default"
    )
    identity: Identity | None = Field(None, description="None if the plan cannot be run")

    @property
    def searched_rows(self) -> int:
        """The rows that a trial of the search trains on."""
        return self.budget.train_rows or self.facts.data.train_rows

    def candidate(self, strategy: str, model: str | None = None) -> Candidate:
        """The candidate with this strategy; on any model if ``model`` is None.

        Raises:
            KeyError: The plan has no such candidate.
        """
        for candidate in self.candidates:
            if candidate.strategy == strategy and model in (None, candidate.model):
                return candidate
        raise KeyError(strategy)

    def candidate_of_untrained_base(self, model: str) -> Candidate:
        """The candidate whose set-up loads a base model as it is, unquantised if that fits."""
        candidates = (each for each in self.candidates if each.model == model)
        return min(
            candidates, key=lambda each: (not each.fits, each.setup.quantization is not None)
        )

    def workers(self, search: SearchSpec) -> int:
        """The number of workers of a run: the user's, or the plan's number of trials at once."""
        return search.workers or self.budget.trials_at_once
