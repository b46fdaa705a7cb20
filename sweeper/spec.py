"""The user's request: flags of a command and ``sweep.yaml``, resolved and complete.

Only types live here. Reading YAML with line numbers and near matches is ``sweeper.specfile``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator
from pydantic_core import PydanticCustomError

from sweeper.artifact import (
    MOST,
    VERSION,
    Amount,
    Artifact,
    Number,
    PositiveAmount,
    PositiveInt,
    Record,
    Seed,
)
from sweeper.features.parts import AllOptions, all_options

Task = Literal["classification", "instruction", "code", "domain"]
TASKS: tuple[Task, ...] = ("classification", "instruction", "code", "domain")
# Tasks of other tools that users may ask for, and where they are done.
_TRL = "TRL (https://huggingface.co/docs/trl)"
_HEADS = "transformers (https://huggingface.co/docs/transformers/tasks/sequence_classification)"
_ELSEWHERE = {
    **dict.fromkeys(("dpo", "kto", "orpo", "grpo", "ppo", "rlhf", "preference", "reward"), _TRL),
    **dict.fromkeys(("vision", "image", "audio", "video", "multimodal"), _TRL),
    **dict.fromkeys(("regression", "ranking", "token-classification", "ner"), _HEADS),
}

Scalar = bool | int | float | str


def without_gib(value: object) -> object:
    """A memory without its unit. GPUs are sold by the GB, which are GiB.

    >>> without_gib("24 GB"), without_gib("80gib"), without_gib(16)
    ('24', '80', 16)
    """
    if not isinstance(value, str):
        return value
    return re.sub(r"(?<=[\d.])\s*Gi?B?\s*$", "", value, flags=re.IGNORECASE)


Fraction = Annotated[float, Field(gt=0, lt=1)]

# The standard error of an accuracy over n rows is at most 50 points over the square root of n
# (binomial): one point at 2,500 rows, and a tenth of a point less for each further 600.
MOST_HELD_OUT_ROWS = 2500


class ModelSpec(Record):
    """One base model."""

    id: str = Field(
        min_length=1,
        description="a hub id, a local folder, packaged:minilm or packaged:smollm2 (models from "
        "pip packages), or a size such as 7B (a size can be planned for, not trained)",
    )
    revision: str | None = Field(None, description="branch, tag or commit of the model on the hub")
    trust_remote_code: bool = Field(False, description="run the model's own code")


SplitBy = Literal["stratified", "hash", "group", "time"]


class SourceSpec(Record):
    """One of several sources of examples that are trained on together."""

    path: str = Field(
        min_length=1, description="a file, a folder with official splits, or a data set of the hub"
    )
    name: str | None = Field(None, description="configuration of a data set that has several")
    split: str | None = Field(
        None, description="name of the split to train on, if it is not called train"
    )
    revision: str | None = Field(None, description="a commit or tag of the hub's data set")
    alias: str | None = Field(
        None, min_length=1, description="what reports call it; the name of the file if null"
    )
    weight: PositiveAmount | None = Field(
        None,
        description="share of the training rows, relative to the weights of the other sources; "
        "without weights every row is seen equally often",
    )
    format: str = Field("auto", description="format of the rows; auto recognises it")
    columns: dict[str, str] = Field(
        default_factory=dict, description="the column for each role of the format"
    )

    @property
    def title(self) -> str:
        """What reports call it."""
        stem = self.path.rstrip("/").rpartition("/")[2].partition(".")[0]
        return self.alias or stem or self.path


class DataSpec(Record):
    """The data set, or its number of examples."""

    path: str | None = Field(
        None,
        description="file (JSONL, JSON, CSV, TSV, Parquet, Arrow, xlsx, gz), folder with official "
        "splits, or data set of the hub",
    )
    sources: tuple[SourceSpec, ...] = Field(
        (), description="several sources with weights, instead of path"
    )
    name: str | None = Field(None, description="configuration of a data set that has several")
    split: str | None = Field(
        None, description="name of the split to train on, if it is not called train"
    )
    revision: str | None = Field(None, description="branch, tag or commit of the hub's data set")
    validation: str | None = Field(None, description="a file with the validation split")
    test: str | None = Field(None, description="a file with the test split")
    format: str = Field("auto", description="format of the rows; auto recognises it")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="the column for each role of the format (text, label, prompt, ...), or a "
        "template of columns such as '{code} {input}'",
    )
    examples: PositiveInt | None = Field(
        None, description="number of examples, for a plan without data"
    )
    max_rows: PositiveInt | None = Field(None, description="read at most this many rows")
    validation_fraction: Fraction = Field(
        0.15, description="share of the rows for validation, where no file is given"
    )
    test_fraction: Fraction = Field(
        0.15, description="share of the rows for the test, where no file is given"
    )
    max_held_out_rows: PositiveInt | None = Field(
        MOST_HELD_OUT_ROWS,
        description="rows that validation takes out of the data at most, and test as many; null "
        "for no limit",
    )
    split_seed: Seed = Field(0, description="another number gives another split")
    split_by: SplitBy = Field(
        "stratified",
        description="how rows are split: stratified (within each class), hash (near duplicates "
        "stay together), group (same split_column) or time (the last rows are the test)",
    )
    split_column: str | None = Field(None, description="the column for group or time")

    @property
    def commits(self) -> dict[str, str]:
        """From sources of the hub to their commits."""
        pairs = [(one.path, one.revision) for one in self.sources]
        return {path: commit for path, commit in pairs if commit}

    @property
    def named(self) -> str | None:
        """The data as messages call it: the path, or those of all sources."""
        return self.path or ", ".join(source.path for source in self.sources) or None


class HardwareSpec(Record):
    """The machine, where it is stated and not detected."""

    gpu: str | None = Field(None, description="plan for this GPU, such as RTX 4090")
    gpu_memory_gib: Annotated[PositiveAmount | None, BeforeValidator(without_gib)] = Field(
        None, description="memory of one GPU in GiB"
    )
    gpus: PositiveInt | None = Field(None, description="number of GPUs of one machine")
    nodes: PositiveInt = Field(1, description="number of machines")
    price_per_gpu_hour: Amount | None = Field(None, description="US dollars for one GPU hour")


class AimSpec(Record):
    """Goals and limits of the sweep."""

    strategies: tuple[str, ...] | None = Field(
        None, description="strategies to consider; by default all that rules do not leave out"
    )
    budget: str | None = Field(
        None, max_length=20, description="limit for all phases together: 8gpuh, 30usd or 2h"
    )
    tasks_on_one_base: PositiveInt = Field(
        1, description="number of tasks that will share the base model, by swapping adapters"
    )
    domain_distance: Literal["near", "far"] | None = Field(
        None,
        description="how far the data are from general text (near or far), instead of the "
        "measured distance",
    )
    margin_points: Amount = Field(
        1.0,
        description="differences below this many points of the task's metric do not matter",
    )


class ObjectiveSpec(Record):
    """What trials are compared by."""

    name: str = Field(
        "validation_loss",
        min_length=1,
        description="what trials are compared by: validation_loss, a metric (accuracy, macro_f1, "
        "rouge_l, exact_match, pass_at_1), or your own function (package.module:function)",
    )
    direction: Literal["minimize", "maximize"] | None = Field(
        None, description="direction of your function: minimize or maximize"
    )
    folder: str = Field(
        "", description="where the function's module is looked for, besides the working directory"
    )


ClassWeight = Literal["none", "balanced-sqrt", "balanced"]


class TrainingSpec(Record):
    """Choices that hold for every trial; None leaves them to the plan."""

    epochs: PositiveAmount | None = Field(None, description="passes over the data in a full trial")
    max_length: PositiveInt | None = Field(None, description="cap on the tokens of one example")
    precision: Literal["fp32", "bf16-mixed", "fp16-mixed", "bf16-pure"] | None = Field(
        None,
        description="number format of weights and computation: fp32, bf16-mixed, fp16-mixed or "
        "bf16-pure",
    )
    gradient_checkpointing: bool | None = Field(
        None, description="recompute activations: less memory, more time"
    )
    system_prompt: str | None = Field(None, description="for tasks that write text")
    early_stopping_patience: PositiveInt | None = Field(
        None,
        description="end a trial after this many rungs (validations) without a better validation "
        "loss",
    )
    stop_overfitting: bool | None = Field(
        None,
        description="end a trial that overfits, with its best weights; by default where rows are "
        "seen more than once",
    )
    classes_by: Literal["head", "generate"] = Field(
        "head",
        description="how to classify: head (a linear head) or generate (the model writes the "
        "class's name)",
    )
    class_weight: ClassWeight | None = Field(
        None,
        description="weight of rare classes in the training loss of a new head: none, "
        "balanced-sqrt or balanced",
    )


class EvaluationSpec(Record):
    """What is measured when the test split is scored."""

    generate_items: Annotated[int, Field(ge=0, le=MOST)] | None = Field(
        None,
        description="test items for which the base and the finalists write answers; 0 for none, by "
        "default 20 on a CPU and 256 on a GPU",
    )
    no_texts: bool = Field(
        False, description="keep no test rows and no answers for the report to show"
    )


class SearchSpec(Record):
    """How the study is run."""

    trials: PositiveInt = Field(
        20, description="total number of trials, over all calls of the command"
    )
    timeout_seconds: PositiveAmount | None = Field(
        None, description="end the search after this time"
    )
    workers: PositiveInt = Field(1, description="number of worker processes")
    executor: str = Field(
        "local", description="where trials train: local, or a feature that starts workers elsewhere"
    )
    seed: Seed = Field(0, description="seed of splits, samplers and trainings")
    sampler: str = Field("sweeper", description="or optuna:NAME, or module:Class")
    pruner: str = Field("sweeper", description="or optuna:NAME, or module:Class")
    target_loss: PositiveAmount | None = Field(
        None, description="end the search at the first completed trial at or below this loss"
    )
    stop_when_settled: bool = Field(
        False,
        description="end the search once the expected gain of five more trials is far below noise",
    )
    confirmation_seeds: PositiveInt = Field(
        3, description="number of trainings of each finalist, the first one included"
    )
    finalists: PositiveInt = Field(
        3,
        description="number of trials that are trained again with more seeds; each strategy's "
        "best trial comes first",
    )


class OwnTrial(Record):
    """A configuration of the user, trained before the search."""

    strategy: str = Field(description="of the configuration")
    model: str | None = Field(
        None, description="the id of one of several models; the first that has the strategy if null"
    )
    parameters: dict[str, Scalar] = Field(
        default_factory=dict, description="values by name; the plan's default for the others"
    )


#: Stands for every strategy that has the parameter.
EVERY_STRATEGY = "all"
#: Parameters whose value is a list of the model's modules, held as one string with commas.
MODULE_PARAMETERS = ("target_modules", "modules_to_save")


class ParameterSpec(Record):
    """The user's declaration of one parameter: choices, or a range.

    One choice is a fixed value. What is None stays as the rule book has it.
    """

    choices: tuple[Scalar, ...] | None = Field(
        None, min_length=1, description="values to choose from; a single one fixes the parameter"
    )
    low: Number | None = Field(None, description="lowest value")
    high: Number | None = Field(None, description="highest value")
    log: bool | None = Field(None, description="search on a logarithmic scale")
    step: PositiveAmount | None = Field(None, description="distance between two values")
    default: Scalar | None = Field(None, description="value of the strategy's first trial")


Declared = dict[str, dict[str, ParameterSpec]]

# The installed features decide its fields.
if TYPE_CHECKING:
    FeatureOptions = AllOptions
else:
    FeatureOptions = all_options()


@dataclass(frozen=True)
class Places:
    """Where each value of a spec was given. Says nothing about what was asked for, so that two
    specs from different files are equal.

    Args:
        of: From the path of a key to a text such as ``sweep.yaml:12 search.trials``.
        moved: From absolute paths to the relative ones of a run's file that is read elsewhere.
    """

    of: Callable[[tuple[str | int, ...]], str] | None = field(default=None, compare=False)
    moved: Mapping[str, str] = field(default_factory=dict, compare=False)

    def typed(self, path: str) -> str:
        """A path as the run's file has it."""
        return self.moved.get(path, path)

    def where(self, path: tuple[str | int, ...]) -> str:
        """File, line and key of a value, or its flag; the key alone where no more is known."""
        return self.of(path) if self.of else ".".join(str(part) for part in path)


