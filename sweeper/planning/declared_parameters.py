"""Hyperparameters that the user declares, merged into those of the rule book.

Declarations that cannot apply are refused, all at once, with file and line. A declared range
replaces both the range and the allowed range: the search does not leave it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from sweeper.errors import Problem, SpecError, near_match
from sweeper.facts.models.linear_layers import (
    layer_names_of,
    missing_targets,
    names_known,
    savable_modules,
)
from sweeper.facts.record import Facts, ModelFacts
from sweeper.features import parts
from sweeper.hyperparameters import (
    CLASS_WEIGHT,
    EPOCHS,
    MODULES_TO_SAVE,
    NO_MODULES,
    OPTIMIZER,
    PATIENCE,
    TARGET_MODULES,
    is_number,
    is_pattern,
    near_parameter,
)
from sweeper.packages import install_command, is_installed
from sweeper.planning.budget.trial_budget import with_epochs
from sweeper.planning.rulebook.apply_rules import RatedStrategy, prior_of
from sweeper.planning.rulebook.book import RuleBook
from sweeper.planning.rulebook.fact import Values
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.planning.rulebook.strategy_files import (
    BookParameter,
    BookStrategy,
    ChoiceParameter,
    NumberParameter,
)
from sweeper.plans import DECLARED, Candidate, Parameter, Reason, Rejected
from sweeper.spec import EVERY_STRATEGY, MODULE_PARAMETERS, ParameterSpec, Scalar, Spec, distinct
from sweeper.units import setting

#: Facts that hold once a parameter is declared, since its declaration is the user's request for it.
_IMPLIED_FACTS = dict.fromkeys((name for name in FACTS if name.endswith("_wanted")), True)
#: Parameter to the one that it replaces if both are given, as in transformers.
_REPLACES = {"warmup_steps": "warmup_ratio"}
# Above this multiple of the default learning rate, trainings often diverge: in the sweeps of the
# source, losses rise steeply from half a decade above the best rate, and the default may be half a
# decade off.
_DIVERGING_FACTOR = 10.0
_DIVERGES_SOURCE = (
    "Tinker sweeps on Tulu 3, https://github.com/thinking-machines-lab/tinker-cookbook"
)
#: Optimizer to the package that it needs, besides torch and transformers.
_PACKAGES = {"adamw_torch_8bit": "torchao", "adamw_torch_4bit": "torchao"}


def declared_epochs(spec: Spec) -> float | None:
    """The most epochs that the user declared for any strategy; None without a declaration."""
    epochs: list[float] = []
    wanted = spec.aim.strategies
    for strategy, items in spec.parameters.items():
        declared = items.get(EPOCHS)
        if declared is not None and (wanted is None or strategy in (EVERY_STRATEGY, *wanted)):
            epochs += [float(value) for value in declared.values if is_number(value)]
    return max(epochs, default=None)


# Merge


def settled_parameters(
    spec: Spec, rated: RatedStrategy, epochs: float, values: Values
) -> dict[str, Parameter]:
    """The parameters of a strategy by rules and request, before the device is considered.

    Args:
        spec: The request, checked by ``check_declared``.
    """
    settled = with_flags(with_epochs(rated.parameters, epochs, spec), spec)
    for name, (declared, path) in spec.declared(rated.strategy.name).items():
        in_book = rated.strategy.parameters.get(name)
        # A fitted parameter is chosen within each trial, so it cannot be set.
        if in_book is None or in_book.fitted or not _exists(in_book, values):
            continue
        after_rules = rated.parameters.get(name, in_book.parameter)
        # ``with_epochs`` may have replaced the range of epochs by choices. A declaration changes
        # the range in the strategy's file instead.
        old = in_book.parameter if name == EPOCHS else settled.get(name, in_book.parameter)
        rule_range = str(after_rules.range) if name in rated.parameters else "not used"
        settled[name] = _merged(old, after_rules, declared, spec.places.where(path), rule_range)
        settled.pop(_REPLACES.get(name, ""), None)
    return settled


def with_flags(parameters: Mapping[str, Parameter], spec: Spec) -> dict[str, Parameter]:
    """The parameters, each fixed to the value of its flag or option if the user set it."""
    settled = dict(parameters)
    wanted: dict[str, Scalar | None] = {
        PATIENCE: spec.training.early_stopping_patience,
        CLASS_WEIGHT: spec.training.class_weight,
    }
    for (_, feature, option), flag in parts.flags().items():
        if flag.parameter:
            wanted[flag.parameter] = getattr(getattr(spec.features, feature), option)
    for name, value in wanted.items():
        old = settled.get(name)
        if old is None or value is None:
            continue
        texts = {"source": "the request", "why": "The requested value."}
        settled[name] = old.model_copy(update=_fixed_fields(old, value) | {"prior": None} | texts)
    return settled


def _exists(book_parameter: BookParameter, values: Values) -> bool:
    """Whether a strategy has the parameter in this study, once it is declared."""
    return bool(book_parameter.when.holds(MappingProxyType({**values, **_IMPLIED_FACTS})))


def _merged(
    old: Parameter, after_rules: Parameter, declared: ParameterSpec, where: str, rule_range: str
) -> Parameter:
    """``old`` with the declared values, and with the rule book's range in ``shipped``.

    Only a declared parameter has ``shipped``. ``why`` names that range and its source.
    """
    update: dict[str, object] = {"prior": None, "searched": True}
    if declared.choices is not None:
        choices = tuple(as_kind(old, choice) for choice in declared.choices)
        update |= (
            _fixed_fields(old, choices[0])
            if len(choices) == 1
            else _choice_fields(old, choices, declared)
        )
    elif old.kind == "categorical":  # a default alone
        default = as_kind(old, declared.default)  # type: ignore[arg-type]
        for field in ("choices", "allowed_choices"):
            update[field] = distinct((*(getattr(old, field) or ()), default))
        update |= {"default": default, "searched": old.searched}
    else:
        update |= _range_fields(old, declared)
    why = f"Declared by the user. The rule book: {rule_range} ({after_rules.source})."
    update |= {"source": where, "shipped": rule_range, "why": why}
    new = old.model_copy(update=update)
    return new.model_copy(update={"prior": prior_of(new)})


def _ends(parameter: Parameter) -> tuple[float, float]:
    low, high = parameter.bounds
    return float(low or 0.0), float(high or 0.0)


def _fixed_fields(old: Parameter, value: Scalar) -> dict[str, object]:
    update: dict[str, object] = {"default": value, "searched": False}
    if old.kind == "categorical":
        return update | {"choices": (value,), "allowed_choices": (value,)}
    return update | dict.fromkeys(("low", "high", "allowed_low", "allowed_high"), float(value))


def _choice_fields(
    old: Parameter, choices: tuple[Scalar, ...], declared: ParameterSpec
) -> dict[str, object]:
    default = (
        as_kind(old, declared.default) if declared.default is not None else _nearest(old, choices)
    )
    empty = dict.fromkeys(("low", "high", "allowed_low", "allowed_high"))
    kind = {"kind": "categorical", "log": False, "choices": choices, "allowed_choices": choices}
    return {**empty, **kind, "default": default}


def _nearest(old: Parameter, choices: tuple[Scalar, ...]) -> Scalar:
    """The choice nearest to the rule book's default; the first if they are not all numbers."""
    if old.default in choices:
        return old.default
    if not all(is_number(value) for value in (old.default, *choices)):
        return choices[0]
    scale = math.log if old.log else float
    return min(choices, key=lambda value: abs(scale(float(value)) - scale(float(old.default))))


