"""Findings about values outside the ranges that the rule book has evidence for."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.features.review._case import Case
from sweeper.features.review._formats import matches
from sweeper.features.review._record import Finding
from sweeper.hyperparameters import BATCH, EPOCHS, is_number
from sweeper.planning.rulebook.book import rule_book
from sweeper.plans import Parameter
from sweeper.units import setting

#: A learning rate beyond the range by more than this factor, half a decade, is a warning.
_WARNING_FACTOR = 3.0
#: A batch within this factor of the range gets no note: rules name powers of two.
_BATCH_TOLERANCE = 2.0
#: Names of ``Training`` by names of the rule book.
_SETTINGS = {BATCH: "micro_batch", EPOCHS: "num_train_epochs"}


def outside_evidence(case: Case) -> Iterator[Finding]:
    """A finding for each value of this training outside the evidence."""
    training = case.training
    if training.stage != "sft" or training.method == "other":
        return
    unknown_batch = training.packing or not (training.gpus or case.on_gpu)
    adam = not training.optim or matches(training.optim, "*adam*")
    for name, (parameter, rule) in _parameters(case).items():
        setting_name, is_batch, is_rate = (
            _SETTINGS.get(name, name),
            name == BATCH,
            name == "learning_rate",
        )
        # The trainer's default rate is judged, too: it is seldom meant for an adapter.
        judged = case.file_values(setting_name) or (is_rate and case.config.format != "peft")
        value = case.batch if is_batch else getattr(training, setting_name, None)
        low, high = _range(parameter)
        if not judged or not is_number(value) or low is None or high is None:
            continue
        # A training that ends during warmup never reaches its rate.
        if (is_batch and unknown_batch) or (is_rate and (not adam or case.warmup_share >= 1)):
            continue
        tolerance, default = _BATCH_TOLERANCE if is_batch else 1.0, parameter.default
        # Published rates have one digit.
        if is_rate and is_number(default):
            low, high = min(low, float(f"{low:.0e}")), max(high, float(f"{high:.0e}"))
            default = float(f"{default:.0e}")
        if low / tolerance <= value <= high * tolerance:
            continue
        far = value * _WARNING_FACTOR < low if value < low else value > high * _WARNING_FACTOR
        yield case.finding(
            "outside-evidence",
            (setting_name, "gradient_accumulation_steps") if is_batch else (setting_name,),
            {} if is_batch else {setting_name: default},
            level="warning" if far and is_rate else "note",
            name="the effective batch" if is_batch else case.field(setting_name) or setting_name,
            shown=setting(value),
            default="" if case.file_values(setting_name) else ", the trainer's default,",
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
    """The rule book's parameters by name, each with the rule that changed it."""
    method = case.training.method
    declared = rule_book().strategies[method].parameters
    ranges = {name: (entry.parameter, "") for name, entry in declared.items()}
    if case.rated is not None:
        rated = case.rated.strategies[method]
        rules = {name: reason.rule for reason in rated.reasons for name in reason.changes}
        ranges |= {name: (p, rules.get(name, "")) for name, p in rated.parameters.items()}
    return ranges


def _range(parameter: Parameter) -> tuple[float | None, float | None]:
    """The range of a searched parameter, or the allowed range of another."""
    if parameter.kind == "categorical":
        numbers = [float(choice) for choice in parameter.choices or () if is_number(choice)]
        return (min(numbers), max(numbers)) if numbers else (None, None)
    return (parameter.low, parameter.high) if parameter.searched else parameter.bounds
