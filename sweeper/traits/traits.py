"""The traits of a strategy: its fixed properties, such as its names and what it trains.

Every strategy file states them under ``TRAIT_KEYS``. A file that extends another one inherits the
traits that it leaves out, except names and mark. Reading a file runs no code: files of installed
packages are found without an import, and formulas for numbers of parameters are parsed, checked and
computed node by node. ``memory.states`` computes them for the layers of a model.
"""

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import (
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_wrap_validator_function, str_schema

from sweeper import packages, resources
from sweeper.errors import Problem, RuleError, UsageError, near_match
from sweeper.hyperparameters import Scalar
from sweeper.yamlfile import Document, FileModel, KeyPath, checked, fault, raise_faults, read

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Entry points that name a strategy's class; its YAML is next to the class's module.
STRATEGIES = "sweeper.strategies"
#: Entry points that name a package whose folder is laid out like ``search_spaces``.
SEARCH_SPACES = "sweeper.search_spaces"


class StrategyFiles(NamedTuple):
    """The file of each strategy by name, and a problem for each class without a file."""

    paths: Mapping[str, Path]
    problems: tuple[Problem, ...] = ()


def known_strategies() -> tuple[str, ...]:
    """Names of all strategies, those of installed packages included."""
    return tuple(sorted(strategy_files().paths))


@lru_cache(maxsize=1)
def strategy_files() -> StrategyFiles:
    """Every strategy's file: next to classes, in ``search_spaces``, in folders of packages.

    If several files have one name, the last one in this order counts.
    """
    entries = packages.entries(STRATEGIES)
    next_to_class = {entry.name: _file_next_to(entry) for entry in entries}
    paths = {name: path for name, path in next_to_class.items() if path is not None}
    for folder in (resources.search_spaces(), *installed_folders()):
        paths |= {path.stem: path for path in sorted(folder.glob("strategies/*.yaml"))}
    problems = []
    for entry in entries:
        if entry.name not in paths:
            name = f"{entry.name}.yaml"
            what = f"the strategy {entry.name!r} has no {name}"
            why = "The planner reads a strategy's parameters and costs from it."
            fix = f"Put {name} next to the module {entry.module}, as package data."
            problems.append(Problem(what, why, fix, f"entry point {entry.value}"))
    return StrategyFiles(paths, tuple(problems))


@lru_cache(maxsize=128)
def document_of(path: Path) -> Document:
    """The content of a strategy's file, read once in a process.

    Raises:
        UsageError: The file cannot be read, or it is not YAML.
    """
    return read(path)


@lru_cache(maxsize=1)
def installed_folders() -> tuple[Path, ...]:
    """Folders of installed packages with rules or further strategy files."""
    folders: list[Path] = []
    for entry in packages.entries(SEARCH_SPACES):
        folders += _folders_of(entry.module)
    return tuple(folders)


def _file_next_to(entry: "EntryPoint") -> Path | None:
    """``<name>.yaml`` in the folder of the entry point's module; None if it is missing."""
    package, _, _ = entry.module.rpartition(".")
    folders = _folders_of(package)
    if not package:
        spec = find_spec(entry.module)
        folders = [Path(spec.origin).parent] if spec and spec.origin else []
    candidates = [folder / f"{entry.name}.yaml" for folder in folders]
    return next((path for path in candidates if path.is_file()), None)


def _folders_of(package: str) -> list[Path]:
    """Folders of a package. Only its top level is looked up, so nothing is imported."""
    top, _, rest = package.partition(".")
    spec = find_spec(top) if top else None
    roots = list(spec.submodule_search_locations or ()) if spec else []
    return [Path(root, *filter(None, rest.split("."))) for root in roots]


#: Sizes of a model that a formula may name. ``largest_`` means the largest of its target layers.
SHAPE = (
    "hidden_size", "layers", "key_value_width", "vocabulary_size", "largest_inputs",
    "largest_outputs",
)  # fmt: skip
#: Sizes of the layer that a formula is computed for.
LAYER = ("inputs", "outputs")
#: Roles of linear layers, whatever an architecture calls them.
Role = Literal["query", "key", "value", "projection", "gate", "up", "down"]
#: What a formula is computed for, unless it is for a list of roles.
Place = Literal["model", "layer", "target_layer"]

#: Values of the sizes and parameters that a formula names.
Values = Mapping[str, Scalar | None]

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.FloorDiv: lambda over, under: max(1, over // under),
}
# The syntax that a formula may have.
_NODES: tuple[type[ast.AST], ...] = (
    *(ast.BinOp, ast.Add, ast.Mult, ast.FloorDiv, ast.BoolOp, ast.Or, ast.IfExp, ast.Compare),
    *(ast.Eq, ast.Name, ast.Load, ast.Constant),
)


@dataclass(frozen=True)
class Term:
    """One formula, computed for the model, each block, or each linear layer of some kind.

    Args:
        each: What it is computed for; the results are added.
        formula: The syntax tree of ``text``.
    """

    each: Place | tuple[Role, ...]
    text: str
    formula: ast.expr = field(compare=False, repr=False)

    def value(self, values: Values) -> int:
        """The value of the formula for one layer, block or model.

        Raises:
            LookupError: It names something that has no value.
        """
        return _number(self.formula, values)

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of sizes and parameters in the formula."""
        return _names(self.formula)


@dataclass(frozen=True)
class Formula:
    """A number of parameters: all of the base, or the sum of terms."""

    terms: tuple[Term, ...] = ()
    whole_base: bool = False

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Names of the strategy's parameters in the terms."""
        return frozenset().union(*(term.names for term in self.terms)) - {*SHAPE, *LAYER}


#: No parameters. A new classification head is counted separately.
NOTHING = Formula()


def _names(formula: ast.expr) -> frozenset[str]:
    return frozenset(node.id for node in ast.walk(formula) if isinstance(node, ast.Name))


def _number(formula: ast.expr, values: Values) -> int:
    value = _value(formula, values)
    if value is None:
        raise LookupError(f"a formula names {ast.unparse(formula)!r}, which has no value")
    return int(value)


def _value(formula: ast.expr, values: Values) -> Scalar | None:
    match formula:
        case ast.Constant(value=int() | str() as constant):
            return constant
        case ast.Name(id=name):
            return values.get(name)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_number(left, values), _number(right, values))
        case ast.BoolOp(values=options):
            return next((value for option in options if (value := _value(option, values))), None)
        case ast.IfExp(test=test, body=body, orelse=otherwise):
            return _value(body if _value(test, values) else otherwise, values)
        case ast.Compare(left=left, comparators=[right]):
            return _value(left, values) == _value(right, values)
    raise ValueError(f"{ast.unparse(formula)} cannot be computed")