def _range_fields(old: Parameter, declared: ParameterSpec) -> dict[str, object]:
    log = old.log if declared.log is None else declared.log
    low = float(old.low or 0.0) if declared.low is None else declared.low
    high = float(old.high or 0.0) if declared.high is None else declared.high
    if declared.step is not None:
        high = low + math.floor((high - low) / declared.step * (1 + 1e-12)) * declared.step
    default = float(old.default) if declared.default is None else float(declared.default)
    if not declared.has_range:
        ends = {"low": min(low, default), "high": max(high, default)}
        return {**ends, "default": as_kind(old, default), "searched": old.searched}
    # A default at an edge would limit the search to one side.
    if not low <= default <= high or (declared.default is None and default in (low, high)):
        default = math.sqrt(low * high) if log else (low + high) / 2
    if declared.step is not None:
        default = low + round((default - low) / declared.step) * declared.step
    ends = {"low": low, "high": high, "allowed_low": low, "allowed_high": high}
    rounded = round(default) if old.kind == "int" else float(f"{default:.6g}")
    searched = low < high
    return {**ends, "log": log, "step": declared.step, "default": rounded, "searched": searched}


def as_kind(parameter: Parameter, value: Scalar) -> Scalar:
    """A valid value converted to the parameter's type: whole, real, or one of the choices."""
    if parameter.kind == "int":
        return int(value)
    if parameter.kind == "float":
        return float(value)
    choices = [*(parameter.allowed_choices or ()), *(parameter.choices or ())]
    for choice in choices:
        if same(choice, value):
            return choice
    if is_number(value) and all(isinstance(choice, int) for choice in choices):
        return int(value)
    return float(value) if is_number(value) else value