class Spec(Artifact):
    """The request of a sweep. ``sweep.yaml`` has exactly these keys.

    Part of a run's identity: ``task``, ``models``, ``data``, ``objective``, ``aim.strategies``,
    ``training``, ``parameters``, ``search.seed`` and some options of features. ``evaluation`` and
    the rest of ``search`` may change between calls.
    """

    schema_version: int = Field(
        VERSION, ge=VERSION, le=VERSION, description="version of these keys"
    )
    name: str | None = Field(None, description="the run's folder, runs/NAME")
    task: Task = Field(description="what to learn: classification, instruction, code or domain")
    models: tuple[ModelSpec, ...] = Field(
        (),
        description="one base model, or several that compete; none to let a plan compare some of "
        "the catalogue",
    )
    data: DataSpec = Field(default_factory=lambda: DataSpec(), description="the examples")
    hardware: HardwareSpec = Field(
        default_factory=lambda: HardwareSpec(), description="the machine; detected if left out"
    )
    objective: ObjectiveSpec = Field(
        default_factory=lambda: ObjectiveSpec(), description="what trials are compared by"
    )
    aim: AimSpec = Field(default_factory=lambda: AimSpec(), description="what the result is for")
    training: TrainingSpec = Field(
        default_factory=lambda: TrainingSpec(), description="choices that hold for every trial"
    )
    parameters: Declared = Field(
        default_factory=dict,
        description="hyperparameters by strategy, or for all: a value, a list of choices, or "
        "{low, high, log, step, default}",
    )
    search: SearchSpec = Field(
        default_factory=lambda: SearchSpec(), description="how the study is run"
    )
    evaluation: EvaluationSpec = Field(
        default_factory=lambda: EvaluationSpec(),
        description="what is measured when the test split is scored",
    )
    trials: tuple[OwnTrial, ...] = Field((), description="own configurations to beat")
    rules: tuple[str, ...] = Field(
        (), description="folders of your own rules, which add to the rule book or override it"
    )
    features: FeatureOptions = Field(
        default_factory=lambda: FeatureOptions(), description="options of features, by their names"
    )
    _places: Places = PrivateAttr(default_factory=Places)

    @field_validator("task", mode="before")
    @classmethod
    def _done_here(cls, value: object) -> object:
        where = _ELSEWHERE.get(value.lower()) if isinstance(value, str) else None
        if where is None:
            return value
        told = {"what": f"task = {value!r} is out of scope", "why": f"Known: {', '.join(TASKS)}."}
        raise PydanticCustomError("fault", "{what}", {**told, "fix": f"It is done by {where}."})

    @property
    def places(self) -> Places:
        """Where its values were given."""
        return self._places

    def given_at(self, places: Places) -> Self:
        """The same spec, with the places where its values were given."""
        same = self.model_copy()
        same._places = places
        return same

    def declares(self, parameter: str) -> bool:
        """Whether a parameter is declared for any strategy."""
        return any(parameter in items for items in self.parameters.values())

    def declared(self, strategy: str) -> dict[str, tuple[ParameterSpec, tuple[str, ...]]]:
        """Declarations for a strategy, by parameter, with their paths; ``all`` included."""
        found: dict[str, tuple[ParameterSpec, tuple[str, ...]]] = {}
        for key in (EVERY_STRATEGY, strategy):
            for name, one in self.parameters.get(key, {}).items():
                found[name] = (one, ("parameters", key, name))
        return found