def _parsed_place(text: str) -> Place | tuple[Role, ...]:
    """What a formula is computed for, from its key in a file."""
    places, roles = get_args(Place), get_args(Role)
    if text in places:
        return text  # type: ignore[return-value]
    roles_named = [role.strip() for role in text.split(",")]
    if unknown := [role for role in roles_named if role not in roles]:
        fix = near_match(unknown[0], (*places, *roles))
        raise fault(f"{unknown[0]!r} is neither a place nor a role", "", fix)
    return tuple(roles_named)  # type: ignore[arg-type]


def _parsed_formula(text: object, names_allowed: Collection[str] | None) -> ast.expr:
    """The syntax tree of a formula. All names are allowed if ``names_allowed`` is None."""
    fix = "Write names, whole numbers, +, *, //, 'a or b', and 'a if b == \"c\" else d'."
    try:
        formula = ast.parse(str(text), mode="eval").body
        other = next((node for node in ast.walk(formula) if not isinstance(node, _NODES)), None)
        if other is not None:
            raise ValueError("this is more than arithmetic")
        names = _names(formula)
        _number(formula, dict.fromkeys(names, 1))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise fault(f"{text!r} is not a formula", f"{error}.", fix) from error
    if names_allowed is not None and (unknown := sorted(names - {*names_allowed})):
        raise fault(f"unknown name {unknown[0]!r}", "", near_match(unknown[0], names_allowed))
    return formula