def same(choice: Scalar, value: Scalar) -> bool:
    """Whether two values are the same choice; True and 1 are not."""
    return choice == value and isinstance(choice, bool) == isinstance(value, bool)


def valid_reasons(
    reasons: Sequence[Reason], parameters: Mapping[str, Parameter]
) -> tuple[Reason, ...]:
    """The reasons or cautions, without those that only change declared parameters.

    A reason with a gap also changes the strategy's expected quality, so it stays.
    """
    declared = {name for name, parameter in parameters.items() if parameter.shipped}
    return tuple(
        reason
        for reason in reasons
        if reason.gap or not reason.changes or not declared.issuperset(reason.changes)
    )


# Validate


def check_declared(book: RuleBook, spec: Spec, facts: Facts, values: Mapping[str, Values]) -> None:
    """Refuse declarations that cannot apply.

    Args:
        values: Values of the facts for each base model, by its id.

    Raises:
        SpecError: A declaration cannot apply; the error lists all problems.
    """
    problems = [
        problem
        for key, items in spec.parameters.items()
        for name, declared in items.items()
        for problem in _declaration_problems(book, spec, facts, values, key, name, declared)
    ]
    problems += _conflict_problems(book, spec)
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))


def _declaration_problems(
    book: RuleBook,
    spec: Spec,
    facts: Facts,
    values: Mapping[str, Values],
    key: str,
    name: str,
    declared: ParameterSpec,
) -> Iterator[Problem]:
    path = ("parameters", key, name)
    where = spec.places.where(path)
    owners = [
        strategy
        for strategy in book.strategies.values()
        if key in (EVERY_STRATEGY, strategy.name) and name in strategy.parameters
    ]
    if not owners:
        yield _unknown(book, key, name, where)
        return
    fitted = [strategy for strategy in owners if strategy.parameters[name].fitted]
    owners = [strategy for strategy in owners if strategy not in fitted]
    if not owners:
        why = "Every value is tried within one trial, and validation chooses."
        yield Problem(f"{name} of {fitted[0].name} cannot be set", why, "Remove it.", where)
        return
    affected = [s for s in owners if any(_exists(s.parameters[name], v) for v in values.values())]
    if not affected:
        who = "no strategy has a" if key == EVERY_STRATEGY else f"{key} has no"
        why = f"It exists where {owners[0].parameters[name].when}."
        yield Problem(f"{who} {name} in this study", why, "Remove it.", where)
        return
    for strategy in affected:
        book_parameter = strategy.parameters[name]
        ends = [(getattr(declared, end), (*path, end)) for end in ("low", "high", "default")]
        for value, at in (*((choice, path) for choice in declared.choices or ()), *ends):
            if value is not None:
                yield from value_problems(book_parameter, name, value, spec.places.where(at))
        yield from _range_problems(book_parameter, name, declared, where)
    if name == EPOCHS:
        yield from _too_many_epochs(spec, declared, where)
    for model in facts.models:
        yield from _module_problems(model, name, declared, values[model.id], where)
    if name == OPTIMIZER:
        yield from _missing_optimizers(declared, facts, where)


