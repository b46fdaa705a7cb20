"""Numbers of parameters as strategy files declare them: sums of products over a model's layers.

A formula is data and never code: factors are names or whole numbers. ``memory.states`` knows the
layers of a model and counts with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from sweeper.errors import Problem, near_match
from sweeper.spec import Scalar
from sweeper.yamlfile import Document, Path_

#: Sizes of a model that a factor may name.
SHAPE = ("hidden_size", "layers", "key_value_width", "vocabulary_size")
#: Sizes of the layer that a term is about, and the largest ones among the target layers.
LAYER = ("inputs", "outputs")
LARGEST = ("largest_inputs", "largest_outputs")
#: What a term is counted for, besides a list of ``ROLES``.
EACH = ("model", "layer", "target_layer")
#: Linear layers by what they do, whatever an architecture calls them.
ROLES = ("query", "key", "value", "projection", "gate", "up", "down")

Factor = str | int
Values = Mapping[str, Scalar | None]


@dataclass(frozen=True, slots=True)
class Quotient:
    """A whole division that is never less than 1."""

    over: Factor
    under: Factor

    def value(self, values: Values) -> int:
        return max(1, _number(self.over, values) // _number(self.under, values))


@dataclass(frozen=True, slots=True)
class Fallback:
    """A parameter that may be absent or 0, and what stands in for it then."""

    parameter: str
    otherwise: Factor

    def value(self, values: Values) -> int:
        given = values.get(self.parameter)
        return int(given) if given else _number(self.otherwise, values)


@dataclass(frozen=True, slots=True)
class Choice:
    """A number for each value of a parameter."""

    parameter: str
    numbers: tuple[tuple[Scalar, int], ...]

    def value(self, values: Values) -> int:
        return dict(self.numbers)[_given(self.parameter, values)]


@dataclass(frozen=True, slots=True)
class Term:
    """One product, counted for the model, each block, or each linear layer of some kind.

    Args:
        each: ``model``, ``layer``, ``target_layer``, or ``ROLES``.
        factors: Names and whole numbers, multiplied.
        when: Values of parameters at which the term counts at all.
    """

    each: str | tuple[str, ...]
    factors: tuple[Factor, ...]
    when: tuple[tuple[str, Scalar], ...] = ()

    def holds(self, values: Values) -> bool:
        return all(values.get(name) == wanted for name, wanted in self.when)


@dataclass(frozen=True, slots=True)
class Formula:
    """A number of parameters for any model.

    Args:
        whole_base: All of the base model's parameters, without any terms.
        names: Numbers that terms may name.
        terms: Are added up.
    """

    whole_base: bool = False
    names: tuple[tuple[str, Quotient | Fallback | Choice], ...] = ()
    terms: tuple[Term, ...] = ()

    def product(self, term: Term, values: Values) -> int:
        """The value of one term for one layer, block or model; 0 if it does not hold.

        Args:
            term: Term of this formula.
            values: Sizes and parameters by name.

        >>> formula = Formula(terms=(Term("target_layer", ("r", "inputs")),))
        >>> formula.product(formula.terms[0], {"r": 8, "inputs": 64})
        512
        """
        if not term.holds(values):
            return 0
        own = {name: made.value(values) for name, made in self.names}
        return prod(_number(factor, {**values, **own}) for factor in term.factors)

    def parameters(self) -> frozenset[str]:
        """Names of the strategy's parameters that decide the number."""
        found: set[Factor] = set()
        for term in self.terms:
            found |= {*term.factors, *(name for name, _ in term.when)}
        for _, made in self.names:
            if isinstance(made, Quotient):
                found |= {made.over, made.under}
            else:
                found.add(made.parameter)
            found |= {made.otherwise} if isinstance(made, Fallback) else set()
        known = {*SHAPE, *LAYER, *LARGEST, *(name for name, _ in self.names)}
        return frozenset(one for one in found if isinstance(one, str) and one not in known)


#: Nothing but a new classification head, which is counted apart.
NOTHING = Formula()


def _given(name: str, values: Values) -> Scalar:
    value = values.get(name)
    if value is None:
        raise LookupError(f"a formula names {name!r}, which has no value")
    return value


def _number(factor: Factor, values: Values) -> int:
    return factor if isinstance(factor, int) else int(_given(factor, values))


