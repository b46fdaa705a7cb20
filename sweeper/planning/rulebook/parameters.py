"""A hyperparameter as a strategy file declares it: its ranges, default, source and reason."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    Strict,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sweeper import plans
from sweeper.errors import near_match
from sweeper.planning.rulebook.conditions import ALWAYS, Condition
from sweeper.spec import Scalar
from sweeper.yaml_models import FileModel, fault, faults
from sweeper.yamlfile import Path_


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise fault(f"low <= high must hold, but got [{pair[0]:g}, {pair[1]:g}]")
    return pair


def _whole(prior: plans.Prior) -> plans.Prior:
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
    plans.Prior, AfterValidator(_whole), Field(examples=[{"center": 2e-4, "spread": 0.3}])
]


class Follows(FileModel):
    """A default that grows with another parameter's: at ``at`` it is the declared one."""

    parameter: Text
    at: float = Field(gt=0)
    power: float
    source: Text


class _Parameter(FileModel):
    default: Scalar
    prior: Prior | None = None
    condition: Annotated[
        plans.Condition | None, Field(examples=[{"parameter": "head_init", "values": ["random"]}])
    ] = None
    when: Condition = Field(ALWAYS, description="the facts with which the parameter exists")
    unit: Text | Literal[""] = ""
    source: Text
    why: Text
    searched: bool = True
    possible: Bounds | None = Field(
        None,
        description="lowest and highest number that training takes at all, null for no bound; a "
        "user may declare them beyond the allowed range",
    )
    optional: bool = Field(False, description="exists only where sweep.yaml declares it")
    fitted: bool = Field(False, description="chosen within each trial, so that nobody can set it")
    _parameter: plans.Parameter = PrivateAttr()

    @property
    def parameter(self) -> plans.Parameter:
        """The parameter before any rule."""
        return self._parameter

    def model_post_init(self, context: object, /) -> None:
        """Make the parameter once."""
        names = ("kind", "default", "prior", "condition", "unit", "source", "why", "searched")
        fields = {name: getattr(self, name) for name in names}
        self._parameter = plans.Parameter(**fields, **self._space())

    @abstractmethod
    def _space(self) -> dict[str, object]:
        """The fields of ``plans.Parameter`` that say which values there are."""


class NumberParameter(_Parameter):
    """A number between two bounds: the best-practice range, and the one it may widen to."""

    kind: Literal["float", "int"]
    range: Range
    allowed: Range | None = None
    log: bool = False
    follows: Follows | None = Field(
        None, description="the default is multiplied by (parameter / at) ** power"
    )

    def _space(self) -> dict[str, object]:
        low, high = self.allowed or self.range
        bounds: dict[str, object] = {"low": self.range[0], "high": self.range[1], "log": self.log}
        return bounds | {"allowed_low": low, "allowed_high": high}

    @model_validator(mode="after")
    def _within(self) -> Self:
        found: list[tuple[Path_, PydanticCustomError]] = []
        outer = self.allowed or self.range
        if not within(self.range, outer):
            why = f"The allowed range is {outer[0]:g} to {outer[1]:g}."
            found.append((("range",), fault(f"range = {listed(self.range)}", why)))
        if not within((self.default,), self.range):
            found.append((("default",), outside(self.default, self.range)))
        if self.log and outer[0] <= 0:
            why = "A logarithmic range begins above 0."
            found.append((("range",), fault(f"log with allowed low = {outer[0]:g}", why)))
        faults(found)
        return self


class ChoiceParameter(_Parameter):
    """One of several values: the best-practice choices, and all that are possible."""

    kind: Literal["categorical"]
    choices: Choices
    allowed_choices: Choices | None = None

    def _space(self) -> dict[str, object]:
        allowed = self.allowed_choices or self.choices
        return {"choices": self.choices, "allowed_choices": allowed}

    @model_validator(mode="after")
    def _among(self) -> Self:
        allowed = self.allowed_choices or self.choices
        found: list[tuple[Path_, PydanticCustomError]] = [
            (
                ("choices",),
                fault(f"{choice!r} is not among allowed_choices", "", near(choice, allowed)),
            )
            for choice in self.choices
            if choice not in allowed
        ]
        if self.default not in self.choices:
            fix = near(self.default, self.choices)
            error = fault(f"default = {self.default!r} is not among choices", "", fix)
            found.append((("default",), error))
        faults(found)
        return self


DeclaredParameter = Annotated[NumberParameter | ChoiceParameter, Field(discriminator="kind")]
PARAMETER: TypeAdapter[NumberParameter | ChoiceParameter] = TypeAdapter(DeclaredParameter)


def within(values: tuple[object, ...], bounds: tuple[float, float]) -> bool:
    """Whether all values are numbers within the bounds."""
    return all(
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and bounds[0] <= value <= bounds[1]
        for value in values
    )


def outside(default: object, bounds: tuple[float, float]) -> PydanticCustomError:
    """The problem of a default outside of its range."""
    why = f"It must be within the range {bounds[0]:g} to {bounds[1]:g}."
    return fault(f"default = {default!r}", why)


def listed(pair: tuple[float, float]) -> str:
    """A range as a file writes it."""
    return f"[{pair[0]:g}, {pair[1]:g}]"


def near(value: Scalar, known: tuple[Scalar, ...]) -> str:
    """The nearest known value."""
    return near_match(str(value), [str(choice) for choice in known])