def _validated_formula(data: Any, info: ValidationInfo) -> Formula:
    """The formula of a strategy file. The validation's context holds the file's parameters."""
    if data in ("base", "head"):
        return Formula(whole_base=data == "base")
    if not isinstance(data, Mapping) or not data:
        fix = "Write 'base', 'head', or formulas: {target_layer: r * (inputs + outputs)}."
        raise fault("this is not a number of parameters", "", fix)
    terms: list[Term] = []
    errors: list[tuple[KeyPath, PydanticCustomError]] = []
    for key, text in data.items():
        try:
            each = _parsed_place(str(key))
            sizes = SHAPE if each in ("model", "layer") else (*SHAPE, *LAYER)
            allowed = None if info.context is None else (*sizes, *info.context)
            terms.append(Term(each, str(text), _parsed_formula(text, allowed)))
        except PydanticCustomError as error:
            errors.append(((str(key),), error))
    raise_faults(errors)
    return Formula(tuple(terms))


#: A formula as a strategy file gives it: ``base``, ``head``, or a formula for each place.
DeclaredFormula = Annotated[
    Formula,
    PlainValidator(
        _validated_formula, json_schema_input_type=Literal["base", "head"] | dict[str, str | int]
    ),
]

#: What a strategy adds to the base model; its memory and time depend on this.
#:
#: - ``nothing``: full fine-tuning, or a head alone.
#: - ``low-rank``: two trained matrices beside each target layer (LoRA).
#: - ``scaled-projections``: two frozen matrices beside each target layer, and trained vectors that
#:   scale their results (VeRA).
#: - ``scaling``: trained vectors that multiply layers' inputs or outputs (IA3).
#: - ``bottlenecks``: small networks after the blocks' sublayers.
#: - ``prefix``: trained keys and values in every layer, before its own.
#: - ``virtual-tokens``: embeddings before the input.
Adds = Literal[
    "nothing", "low-rank", "scaled-projections", "scaling", "bottlenecks", "prefix",
    "virtual-tokens",
]  # fmt: skip
Shape = Literal[
    "circle", "square", "diamond", "triangle-up", "triangle-down", "triangle-left",
    "triangle-right", "cross", "stroke",
]  # fmt: skip
#: Of these, the additions to the layers that ``target_modules`` names.
TARGETED: frozenset[Adds] = frozenset({"low-rank", "scaled-projections", "scaling"})
#: Numbers of the colours that the report's stylesheet defines; 0 is neutral.
COLORS = range(7)

#: Keys of a strategy file that state its traits.
TRAIT_KEYS = (
    "label", "in_a_sentence", "chart", "one_trial", "gradients_through_base", "adds",
    "trained_parameters", "frozen_parameters",
)  # fmt: skip
_INHERITED = ("gradients_through_base", "adds", "trained_parameters", "frozen_parameters")


class Mark(FileModel):
    """The mark of a strategy in charts. ``shape`` and ``dash`` are values of Vega."""

    color: int
    shape: Shape
    dash: Annotated[tuple[int, ...], Strict(strict=False)] = Field((1, 0), examples=[[4, 2]])

    @field_validator("color")
    @classmethod
    def _is_numbered(cls, color: int) -> int:
        if color not in COLORS:
            why = f"Colors are numbered 0 (neutral) to {COLORS[-1]}."
            raise fault(f"color = {color}", why)
        return color


#: The mark of a strategy that is not installed here.
UNKNOWN = Mark(color=0, shape="stroke", dash=(4, 2))