def _unknown(book: RuleBook, key: str, name: str, where: str) -> Problem:
    """The problem of a parameter that the strategies of ``key`` do not have."""
    having = [s.name for s in book.strategies.values() if name in s.parameters]
    strategies = [s for s in book.strategies.values() if key in (EVERY_STRATEGY, s.name)]
    names = {parameter for strategy in strategies for parameter in strategy.parameters}
    who = "no strategy has a" if key == EVERY_STRATEGY else f"{key} has no"
    fix = (
        f"Strategies that have it: {', '.join(having)}." if having else near_parameter(name, names)
    )
    return Problem(f"{who} parameter {name!r}", "", fix, where)


def value_problems(
    book_parameter: BookParameter, name: str, value: Scalar, where: str
) -> Iterator[Problem]:
    """The problems of a value with which training cannot run, whatever the plan's range is."""
    what = f"{name} = {value!r}"
    low, high = book_parameter.possible or (None, None)
    must_be_whole = book_parameter.kind == "int"
    if isinstance(book_parameter, ChoiceParameter):
        allowed = book_parameter.allowed_choices or book_parameter.choices
        any_text = name in MODULE_PARAMETERS and isinstance(value, str)
        if any_text or any(same(choice, value) for choice in allowed):
            return
        if book_parameter.possible is None:
            fix = near_match(str(value), [str(choice) for choice in allowed])
            yield Problem(f"{what} is not known", "", fix, where)
            return
        must_be_whole = all(isinstance(choice, int) for choice in allowed)
    log = isinstance(book_parameter, NumberParameter) and book_parameter.log
    kind = f"{'a whole number' if must_be_whole else 'a number'}{' above 0' if log else ''}"
    wrong = not is_number(value) or (must_be_whole and float(value) != int(value))
    if wrong or (log and float(value) <= 0):
        yield Problem(what, f"It must be {kind}.", "", where)
    elif low is not None and float(value) < low:
        yield Problem(what, f"It must be at least {low:g}.", "", where)
    elif high is not None and float(value) > high:
        yield Problem(what, f"It must be at most {high:g}.", "", where)


def _range_problems(
    book_parameter: BookParameter, name: str, declared: ParameterSpec, where: str
) -> Iterator[Problem]:
    if declared.choices is not None:
        return
    if isinstance(book_parameter, ChoiceParameter):
        if declared.has_range:
            choices = ", ".join(map(str, book_parameter.allowed_choices or book_parameter.choices))
            yield Problem(f"{name} has choices, not a range", "", f"Write [{choices}].", where)
        return
    parameter = book_parameter.parameter
    low = parameter.low if declared.low is None else declared.low
    high = parameter.high if declared.high is None else declared.high
    assert low is not None  # a number has a range
    assert high is not None
    if low > high:
        missing = "high" if declared.high is None else "low"
        what = f"{name} from {setting(low)} to {setting(high)}"
        why = f"Without {missing}, that end is the rule book's: {parameter.range}."
        yield Problem(what, why, f"Give {missing} as well.", where)
    step, log = declared.step, parameter.log if declared.log is None else declared.log
    if step is not None and parameter.kind == "int" and step != int(step):
        yield Problem(f"step = {step:g}", "It must be a whole number.", "", where)
    if log and (step is not None or low <= 0):
        what = f"{name} from {low:g}" + (f" in steps of {step:g}" if step else "")
        why = f"The range of {name} is logarithmic."
        yield Problem(what, why, "Write log: false for a linear one.", where)
    floor, ceiling = _ends(parameter)
    default = declared.default
    if (
        not declared.has_range
        and is_number(default)
        and not floor <= float(default or 0) <= ceiling
    ):
        what = f"default = {default!r} lies outside of {setting(floor)} to {setting(ceiling)}"
        yield Problem(what, "", "Give low and high as well.", where)


def _too_many_epochs(spec: Spec, declared: ParameterSpec, where: str) -> Iterator[Problem]:
    full, most = spec.training.epochs, declared_epochs(spec)
    highest = max((float(value) for value in declared.values if is_number(value)), default=0.0)
    if full is not None and most is not None and highest > full:
        what = f"{EPOCHS} up to {highest:g}"
        why = f"All trials of a study share one full budget, and training.epochs is {full:g}."
        yield Problem(what, why, f"Raise training.epochs, or lower {EPOCHS}.", where)


