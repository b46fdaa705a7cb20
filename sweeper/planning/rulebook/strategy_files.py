"""Strategies as ``search_spaces/strategies/*.yaml`` declare them: needs, quality and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import (
    Field,
    PrivateAttr,
    Strict,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from sweeper.declared.files import strategy_files
from sweeper.declared.traits import TRAIT_KEYS, Traits, find, read_traits
from sweeper.errors import Problem, near_match
from sweeper.memory.setup import OPTIMIZERS, USUAL_OPTIMIZER
from sweeper.planning.rulebook.conditions import Condition
from sweeper.planning.rulebook.named_facts import Values
from sweeper.planning.rulebook.parameters import PARAMETER, DeclaredParameter, Text, near
from sweeper.planning.rulebook.shared_parameters import SharedParameters, StrategyFile
from sweeper.yaml_models import FileModel, checked, fault, faults
from sweeper.yamlfile import Path_, read_all


class Requirement(FileModel):
    """A condition that a strategy needs, and the message if it does not hold."""

    when: Condition
    otherwise: Text
    source: Text


class Quality(FileModel):
    """The expected quality of models, in words, with its source."""

    text: Text
    source: Text


class OptimizerChoice(FileModel):
    """An optimizer, as transformers names it, and where it is used."""

    when: Condition
    use: Text


class SmallerOptimizer(FileModel):
    """An optimizer that is used where the usual one needs more memory than there is.

    Those that are a last resort come after all precisions with the others.
    """

    use: Text
    why: Text
    source: Text
    last_resort: bool = False

    @field_validator("use")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in OPTIMIZERS:
            why = "It is an optimizer as TrainingArguments.optim spells it."
            raise fault(f"{name!r} is not a known optimizer", why, near_match(name, OPTIMIZERS))
        return name


class DeclaredStrategy(FileModel):
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
    quality: Quality = Field(examples=[{"text": "...", "source": "..."}])
    quantization: Text | None = Field(
        None, description="of the frozen base, as memory.Setup names it"
    )
    optimizers: Annotated[tuple[OptimizerChoice, ...], Strict(strict=False)] = Field(
        (), description=f"the first whose condition holds is used, else {USUAL_OPTIMIZER}"
    )
    smaller_optimizers: Annotated[tuple[SmallerOptimizer, ...], Strict(strict=False)] = Field(
        (), description="those with less memory, in the order in which they are tried"
    )
    gradient_checkpointing: bool = Field(True, description="whether the method works with it")
    parameters: dict[str, DeclaredParameter]
    _file: StrategyFile = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:
        """Keep the file."""
        if isinstance(context, StrategyFile):
            self._file = context

    @property
    def traits(self) -> Traits:
        """What the strategy is, whatever its ranges."""
        assert self._file.traits is not None  # else there is no strategy
        return self._file.traits

    @property
    def where(self) -> str:
        """File and line."""
        return self._file.document.where(("strategy",))

    def layer(self, parameter: str) -> int:
        """The place of the last folder that states something of a parameter, or leaves it out.

        Rules of earlier folders do not change the parameter.
        """
        file, parent = self._file, self._file.parent
        return file.layers.get(parameter, max(file.layer, parent.layer if parent else 0))

    def optimizer(self, values: Values) -> str:
        """The optimizer for these facts."""
        fitting = (one.use for one in self.optimizers if one.when.holds(values))
        return next(fitting, USUAL_OPTIMIZER)

    @field_validator("name")
    @classmethod
    def _file_is_called_so(cls, name: str, info: ValidationInfo) -> str:
        stem = info.context.document.stem if isinstance(info.context, StrategyFile) else name
        if name != stem:
            what = f"strategy = {name!r} in a file called {stem}.yaml"
            why = "A strategy is found by the name of its file."
            raise fault(what, why, f"Rename the file to {name}.yaml.")
        return name

    @field_validator("parameters")
    @classmethod
    def _conditions_can_hold(
        cls, parameters: dict[str, DeclaredParameter]
    ) -> dict[str, DeclaredParameter]:
        """A conditional parameter's parent is declared before it and can take those values."""
        found: list[tuple[Path_, PydanticCustomError]] = []
        before: dict[str, DeclaredParameter] = {}
        for name, declared in parameters.items():
            condition, parents = declared.condition, dict(before)
            before[name] = declared
            if condition is None:
                continue
            path = (name, "condition")
            if condition.parameter not in parents:
                what = f"{name} depends on {condition.parameter!r}, which is not declared before it"
                found.append((path, fault(what, "", near_match(condition.parameter, parents))))
                continue
            possible = parents[condition.parameter].parameter.allowed_choices or ()
            found += [
                (
                    path,
                    fault(f"{condition.parameter} is never {value!r}", "", near(value, possible)),
                )
                for value in condition.values
                if value not in possible
            ]
        faults(found)
        return parameters


