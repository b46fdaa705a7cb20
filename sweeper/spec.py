"""The spec of a sweep: all keys of ``sweep.yaml``, with their flags.

The types validate values. ``sweeper.specfile`` reads ``sweep.yaml`` with line numbers.
"""

import math
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

from sweeper.artifact import (
    MAX_NUMBER,
    VERSION,
    Amount,
    Artifact,
    PositiveAmount,
    PositiveInt,
    Record,
    Seed,
)
from sweeper.errors import near_match
from sweeper.features import loader
from sweeper.features.parts import AllOptions, Flag, all_options
from sweeper.hyperparameters import TARGETS, ClassWeight, is_number
from sweeper.hyperparameters import Scalar as Scalar
from sweeper.traits.traits import known_strategies
from sweeper.yamlfile import KeyPath, fault, raise_faults

Task = Literal["classification", "instruction", "code", "domain"]
TASKS: tuple[Task, ...] = ("classification", "instruction", "code", "domain")
_TRL = "TRL (https://huggingface.co/docs/trl)"
_HEADS = "transformers (https://huggingface.co/docs/transformers/tasks/sequence_classification)"
# Tasks that sweeper does not have, and the tools that have them.
_OTHER_TOOLS = {
    **dict.fromkeys(("dpo", "kto", "orpo", "grpo", "ppo", "rlhf", "preference", "reward"), _TRL),
    **dict.fromkeys(("vision", "image", "audio", "video", "multimodal"), _TRL),
    **dict.fromkeys(("regression", "ranking", "token-classification", "ner"), _HEADS),
}


def _one_of(candidates: Callable[[], Iterable[str]], kind: str) -> tuple[Any, Any]:
    """Pydantic metadata of a text that must be one of ``candidates``."""

    def check(name: str) -> str:
        if name not in (names := tuple(candidates())):
            raise fault(f"there is no {kind} {name!r}", fix=near_match(name, names))
        return name

    schema_names = Field(json_schema_extra=lambda schema: schema.update(enum=[*candidates()]))
    return AfterValidator(check), schema_names


#: Stands for all strategies that have the parameter, in place of a strategy's name.
EVERY_STRATEGY = "all"
StrategyName = Annotated[str, *_one_of(known_strategies, "strategy")]
_StrategyOrAll = Annotated[str, *_one_of(lambda: (*known_strategies(), EVERY_STRATEGY), "strategy")]
_Executor = Annotated[
    str,
    *_one_of(
        lambda: ("local", *(feature.name for feature in loader.features_with("pool"))), "executor"
    ),
]


def names(text: str) -> list[str]:
    """The items of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


_UNIT_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def _seconds(text: str) -> float:
    """The seconds of a duration such as ``90``, ``90s``, ``15m``, ``2h`` or ``1d``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?", text.strip())
    if match is None:
        raise fault(f"{text!r} is not a duration", fix="Write 90s, 15m, 2h or 1d.")
    return float(match[1]) * _UNIT_SECONDS[match[2] or "s"]


def _without_gib(text: str) -> str:
    """A memory size without its unit. GPU vendors write GiB as GB."""
    return re.sub(r"(?<=[\d.])\s*Gi?B?\s*$", "", text, flags=re.IGNORECASE)


def _parsed_by(parse: Callable[[str], object]) -> BeforeValidator:
    """A validator that parses values that are texts."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


Fraction = Annotated[float, Field(gt=0, lt=1)]
_Strategies = Annotated[tuple[StrategyName, ...], _parsed_by(names)]
_Timeout = Annotated[PositiveAmount, _parsed_by(_seconds)]
_Gib = Annotated[PositiveAmount, _parsed_by(_without_gib)]
_Distance = Literal["near", "far"]
_Direction = Literal["minimize", "maximize"]
_Precision = Literal["fp32", "bf16-mixed", "fp16-mixed", "bf16-pure"]

# Default of ``data.max_held_out_rows``. The standard error of an accuracy over n rows is at most
# 50 / sqrt(n) points (binomial): one point at 2,500 rows.
MAX_HELD_OUT_ROWS = 2500


class _Section(Record):
    """Base of sections of ``sweep.yaml``. The text below a key describes it; a ``Flag`` sets it."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Join the lines of each key's description."""
        for key in cls.model_fields.values():
            key.description = " ".join((key.description or "").split())


