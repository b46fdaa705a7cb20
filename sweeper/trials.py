"""The types of a trial: configuration, rungs and result.

Each of these is a file in ``runs/<name>/trials/<number>/``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.data.examples import Split
from sweeper.errors import UsageError
from sweeper.facts.record import TrainingSetup
from sweeper.plans import Configuration, TrialBudget
from sweeper.spec import Task
from sweeper.textfiles import read_text
from sweeper.traits.traits import StrategyOnModel

State = Literal["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]
"""The state of a trial; a stored result has one of the first three."""
#: Why a trial completes before its last rung.
StopKind = Literal["overfitting", "patience", "limit"]
FailureKind = Literal[
    "out-of-memory", "diverged", "timeout", "crash", "error", "refused", "disk-full"
]


class TrialConfig(Artifact, Configuration):
    """All that a worker needs to train one trial reproducibly.

    A confirmation run is the same configuration with another ``seed``. A training on a part of the
    rows uses the first ``train_rows`` rows in the order of its seed.
    """

    number: int
    attempt: int = 1
    seed: int
    task: Task
    budget: TrialBudget
    setup: TrainingSetup
    train_rows: int | None = Field(
        None, ge=1, description="number of train rows that it trains on; all if None"
    )
    keep_weights: bool = False
    checkpoints: bool = Field(False, description="save one at each rung, to continue from")
    memory_note: str = Field("", description="why the batches are smaller than planned")

    def with_setup(self, **changes: Any) -> Self:
        """A copy with other values in its set-up."""
        return self.model_copy(update={"setup": self.setup.model_copy(update=changes)})


# The costs of this many first items are stored one by one, with so many significant digits.
MAX_ITEMS, ITEM_DIGITS = 256, 4


class FirstItems(Record):
    """A model's costs on the first validation items, on which all rungs of all trials are scored.

    The costs of single items show how much the choice of items matters when models are compared.
    """

    cost: float = Field(description="mean over these items alone")
    each: tuple[float, ...] = Field(
        description="what each of the first 256 adds to the mean: its cost, times its weight over "
        "the mean weight"
    )
    count: int = Field(description="number of these items")
    of: int = Field(description="number of items that a trial's end is scored on, these included")

    @classmethod
    def among(
        cls, costs: Sequence[float], of: int, weights: Sequence[float] | None = None
    ) -> FirstItems:
        """The summary of these items' costs, in the order in which every trial is scored.

        Args:
            costs: Costs of the items, such as losses; at least one.
            of: As in the field.
            weights: Weights of the items in the mean; equal if None.
        """
        shares = weights if weights is not None else [1.0] * len(costs)
        mean = math.fsum(shares) / len(shares)
        scaled = [cost * share / mean for cost, share in zip(costs, shares, strict=True)]
        each = tuple(float(f"{value:.{ITEM_DIGITS}g}") for value in scaled[:MAX_ITEMS])
        return cls(cost=math.fsum(scaled) / len(scaled), each=each, count=len(scaled), of=of)


GENERAL = "general"
"""The name of measures of general capability, and of scores on tasks that measure it."""


class Measure(Record):
    """A figure of a trial besides its losses and metrics, used by features and limits.

    Values of single items, if known, are in the file ``MEASURE_ITEMS``.
    """

    title: str = Field(description="title of its change; of its value if the base has none")
    unit: str
    value: float
    base: float | None = Field(None, description="its value of the untrained base model")

    @property
    def change(self) -> float:
        """The difference from the base's value; the value if the base has none."""
        return self.value - (self.base or 0.0)


MEASURE_ITEMS = "measures.json"
"""The file beside a result with the items of its measures, by name: ``{"values": [...],
"base_values": [...], "weights": [...]}``."""


class WorkDone(Record):
    """The work of a training from its start to a rung or to its end.

    ``metrics`` are those of the task (``accuracy``, ``macro_f1``, ...) on validation.
    """

    number: int = 0
    attempt: int = 1
    objective: float | None = Field(
        None, description="None if it is the loss, and in a report if not measured at rungs"
    )
    metrics: dict[str, float] = Field(default_factory=dict)
    measures: dict[str, Measure] = Field(default_factory=dict)
    tokens: int = 0
    optimizer_steps: int = 0
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0


