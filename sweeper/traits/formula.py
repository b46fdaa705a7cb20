"""Numbers of parameters as strategy files declare them: formulas over the sizes of a model.

A formula is parsed, checked and computed node by node, and never run as code. ``memory.states``
computes it for the layers of a model.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from sweeper.errors import near_match
from sweeper.hyperparameters import Scalar
from sweeper.yamlfile import Path_, fault, faults

#: Sizes of a model that a formula may name, and the largest ones among its target layers.
SHAPE = (
    "hidden_size", "layers", "key_value_width", "vocabulary_size", "largest_inputs",
    "largest_outputs",
)  # fmt: skip
#: Sizes of the layer that a formula is about.
LAYER = ("inputs", "outputs")
#: Linear layers by what they do, whatever an architecture calls them.
Role = Literal["query", "key", "value", "projection", "gate", "up", "down"]
#: What a formula is computed for, besides a list of roles.
Place = Literal["model", "layer", "target_layer"]

Values = Mapping[str, Scalar | None]

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.FloorDiv: lambda over, under: max(1, over // under),
}
_NODES: tuple[type[ast.AST], ...] = (
    *(ast.BinOp, ast.Add, ast.Mult, ast.FloorDiv, ast.BoolOp, ast.Or, ast.IfExp, ast.Compare),
    *(ast.Eq, ast.Name, ast.Load, ast.Constant),
)


@dataclass(frozen=True)
class Term:
    """One formula, computed for the model, each block, or each linear layer of some kind."""

    each: Place | tuple[Role, ...]
    text: str
    formula: ast.expr = field(compare=False, repr=False)

    def value(self, values: Values) -> int:
        """Its value for one layer, block or model.

        Raises:
            LookupError: It names something that has no value.
        """
        return _number(self.formula, values)

    @cached_property
    def names(self) -> frozenset[str]:
        """Sizes and parameters that decide it."""
        return _names(self.formula)


@dataclass(frozen=True)
class Formula:
    """A number of parameters for any model: the whole base's, or the sum of some terms."""

    terms: tuple[Term, ...] = ()
    whole_base: bool = False

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Names of the strategy's parameters that decide the number."""
        return frozenset().union(*(term.names for term in self.terms)) - {*SHAPE, *LAYER}


#: Nothing but a new classification head, which is counted apart.
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


def _place(text: str) -> Place | tuple[Role, ...]:
    places, roles = get_args(Place), get_args(Role)
    if text in places:
        return text  # type: ignore[return-value]
    named = [role.strip() for role in text.split(",")]
    if unknown := [role for role in named if role not in roles]:
        raise fault(f"{unknown[0]!r} is no place", "", near_match(unknown[0], (*places, *roles)))
    return tuple(named)  # type: ignore[arg-type]


def _parsed(text: object, known: Collection[str] | None) -> ast.expr:
    """A formula, of known names if these are known."""
    fix = "Write names, whole numbers, +, *, //, 'a or b', and 'a if b == \"c\" else d'."
    try:
        formula = ast.parse(str(text), mode="eval").body
        odd = next((node for node in ast.walk(formula) if not isinstance(node, _NODES)), None)
        if odd is not None:
            raise ValueError("this is more than arithmetic")
        names = _names(formula)
        _number(formula, dict.fromkeys(names, 1))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise fault(f"{text!r} is not a formula", f"{error}.", fix) from error
    if known is not None and (unknown := sorted(names - {*known})):
        raise fault(f"unknown name {unknown[0]!r}", "", near_match(unknown[0], known))
    return formula


def _declared(data: Any, info: ValidationInfo) -> Formula:
    """The formula of a strategy file. The context of the validation is the file's parameters."""
    if data in ("base", "head"):
        return Formula(whole_base=data == "base")
    if not isinstance(data, Mapping) or not data:
        fix = "Write 'base', 'head', or formulas: {target_layer: r * (inputs + outputs)}."
        raise fault("this is not a number of parameters", "", fix)
    terms: list[Term] = []
    wrong: list[tuple[Path_, PydanticCustomError]] = []
    for key, text in data.items():
        try:
            each = _place(str(key))
            sizes = SHAPE if each in ("model", "layer") else (*SHAPE, *LAYER)
            known = None if info.context is None else (*sizes, *info.context)
            terms.append(Term(each, str(text), _parsed(text, known)))
        except PydanticCustomError as error:
            wrong.append(((str(key),), error))
    faults(wrong)
    return Formula(tuple(terms))


#: As a strategy file gives it: ``base``, ``head``, or a formula for each place.
DeclaredFormula = Annotated[
    Formula,
    PlainValidator(
        _declared, json_schema_input_type=Literal["base", "head"] | dict[str, str | int]
    ),
]
