"""The ``then`` of a rule: its effects on a plan. Names and bounds are checked on reading."""

import math
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationInfo, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from sweeper.artifact import MAX_NUMBER
from sweeper.errors import near_match
from sweeper.planning.rulebook.fact import Values
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.planning.rulebook.strategy_files import (
    BookStrategy,
    ChoiceParameter,
    Choices,
    NumberParameter,
    Prior,
    Range,
    Text,
    listed,
    near,
    outside,
    within,
)
from sweeper.plans import Quality
from sweeper.spec import Scalar
from sweeper.units import joined, setting
from sweeper.yamlfile import FileModel, KeyPath, fault, raise_faults

Question = Literal["full-or-lora", "learning-rate", "how-much-data", "fine-tune-at-all"]
QUESTIONS: Mapping[Question, str] = {
    "full-or-lora": "Full fine-tuning or LoRA?",
    "learning-rate": "Which learning rate?",
    "how-much-data": "How much data?",
    "fine-tune-at-all": "Is fine-tuning needed at all?",
}
#: Stands for every strategy in a rule.
EVERY = "*"

#: A fact's name in a text of a rule, which is replaced by the fact's value.
SLOT = re.compile(r"\{([^{}]*)\}")


class RuleContext(NamedTuple):
    """The context for checking a rule.

    Args:
        strategies: The strategies of the rule book; None for one whose file has a problem.
        layer: Position of the rule's folder; 0 is the package's.
        where: File and line of the rule.
    """

    strategies: Mapping[str, BookStrategy | None]
    layer: int
    where: str

    def declared(self, strategy: str) -> list[BookStrategy] | None:
        """The strategies that a name or ``*`` means; None if one of their files has a problem."""
        names = self.strategies if strategy == EVERY else (strategy,)
        strategies = [item for name in names if (item := self.strategies[name])]
        return strategies if len(strategies) == len(names) else None


def _strategy(name: str, info: ValidationInfo) -> str:
    if isinstance(info.context, RuleContext) and name not in info.context.strategies:
        fix = near_match(name, info.context.strategies)
        raise fault(f"there is no strategy {name!r}", "", fix)
    return name


def _filled(text: str) -> str:
    for name in SLOT.findall(text):
        if name not in FACTS:
            raise fault(f"there is no fact {name!r}", "", near_match(name, FACTS))
    return text


def _number_fact(name: str) -> str:
    numbers = [fact_name for fact_name, fact in FACTS.items() if fact.kind == "number"]
    if name not in numbers:
        raise fault(f"{name!r} is not a fact with a number", "", near_match(name, numbers))
    return name


# Named types, so that the JSON Schema can list the names of a rule book in their definitions.
StrategyName = TypeAliasType("StrategyName", Annotated[str, AfterValidator(_strategy)])
ParameterName = TypeAliasType("ParameterName", str)
NumberFact = TypeAliasType("NumberFact", Annotated[str, AfterValidator(_number_fact)])
Filled = Annotated[Text, AfterValidator(_filled)]
Strategies = Annotated[tuple[StrategyName, ...], Strict(strict=False)]


class Curve(FileModel):
    """A number that depends on a fact: linear between points over the logarithm of the fact.

    Between numbers above 0, their logarithm is linear. Beyond the end points it is constant.
    """

    fact: NumberFact
    at: dict[Annotated[float, Field(gt=0)], float] = Field(
        min_length=1, examples=[{1000: 4, 10000: 3}], description="from values of the fact"
    )

    def value(self, values: Values) -> float | None:
        """The number for these facts; None if the curve's fact is unknown."""
        number_of_fact = values[self.fact]
        if not isinstance(number_of_fact, int | float):
            return None
        points = sorted(self.at.items())
        fact = min(max(float(number_of_fact), points[0][0]), points[-1][0])
        after = next(number for number, point in enumerate(points) if fact <= point[0])
        if fact == points[after][0]:
            return points[after][1]
        (low, start), (high, end) = points[after - 1 : after + 1]
        share = math.log(fact / low) / math.log(high / low)
        if min(start, end) > 0:
            return float(start * (end / start) ** share)
        return start + share * (end - start)

    def __str__(self) -> str:
        """The values at all points."""
        points = [f"{setting(value)} at {fact:g}" for fact, value in sorted(self.at.items())]
        return f"{joined(points)} {self.fact}"