class RungReport(Artifact, WorkDone):
    """The report of a trial at one rung: one line of ``rungs.jsonl``.

    ``validation_loss`` is in nats per class decision (classification) or per token of the reference
    answer (text); in bits per byte of the answer if several base models compete. At each
    rung, all trials are scored on the same items. ``train_loss`` is the mean since the last rung.
    """

    rung: int
    validation_loss: float
    items: int = 0
    first_items: FirstItems | None = Field(
        None,
        description="of the loss, or of the costs where the objective is measured; None where "
        "rungs are scored on all items",
    )
    train_loss: float | None = None
    epochs: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training and evaluation so far."""
        return self.training_seconds + self.evaluation_seconds

    @classmethod
    def read_lines(cls, path: Path) -> list[RungReport]:
        """The last report of each rung in a ``rungs.jsonl``, in the order of rungs.

        Damaged lines are left out. Empty if the file cannot be read.
        """
        by_rung: dict[int, RungReport] = {}
        with suppress(OSError):
            for line in read_text(path, errors="replace").split("\n"):
                with suppress(UsageError):
                    report = cls.from_json(line)
                    by_rung[report.rung] = report
        return [by_rung[rung] for rung in sorted(by_rung)]


class BaseRef(Record):
    """A base model that a feature of sweeper made, for trials that share it.

    Args:
        folder: The name of its folder in the cache, and in runs with adapters that need it.
        state: A digest of the folder's content.
    """

    folder: str
    state: str


class PreparedBase(Record):
    """The base model that a feature made for a trial, and the feature's record of it.

    Args:
        seconds: Seconds to make it, in the trial that made it; 0 in others.
    """

    base: BaseRef
    feature: str
    record: dict[str, Any]
    seconds: float


class Failure(Record):
    """Why a trial failed. ``detail`` is the last line of the error, never a traceback."""

    kind: FailureKind
    detail: str
    needed_gib: float | None = None
    had_gib: float | None = None
    loading: bool = Field(False, description="memory ran out while a model was loaded")


EncodingKind = Literal["shortened", "cut", "dropped", "rewritten", "divided"]


class EncodingNote(Record):
    """A change to some of a split's examples when they became tokens.

    ``shortened``: the prompt lost its beginning. ``cut``: a text without answer lost its end.
    ``dropped``: the example is not used, as its answer alone is too long.
    ``rewritten``: the chat template rewrites earlier answers, which are then not trained on.
    ``divided``: a text without answer became several items, which hold all of it.
    """

    split: Split
    kind: EncodingKind
    count: int
    of: int
    tokens: int = Field(description="the cap on an item's tokens that caused it")

    @property
    def text(self) -> str:
        what = {
            "shortened": f"prompts lost their beginning to fit {self.tokens} tokens",
            "cut": f"texts lost their end, after {self.tokens} tokens",
            "dropped": "examples were left out: their answer alone does not fit "
            f"{self.tokens} tokens",
            "divided": f"items begin a text of more than {self.tokens} tokens; all of it is read",
            "rewritten": "conversations hold earlier answers that the chat template rewrites; "
            "only their other answers are trained on",
        }
        return f"{self.split}: {self.count} of {self.of} {what[self.kind]}"


class Seen(Record):
    """The numbers of rows and tokens of one source that were trained on, with repetitions."""

    rows: int
    tokens: int


class TrialResult(Artifact, WorkDone):
    """How one trial (or confirmation run) ended.

    ``validation_loss`` is over the whole validation split at ``best_rung``; a pruned or failed
    trial has none. ``item_losses`` names a file beside this one with one validation loss per item,
    in item order.
    """

    seed: int = 0
    state: State
    failure: Failure | None = None
    pruned_at_rung: int | None = None
    pruned_because: str = ""
    stopped_at_rung: int | None = Field(
        None, description="where it completed before the end of its budget"
    )
    stopped_by: StopKind | None = None
    stopped_because: str = ""
    validation_loss: float | None = None
    best_rung: int | None = None
    weights: str | None = Field(None, description="folder beside this file, if they were kept")
    weights_bytes: int | None = Field(None, description="of that folder's files")
    base_bytes: int | None = Field(
        None, description="of the base model that these weights need; 0 if they need none"
    )
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    seen: dict[str, Seen] = Field(
        default_factory=dict,
        description="by source, or by the name of rows that features add; empty if all rows are "
        "of one kind",
    )
    validation_by_source: dict[str, float] = Field(
        default_factory=dict,
        description="loss on the items of each source, if there are several",
    )
    peak_memory_gib: float | None = None
    micro_batch: int | None = Field(None, description="the last one in training")
    base: BaseRef | None = Field(
        None, description="the base model that a feature made for it; None for the given one"
    )
    preparing_seconds: float = Field(
        0.0, description="seconds to make that base, in the trial that made it"
    )
    features: dict[str, Any] = Field(
        default_factory=dict, description="records of features about the trial, by feature"
    )
    item_losses: str | None = None
    setup_seconds: float = 0.0
    feature_seconds: dict[str, float] = Field(
        default_factory=dict,
        description="by feature: seconds of its work in this trial, even if others use it, too",
    )
    waited_seconds: float = Field(
        0.0, description="seconds in which other programs had the CPU that it trained on"
    )
    evaluation_batch: int | None = Field(None, description="the last one in scoring")
    attention: str | None = Field(None, description="the implementation of attention in training")
    padding_free: bool | None = Field(None, description="whether it trained without padding")
    worker: str = ""
    started_at: str = ""
    ended_at: str = ""
    data_fingerprint: str | None = None
    model_revision: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[EncodingNote, ...] = Field((), description="of train and validation")

    @property
    def seconds(self) -> float:
        """Seconds of training and evaluation, and of the work before the first step."""
        return self.training_seconds + self.evaluation_seconds + self.setup_seconds

    @property
    def whole_seconds(self) -> float:
        """``seconds``, and the seconds to make its base."""
        return self.seconds + self.preparing_seconds


def so_far(rungs: Sequence[RungReport]) -> dict[str, Any]:
    """Steps, tokens and seconds up to the last of these rungs, as fields of a result."""
    names = {"optimizer_steps", "tokens", "training_seconds", "evaluation_seconds"}
    return rungs[-1].model_dump(include=names) if rungs else {}


class Trial(Record):
    """One trial of a run: its configuration, its rungs, and its result.

    Until the trial ends, ``result`` has the state ``RUNNING`` or ``WAITING`` and the work up to
    the last rung. Its ``objective`` has the value even if that is the loss.
    """

    config: TrialConfig
    rungs: tuple[RungReport, ...] = ()
    result: TrialResult
    attempts: int = 1
    ended_attempts: tuple[str, ...] = Field(
        (), description="for each attempt without a result: its number, and why it ended"
    )

    @property
    def number(self) -> int:
        return self.config.number

    @property
    def strategy(self) -> StrategyOnModel:
        return self.config.strategy

    @property
    def ended(self) -> bool:
        return self.result.state not in ("RUNNING", "WAITING")

    @property
    def completed(self) -> bool:
        """Whether it completed with a finite value of the objective."""
        return self.value is not None

    @property
    def value(self) -> float | None:
        """The objective's value of a completed trial; None for others."""
        return self.result.objective if self.result.state == "COMPLETE" else None

    @property
    def seconds(self) -> float | None:
        """``whole_seconds`` of the trial; if it has not ended, until its last rung."""
        return self.result.whole_seconds if self.ended or self.rungs else None

    @property
    def losses(self) -> list[float]:
        """The validation losses at its rungs."""
        return [report.validation_loss for report in self.rungs]