class ModelSpec(_Section):
    """One base model."""

    id: Annotated[str, Flag("--model", plan=True)] = Field(min_length=1)
    """a hub id, a local folder, packaged:minilm or packaged:smollm2 (models from pip packages), or
    a size such as 7B (a size can be planned for, not trained)"""
    revision: Annotated[str | None, Flag("--revision", plan=True)] = None
    """branch, tag or commit of the model on the hub"""
    trust_remote_code: Annotated[bool, Flag("--trust-remote-code", plan=True)] = False
    """run the model's own code"""


SplitBy = Literal["stratified", "hash", "group", "time"]


class SourceSpec(_Section):
    """One of several sources of training data."""

    path: str = Field(min_length=1)
    """a file, a folder with official splits, or a data set of the hub"""
    name: str | None = None
    """configuration of a data set that has several"""
    split: str | None = None
    """name of the split to train on, if it is not called train"""
    revision: str | None = None
    """a commit or tag of the hub's data set"""
    alias: str | None = Field(None, min_length=1)
    """name of the source in reports; that of the file if null"""
    weight: PositiveAmount | None = None
    """share of the training rows, relative to the weights of the other sources; without weights
    every row is seen equally often"""
    format: str = "auto"
    """format of the rows; auto recognises it"""
    columns: dict[str, str] = Field(default_factory=dict)
    """the column for each role of the format"""

    @property
    def title(self) -> str:
        """The name of the source in reports."""
        stem = self.path.rstrip("/").rpartition("/")[2].partition(".")[0]
        return self.alias or stem or self.path