def _module_problems(
    model: ModelFacts, name: str, declared: ParameterSpec, values: Values, where: str
) -> Iterator[Problem]:
    """Problems of modules that the model does not have."""
    choices = list(map(str, declared.values))
    if name == TARGET_MODULES:
        for choice in choices:
            if is_pattern(choice) and (wrong := _pattern_error(choice)):
                what = f"{choice!r} is neither a list of names nor a regular expression ({wrong})"
                fix = r"Write [q_proj, v_proj], or a pattern such as '.*\.[qv]_proj'."
                yield Problem(what, "", fix, where)
                continue
            for lacking in missing_targets(model, choice):
                what = f"{model.id} has no linear layers {lacking!r}"
                names = ("all-linear", "qv", "qkvo", *layer_names_of(model))
                yield Problem(what, "", near_match(lacking, names), where)
    if name == MODULES_TO_SAVE and names_known(model):
        head = bool(values["new_head"])
        modules = savable_modules(model, head)
        for choice in choices:
            for module in choice.split(",") if choice != NO_MODULES else ():
                last = module.rpartition(".")[2]
                if last in ("classifier", "score") and head:
                    what = f"{module!r} is not a module of the base"
                    why = "The new head trains in every strategy, at head_learning_rate."
                    yield Problem(what, why, "Remove it.", where)
                elif last not in modules:
                    what = f"{model.id} has no module {module!r} that could be saved"
                    yield Problem(what, "", near_match(last, modules), where)


def _pattern_error(choice: str) -> str:
    """The error of an invalid regular expression; empty if it is valid."""
    try:
        re.compile(choice)
    except re.error as error:
        return str(error)
    return ""


def _missing_optimizers(declared: ParameterSpec, facts: Facts, where: str) -> Iterator[Problem]:
    """Problems of optimizers that cannot run on this machine."""
    machine = facts.hardware
    for choice in map(str, declared.values):
        package = _package(choice)
        if "paged" in choice and machine.device == "cpu":
            why = "Paged states need the unified memory of an NVIDIA GPU."
            fix = f"Use {choice.removeprefix('paged_').replace('adamw_32bit', 'adamw_torch')}."
            yield Problem(f"{choice} does not run on a CPU", why, fix, where)
        elif package and machine.detected and not is_installed(package):
            command = "pip install torchao" if package == "torchao" else install_command("train")
            fix = f"Install it ({command}), or choose another optimizer."
            yield Problem(f"{choice} needs {package}, which is not installed", "", fix, where)


def _package(optimizer: str) -> str:
    """The package that an optimizer needs; empty if none."""
    in_bitsandbytes = any(word in optimizer for word in ("8bit", "paged", "lion"))
    return _PACKAGES.get(optimizer, "bitsandbytes" if in_bitsandbytes else "")


def _conflict_problems(book: RuleBook, spec: Spec) -> Iterator[Problem]:
    """Problems of declaring two parameters with the same meaning for one strategy."""
    for strategy in book.strategies:
        declared = spec.declared(strategy)
        for name, other in _REPLACES.items():
            if name in declared and other in declared:
                where = spec.places.where(declared[name][1])
                why = f"transformers would ignore {other}."
                yield Problem(f"both {name} and {other}", why, "Remove one of them.", where)


# Warn


