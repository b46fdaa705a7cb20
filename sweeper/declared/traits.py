"""The traits of a strategy: names, chart mark, trained weights, cost.

Every strategy file states these under ``TRAIT_KEYS``; a file that extends another one inherits
what it leaves out, except its own names and mark.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

from sweeper.declared.files import document as document_of
from sweeper.declared.files import known_strategies, strategy_files
from sweeper.declared.formula import NOTHING, ROLES, Formula, read_formula
from sweeper.errors import Problem, RuleError, UsageError, near_match
from sweeper.yamlfile import Document

#: What a strategy puts into the base model, as far as activations and time depend on it.
#:
#: - ``nothing``: full fine-tuning, or a head alone.
#: - ``low-rank``: two trained matrices beside each target layer (LoRA).
#: - ``scaled-projections``: two frozen matrices beside each target layer, and trained vectors that
#:   scale their results (VeRA).
#: - ``scaling``: trained vectors that multiply layers' inputs or outputs (IA3).
#: - ``bottlenecks``: small networks after the blocks' sublayers.
#: - ``prefix``: keys and values before those of every layer.
#: - ``virtual-tokens``: embeddings before the input.
Adds = Literal[
    "nothing", "low-rank", "scaled-projections", "scaling", "bottlenecks", "prefix",
    "virtual-tokens",
]  # fmt: skip
Shape = Literal[
    "circle", "square", "diamond", "triangle-up", "triangle-down", "triangle-left",
    "triangle-right", "cross", "stroke",
]  # fmt: skip
#: Of these, what goes to the layers that ``target_modules`` names.
TARGETED: frozenset[Adds] = frozenset({"low-rank", "scaled-projections", "scaling"})
#: Tested colours that the report's stylesheet defines; 0 is the neutral one.
COLORS = range(7)

TRAIT_KEYS = (
    "label", "in_a_sentence", "chart", "one_trial", "gradients_through_base", "adds",
    "trained_parameters", "frozen_parameters",
)  # fmt: skip
_OWN = ("label", "chart")
_INHERITED = ("gradients_through_base", "adds", "trained_parameters")


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark of a strategy in charts. ``shape`` and ``dash`` are Vega's."""

    color: int = 0
    shape: Shape = "stroke"
    dash: tuple[int, ...] = (1, 0)


#: Of a strategy that is not installed here.
UNKNOWN = Mark(dash=(4, 2))


@dataclass(frozen=True, slots=True)
class Traits:
    """The traits of a strategy.

    Args:
        name: Name in files, flags and studies.
        label: Name in tables and charts.
        in_a_sentence: Name in running text.
        mark: In charts.
        one_trial: The whole of it is one trial, which fits a head in closed form.
        gradients_through_base: Gradients pass through the base model. Otherwise its features are
            computed once, by forward passes alone.
        adds: What stands in the base model besides its own layers.
        trained: Number of trained parameters; a new classification head comes on top.
        frozen: Number of parameters that are added and stay frozen.
        quantization: Quantization of the frozen base.
        gradient_checkpointing: Whether it works with it.
        extends: The strategy whose parameters it has, besides its own.
    """

    name: str
    label: str = ""
    in_a_sentence: str = ""
    mark: Mark = UNKNOWN
    one_trial: bool = False
    gradients_through_base: bool = True
    adds: Adds = "nothing"
    trained: Formula = NOTHING
    frozen: Formula = NOTHING
    quantization: str | None = None
    gradient_checkpointing: bool = True
    extends: str | None = None

    @property
    def trains_base(self) -> bool:
        """Whether the base model's own weights are trained."""
        return self.trained.whole_base

    def parameters(self) -> frozenset[str]:
        """Parameters that the numbers of trained and frozen parameters depend on."""
        return self.trained.parameters() | self.frozen.parameters()


def traits_of(name: str) -> Traits:
    """The traits of an installed strategy.

    Raises:
        UsageError: There is no such strategy; with the nearest name.
        RuleError: Its file holds mistakes.
    """
    found = find(name)
    if found is None:
        known = known_strategies()
        raise UsageError(f"there is no strategy {name!r}", fix=near_match(name, known))
    return found


def quantized(name: str) -> tuple[Traits, ...]:
    """Installed strategies that do the same as this one on a quantised base."""
    every = [traits_of(other) for other in known_strategies()]
    return tuple(one for one in every if one.extends == name and one.quantization)


@lru_cache(maxsize=64)
def find(name: str) -> Traits | None:
    """The traits of a strategy, or None if it is not installed.

    Raises:
        RuleError: Its file holds mistakes.
    """
    path = strategy_files().paths.get(name)
    if path is None:
        return None
    file = document_of(path)
    problems: list[Problem] = []
    found = read_traits(file.data if isinstance(file.data, Mapping) else {}, file, problems)
    if problems:
        raise RuleError(problems)
    return found