class DataSpec(_Section):
    """The data set, or its number of examples."""

    path: Annotated[str | None, Flag("--data", plan=True)] = None
    """file (JSONL, JSON, CSV, TSV, Parquet, Arrow, xlsx, gz), folder with official splits, or data
    set of the hub"""
    sources: tuple[SourceSpec, ...] = ()
    """several sources with weights, instead of path"""
    name: Annotated[str | None, Flag("--data-name", plan=True)] = None
    """configuration of a data set that has several"""
    split: Annotated[str | None, Flag("--data-split", plan=True)] = None
    """name of the split to train on, if it is not called train"""
    revision: Annotated[str | None, Flag("--data-revision", plan=True)] = None
    """branch, tag or commit of the hub's data set"""
    validation: Annotated[str | None, Flag("--validation", plan=True)] = None
    """a file with the validation split"""
    test: Annotated[str | None, Flag("--test", plan=True)] = None
    """a file with the test split"""
    format: Annotated[str, Flag("--format", plan=True)] = "auto"
    """format of the rows; auto recognises it"""
    columns: Annotated[dict[str, str], Flag("--column", plan=True)] = Field(default_factory=dict)
    """the column for each role of the format (text, label, prompt, ...), or a template of columns
    such as '{code} {input}'"""
    examples: Annotated[PositiveInt | None, Flag("--examples", plan=True)] = None
    """number of examples, for a plan without data"""
    assumed_length: Annotated[PositiveInt | None, Flag("--assume-length", plan=True)] = None
    """mean tokens of an example, for a plan without data"""
    max_rows: Annotated[PositiveInt | None, Flag("--max-rows", plan=True)] = None
    """read at most this many rows"""
    validation_fraction: Fraction = 0.15
    """share of the rows for validation, where no file is given"""
    test_fraction: Fraction = 0.15
    """share of the rows for the test, where no file is given"""
    max_held_out_rows: PositiveInt | None = MAX_HELD_OUT_ROWS
    """rows that validation takes out of the data at most, and test as many; null for no limit"""
    split_seed: Seed = 0
    """another number gives another split"""
    split_by: Annotated[SplitBy, Flag("--split-by", plan=True)] = "stratified"
    """how rows are split: stratified (within each class), hash (near duplicates stay together),
    group (same split_column) or time (the last rows are the test)"""
    split_column: Annotated[str | None, Flag("--split-column", plan=True)] = None
    """the column for group or time"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems: list[tuple[KeyPath, PydanticCustomError]] = []
        if self.examples is not None and self.named is not None:
            why = "A number of examples is for a plan without data."
            fix = f"Leave it out; to read at most so many, give --max-rows {self.examples}."
            what = f"examples = {self.examples} is given together with {self.named}"
            problems.append((("examples",), fault(what, why, fix)))
        for key in ("path", "validation", "test") if self.sources else ():
            if getattr(self, key) is not None:
                fix = f"Leave out data.{key}; a source may be a folder with splits of its own."
                what = f"{key} is given together with sources"
                problems.append(((key,), fault(what, "", fix)))
        titles = [source.title for source in self.sources]
        weighted = any(source.weight is not None for source in self.sources)
        for number, source in enumerate(self.sources):
            path: KeyPath = ("sources", number, "path")
            if source.title in titles[:number]:
                what = f"two sources are called {source.title!r}"
                problems.append((path, fault(what, "", "Give each source its own alias.")))
            if weighted and source.weight is None:
                fix = "Give every source a weight, or none."
                problems.append((path, fault(f"{source.title!r} has no weight", "", fix)))
        raise_faults(problems)
        return self

    @property
    def commits(self) -> dict[str, str]:
        """The revision of each source that has one, by its path."""
        pairs = [(source.path, source.revision) for source in self.sources]
        return {path: commit for path, commit in pairs if commit}

    @property
    def named(self) -> str | None:
        """The data in messages: the path, or the paths of the sources; None without data."""
        return self.path or ", ".join(source.path for source in self.sources) or None


class HardwareSpec(_Section):
    """The machine: what is stated here is not detected."""

    gpu: Annotated[str | None, Flag("--gpu", plan=True)] = None
    """plan for this GPU, such as RTX 4090"""
    gpu_memory_gib: Annotated[_Gib | None, Flag("--gpu-memory", plan=True)] = None
    """memory of one GPU in GiB"""
    gpus: Annotated[PositiveInt | None, Flag("--gpus", plan=True)] = None
    """number of GPUs of one machine"""
    nodes: Annotated[PositiveInt, Flag("--nodes", plan=True)] = 1
    """number of machines"""
    price_per_gpu_hour: Annotated[Amount | None, Flag("--price", plan=True)] = None
    """US dollars for an hour of a GPU, or of this machine without GPUs"""


class AimSpec(_Section):
    """Goals and limits of the sweep."""

    strategies: Annotated[_Strategies | None, Flag("--strategies", plan=True)] = None
    """strategies to consider; by default all that rules do not leave out"""
    budget: Annotated[str | None, Flag("--budget", plan=True)] = Field(None, max_length=20)
    """limit for all phases together: 8gpuh, 30usd or 2h"""
    points_per_doubling: Annotated[Amount, Flag("--points-per-doubling", plan=True)] = 0.35
    """points of quality that a trial of twice the time must bring"""
    tasks_on_one_base: Annotated[PositiveInt, Flag("--tasks-on-one-base", plan=True)] = 1
    """number of tasks that will share the base model, by swapping adapters"""
    domain_distance: Annotated[_Distance | None, Flag("--domain-distance", plan=True)] = None
    """how far the data are from general text (near or far), instead of the measured distance"""
    margin_points: Annotated[Amount, Flag("--margin", plan=True)] = 1.0
    """differences below this many points of the task's metric do not matter"""


class ObjectiveSpec(_Section):
    """The objective that trials are compared by."""

    name: Annotated[str, Flag("--objective", plan=True)] = Field("validation_loss", min_length=1)
    """what trials are compared by: validation_loss, a metric (accuracy, macro_f1, rouge_l,
    exact_match, pass_at_1), or your own function (package.module:function)"""
    direction: Annotated[_Direction | None, Flag("--objective-direction", plan=True)] = None
    """direction of your function: minimize or maximize"""
    folder: str = ""
    """where the function's module is looked for, besides the working directory"""