AttemptEndKind = Literal[
    "crash", "hang", "interrupted", "superseded", "error", "disk-full", "damaged", "out-of-memory",
    "refused",
]  # fmt: skip


class AttemptEnd(Artifact):
    """Why an attempt ended without a result: ``ended.json`` in its folder.

    ``refused``: an error of the user's code or data, which the next attempt would meet too.
    ``superseded``: refused, and tried again by a later command. ``damaged``: one of its files could
    not be read, and the work was done again. ``out-of-memory``: the system killed its worker. (A
    worker that notices the shortage itself writes a result.)
    """

    kind: AttemptEndKind
    detail: str
    worker: str = ""
    ended_at: str = ""


class BaselineResult(Artifact):
    """The scores of a baseline on validation: majority class, TF-IDF, untrained model, probe, ...

    ``item_losses`` has the loss of each item in item order, ``item_weights`` the items' weights.
    """

    name: str
    title: str
    validation_loss: float | None = None
    objective: float | None = Field(None, description="None if it is the loss")
    metrics: dict[str, float] = Field(default_factory=dict)
    item_losses: tuple[float, ...] = ()
    item_weights: tuple[float, ...] = ()
    seconds: float = 0.0
    note: str = ""
    reference: bool = Field(False, description="for comparison only: no reason against fine-tuning")


