"""The user's request: flags of a command and ``sweep.yaml``, resolved and complete.

The types check what they hold. Reading YAML with line numbers is ``sweeper.specfile``.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sweeper.artifact import VERSION, Artifact, PositiveInt, Record
from sweeper.declared.yaml_files import known_strategies
from sweeper.errors import near_match
from sweeper.features import loader
from sweeper.features.parts import AllOptions, all_options
from sweeper.hyperparameters import TARGETS, ClassWeight, is_number
from sweeper.hyperparameters import Scalar as Scalar
from sweeper.yaml_models import fault, faults
from sweeper.yamlfile import Path_

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


def _names(known: Callable[[], Iterable[str]], kind: str) -> tuple[Any, Any]:
    """Metadata of a text that must be one of these names."""

    def check(name: str) -> str:
        if name not in (names := tuple(known())):
            raise fault(f"there is no {kind} {name!r}", fix=near_match(name, names))
        return name

    listed = Field(json_schema_extra=lambda schema: schema.update(enum=[*known()]))
    return AfterValidator(check), listed


#: Stands for every strategy that has the parameter.
EVERY_STRATEGY = "all"
StrategyName = Annotated[str, *_names(known_strategies, "strategy")]
_StrategyOrAll = Annotated[str, *_names(lambda: (*known_strategies(), EVERY_STRATEGY), "strategy")]
_Executor = Annotated[
    str, *_names(lambda: ("local", *(one.name for one in loader.having("pool"))), "executor")
]


def names(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def _seconds(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``15m``, ``2h`` or ``1d``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?", text.strip())
    if match is None:
        raise fault(f"{text!r} is not a duration", fix="Write 90s, 15m, 2h or 1d.")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def _without_gib(text: str) -> str:
    """A memory without its unit. GPUs are sold by the GB, which are GiB."""
    return re.sub(r"(?<=[\d.])\s*Gi?B?\s*$", "", text, flags=re.IGNORECASE)


def _parsed(parse: Callable[[str], object]) -> BeforeValidator:
    """Values may also be texts, which this function reads."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


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

    model_config = ConfigDict(allow_inf_nan=False)

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
    weight: float | None = Field(
        None,
        gt=0,
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
    split_seed: int = Field(0, ge=0, description="another number gives another split")
    split_by: SplitBy = Field(
        "stratified",
        description="how rows are split: stratified (within each class), hash (near duplicates "
        "stay together), group (same split_column) or time (the last rows are the test)",
    )
    split_column: str | None = Field(None, description="the column for group or time")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found: list[tuple[Path_, PydanticCustomError]] = []
        if self.examples is not None and self.named is not None:
            why = "A number of examples replaces data; here there are data."
            fix = f"Leave it out; to use at most so many, give --max-rows {self.examples}."
            what = f"examples = {self.examples} beside {self.named}"
            found.append((("examples",), fault(what, why, fix)))
        for key in ("path", "validation", "test") if self.sources else ():
            if getattr(self, key) is not None:
                fix = f"Leave out data.{key}; a source may be a folder with splits of its own."
                found.append(((key,), fault(f"{key} beside sources", "", fix)))
        titles = [source.title for source in self.sources]
        weighted = any(source.weight is not None for source in self.sources)
        for place, source in enumerate(self.sources):
            at: Path_ = ("sources", place, "path")
            if source.title in titles[:place]:
                what = f"two sources are called {source.title!r}"
                found.append((at, fault(what, "", "Give each source a name of its own: alias.")))
            if weighted and source.weight is None:
                fix = "Give every source a weight, or none."
                found.append((at, fault(f"{source.title!r} has no weight", "", fix)))
        faults(found)
        return self

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

    model_config = ConfigDict(allow_inf_nan=False)

    gpu: str | None = Field(None, description="plan for this GPU, such as RTX 4090")
    gpu_memory_gib: Annotated[float | None, _parsed(_without_gib)] = Field(
        None, gt=0, description="memory of one GPU in GiB"
    )
    gpus: PositiveInt | None = Field(None, description="number of GPUs of one machine")
    nodes: PositiveInt = Field(1, description="number of machines")
    price_per_gpu_hour: float | None = Field(None, ge=0, description="US dollars for one GPU hour")


class AimSpec(Record):
    """Goals and limits of the sweep."""

    strategies: Annotated[tuple[StrategyName, ...] | None, _parsed(names)] = Field(
        None, description="strategies to consider; by default all that rules do not leave out"
    )
    budget: str | None = Field(
        None, description="limit for all phases together: 8gpuh, 30usd or 2h"
    )
    tasks_on_one_base: PositiveInt = Field(
        1, description="number of tasks that will share the base model, by swapping adapters"
    )
    domain_distance: Literal["near", "far"] | None = Field(
        None,
        description="how far the data are from general text (near or far), instead of the "
        "measured distance",
    )
    margin_points: float = Field(
        1.0,
        ge=0,
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


class TrainingSpec(Record):
    """Choices that hold for every trial; None leaves them to the plan."""

    epochs: float | None = Field(None, gt=0, description="passes over the data in a full trial")
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

    generate_items: Annotated[int, Field(ge=0)] | None = Field(
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
    timeout_seconds: Annotated[float | None, _parsed(_seconds)] = Field(
        None, gt=0, description="end the search after this time"
    )
    workers: PositiveInt = Field(1, description="number of worker processes")
    executor: _Executor = Field(
        "local", description="where trials train: local, or a feature that starts workers elsewhere"
    )
    seed: int = Field(0, ge=0, description="seed of splits, samplers and trainings")
    sampler: str = Field("sweeper", description="or optuna:NAME, or module:Class")
    pruner: str = Field("sweeper", description="or optuna:NAME, or module:Class")
    target_loss: float | None = Field(
        None, gt=0, description="end the search at the first completed trial at or below this loss"
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

    strategy: StrategyName = Field(description="of the configuration")
    model: str | None = Field(
        None, description="the id of one of several models; the first that has the strategy if null"
    )
    parameters: dict[str, Scalar] = Field(
        default_factory=dict, description="values by name; the plan's default for the others"
    )


#: Parameters whose value is a list of the model's modules, held as one string with commas.
MODULE_PARAMETERS = ("target_modules", "modules_to_save")


def _value(given: object) -> object:
    """One value; a list of names as one string."""
    if isinstance(given, list) and given and all(isinstance(name, str) for name in given):
        return ",".join(given)
    if not isinstance(given, Scalar) or given == "":
        fix = "Write a value, a list of choices, or {low: 1e-5, high: 1e-2, log: true}."
        raise fault(f"{given!r} is no value", "", fix)
    return given


def unlike(choices: Iterable[Scalar]) -> tuple[Scalar, ...]:
    """Each choice once; True and 1 are two."""
    return tuple({(type(choice), choice): choice for choice in choices}.values())


_ModuleNames = Annotated[list[str], Field(min_length=1)]
_Value = Annotated[Scalar, BeforeValidator(_value, json_schema_input_type=Scalar | _ModuleNames)]
_Some = Annotated[list[_Value], Field(min_length=1)]
_Values = Annotated[
    tuple[_Value, ...],
    AfterValidator(unlike),
    BeforeValidator(lambda given: given, json_schema_input_type=_Some),
]
_Number = Annotated[float, Field(strict=True)]


class ParameterSpec(Record):
    """The user's declaration of one parameter: choices, or a range.

    One choice is a fixed value. What is None stays as the rule book has it.
    """

    model_config = ConfigDict(allow_inf_nan=False, json_schema_extra={"minProperties": 1})

    choices: _Values | None = Field(
        None, description="values to choose from; a single one fixes the parameter"
    )
    low: _Number | None = Field(None, description="lowest value")
    high: _Number | None = Field(None, description="highest value")
    log: bool | None = Field(None, strict=True, description="search on a logarithmic scale")
    step: _Number | None = Field(None, gt=0, description="distance between two values")
    default: _Value | None = Field(None, description="value of the strategy's first trial")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high, default = self.low, self.high, self.default
        ranged = any(one is not None for one in (low, high, self.log, self.step))
        wrong = {
            "it declares nothing": self.choices == ()
            or not (ranged or self.choices or default is not None),
            "choices and a range, of which one is enough": ranged and self.choices is not None,
            f"default = {default!r} is not among choices": default is not None
            and default not in (self.choices or (default,)),
            f"low <= high must hold, but got {low = }, {high = }": low is not None
            and high is not None
            and low > high,
            "a logarithmic range begins above 0 and has no step": self.log
            and (self.step is not None or (low is not None and low <= 0)),
        }
        if is_number(default):
            wrong[f"default = {default!r} lies below {low = }"] = low is not None and default < low
            wrong[f"default = {default!r} lies above {high = }"] = (
                high is not None and default > high
            )
        for what, holds in wrong.items():
            if holds:
                raise fault(what)
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, fields: SerializerFunctionWrapHandler) -> Any:
        given = {key: value for key, value in fields(self).items() if value is not None}
        return given["choices"][0] if len(given) == len(given.get("choices", ())) == 1 else given


def _spelled_out(given: Any) -> Any:
    """The choices of a value or a list; anything else as it is."""
    if isinstance(given, Mapping | ParameterSpec):
        return given
    return {"choices": given if isinstance(given, list | tuple) else [given]}


def _lists_as_values(items: Any) -> Any:
    """Parameters with a list of modules as one value, where it is no list of choices."""
    names = TARGETS.keys()
    for name in MODULE_PARAMETERS if isinstance(items, Mapping) else ():
        value = items.get(name)
        if not isinstance(value, list) or any(isinstance(part, list) for part in value):
            continue
        if not names & set(value):
            items = {**items, name: [value]}
        elif not set(value) <= names:
            fix = f"Write {{choices: [[{value[0]}], all-linear]}} to choose between them."
            what = f"{name} = {value!r} holds names of layers and {', '.join(names & set(value))}"
            faults([((name,), fault(what, "A list of names is one value.", fix))])
    return items


_Form = Annotated[
    ParameterSpec,
    BeforeValidator(_spelled_out, json_schema_input_type=_Value | _Some | ParameterSpec),
]
Declared = dict[
    _StrategyOrAll,
    Annotated[dict[str, _Form], Field(min_length=1), BeforeValidator(_lists_as_values)],
]

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

    schema_version: int = Field(VERSION, description="version of these keys")
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
        why = f"Known: {', '.join(TASKS)}."
        raise fault(f"task = {value!r} is out of scope", why, f"It is done by {where}.")

    @model_validator(mode="after")
    def _of_its_task(self) -> Self:
        if self.training.classes_by == "generate" and self.task != "classification":
            what = f"classes_by = 'generate' in task {self.task}"
            fix = "Leave it out, or choose --task classification."
            why = "Only a classification has classes to tell apart."
            faults([(("training", "classes_by"), fault(what, why, fix))])
        return self

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