class TrainingSpec(_Section):
    """Settings of all trials; None leaves them to the plan."""

    epochs: Annotated[PositiveAmount | None, Flag("--epochs", plan=True)] = None
    """passes over the data in a full trial"""
    max_length: Annotated[PositiveInt | None, Flag("--max-length", plan=True)] = None
    """cap on the tokens of one example"""
    precision: Annotated[_Precision | None, Flag("--precision", plan=True)] = None
    """number format of weights and computation: fp32, bf16-mixed, fp16-mixed or bf16-pure"""
    gpus_per_trial: Annotated[PositiveInt, Flag("--gpus-per-trial", plan=True)] = 1
    """GPUs that train one trial together, each with the whole model (DDP)"""
    gradient_checkpointing: bool | None = None
    """recompute activations: less memory, more time"""
    system_prompt: str | None = None
    """for tasks that write text"""
    early_stopping_patience: Annotated[PositiveInt | None, Flag("--patience", plan=True)] = None
    """end a trial after this many rungs (validations) without a better validation loss"""
    stop_overfitting: bool | None = None
    """end a trial that overfits, with its best weights; by default where rows are seen more than
    once"""
    classes_by: Annotated[Literal["head", "generate"], Flag("--classes-by", plan=True)] = "head"
    """how to classify: head (a linear head) or generate (the model writes the class's name)"""
    class_weight: Annotated[ClassWeight | None, Flag("--class-weight", plan=True)] = None
    """weight of rare classes in the training loss of a new head: none, balanced-sqrt or balanced"""


class EvaluationSpec(_Section):
    """Settings of scoring on the test split."""

    generate_items: Annotated[int | None, Flag("--generate-items")] = Field(
        None, ge=0, le=MAX_NUMBER
    )
    """test items for which the base and the finalists write answers; 0 for none, by default 20 on a
    CPU and 256 on a GPU"""
    no_texts: Annotated[bool, Flag("--no-texts")] = False
    """keep no test rows and no answers for the report to show"""


class SearchSpec(_Section):
    """Settings of the search."""

    trials: Annotated[PositiveInt, Flag("--trials", plan=True)] = 20
    """total number of trials, over all calls of the command"""
    timeout_seconds: Annotated[_Timeout | None, Flag("--timeout")] = None
    """end the search after this time"""
    workers: Annotated[PositiveInt | None, Flag("--workers", plan=True)] = None
    """number of worker processes; by default one, or one for each GPU (or group of GPUs a trial)"""
    executor: Annotated[_Executor, Flag("--executor")] = "local"
    """where trials train: local, or a feature that starts workers elsewhere"""
    seed: Annotated[Seed, Flag("--seed", plan=True)] = 0
    """seed of splits, samplers and trainings"""
    sampler: str = "sweeper"
    """or optuna:NAME, or module:Class"""
    pruner: str = "sweeper"
    """or optuna:NAME, or module:Class"""
    target_loss: Annotated[PositiveAmount | None, Flag("--target-loss")] = None
    """end the search at the first completed trial at or below this loss"""
    stop_when_settled: Annotated[bool, Flag("--stop-when-settled")] = False
    """end the search once the expected gain of five more trials is far below noise"""
    confirmation_seeds: Annotated[PositiveInt, Flag("--confirmation-seeds", plan=True)] = 3
    """number of trainings of each finalist, the first one included; two more where seeds are most
    of the noise between finalists, unless this or a budget is given"""
    finalists: Annotated[PositiveInt, Flag("--finalists", plan=True)] = 3
    """number of trials that are trained again with more seeds; each strategy's best trial comes
    first"""


class TrialRequest(_Section):
    """A configuration that the user states, trained before the search."""

    strategy: StrategyName
    """strategy to train with"""
    model: str | None = None
    """the id of one of several models; the first that has the strategy if null"""
    parameters: dict[str, Scalar] = Field(default_factory=dict)
    """values by name; the plan's default for the others"""


#: Parameters whose value is a list of the model's modules, stored as one comma-separated string.
MODULE_PARAMETERS = ("target_modules", "modules_to_save")


def _scalar(value: object) -> object:
    """A scalar value; a list of names becomes one string."""
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return ",".join(value)
    if not isinstance(value, Scalar) or value == "":
        fix = "Write a value, a list of choices, or {low: 1e-5, high: 1e-2, log: true}."
        raise fault(f"{value!r} is not a value", "", fix)
    return value


def distinct(choices: Iterable[Scalar]) -> tuple[Scalar, ...]:
    """The choices without duplicates; True and 1 are distinct."""
    return tuple({(type(choice), choice): choice for choice in choices}.values())