class Gap(FileModel):
    """The quality that a rule expects of a strategy, in points against LoRA on the same model."""

    points: float | None = None
    points_from: Curve | None = Field(
        None, examples=[{"fact": "examples", "at": {1000: 0, 100000: 1}}]
    )
    sd: float = Field(gt=0, le=MAX_NUMBER)

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.points is None) == (self.points_from is None):
            raise fault("a gap needs either points or points_from")
        return self

    def quality(self, values: Values) -> Quality | None:
        """The estimate for these facts; None if the curve's fact is unknown."""
        mean = self.points_from.value(values) if self.points_from else self.points
        return None if mean is None else Quality(mean=round(mean, 4), sd=self.sd)

    def __str__(self) -> str:
        points = f"{self.points:+g}" if self.points_from is None else str(self.points_from)
        return f"{points} ± {self.sd:g} points"


class Change(FileModel):
    """What one rule does to one parameter.

    Args:
        target: The parameter as the rule writes it: ``strategy.parameter`` or ``*.parameter``.
        low_from: The lower end of the range, as it depends on a fact; likewise the others.
    """

    target: SkipJsonSchema[str] = Field("", alias="*target")
    span: Range | None = Field(None, alias="range", description="replaces the best-practice range")
    default: Scalar | None = None
    default_from: Curve | None = Field(
        None,
        examples=[{"fact": "examples", "at": {1000: 4, 10000: 3}}],
        description="the default follows a fact; a range reaches beyond it on both sides, and "
        "choices are its half, itself and its double",
    )
    low_from: Curve | None = Field(None, examples=[{"fact": "examples", "at": {1000: 2}}])
    high_from: Curve | None = Field(None, examples=[{"fact": "examples", "at": {1000: 5}}])
    choices: Choices | None = None
    prior: Prior | None = None
    searched: bool | None = None

    @cached_property
    def strategy(self) -> str:
        """The strategy whose parameter it is; ``*`` for all that have it."""
        return self.target.partition(".")[0]

    @cached_property
    def parameter(self) -> str:
        return self.target.partition(".")[2]

    def __str__(self) -> str:
        """The range, the default and whether it is searched, as far as the rule sets them."""
        parts = [" to ".join(map(setting, self.span))] if self.span else []
        parts += [joined([*map(setting, self.choices)], "or")] if self.choices else []
        if self.default is not None:
            parts.append(f"default {setting(self.default)}")
        curves = {"from": self.low_from, "to": self.high_from, "default": self.default_from}
        parts += [f"{word} {curve}" for word, curve in curves.items() if curve is not None]
        if self.searched is not None:
            parts.append("searched" if self.searched else "not searched")
        return ", ".join(parts)

    @model_validator(mode="after")
    def _checked(self, info: ValidationInfo) -> Self:
        """Check that the parameter exists and that its values are allowed by strategies' files."""
        if not self.model_fields_set - {"target"}:
            raise fault("no change is given", "", f"Known: {', '.join(CHANGE_KEYS)}.")
        if not isinstance(info.context, RuleContext):
            return self
        if "." not in self.target:
            fix = "Write 'lora.learning_rate', or '*.learning_rate' for every strategy."
            raise fault(f"{self.target!r} does not name a strategy's parameter", "", fix)
        if self.strategy != EVERY:
            _strategy(self.strategy, info)
        declared = info.context.declared(self.strategy)
        if declared is None:
            return self
        name = self.parameter
        # Later folders win, so a rule cannot change what a strategy file of a later folder sets.
        open_to_rule = [item for item in declared if item.layer(name) <= info.context.layer]
        targets = [item.parameters[name] for item in open_to_rule if name in item.parameters]
        if open_to_rule and not targets:
            names = {parameter for item in open_to_rule for parameter in item.parameters}
            raise fault(f"{self.strategy} has no parameter {name!r}", "", near_match(name, names))
        raise_faults([error for target in targets for error in self._bound_errors(target)])
        return self

    def _bound_errors(
        self, target: NumberParameter | ChoiceParameter
    ) -> Iterable[tuple[KeyPath, PydanticCustomError]]:
        name = self.parameter
        if isinstance(target, ChoiceParameter):
            allowed = target.allowed_choices or target.choices
            default = () if self.default is None else (self.default,)
            for key, values in (("choices", self.choices or ()), ("default", default)):
                for value in values:
                    if value not in allowed:
                        yield (key,), fault(f"{name} is never {value!r}", "", near(value, allowed))
            if self.span or self.low_from or self.high_from:
                yield (), fault(f"{name} has choices, not a range", "", "Use choices.")
            return
        allowed_range = target.allowed or target.range
        why = f"{name} is allowed from {allowed_range[0]:g} to {allowed_range[1]:g}."
        for key in ("default_from", "low_from", "high_from"):
            curve = getattr(self, key)
            if curve is not None and not within(tuple(curve.at.values()), allowed_range):
                yield (key,), fault(f"{key} leaves the allowed range", why)
        if self.span and not within(self.span, allowed_range):
            yield ("range",), fault(f"range = {listed(self.span)}", why)
        if self.default is None:
            return
        if not within((self.default,), allowed_range):
            yield ("default",), fault(f"default = {self.default!r}", why)
        elif self.span and not within((self.default,), self.span):
            yield ("default",), outside(self.default, self.span)