def declared_warnings(
    book: RuleBook,
    spec: Spec,
    candidates: Sequence[Candidate],
    rejected: Sequence[Rejected],
    rated: Mapping[str, Mapping[str, RatedStrategy]],
) -> Iterator[Reason]:
    """Warnings about values beyond the rule book's, and about declarations without effect.

    Args:
        rated: Strategies after the rules, without declarations, by model id.
    """
    texts: dict[str, list[str]] = {}
    for candidate in candidates:
        strategy = book.strategies[candidate.strategy]
        for name, parameter in candidate.parameters.items():
            if not parameter.shipped:
                continue
            after_rules = rated[candidate.model][candidate.strategy].parameters
            if text := _beyond_text(strategy, name, parameter) or _divergence_text(
                after_rules.get(name, strategy.parameters[name].parameter), name, parameter
            ):
                texts.setdefault(text, []).append(candidate.strategy)
    for text, strategies in texts.items():
        yield Reason(
            rule=DECLARED,
            title="Beyond the rule book",
            why=f"{', '.join(dict.fromkeys(strategies))}: {text}",
            source="the request",
        )
    yield from _adam_rate_warnings(candidates)
    yield from _unused_warnings(spec, candidates, rejected)


def _divergence_text(after_rules: Parameter, name: str, parameter: Parameter) -> str:
    """A warning about a learning rate far above the rule book's default; empty for others."""
    values = (*(parameter.choices or ()), parameter.high or 0, parameter.default)
    highest = max((float(value) for value in values if is_number(value)), default=0.0)
    if name != "learning_rate" or highest <= _DIVERGING_FACTOR * float(after_rules.default):
        return ""
    return (
        f"{name} {setting(highest)} ({parameter.source}) is more than {_DIVERGING_FACTOR:g} times "
        f"{setting(after_rules.default)}, the default of the rule book: such trainings often "
        f"diverge, the more so with a high rank ({_DIVERGES_SOURCE})"
    )


def _beyond_text(strategy: BookStrategy, name: str, parameter: Parameter) -> str:
    """A warning about values that the rule book does not allow; empty if it allows all."""
    book_parameter = strategy.parameters[name].parameter
    if name in MODULE_PARAMETERS:
        return ""
    if book_parameter.kind == "categorical":
        allowed = [*(book_parameter.allowed_choices or ()), *(book_parameter.choices or ())]
        values = [v for v in parameter.choices or () if not any(same(a, v) for a in allowed)]
        bounds = "|".join(map(str, allowed))
    else:
        low, high = _ends(book_parameter)
        given = parameter.choices or (parameter.low, parameter.high)
        values = [v for v in given if v is not None and not low <= float(v) <= high]
        bounds = f"{setting(low)} to {setting(high)}"
    if not values:
        return ""
    shown = ", ".join(dict.fromkeys(setting(float(v)) if is_number(v) else str(v) for v in values))
    return (
        f"{name} {shown} ({parameter.source}) lies outside {bounds}, the values that the rule book "
        f"allows ({book_parameter.source})"
    )


def _adam_rate_warnings(candidates: Sequence[Candidate]) -> Iterator[Reason]:
    """Warnings for optimizers that need other learning rates than AdamW."""
    for candidate in candidates:
        optimizer, rate = (candidate.parameters.get(name) for name in (OPTIMIZER, "learning_rate"))
        if optimizer is None or rate is None or rate.shipped:
            continue
        choices = [str(choice) for choice in optimizer.choices or (optimizer.default,)]
        other = [choice for choice in choices if "lion" in choice or "sgd" in choice]
        if other:
            needs = "a tenth to a third of them" if "lion" in other[0] else "far higher ones"
            yield Reason(
                rule=DECLARED,
                title="Rates of AdamW",
                why=f"{candidate.strategy}: the rule book's learning rates are those of AdamW, and "
                f"{other[0]} needs {needs}; declare learning_rate, too",
                source="Chen et al. 2023, arXiv:2302.06675, section 5 (Lion); the definition of "
                "SGD, whose step is not scaled by the size of past gradients",
            )


def _unused_warnings(
    spec: Spec, candidates: Sequence[Candidate], rejected: Sequence[Rejected]
) -> Iterator[Reason]:
    """Warnings about declarations for strategies that do not compete."""
    competing = {candidate.strategy for candidate in candidates}
    for key in spec.parameters:
        if key != EVERY_STRATEGY and key not in competing:
            why = next((item.reason for item in rejected if item.strategy == key), "")
            where = spec.places.where(("parameters", key))
            yield Reason(
                rule=DECLARED,
                title="Parameters without effect",
                why=f"{where}: {key} does not compete in this plan ({why}), so its parameters have "
                "no effect",
                source="the request",
            )