_ModuleNames = Annotated[list[str], Field(min_length=1)]
_Value = Annotated[Scalar, BeforeValidator(_scalar, json_schema_input_type=Scalar | _ModuleNames)]
_ValueList = Annotated[list[_Value], Field(min_length=1)]
_Values = Annotated[
    tuple[_Value, ...],
    AfterValidator(distinct),
    # Only for the JSON schema, which would otherwise not say that the list has items.
    BeforeValidator(lambda given: given, json_schema_input_type=_ValueList),
]
_Number = Annotated[float, Field(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]


class ParameterSpec(_Section):
    """The user's declaration of a parameter: choices, or a range.

    A single choice is a fixed value. Where a field is None, the rule book's value stays.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    choices: _Values | None = None
    """values to choose from; a single one fixes the parameter"""
    low: _Number | None = None
    """lowest value"""
    high: _Number | None = None
    """highest value"""
    log: bool | None = Field(None, strict=True)
    """search on a logarithmic scale"""
    step: _Number | None = Field(None, gt=0)
    """distance between two values"""
    default: _Value | None = None
    """value of the strategy's first trial"""

    @property
    def has_range(self) -> bool:
        """Whether ``low``, ``high``, ``log`` or ``step`` is declared."""
        return any(part is not None for part in (self.low, self.high, self.log, self.step))

    @property
    def values(self) -> tuple[Scalar, ...]:
        """The declared choices, upper end and default."""
        values = (*(self.choices or ()), self.high, self.default)
        return tuple(value for value in values if value is not None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low = -math.inf if self.low is None else self.low
        high, default = math.inf if self.high is None else self.high, self.default
        has_range = self.has_range
        problems = {
            "no value is declared": self.choices == ()
            or not (has_range or self.choices or default is not None),
            "both choices and a range are declared": has_range and self.choices is not None,
            f"default = {default!r} is not among choices": default is not None
            and default not in (self.choices or (default,)),
            f"low <= high must hold, but got {low = }, {high = }": low > high,
            f"default = {default!r} lies outside of {low = }, {high = }": is_number(default)
            and not low <= default <= high,
            "a logarithmic range must begin above 0 and have no step": self.log
            and (self.step is not None or -math.inf < low <= 0),
        }
        for what, is_wrong in problems.items():
            if is_wrong:
                raise fault(what)
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, fields: SerializerFunctionWrapHandler) -> Any:
        """The declaration as short as in ``sweep.yaml``: a fixed value alone, else stated keys."""
        stated_keys = {key: value for key, value in fields(self).items() if value is not None}
        return (
            stated_keys["choices"][0]
            if len(stated_keys) == len(stated_keys.get("choices", ())) == 1
            else stated_keys
        )


def _as_mapping(value: Any) -> Any:
    """A declaration as a mapping: a value or a list becomes ``choices``."""
    if isinstance(value, Mapping | ParameterSpec):
        return value
    return {"choices": value if isinstance(value, list | tuple) else [value]}


def _with_module_lists(items: Any) -> Any:
    """The declarations with each list of module names as one choice; lists of choices stay."""
    names = TARGETS.keys()
    for name in MODULE_PARAMETERS if isinstance(items, Mapping) else ():
        value = items.get(name)
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            continue
        if not names & set(value):
            items = {**items, name: [value]}
        elif not set(value) <= names:
            fix = f"Write {{choices: [[{value[0]}], all-linear]}} to choose between them."
            what = f"{name} = {value!r} mixes names of layers and {', '.join(names & set(value))}"
            raise_faults([((name,), fault(what, "A list of names is one value.", fix))])
    return items


_Declaration = Annotated[
    ParameterSpec,
    BeforeValidator(_as_mapping, json_schema_input_type=_Value | _ValueList | ParameterSpec),
]
Declared = dict[
    _StrategyOrAll,
    Annotated[dict[str, _Declaration], Field(min_length=1), BeforeValidator(_with_module_lists)],
]

# The fields of ``FeatureOptions`` depend on the installed features.
if TYPE_CHECKING:
    FeatureOptions = AllOptions
else:
    FeatureOptions = all_options()


@dataclass(frozen=True)
class Places:
    """The source of each value of a spec. It is ignored when specs are compared.

    Args:
        of: Function from the path of a key to a text such as ``sweep.yaml:12 search.trials``.
        moved: Maps absolute paths to the relative ones of the file, if a run's ``sweep.yaml`` is
            read from another folder.
    """

    of: Callable[[tuple[str | int, ...]], str] | None = field(default=None, compare=False)
    moved: Mapping[str, str] = field(default_factory=dict, compare=False)

    def typed(self, path: str) -> str:
        """A path of a file or folder, as ``sweep.yaml`` has it."""
        return self.moved.get(path, path)

    def where(self, path: tuple[str | int, ...]) -> str:
        """File, line and key of a value, or its flag; if unknown, only the key."""
        return self.of(path) if self.of else ".".join(str(part) for part in path)


class Spec(_Section, Artifact):
    """The spec of a sweep; these are the keys of ``sweep.yaml``.

    The identity of a run depends on ``task``, ``models``, ``data``, ``objective``,
    ``aim.strategies``, ``training``, ``parameters``, ``search.seed`` and some options of features.
    ``evaluation`` and the rest of ``search`` may change when a run is resumed.
    """

    schema_version: int = Field(VERSION, ge=VERSION, le=VERSION)
    """version of these keys"""
    name: Annotated[str | None, Flag("--name", plan=True)] = None
    """the run's folder, runs/NAME"""
    task: Annotated[Task, Flag("--task", plan=True)]
    """what to learn: classification, instruction, code or domain"""
    models: tuple[ModelSpec, ...] = ()
    """one base model, or several that compete; none to let a plan compare some of the catalogue"""
    data: DataSpec = Field(default_factory=DataSpec)
    """the examples"""
    hardware: HardwareSpec = Field(default_factory=HardwareSpec)
    """the machine; detected if left out"""
    objective: ObjectiveSpec = Field(default_factory=ObjectiveSpec)
    """what trials are compared by"""
    aim: AimSpec = Field(default_factory=AimSpec)
    """what the result is for"""
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    """choices that hold for every trial"""
    parameters: Declared = Field(default_factory=dict)
    """hyperparameters by strategy, or for all: a value, a list of choices, or {low, high, log,
    step, default}"""
    search: SearchSpec = Field(default_factory=SearchSpec)
    """how the study is run"""
    evaluation: EvaluationSpec = Field(default_factory=EvaluationSpec)
    """what is measured when the test split is scored"""
    trials: tuple[TrialRequest, ...] = ()
    """own configurations to beat (their number is search.trials)"""
    rules: Annotated[tuple[str, ...], Flag("--rules", plan=True)] = ()
    """folders of your own rules, which add to the rule book or override it"""
    features: FeatureOptions = Field(default_factory=FeatureOptions)
    """options of features, by their names"""
    _places: Places = PrivateAttr(default_factory=Places)

    @field_validator("task", mode="before")
    @classmethod
    def _in_scope(cls, value: object) -> object:
        tool = _OTHER_TOOLS.get(value.lower()) if isinstance(value, str) else None
        if tool is None:
            return value
        why = f"Known: {', '.join(TASKS)}."
        raise fault(f"task = {value!r} is out of scope", why, f"It is done by {tool}.")

    @model_validator(mode="after")
    def _fits_task(self) -> Self:
        if self.training.classes_by == "generate" and self.task != "classification":
            what = f"classes_by = 'generate' in task {self.task}"
            fix = "Leave it out, or choose --task classification."
            why = "Only a classification has classes to tell apart."
            raise_faults([(("training", "classes_by"), fault(what, why, fix))])
        return self

    @property
    def places(self) -> Places:
        """The sources of the spec's values."""
        return self._places

    def with_places(self, places: Places) -> Self:
        """A copy with these sources of its values."""
        copy = self.model_copy()
        copy._places = places
        return copy

    def declares(self, parameter: str) -> bool:
        """Whether the user declares a parameter for any strategy."""
        return any(parameter in items for items in self.parameters.values())

    def declared(self, strategy: str) -> dict[str, tuple[ParameterSpec, tuple[str, ...]]]:
        """The declarations that hold for a strategy, each with its path, by parameter.

        The strategy's own declarations override those for ``all``.
        """
        declarations: dict[str, tuple[ParameterSpec, tuple[str, ...]]] = {}
        for key in (EVERY_STRATEGY, strategy):
            for name, declaration in self.parameters.get(key, {}).items():
                declarations[name] = (declaration, ("parameters", key, name))
        return declarations
