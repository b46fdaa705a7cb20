"""Strategies as ``search_spaces/strategies/*.yaml`` declare them: needs, quality and parameters.

The folder ``parameters/`` beside ``strategies/`` declares parameters that strategies share. In a
strategy file ``training: shared`` is replaced by every parameter of ``parameters/training.yaml``,
``weight_decay: shared`` by this parameter alone, and ``weight_decay: {shared: true, default: 0.1}``
by this parameter with another default. Parameters of sweeper's features (``sweeper/features``)
are added to every strategy whose gradients pass through the base.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sweeper import plans
from sweeper.errors import Problem, near_match
from sweeper.features.loader import yaml_folders
from sweeper.hyperparameters import is_number
from sweeper.memory.setup import OPTIMIZERS
from sweeper.planning.rulebook.conditions import ALWAYS, Condition
from sweeper.spec import Scalar
from sweeper.traits.traits import TRAIT_KEYS, Traits, find, read_traits, strategy_files
from sweeper.traits.traits import document_of as installed_file
from sweeper.yamlfile import (
    Document,
    FileModel,
    KeyPath,
    checked,
    fault,
    raise_faults,
    read,
    read_all,
)

# Marks a parameter in a strategy file that is declared in a shared file.
SHARED = "shared"


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise fault(f"low <= high must hold, but got [{pair[0]:g}, {pair[1]:g}]")
    return pair


def _complete(prior: plans.Prior) -> plans.Prior:
    if prior.model_fields_set not in ({"center", "spread"}, {"weights"}):
        fix = "Write {center: 2e-4, spread: 0.3} or {weights: [1, 2]}."
        raise fault("a prior has a center and a spread, or weights", "", fix)
    return prior


Text = Annotated[
    str, StringConstraints(min_length=1), AfterValidator(lambda text: " ".join(text.split()))
]
Range = Annotated[
    tuple[float, float],
    Strict(strict=False),
    AfterValidator(_ordered),
    Field(examples=[[1e-4, 3e-4]]),
]
Choices = Annotated[
    tuple[Scalar, ...], Strict(strict=False), Field(min_length=1, examples=[["a", "b"]])
]
Bounds = Annotated[
    tuple[float | None, float | None], Strict(strict=False), Field(examples=[[1, None]])
]
Prior = Annotated[
    plans.Prior, AfterValidator(_complete), Field(examples=[{"center": 2e-4, "spread": 0.3}])
]


class _Parameter(FileModel):
    default: Scalar
    prior: Prior | None = None
    condition: Annotated[
        plans.Condition | None, Field(examples=[{"parameter": "head_init", "values": ["random"]}])
    ] = None
    when: Condition = Field(
        ALWAYS, description="the facts that must hold for the parameter to exist"
    )
    unit: Text | Literal[""] = ""
    source: Text
    why: Text
    off_value: Scalar | None = Field(
        None,
        description="the value with which it has no effect; the search also tries a default "
        "configuration with this value, and the report compares trials with and without it",
    )
    searched: bool = True
    possible: Bounds | None = Field(
        None,
        description="lowest and highest number that training takes at all, null for no bound; a "
        "user may declare a range up to these, beyond the allowed one",
    )
    optional: bool = Field(False, description="exists only where sweep.yaml declares it")
    fitted: bool = Field(False, description="chosen within each trial, so nobody can set it")

    @cached_property
    def parameter(self) -> plans.Parameter:
        """The parameter before any rule."""
        names = ("kind", "default", "prior", "condition", "unit", "source", "why", "searched")
        fields = {name: getattr(self, name) for name in (*names, "off_value")}
        return plans.Parameter(**fields, **self._space())

    @abstractmethod
    def _space(self) -> dict[str, object]:
        """The fields of ``plans.Parameter`` that say which values the search may try."""


class NumberParameter(_Parameter):
    """A number between two bounds: the best-practice range, and the one it may widen to."""

    kind: Literal["float", "int"]
    range: Range
    allowed: Range | None = None
    log: bool = False

    def _space(self) -> dict[str, object]:
        low, high = self.allowed or self.range
        bounds: dict[str, object] = {"low": self.range[0], "high": self.range[1], "log": self.log}
        return bounds | {"allowed_low": low, "allowed_high": high}

    @model_validator(mode="after")
    def _within(self) -> Self:
        faults: list[tuple[KeyPath, PydanticCustomError]] = []
        outer = self.allowed or self.range
        why = f"The allowed range is {outer[0]:g} to {outer[1]:g}."
        if not within(self.range, outer):
            faults.append((("range",), fault(f"range = {listed(self.range)}", why)))
        if not within((self.default,), self.range):
            faults.append((("default",), outside(self.default, self.range)))
        if self.off_value is not None and not within((self.off_value,), outer):
            faults.append((("off_value",), fault(f"off_value = {self.off_value!r}", why)))
        if self.log and outer[0] <= 0:
            why = "A logarithmic range begins above 0."
            faults.append((("range",), fault(f"log with allowed low = {outer[0]:g}", why)))
        raise_faults(faults)
        return self


class ChoiceParameter(_Parameter):
    """One of several values: the best-practice choices, and all that are possible."""

    kind: Literal["categorical"]
    choices: Choices
    allowed_choices: Choices | None = None

    def _space(self) -> dict[str, object]:
        return {"choices": self.choices, "allowed_choices": self.allowed_choices or self.choices}

    @model_validator(mode="after")
    def _among(self) -> Self:
        allowed = self.allowed_choices or self.choices
        off_values = () if self.off_value is None else (self.off_value,)
        checks = (("choices", self.choices, allowed), ("off_value", off_values, allowed))
        raise_faults(
            [
                ((key,), fault(f"{key}: {value!r} is not possible", "", near(value, accepted)))
                for key, values, accepted in (*checks, ("default", (self.default,), self.choices))
                for value in values
                if value not in accepted
            ]
        )
        return self


BookParameter = Annotated[NumberParameter | ChoiceParameter, Field(discriminator="kind")]
PARAMETER: TypeAdapter[NumberParameter | ChoiceParameter] = TypeAdapter(BookParameter)


def within(values: tuple[object, ...], bounds: tuple[float, float]) -> bool:
    """Whether all values are numbers within the bounds."""
    return all(is_number(value) and bounds[0] <= value <= bounds[1] for value in values)


def outside(default: object, bounds: tuple[float, float]) -> PydanticCustomError:
    """The problem of a default outside of its range."""
    why = f"It must be within the range {bounds[0]:g} to {bounds[1]:g}."
    return fault(f"default = {default!r}", why)


def listed(pair: tuple[float, float]) -> str:
    """A range as a file writes it."""
    return f"[{pair[0]:g}, {pair[1]:g}]"


def near(value: Scalar, allowed: tuple[Scalar, ...]) -> str:
    """A suggestion of the nearest allowed value."""
    return near_match(str(value), [str(choice) for choice in allowed])


@dataclass
class StrategyFile:
    """A strategy file and the position of its folder.

    Args:
        layer: Position of its folder, 0 for the package's; later folders win.
        layers: Position of the last folder that changes a parameter, by its name.
        parent: The file of the strategy that it extends; None without one.
        traits: The strategy's traits; None if the file states them wrongly.
    """

    document: Document
    layer: int
    layers: dict[str, int] = field(default_factory=dict)
    parent: Self | None = None
    traits: Traits | None = None


@dataclass
class SharedParameters:
    """The shared parameters of all folders read so far; later folders win.

    Args:
        documents: From a parameter's name to the file that declares it, and to its layer.
        files: From the name of a file, without its suffix, to the names of its parameters.
        of_features: From the name of a feature's parameter to its file. Each strategy whose
            gradients pass through the base has them.
    """

    documents: dict[str, tuple[Document, int]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    of_features: dict[str, Document] = field(default_factory=dict)

    def add(self, folder: Path, layer: int, problems: list[Problem]) -> list[Document]:
        """Add the parameters of every file of a folder, and return these files."""
        documents = []
        for document in read_all(sorted(folder.glob("*.yaml")), problems):
            if not isinstance(document.data, Mapping):
                what = "this file does not declare parameters"
                problems.append(Problem(what, where=document.name))
                continue
            documents.append(document)
            declared = [name for name, item in document.data.items() if isinstance(item, Mapping)]
            names = self.files.setdefault(document.stem, [])
            names += [name for name in declared if name not in names]
            self.documents |= dict.fromkeys(declared, (document, layer))
        return documents

    def include(self, file: StrategyFile, problems: list[Problem]) -> None:
        """Complete a strategy file's parameters by those of its parent, shared files and features.

        Args:
            file: The strategy file, whose parent must be complete already.
            problems: The list to which unknown names are appended.
        """
        complete: dict[str, Any] = {}

        def include(name: str, item: object, source: tuple[Document, KeyPath], layer: int) -> None:
            complete[name] = item
            file.document.included[("parameters", name)] = source
            file.layers[name] = layer

        if file.parent is not None:
            parent = file.parent
            for name, item in parent.document.data["parameters"].items():
                include(name, item, (parent.document, ("parameters", name)), parent.layers[name])
        for name, item in file.document.data["parameters"].items():
            overrides_keys = isinstance(item, Mapping) and item.get(SHARED) is True
            if item != SHARED and not overrides_keys:
                complete[name], file.layers[name] = item, file.layer
                continue
            shared_names = [*self.documents, *(() if overrides_keys else self.files)]
            if name not in shared_names:
                what = f"there is no shared parameter {name!r}"
                fix = near_match(str(name), shared_names)
                where = file.document.where(("parameters", name))
                problems.append(Problem(what, "", fix, where))
                continue
            for shared in [name] if name in self.documents else self.files[name]:
                document, layer = self.documents[shared]
                include(shared, document.data[shared], (document, (shared,)), layer)
            if overrides_keys:
                own = {key: value for key, value in item.items() if key != SHARED}
                complete[name], file.layers[name] = {**complete[name], **own}, file.layer
        if file.traits is not None and file.traits.gradients_through_base:
            for name, document in self.of_features.items():
                if name not in complete:
                    include(name, document.data[name], (document, (name,)), 0)
        file.document.data["parameters"] = complete


class Requirement(FileModel):
    """A condition that a strategy needs, and the reason of its rejection if it does not hold."""

    when: Condition
    otherwise: Text
    source: Text


class ExpectedQuality(FileModel):
    """The expected quality of a strategy, in points against LoRA and in words."""

    points: float = 0.0
    sd: float = Field(3.0, gt=0, description="of the points")
    text: Text
    source: Text


class SmallerOptimizer(FileModel):
    """An optimizer that is used where the usual one needs more memory than the device has."""

    use: Text
    why: Text
    source: Text

    @field_validator("use")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in OPTIMIZERS:
            why = "It is an optimizer as TrainingArguments.optim spells it."
            raise fault(f"{name!r} is not a known optimizer", why, near_match(name, OPTIMIZERS))
        return name


class BookStrategy(FileModel):
    """One strategy as its file declares it, before any rule."""

    name: Text = Field(alias="strategy")
    title: Text
    what: Text
    order: int = Field(100, description="order at equal scores; smaller comes first")
    begins_as_base: bool = Field(
        False,
        description="a model that it has not trained yet is the base model, so that the zero-shot "
        "loss says where its trials begin",
    )
    extends: Text | None = Field(
        None, description="the strategy whose parameters it has, besides its own"
    )
    requires: Annotated[tuple[Requirement, ...], Strict(strict=False)] = ()
    quality: ExpectedQuality = Field(examples=[{"text": "...", "source": "..."}])
    quantization: Text | None = Field(
        None, description="of the frozen base, as memory.Setup names it"
    )
    smaller_optimizers: Annotated[tuple[SmallerOptimizer, ...], Strict(strict=False)] = Field(
        (), description="those with less memory, in the order in which they are tried"
    )
    gradient_checkpointing: bool = Field(True, description="whether the method works with it")
    parameters: dict[str, BookParameter]
    _file: StrategyFile = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:
        if isinstance(context, StrategyFile):
            self._file = context

    @property
    def traits(self) -> Traits:
        """The strategy's traits."""
        assert self._file.traits is not None  # without traits no BookStrategy is made
        return self._file.traits

    @property
    def where(self) -> str:
        """File and line."""
        return self._file.document.where(("strategy",))

    def layer(self, parameter: str) -> int:
        """Position of the last folder that changes a parameter; callers ignore rules before it.

        For a parameter that the strategy lacks, the later folder of its file and its parent's file.
        """
        file = self._file
        parent = file.parent
        return file.layers.get(parameter, max(file.layer, parent.layer if parent else 0))

    @field_validator("name")
    @classmethod
    def _matches_file_name(cls, name: str, info: ValidationInfo) -> str:
        stem = info.context.document.stem if isinstance(info.context, StrategyFile) else name
        if name != stem:
            what = f"strategy = {name!r} in a file called {stem}.yaml"
            why = "A strategy is found by the name of its file."
            raise fault(what, why, f"Rename the file to {name}.yaml.")
        return name

    @field_validator("parameters")
    @classmethod
    def _conditions_can_hold(cls, parameters: dict[str, BookParameter]) -> dict[str, BookParameter]:
        """Check that a condition names a parameter declared before it, and values of that."""
        faults: list[tuple[KeyPath, PydanticCustomError]] = []
        earlier: dict[str, BookParameter] = {}
        for name, declared in parameters.items():
            condition, path = declared.condition, (name, "condition")
            if condition is not None and condition.parameter not in earlier:
                what = f"{name} depends on {condition.parameter!r}, which is not declared before it"
                faults.append((path, fault(what, "", near_match(condition.parameter, earlier))))
            elif condition is not None:
                possible = earlier[condition.parameter].parameter.allowed_choices or ()
                for value in (value for value in condition.values if value not in possible):
                    what = f"{condition.parameter} is never {value!r}"
                    faults.append((path, fault(what, "", near(value, possible))))
            earlier[name] = declared
        raise_faults(faults)
        return parameters


