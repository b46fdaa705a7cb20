"""Numbers of parameters as strategy files declare them: sums of products over a model's layers.

A formula is data and never code: factors are names or whole numbers. ``memory.states`` evaluates
it for the layers of a model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from math import prod
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from sweeper.errors import near_match
from sweeper.hyperparameters import Scalar
from sweeper.yaml_models import FileModel, fault, faults
from sweeper.yamlfile import Path_

#: Sizes of a model that a factor may name.
SHAPE = ("hidden_size", "layers", "key_value_width", "vocabulary_size")
#: Sizes of the layer that a term is about, and the largest ones among the target layers.
LAYER = ("inputs", "outputs")
LARGEST = ("largest_inputs", "largest_outputs")
#: Linear layers by what they do, whatever an architecture calls them.
Role = Literal["query", "key", "value", "projection", "gate", "up", "down"]
#: What a term is counted for, besides a list of roles.
Place = Literal["model", "layer", "target_layer"]

Values = Mapping[str, Scalar | None]


def _factor(value: object) -> object:
    if isinstance(value, str) or (type(value) is int and value > 0):
        return value
    raise fault(f"unknown factor {value!r}")


def _each(value: Any) -> Any:
    roles = value if isinstance(value, list) else []
    unknown = [role for role in roles or [value] if role not in get_args(Role if roles else Place)]
    if unknown or value == []:
        known = (*get_args(Place), *get_args(Role))
        raise fault(f"each = {value!r}", "", near_match(str((unknown or [""])[0]), known))
    return tuple(roles) or value


Factor = Annotated[str | int, BeforeValidator(_factor)]


class Quotient(FileModel):
    """A whole division that is never less than 1."""

    divide: Annotated[tuple[Factor, Factor], Strict(strict=False)]

    def value(self, values: Values) -> int:
        over, under = self.divide
        return max(1, _number(over, values) // _number(under, values))


class Fallback(FileModel):
    """A parameter that may be absent or 0, and what stands in for it then."""

    parameter: str
    otherwise: Factor = Field(alias="else")

    def value(self, values: Values) -> int:
        given = values.get(self.parameter)
        return int(given) if given else _number(self.otherwise, values)


class Choice(FileModel):
    """A number for each value of a parameter."""

    parameter: str
    numbers: dict[str, int] = Field(alias="is")

    def value(self, values: Values) -> int:
        return self.numbers[str(_given(self.parameter, values))]


def _kind(value: Any) -> str | None:
    keys = set(value) if isinstance(value, Mapping) else set()
    kinds = {"divide": {"divide"}, "else": {"parameter", "else"}, "is": {"parameter", "is"}}
    return next((kind for kind, known in kinds.items() if keys == known), None)


Named = Annotated[
    Annotated[Quotient, Tag("divide")]
    | Annotated[Fallback, Tag("else")]
    | Annotated[Choice, Tag("is")],
    Discriminator(
        _kind,
        custom_error_type="fault",
        custom_error_message="{what}",
        custom_error_context={
            "what": "this is not a number that can be named",
            "why": "",
            "fix": "Write {divide: [a, b]}, {parameter: name, else: a} or "
            "{parameter: name, is: {x: 1}}.",
        },
    ),
]


class Term(FileModel):
    """One product, counted for the model, each block, or each linear layer of some kind."""

    each: Annotated[Place | tuple[Role, ...], BeforeValidator(_each)] = "model"
    factors: Annotated[tuple[Factor, ...], Strict(strict=False)] = Field(
        alias="product", min_length=1, examples=[["r", "hidden_size"]]
    )
    when: dict[str, Scalar] = Field({}, description="parameters' values at which it counts at all")


class Formula(FileModel):
    """A number of parameters for any model: the whole base's, or the sum of some terms."""

    whole_base: SkipJsonSchema[bool] = Field(False, alias="*whole_base")
    names: dict[str, Named] = Field({}, alias="let", description="numbers that terms may name")
    terms: Annotated[tuple[Term, ...], Strict(strict=False)] = Field(alias="sum", min_length=1)

    def product(self, term: Term, values: Values) -> int:
        """The value of one term for one layer, block or model; 0 if it does not hold.

        >>> sum = [{"each": "target_layer", "product": ["r", "inputs"]}]
        >>> formula = Formula.model_validate({"sum": sum})
        >>> formula.product(formula.terms[0], {"r": 8, "inputs": 64})
        512
        """
        if any(values.get(name) != wanted for name, wanted in term.when.items()):
            return 0
        if self.names:
            values = {**values, **{name: made.value(values) for name, made in self.names.items()}}
        return prod(_number(factor, values) for factor in term.factors)

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Names of the strategy's parameters that decide the number."""
        found: set[str | int] = set()
        for term in self.terms:
            found |= {*term.factors, *term.when}
        for made in self.names.values():
            found |= {*made.divide} if isinstance(made, Quotient) else {made.parameter}
            found |= {made.otherwise} if isinstance(made, Fallback) else set()
        known = {*SHAPE, *LAYER, *LARGEST, *self.names}
        return frozenset(one for one in found if isinstance(one, str) and one not in known)

    @model_validator(mode="after")
    def _names_are_known(self, info: ValidationInfo) -> Self:
        """Check names where the strategy's parameters are known: the context of the validation."""
        if info.context is not None:
            faults(list(self._unknown(info.context)))
        return self

    def _unknown(self, parameters: Collection[str]) -> Iterator[tuple[Path_, PydanticCustomError]]:
        known = (*SHAPE, *parameters)
        for name, made in self.names.items():
            if isinstance(made, Quotient):
                yield from _factors(("let", name), made.divide, known)
            elif isinstance(made, Fallback):  # the parameter may be one that the class alone knows
                yield from _factors(("let", name), (made.otherwise,), known)
            else:
                yield from _parameters(("let", name), (made.parameter,), parameters)
        for place, term in enumerate(self.terms):
            inside = () if term.each in ("model", "layer") else LAYER
            named = (*known, *inside, *LARGEST, *self.names)
            yield from _factors(("sum", place, "product"), term.factors, named)
            yield from _parameters(("sum", place, "when"), term.when, parameters)