class GeneratedAnswers(Record):
    """What a model answered to the first ``items`` test items, compared with the references.

    ``metrics``: ``bleu`` and ``chrf`` (0 to 100), ``rouge1``, ``rouge2``, ``rougeL`` and
    ``exact_match`` (0 to 1), ``pass@k`` if code was run. No answer is longer than ``max_tokens``.
    ``greedy_seconds`` is the time of one greedy answer to each item. ``shown_texts`` has the
    answers to the first items, shortened, by the item's index in the split. ``places`` are the
    indices of all answered items; ``item_metrics`` has, by metric, one number for each item, whose
    mean is the metric.
    """

    items: int
    metrics: dict[str, float]
    places: tuple[int, ...] = ()
    item_metrics: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    max_tokens: int
    seconds: float = 0.0
    greedy_seconds: float | None = None
    shown_texts: dict[int, str] = Field(default_factory=dict)


class ItemText(Record):
    """One test item as people read it: its input and its answer or class, shortened."""

    line: int = Field(description="in its source file, from 1")
    asked: str
    reference: str


class TestScore(Artifact):
    """What one model scored on the sealed test split.

    ``trial`` is None for a baseline. ``item_scores`` has the task's headline score of every
    test item (1 or 0 for accuracy) in item order, ``item_weights`` the items' weights in the loss.
    An item with weight 0 was not scored: its figures mean nothing. ``confusion`` has (true class,
    predicted class, number of items) for every pair that occurred, with classes as indices of the
    sorted class names. ``predicted`` has the predicted class of every item, ``confidence`` its
    probability. ``texts`` has the texts of some items, by index.
    """

    __test__ = False

    name: str
    trial: int | None = None
    seed: int | None = None
    test_loss: float | None = None
    metrics: dict[str, float]
    item_scores: tuple[float, ...]
    item_losses: tuple[float, ...] = ()
    item_weights: tuple[float, ...] = ()
    items_sha256: str = Field(description="of the items' content, in item order")
    confusion: tuple[tuple[int, int, int], ...] = ()
    predicted: tuple[int, ...] = ()
    confidence: tuple[float, ...] = ()
    texts: dict[int, ItemText] = Field(default_factory=dict)
    generated: GeneratedAnswers | None = None
    seconds: float | None = Field(None, description="of scoring all items, without tokenising")
    notes: tuple[EncodingNote, ...] = Field((), description="of the test split")


class TestSeal(Artifact):
    """The record of the only scoring of the test split: the ranking before it, and the scores.

    ``order`` lists the finalists (trial numbers), best first on validation. It is fixed when the
    split is opened: a resumed run can only finish an interrupted scoring.
    """

    __test__ = False

    order: tuple[int, ...]
    recommended: int | None = Field(
        None, description="the cheapest trial to train of those that are equal on validation"
    )
    opened_at: str
    headline_metric: str
    higher_is_better: bool
    items: int
    scores: tuple[TestScore, ...] = ()
    complete: bool = False