STRATEGY: TypeAdapter[BookStrategy] = TypeAdapter(BookStrategy)


def load_strategies(
    folders: tuple[Path, ...], problems: list[Problem], single_files: Sequence[Path] = ()
) -> dict[str, BookStrategy | None]:
    """The strategies of all files in these folders, by name; None for a file with a problem.

    A later folder's file replaces an earlier one's. Files include parameters by name from the
    folders ``parameters`` beside these folders.

    Args:
        problems: The list to which problems are appended.
        single_files: Files outside of these folders, which count as files of the first one.
    """
    shared = SharedParameters()
    files: dict[str, StrategyFile] = {}
    for layer, folder in enumerate(folders):
        documents = shared.add(folder.with_name("parameters"), layer, problems)
        for feature_folder in yaml_folders("parameters") if layer == 0 else ():
            added = SharedParameters().add(feature_folder, layer, problems)
            shared.of_features |= {name: item for item in added for name in item.data}
            documents += added
        for document in documents:
            for name in document.data:
                checked(PARAMETER, document, (name,), problems)
        paths = [*(single_files if layer == 0 else ()), *sorted(folder.glob("*.yaml"))]
        for document in read_all(paths, problems, _read):
            if isinstance(document.data, Mapping):
                file = files[document.stem] = StrategyFile(document, layer)
                file.traits = _traits(file, problems)
            else:
                what = "this file does not describe a strategy"
                problems.append(Problem(what, where=document.name))
    strategies: dict[str, BookStrategy | None] = {}
    # Strategies that extend no other come first, since a parent must be complete.
    for file in sorted(files.values(), key=lambda file: "extends" in file.document.data):
        _complete_parameters(file, files, shared, problems)
        strategy = checked(STRATEGY, file.document, (), problems, file)
        strategies[file.document.stem] = strategy if file.traits is not None else None
    return dict(
        sorted(strategies.items(), key=lambda item: (item[1].order if item[1] else 0, item[0]))
    )


