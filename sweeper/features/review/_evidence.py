"""Values outside of what the rule book has evidence for, each with the evidence and its source."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.features.review._case import Case
from sweeper.features.review._formats import matches
from sweeper.features.review._record import Finding
from sweeper.hyperparameters import BATCH, EPOCHS, is_number
from sweeper.planning.rulebook.book import rule_book
from sweeper.plans import Parameter
from sweeper.units import setting

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
    uncountable = training.packing or not (training.gpus or case.on_gpu)
    adam = not training.optim or matches(training.optim, "*adam*")
    for name, (parameter, rule) in _parameters(case).items():
        neutral, batch, rate = _NAMES.get(name, name), name == BATCH, name == "learning_rate"
        # The trainer's own rate is judged, too: it is seldom meant for an adapter.
        given = case.given(neutral) or (rate and case.config.format != "peft")
        value = case.batch if batch else getattr(training, neutral, None)
        low, high = _range(parameter)
        if not given or not is_number(value) or low is None or high is None:
            continue
        # A rate after whose warmup the training has ended is never reached.
        if (batch and uncountable) or (rate and (not adam or case.warmup_share >= 1)):
            continue
        near, default = _NEAR if batch else 1.0, parameter.default
        # A rate is no more exact than the published ones that it lies between.
        if rate and is_number(default):
            low, high = min(low, float(f"{low:.0e}")), max(high, float(f"{high:.0e}"))
            default = float(f"{default:.0e}")
        if low / near <= value <= high * near:
            continue
        far = value * _FAR < low if value < low else value > high * _FAR
        yield case.finding(
            "outside-evidence",
            (neutral, "gradient_accumulation_steps") if batch else (neutral,),
            {} if batch else {neutral: default},
            level="warning" if far and rate else "note",
            name="the effective batch" if batch else case.field(neutral) or neutral,
            shown=setting(value),
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


def _range(parameter: Parameter) -> tuple[float | None, float | None]:
    """What the evidence covers: the range of a searched parameter, what is allowed of others."""
    if parameter.kind == "categorical":
        numbers = [float(choice) for choice in parameter.choices or () if is_number(choice)]
        return (min(numbers), max(numbers)) if numbers else (None, None)
    return (parameter.low, parameter.high) if parameter.searched else parameter.bounds