def read_traits(
    data: Mapping[str, Any], document: Document, problems: list[Problem]
) -> Traits | None:
    """The traits that a strategy file states; problems are appended with file and line.

    Args:
        problems: List to append to.

    Returns:
        None if a trait is missing or wrong.
    """
    before = len(problems)
    extends = data.get("extends")
    parent = find(str(extends)) if extends and extends != data.get("strategy") else None
    for key in (*_OWN, *(() if parent else _INHERITED)):
        if data.get(key) in (None, "", {}):
            what = f"{key} is missing"
            why = "Without it the strategy cannot be planned or drawn."
            problems.append(Problem(what, why, "", document.where(("strategy",))))
    stated = data.get("parameters")
    parameters = {str(name) for name in stated} if isinstance(stated, Mapping) else set[str]()
    parameters |= _parameters_of(str(extends)) if parent else set()
    fields: dict[str, Any] = {}
    if parent:
        names = ("adds", "trained", "frozen", "gradients_through_base")
        fields = {name: getattr(parent, name) for name in names}
    if "adds" in data:
        fields["adds"] = _word(data["adds"], get_args(Adds), "adds", document, problems)
    for key in ("gradients_through_base", "one_trial", "gradient_checkpointing"):
        if key in data:
            fields[key] = _flag(data[key], key, document, problems)
    for key, name in (("trained_parameters", "trained"), ("frozen_parameters", "frozen")):
        if key in data:
            fields[name] = read_formula(data[key], parameters, document, (key,), problems)
    label = str(data.get("label", ""))
    mark = _mark(data.get("chart"), document, problems)
    if len(problems) > before:
        return None
    return Traits(
        name=str(data.get("strategy")),
        label=label,
        in_a_sentence=str(data.get("in_a_sentence", label)),
        mark=mark,
        quantization=data.get("quantization"),
        extends=extends,
        **fields,
    )


def _parameters_of(name: str) -> set[str]:
    path = strategy_files().paths.get(name)
    data = document_of(path).data if path else None
    return set(data.get("parameters") or ()) if isinstance(data, Mapping) else set()


def _mark(data: Any, document: Document, problems: list[Problem]) -> Mark:
    if data is None:
        return Mark()
    keys = ("color", "shape", "dash")
    if not isinstance(data, Mapping) or not {"color", "shape"} <= set(data) <= set(keys):
        fix = "Write {color: 2, shape: square}, and perhaps dash: [4, 2]."
        where = document.where(("chart",))
        problems.append(Problem("chart needs a color and a shape", "", fix, where))
        return Mark()
    color, dash = data["color"], data.get("dash", [1, 0])
    if color not in COLORS or isinstance(color, bool):
        why = f"Colors are numbered 0 (neutral) to {COLORS[-1]}."
        where = document.where(("chart", "color"))
        problems.append(Problem(f"color = {color!r}", why, "", where))
    shape = _word(data["shape"], get_args(Shape), "shape", document, problems, ("chart",))
    if not isinstance(dash, list) or not all(isinstance(one, int) for one in dash):
        where = document.where(("chart", "dash"))
        problems.append(Problem(f"dash = {dash!r}", "", "Write [4, 2].", where))
        return Mark()
    return Mark(color, shape, tuple(dash))


def _word(
    value: Any,
    known: Collection[str],
    key: str,
    document: Document,
    problems: list[Problem],
    inside: tuple[str, ...] = (),
) -> Any:
    if value not in known:
        where = document.where((*inside, key))
        problems.append(Problem(f"{key} = {value!r}", "", near_match(str(value), known), where))
    return value


def _flag(value: Any, key: str, document: Document, problems: list[Problem]) -> bool:
    if not isinstance(value, bool):
        what = f"{key} = {value!r} is neither true nor false"
        problems.append(Problem(what, where=document.where((key,))))
    return bool(value)


def traits_schema() -> dict[str, Any]:
    """JSON Schema of ``TRAIT_KEYS``."""
    text = {"type": "string", "minLength": 1}
    factor = {"anyOf": [text, {"type": "integer", "minimum": 1}]}
    each = {"anyOf": [text, {"type": "array", "items": {"enum": list(ROLES)}, "minItems": 1}]}
    term = _closed(
        {
            "each": each,
            "product": {"type": "array", "items": factor, "minItems": 1},
            "when": {"type": "object"},
        },
        ("product",),
    )
    total = _closed(
        {
            "let": {"type": "object", "additionalProperties": {"type": "object"}},
            "sum": {"type": "array", "items": term, "minItems": 1},
        },
        ("sum",),
    )
    dash = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    chart = {"color": {"enum": list(COLORS)}, "shape": {"enum": list(get_args(Shape))}}
    return {
        "label": text,
        "in_a_sentence": text,
        "chart": _closed({**chart, "dash": dash}, ("color", "shape")),
        "one_trial": {"type": "boolean"},
        "gradients_through_base": {"type": "boolean"},
        "adds": {"enum": list(get_args(Adds))},
        "trained_parameters": {"anyOf": [{"enum": ["base", "head"]}, total]},
        "frozen_parameters": total,
    }


def _closed(properties: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