def _read(path: Path) -> Document:
    """A strategy's file, whose data may be changed; an installed file is read once per process."""
    if path not in strategy_files().paths.values():
        return read(path)
    document = installed_file(path)
    data = document.data
    return replace(document, data=dict(data) if isinstance(data, Mapping) else data, included={})


def _traits(file: StrategyFile, problems: list[Problem]) -> Traits | None:
    """The traits of a strategy, from its installed file unless it states them; None if wrong.

    Removes them from the file's data, since they are not fields of ``BookStrategy``.
    """
    document, data = file.document, file.document.data
    name = str(data.get("strategy", document.stem))
    installed = strategy_files().paths.get(name)
    is_main_file = installed is None or str(installed) == document.name
    stated = {key: data[key] for key in TRAIT_KEYS if key in data}
    traits = read_traits(document, problems) if is_main_file or stated else find(name)
    for key in stated:
        del data[key]
    if is_main_file or not stated or traits in (None, find(name)):
        return traits
    what = f"{installed} states other traits of {name}"
    why = f"A file of another folder may change its parameters, but not {', '.join(TRAIT_KEYS)}."
    problems.append(Problem(what, why, "Leave them out.", document.where(("strategy",))))
    return None


def _complete_parameters(
    file: StrategyFile,
    files: Mapping[str, StrategyFile],
    shared: SharedParameters,
    problems: list[Problem],
) -> None:
    """Set the parent of a strategy file, and complete its parameters."""
    data = file.document.data
    extends = data.get("extends")
    parents = [name for name, other in files.items() if "extends" not in other.document.data]
    if extends is not None and extends not in parents:
        what, fix = f"extends = {extends!r}", near_match(str(extends), parents)
        why = "It must name a strategy that extends no other."
        problems.append(Problem(what, why, fix, file.document.where(("extends",))))
    parent = files[extends] if extends in parents else None
    if parent is not None and isinstance(parent.document.data.get("parameters"), Mapping):
        file.parent = parent
        data.setdefault("parameters", {})
    if isinstance(data.get("parameters"), Mapping):
        shared.include(file, problems)
