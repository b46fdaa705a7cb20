"""Values outside of what the rule book has evidence for, each with the evidence and its source."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.features.review._case import Case
from sweeper.features.review._formats import matches
from sweeper.features.review._record import Finding
from sweeper.hyperparameters import BATCH, EPOCHS, is_number
from sweeper.planning.rulebook.rules import rule_book
from sweeper.plans import Parameter
from sweeper.units import number, setting

#: Beyond the range by more than this factor, a learning rate is a warning: half a decade.
_FAR = 3.0
#: A batch within this factor of the range is not worth a note: rules name powers of two.
_NEAR = 2.0
#: From the rule book's names to those of ``Training``.
_NAMES = {BATCH: "micro_batch", EPOCHS: "num_train_epochs"}


def outside(case: Case) -> Iterator[Finding]:
    """The values of this training outside of the evidence."""
    training = case.training
    if training.stage != "sft" or training.method == "other":
        return
    for name, (parameter, rule) in _parameters(case).items():
        neutral = _NAMES.get(name, name)
        # The trainer's own rate is judged, too: it is seldom meant for an adapter.
        given = case.given(neutral) or (name == "learning_rate" and case.config.format != "peft")
        value = case.batch if name == BATCH else getattr(training, neutral, None)
        if not given or not is_number(value) or (name == BATCH and not _countable(case)):
            continue
        if name == "learning_rate" and training.optim and not matches(training.optim, "*adam*"):
            continue
        yield from _judged(case, neutral, value, parameter, rule)


def _parameters(case: Case) -> dict[str, tuple[Parameter, str]]:
    """What the rule book says about each parameter, with the rule that says it."""
    method = case.training.method
    declared = rule_book().strategies[method].parameters
    ranges = {name: (entry.parameter, "") for name, entry in declared.items()}
    if case.rated is not None:
        rated = case.rated.strategies[method]
        rules = {name: reason.rule for reason in rated.reasons for name in reason.changes}
        ranges |= {name: (p, rules.get(name, "")) for name, p in rated.parameters.items()}
    return ranges


def _countable(case: Case) -> bool:
    """Whether the batch is known in examples: its GPUs are stated, and rows are not packed."""
    stated = case.training.gpus is not None or case.on_gpu
    return stated and not case.training.packing


def _judged(
    case: Case, neutral: str, value: float, parameter: Parameter, rule: str
) -> Iterator[Finding]:
    low, high = _range(parameter)
    near = _NEAR if neutral == "micro_batch" else 1.0
    if low is None or high is None or low / near <= value <= high * near:
        return
    far = value * _FAR < low if value < low else value > high * _FAR
    batch, rate = neutral == "micro_batch", neutral == "learning_rate"
    name = case.field(neutral) or neutral
    yield case.finding(
        "outside-evidence",
        (neutral, "gradient_accumulation_steps") if batch else (neutral,),
        {} if batch else {neutral: parameter.default},
        level="warning" if far and rate else "note",
        name="the effective batch" if batch else name,
        shown=number(value) if rate else setting(value),
        default="" if case.given(neutral) else ", the trainer's default,",
        side="below" if value < low else "above",
        covered=f"{setting(low)} to {setting(high)}",
        why=parameter.why,
        source=parameter.source,
        rule=rule,
        value=value,
        low=low,
        high=high,
    )


def _range(parameter: Parameter) -> tuple[float | None, float | None]:
    """What the evidence covers: the range of a searched parameter, what is allowed of others."""
    if parameter.kind == "categorical":
        numbers = [float(choice) for choice in parameter.choices or () if is_number(choice)]
        return (min(numbers), max(numbers)) if numbers else (None, None)
    return (parameter.low, parameter.high) if parameter.searched else parameter.bounds