def _factors(
    path: Path_, factors: Collection[str | int], known: Collection[str]
) -> Iterator[tuple[Path_, PydanticCustomError]]:
    for factor in factors:
        if isinstance(factor, str) and factor not in known:
            yield path, fault(f"unknown factor {factor!r}", "", near_match(factor, known))


def _parameters(
    path: Path_, names: Collection[str], known: Collection[str]
) -> Iterator[tuple[Path_, PydanticCustomError]]:
    for name in names:
        if name not in known:
            what = f"the strategy has no parameter {name!r}"
            yield path, fault(what, "", near_match(name, known))


#: Nothing but a new classification head, which is counted apart; and all of the base model.
NOTHING = Formula.model_construct(whole_base=False, names={}, terms=())
WHOLE_BASE = Formula.model_construct(whole_base=True, names={}, terms=())


def _declared(data: Any) -> Any:
    if isinstance(data, Formula) or (isinstance(data, Mapping) and data.get("sum")):
        return data
    if data == "base":
        return WHOLE_BASE
    if data == "head":
        return NOTHING
    fix = "Write 'base', 'head', or 'sum:' with a list of {each: ..., product: [...]}."
    raise fault("this is not a number of parameters", "", fix)


#: As a strategy file gives it: ``base``, ``head``, or ``{let: ..., sum: [...]}``.
DeclaredFormula = Annotated[
    Formula, BeforeValidator(_declared, json_schema_input_type=Literal["base", "head"] | Formula)
]


def _given(name: str, values: Values) -> Scalar:
    value = values.get(name)
    if value is None:
        raise LookupError(f"a formula names {name!r}, which has no value")
    return value


def _number(factor: str | int, values: Values) -> int:
    return factor if isinstance(factor, int) else int(_given(factor, values))