STRATEGY: TypeAdapter[DeclaredStrategy] = TypeAdapter(DeclaredStrategy)


def load_strategies(
    folders: tuple[Path, ...], problems: list[Problem], beside: tuple[Path, ...] = ()
) -> dict[str, DeclaredStrategy | None]:
    """Every strategy file in these folders; a later folder's file replaces an earlier one's.

    ``beside`` are single files of installed packages, which count as the first folder.

    A folder ``parameters`` beside one of strategies holds parameters that they include by name.
    Problems are appended, and a strategy whose file holds one is None.
    """
    shared = SharedParameters()
    files: dict[str, StrategyFile] = {}
    for layer, folder in enumerate(folders):
        for document in shared.add(folder.with_name("parameters"), layer, problems):
            for name in document.data:
                checked(PARAMETER, document, (name,), problems)
        single = beside if layer == 0 else ()
        for document in read_all([*single, *sorted(folder.glob("*.yaml"))], problems):
            if isinstance(document.data, Mapping):
                file = files[document.stem] = StrategyFile(document, layer)
                file.traits = _traits(file, problems)
            else:
                what = "this file does not describe a strategy"
                problems.append(Problem(what, where=document.name))
    found: dict[str, DeclaredStrategy | None] = {}
    # those that extend no other first, so that they are whole where another extends them
    for file in sorted(files.values(), key=lambda file: "extends" in file.document.data):
        _include(file, files, shared, problems)
        strategy = checked(STRATEGY, file.document, (), problems, file)
        found[file.document.stem] = strategy if file.traits is not None else None
    return dict(sorted(found.items(), key=_place))


def _traits(file: StrategyFile, problems: list[Problem]) -> Traits | None:
    """The traits of a strategy. A file that lays other ranges over an installed one states none."""
    document, data = file.document, file.document.data
    name = str(data.get("strategy", document.stem))
    installed = strategy_files().paths.get(name)
    own = installed is None or str(installed) == document.name
    stated = {key: data[key] for key in TRAIT_KEYS if key in data}
    made = read_traits(document, problems) if own or stated else find(name)
    for key in stated:  # checked above, and no field of the model below
        del data[key]
    if own or not stated or made in (None, find(name)):
        return made
    what = f"{name} is described otherwise in {installed}"
    why = f"A file of another folder may change its parameters, not {', '.join(TRAIT_KEYS)}."
    problems.append(Problem(what, why, "Leave them out.", document.where(("strategy",))))
    return None


def _place(item: tuple[str, DeclaredStrategy | None]) -> tuple[int, str]:
    return (item[1].order if item[1] else 0), item[0]


def _include(
    file: StrategyFile,
    files: Mapping[str, StrategyFile],
    shared: SharedParameters,
    problems: list[Problem],
) -> None:
    """Write out the parameters that a strategy takes over from shared files and from another."""
    data = file.document.data
    extends = data.get("extends")
    bases = [name for name, other in files.items() if "extends" not in other.document.data]
    if extends is not None and extends not in bases:
        what, fix = f"extends = {extends!r}", near_match(str(extends), bases)
        why = "That must be a strategy that extends no other."
        problems.append(Problem(what, why, fix, file.document.where(("extends",))))
    parent = files[extends] if extends in bases else None
    if parent is not None and isinstance(parent.document.data.get("parameters"), Mapping):
        file.parent = parent
        data.setdefault("parameters", {})
    if isinstance(data.get("parameters"), Mapping):
        shared.include(file, problems)