def read_formula(
    data: Any,
    parameters: Collection[str],
    document: Document,
    path: Path_,
    problems: list[Problem],
) -> Formula:
    """A formula from a strategy file; problems are appended with file and line.

    Args:
        data: ``base``, ``head``, or ``{let: ..., sum: [...]}``.
        parameters: Names of the strategy's parameters, which factors may name.
        path: Path of ``data`` in it.
        problems: List to append to.
    """
    if data == "base":
        return Formula(whole_base=True)
    if data == "head":
        return NOTHING
    reader = _Reader(document, problems, parameters)
    if not isinstance(data, Mapping) or not isinstance(data.get("sum"), list) or not data["sum"]:
        fix = "Write 'base', 'head', or 'sum:' with a list of {each: ..., product: [...]}."
        reader.problem(f"{path[-1]} is not a number of parameters", path, fix)
        return NOTHING
    reader.keys(data, ("let", "sum"), path)
    names = reader.names(data.get("let") or {}, (*path, "let"))
    terms = [reader.term(item, (*path, "sum", i)) for i, item in enumerate(data["sum"])]
    return Formula(names=names, terms=tuple(term for term in terms if term is not None))


@dataclass
class _Reader:
    document: Document
    problems: list[Problem]
    parameters: Collection[str]
    let: tuple[str, ...] = ()

    def problem(self, what: str, path: Path_, fix: str = "") -> None:
        self.problems.append(Problem(what, "", fix, self.document.where(path)))

    def keys(self, data: Mapping[str, Any], known: Collection[str], path: Path_) -> None:
        for key in data:
            if key not in known:
                self.problem(f"unknown key {key!r}", (*path, key), near_match(str(key), known))

    def names(self, data: Any, path: Path_) -> tuple[tuple[str, Quotient | Fallback | Choice], ...]:
        if not isinstance(data, Mapping):
            self.problem("'let' is not a mapping of names", path)
            return ()
        found = []
        for name, item in data.items():
            made = self._name(item, (*path, name))
            if made is not None:
                found.append((str(name), made))
        self.let = tuple(data)
        return tuple(found)

    def _name(self, item: Any, path: Path_) -> Quotient | Fallback | Choice | None:
        keys = set(item) if isinstance(item, Mapping) else set()
        if keys == {"divide"} and isinstance(item["divide"], list) and len(item["divide"]) == 2:
            over, under = item["divide"]
            if self.factor(over, path) and self.factor(under, path):
                return Quotient(over, under)
            return None
        if keys == {"parameter", "else"}:  # may be a parameter that the class alone knows
            return (
                Fallback(str(item["parameter"]), item["else"])
                if (self.factor(item["else"], path))
                else None
            )
        if keys == {"parameter", "is"} and isinstance(item["is"], Mapping):
            numbers = tuple(item["is"].items())
            if self.parameter(item["parameter"], path) and all(
                isinstance(number, int) for _, number in numbers
            ):
                return Choice(str(item["parameter"]), numbers)
        fix = "Write {divide: [a, b]}, {parameter: name, else: a} or {parameter: name, is: {x: 1}}."
        self.problem(f"{path[-1]} is not a number that can be named", path, fix)
        return None

    def term(self, item: Any, path: Path_) -> Term | None:
        if not isinstance(item, Mapping) or not isinstance(item.get("product"), list):
            self.problem(
                f"{item!r} is not a term", path, "Write {each: model, product: [r, hidden_size]}."
            )
            return None
        self.keys(item, ("each", "product", "when"), path)
        each = item.get("each", "model")
        roles = tuple(each) if isinstance(each, list) else ()
        unknown = [role for role in roles if role not in ROLES]
        if unknown or (not roles and each not in EACH):
            fix = near_match(str((unknown or [each])[0]), (*EACH, *ROLES))
            self.problem(f"each = {each!r}", (*path, "each"), fix)
            return None
        inside = LAYER if roles or each == "target_layer" else ()
        spot = (*path, "product")
        known = [self.factor(factor, spot, (*inside, *LARGEST)) for factor in item["product"]]
        if not all(known):
            return None
        when = item.get("when") or {}
        named = [self.parameter(name, (*path, "when")) for name in when]
        if not all(named):
            return None
        return Term(roles or str(each), tuple(item["product"]), tuple(when.items()))

    def factor(self, factor: Any, path: Path_, more: Collection[str] = ()) -> bool:
        if isinstance(factor, int) and not isinstance(factor, bool) and factor > 0:
            return True
        known = [*SHAPE, *more, *self.let, *self.parameters]
        if factor in known:
            return True
        self.problem(f"unknown factor {factor!r}", path, near_match(str(factor), known))
        return False

    def parameter(self, name: Any, path: Path_) -> bool:
        if name in self.parameters:
            return True
        fix = near_match(str(name), self.parameters)
        self.problem(f"the strategy has no parameter {name!r}", path, fix)
        return False
