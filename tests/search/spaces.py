"""A space that needs no plan: two strategies, each with a rate. What its trials report."""

from __future__ import annotations

from typing import Any

from sweeper.objective import Limit
from sweeper.plans import Configuration, Origin, Parameter
from sweeper.search.alone import Space, StrategySpace, TrialBudget, TrialCosts
from sweeper.spec import Scalar
from sweeper.trials import Failure, Measure, RungReport, State, TrialResult

RATE = Parameter(
    kind="float", log=True, low=1e-4, high=3e-4, allowed_low=1e-5, allowed_high=1e-2,
    default=2e-4, source="test",
)  # fmt: skip
SPACE = Space(
    candidates=[
        StrategySpace(strategy="lora", parameters={"learning_rate": RATE}),
        StrategySpace(strategy="full", parameters={"learning_rate": RATE}),
    ],
    budget=TrialBudget(rungs=8, first_rung=2),
)
LIMIT = Limit("lost", 0.0, "loss", 2, "")


def report(rung: int, loss: float, seconds: float = 0.0, **fields: Any) -> RungReport:
    """What a trial reports at a rung."""
    return RungReport(rung=rung, validation_loss=loss, training_seconds=seconds, **fields)


def ended(
    state: State, loss: float | None = None, seconds: float = 0.0, **fields: Any
) -> TrialResult:
    """How a trial ended; one that failed has diverged."""
    if state == "FAIL":
        fields.setdefault("failure", Failure(kind="diverged", detail=""))
    return TrialResult(state=state, validation_loss=loss, training_seconds=seconds, **fields)


def beyond(violation: float | None) -> dict[str, Measure]:
    """Measures of a trial that is so far beyond ``LIMIT``."""
    measure = Measure(title="lost", unit="points", value=violation or 0.0)
    return {} if violation is None else {LIMIT.measure: measure}


def costs(
    cost: float | None,
    *,
    key: str = "lora",
    state: State | None = "COMPLETE",
    number: int = 0,
    origin: Origin = "search",
    parameters: dict[str, Scalar] | None = None,
    seconds: float = 0.0,
    **fields: Any,
) -> TrialCosts:
    """A trial with this cost, in this state; None for one that is running."""
    config = Configuration(number=number, strategy=key, origin=origin)
    result = None if state is None else ended(state, cost, seconds)
    return TrialCosts(config, key, parameters or {}, result=result, cost=cost, **fields)