CHANGE_KEYS = tuple(
    field.alias or name for name, field in Change.model_fields.items() if name != "target"
)


def _with_targets(changes: Any) -> Any:
    """The changes with their keys as their targets, so that each can check its bounds."""
    if not isinstance(changes, Mapping):
        return changes
    return {
        name: {**change, "*target": str(name)} if isinstance(change, Mapping) else change
        for name, change in changes.items()
    }


class Effects(FileModel):
    """Everything that a rule does where it fires."""

    gap: dict[StrategyName, Gap] = Field(
        {}, description="the quality that is expected of strategies"
    )
    exclude: Strategies | Literal["*"] = Field(
        (), description="strategies that cannot work here; * for all of them"
    )
    leave_out: Strategies = Field(
        (), description="strategies that only compete if the user names them"
    )
    parameters: Annotated[dict[ParameterName, Change], BeforeValidator(_with_targets)] = Field(
        {}, description="changes of ranges and defaults, by strategy.parameter"
    )

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        return tuple(self.parameters.values())

    @cached_property
    def strategies(self) -> frozenset[str]:
        """The strategies that the rule affects; ``*`` stands for all."""
        named = (self.gap, self.exclude, self.leave_out)
        changed = (change.strategy for change in self.changes)
        return frozenset(changed).union(*named)

    def lines(self) -> list[str]:
        """One line per effect."""
        lines = [f"quality of {name}: {gap}" for name, gap in self.gap.items()]
        lines += [f"excluded: {joined(self.exclude)}"] if self.exclude else []
        lines += [f"left out unless named: {joined(self.leave_out)}"] if self.leave_out else []
        return [*lines, *(f"{change.target}: {change}" for change in self.changes)]

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise fault("then is empty", "A rule needs at least one effect.")
        return self


def fill(text: str, values: Values) -> str:
    """A rule's text with the values of facts in place of ``{names}``; unknown names stay."""
    return SLOT.sub(
        lambda slot: FACTS[slot[1]].text(values[slot[1]]) if slot[1] in values else slot[0], text
    )