class Traits(FileModel):
    """The traits of a strategy, as its file states them; other keys of the file are ignored.

    Args:
        one_trial: Whether one trial is enough, since it tries all values itself.
        gradients_through_base: Whether gradients pass through the base model. If not, its features
            are computed once, by forward passes alone.
        adds: Kind of modules or inputs that the strategy adds to the base model.
        trained: Number of trained parameters; a new classification head comes on top.
        frozen: Number of added parameters that stay frozen.
        extends: Name of the strategy whose parameters and traits it inherits; None without one.
    """

    model_config = ConfigDict(extra="ignore")

    name: str = Field(alias="strategy", description="in files, flags and studies")
    label: str = Field(min_length=1, description="in tables and charts")
    in_a_sentence: str = Field("", description="in running text; the label if it is left out")
    mark: Mark = Field(alias="chart", examples=[{"color": 2, "shape": "square"}])
    one_trial: bool = False
    gradients_through_base: bool
    adds: Adds
    trained: DeclaredFormula = Field(alias="trained_parameters")
    frozen: DeclaredFormula = Field(NOTHING, alias="frozen_parameters")
    quantization: str | None = None
    gradient_checkpointing: bool = True
    extends: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _inherits(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        parent = _parent(data)
        inherited = {key: parent[key] for key in _INHERITED if key in parent}
        return {"in_a_sentence": str(data.get("label", "")), **inherited, **data}

    @property
    def trains_base(self) -> bool:
        """Whether the base model's own weights are trained."""
        return self.trained.whole_base

    def parameters(self) -> frozenset[str]:
        """Parameters that the numbers of trained and frozen parameters depend on."""
        return self.trained.parameters | self.frozen.parameters


TRAITS: TypeAdapter[Traits] = TypeAdapter(Traits)


def traits_of(name: str) -> Traits:
    """The traits of an installed strategy.

    Raises:
        UsageError: There is no such strategy; the error suggests the nearest name.
        RuleError: Its file is invalid.
    """
    traits = find(name)
    if traits is None:
        names = known_strategies()
        raise UsageError(f"there is no strategy {name!r}", fix=near_match(name, names))
    return traits


def quantized_variants(name: str) -> tuple[Traits, ...]:
    """Installed strategies that extend this one and quantise the base."""
    strategies = map(traits_of, known_strategies())
    return tuple(each for each in strategies if each.extends == name and each.quantization)


@lru_cache(maxsize=64)
def find(name: str) -> Traits | None:
    """The traits of a strategy, or None if it is not installed.

    Raises:
        RuleError: Its file is invalid.
    """
    path = strategy_files().paths.get(name)
    if path is None:
        return None
    problems: list[Problem] = []
    traits = read_traits(document_of(path), problems)
    if problems:
        raise RuleError(problems)
    return traits


class StrategyOnModel(str):
    """A strategy, with its base model if several compete.

    As text it is ``lora``, or ``lora@model`` with a model.

    >>> pair = StrategyOnModel("lora", "packaged:minilm")
    >>> pair, pair.strategy, pair.model
    ('lora@packaged:minilm', 'lora', 'packaged:minilm')
    """

    strategy: str
    model: str

    def __new__(cls, strategy: str, model: str = "") -> Self:
        pair = super().__new__(cls, f"{strategy}@{model}" if model else strategy)
        pair.strategy, pair.model = strategy, model
        return pair

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return no_info_wrap_validator_function(cls._read, str_schema())

    @classmethod
    def _read(cls, value: object, to_text: Callable[[object], str]) -> Self:
        """The strategy and model in a file's text."""
        return value if isinstance(value, cls) else cls(*to_text(value).split("@", 1))

    @property
    def traits(self) -> Traits | None:
        """The strategy's traits; None if it is not installed."""
        return find(self.strategy)


#: Stands for no strategy, where a record need not be about one.
NO_STRATEGY = StrategyOnModel("")


def changes_base(strategy: StrategyOnModel) -> bool:
    """Whether a strategy changes the base model's outputs; a head on frozen features does not.

    A strategy that is not installed counts as changing them.
    """
    traits = strategy.traits
    return traits is None or traits.gradients_through_base


def read_traits(document: Document, problems: list[Problem]) -> Traits | None:
    """The traits that a strategy file states; None if one is missing or wrong.

    Args:
        problems: The list to which problems are appended, with file and line.
    """
    data = document.data if isinstance(document.data, Mapping) else {}
    declarations = [mapping.get("parameters") for mapping in (data, _parent(data))]
    parameters = {
        str(name) for names in declarations if isinstance(names, Mapping) for name in names
    }
    return checked(TRAITS, document, (), problems, parameters)


def _parent(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of the extended strategy's file; empty if this one extends none."""
    extends = data.get("extends")
    path = strategy_files().paths.get(str(extends)) if extends != data.get("strategy") else None
    content = document_of(path).data if path is not None else {}
    return content if isinstance(content, Mapping) else {}
