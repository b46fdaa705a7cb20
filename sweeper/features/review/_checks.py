"""Checks for settings that contradict each other, have no effect, or lack evidence.

Each check is a function that yields findings, whose texts are in ``_findings.yaml``; ``CHECKS``
names all of them. A check that depends on the trainer's behaviour reads its ``Format``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sweeper import yamlfile
from sweeper.facts.models.linear_layers import targeted
from sweeper.features.review._case import Case
from sweeper.features.review._reading import matches
from sweeper.features.review._record import Finding
from sweeper.hyperparameters import BATCH, EPOCHS, is_number, is_pattern
from sweeper.planning.rulebook.book import rule_book
from sweeper.plans import Parameter
from sweeper.textfiles import read_text
from sweeper.units import setting

_LORA_FIELDS = ("r", "lora_alpha", "lora_dropout", "target_modules")
_TEMPLATES = Path(__file__).parent / "_templates.yaml"
#: Share of the steps above which warmup is too long.
_MAX_WARMUP_SHARE = 0.5
#: Similarity to a known field (difflib, 0 to 1) from which an unknown field is a misspelling.
_MIN_SIMILARITY = 0.9
#: With fewer examples, a loss on prompts may help.
_MIN_ROWS_FOR_ANSWER_LOSS = 10_000
#: A learning rate outside the range by more than this factor, half a decade, is a warning.
_WARNING_FACTOR = 3.0
#: A batch within this factor of the range gets no finding, since rules name powers of two.
_BATCH_TOLERANCE = 2.0
#: The fields of ``Training`` that the rule book names differently, by its names.
_SETTINGS = {BATCH: "micro_batch", EPOCHS: "num_train_epochs"}


def _packing(case: Case) -> Iterator[Finding]:
    training, table, kind = case.training, case.config.table, "packing-without-masks"
    if not (training.packing or training.padding_free):
        return
    if training.packing and training.sequence_length is None:
        yield case.finding("packing-without-length", ("packing",), {"sequence_length": 2048})
    if training.stage != "sft" or table.packing_masked or training.packing_masks:
        return
    if training.packing_masks is False:
        yield case.finding(kind, ("packing",), {"packing_masks": True}, attention="attention is")
    elif training.packing_strategy == "wrapped":
        change = {"packing_strategy": "bfd"}
        yield case.finding(kind, ("packing_strategy",), change, attention="attention is")
    elif table.packing_needs and not matches(training.attention or "", table.packing_needs):
        fields, change = ("packing", "padding_free"), {"attention": "flash_attention_2"}
        attention = f"attention of {training.attention or 'the default kind'} may be"
        yield case.finding(kind, fields, change, attention=attention)


def _prompt_loss(case: Case) -> Iterator[Finding]:
    has_few_rows = case.examples is not None and case.examples < _MIN_ROWS_FOR_ANSWER_LOSS
    if case.training.prompt_loss and case.training.stage == "sft" and not has_few_rows:
        yield case.finding("loss-on-prompt", ("prompt_loss",), {"prompt_loss": False})


def _warmup(case: Case) -> Iterator[Finding]:
    training, steps = case.training, case.steps
    ratio, count = training.warmup_ratio or 0.0, training.warmup_steps or 0.0
    if len(case.file_values("warmup_ratio", "warmup_steps")) == 2 and ratio and count:
        yield case.finding("two-warmups", ("warmup_ratio", "warmup_steps"))
    if training.lr_scheduler_type == "constant" and case.file_values("lr_scheduler_type"):
        if ratio or count:
            fields = ("lr_scheduler_type", "warmup_ratio", "warmup_steps")
            change = {"lr_scheduler_type": "constant_with_warmup"}
            yield case.finding("warmup-without-effect", fields, change)
        return
    share = case.warmup_share
    if share > _MAX_WARMUP_SHARE:
        known_steps = count >= 1 and steps
        yield case.finding(
            "warmup-too-long",
            ("warmup_steps",) if count else ("warmup_ratio",),
            {"warmup_steps": max(round(0.05 * known_steps), 1)}
            if known_steps
            else {"warmup_ratio": 0.05},
            level="error" if share >= 1 else "warning",
            share=f"{count:g} of {known_steps:,} steps"
            if known_steps
            else f"{share:.0%} of the steps",
            never=", so that it never gets to its value" if share >= 1 else "",
        )


def _evaluation(case: Case) -> Iterator[Finding]:
    training, table, steps, kind = case.training, case.config.table, case.steps, "evaluation-never"
    names = ("evals_per_epoch", "eval_steps", "eval_strategy")
    held_out = bool(training.validation_data) or (training.validation_share or 0) > 0
    by_strategy = "eval_strategy" in table.defaults
    if table.evaluates_if_held_out and case.file_values(*names) and case.evaluates and not held_out:
        reason = "evaluation is asked for, and no rows are held out"
        yield case.finding(kind, names, {"validation_share": 0.05}, reason=reason)
    elif table.evaluates_if_held_out and held_out and not case.evaluates:
        fields, reason = ("validation_share", "validation_data"), "rows are held out for no purpose"
        yield case.finding(kind, fields, {"evals_per_epoch": 1}, reason=reason)
    elif (
        by_strategy
        and not case.evaluates
        and training.eval_steps
        and case.file_values("eval_steps")
    ):
        fields, reason = ("eval_steps", "eval_strategy"), "the steps are given, and no strategy"
        yield case.finding(kind, fields, {"eval_strategy": "steps"}, reason=reason)
    elif case.file_values("eval_steps") and steps and (training.eval_steps or 0) > max(steps, 1):
        reason = f"the training ends after {steps:,} of {training.eval_steps:,g} steps"
        change = {"eval_steps": max(steps // 4, 1)}
        yield case.finding(kind, ("eval_steps",), change, reason=reason)


def _same_rows(case: Case) -> Iterator[Finding]:
    training = case.training
    shared_paths = set(training.train_data or ()) & set(training.validation_data or ())
    row_sets = [
        {_rows_key(item) for item in entry.value if isinstance(item, dict)}
        for entry in case.file_values("train_data", "validation_data")
        if isinstance(entry.value, list)
    ]
    if len(row_sets) == 2:
        shared_paths = {path for path, *_ in row_sets[0] & row_sets[1]}
    if shared_paths and (training.train_split or "train") == (training.eval_split or "train"):
        fields, rows = ("validation_data", "train_data"), ", ".join(sorted(shared_paths))
        yield case.finding("evaluates-on-train", fields, rows=rows)


def _rows_key(item: Mapping[str, object]) -> tuple[str, ...]:
    """The values in the file that identify the rows of one data set."""
    keys = ("path", "name", "split", "data_files", "shards")
    return tuple(str(item.get(key, "")) for key in keys)


def _template(case: Case) -> Iterator[Finding]:
    template, model = case.training.chat_template, case.training.model
    if template is None or model is None or case.training.stage == "pretraining":
        return
    templates: Mapping[str, str] = yamlfile.read(_TEMPLATES).data
    own_template = next(
        (name for name, models in templates.items() if matches(model, models)), None
    )
    if (
        own_template
        and not matches(template, own_template)
        and any(matches(template, name) for name in templates)
    ):
        placeholders = {"template": template, "model": model, "own": own_template.split("|")[0]}
        yield case.finding("other-chat-template", ("chat_template", "model"), None, **placeholders)


def _rslora(case: Case) -> Iterator[Finding]:
    rank, alpha = case.training.r, case.training.lora_alpha
    if not (case.training.use_rslora and rank and alpha):
        return
    max_alpha = rule_book().strategies["lora"].parameters["lora_alpha"].parameter.bounds[1]
    root = math.sqrt(rank)
    if max_alpha is not None and alpha * root > max_alpha:
        fields, change = ("lora_alpha", "use_rslora", "r"), {"lora_alpha": round(alpha / root) or 1}
        placeholders = {"alpha": f"{alpha:g}", "rank": rank, "plain": f"{alpha * root:,.0f}"}
        limit = round(max_alpha / root, 1)
        yield case.finding(
            "alpha-with-rslora", fields, change, value=alpha, high=limit, **placeholders
        )


def _adapter(case: Case) -> Iterator[Finding]:
    training, bits = case.training, ("load_in_4bit", "load_in_8bit", "quantization")
    full = training.method == "full" and case.config.format != "peft"
    if full and any(item.value is not None for item in case.file_values(*_LORA_FIELDS)):
        yield case.finding("adapter-not-trained", _LORA_FIELDS, {"method": "lora"})
    if full and any(getattr(training, name) for name in bits):
        yield case.finding("quantised-and-full", bits, {"method": "lora"})
    is_qlora = any(item.value == "qlora" for item in case.file_values("method"))
    if is_qlora and not training.load_in_4bit and training.quantization is None:
        yield case.finding("qlora-without-4bit", ("method", *bits), {"load_in_4bit": True})


def _new_tokens(case: Case) -> Iterator[Finding]:
    training, fields = case.training, ("new_tokens", "modules_to_save")
    saved_modules = " ".join(training.modules_to_save or ())
    if (
        training.new_tokens
        and training.method in ("lora", "qlora")
        and "embed" not in saved_modules
    ):
        yield case.finding("new-tokens-untrained", fields)


def _targets(case: Case) -> Iterator[Finding]:
    names, model = case.training.target_modules or (), case.model
    if model is None or not model.attention_only or case.config.table.own_layers:
        return
    missing_names = [
        name for name in names if not is_pattern(name) and not targeted(model, (name,))
    ]
    if missing_names:
        placeholders = {"model": model.id, "names": ", ".join(missing_names)}
        yield case.finding("unknown-target", ("target_modules",), None, **placeholders)


def _epochs_without_effect(case: Case) -> Iterator[Finding]:
    steps, fields = case.training.max_steps or 0, ("num_train_epochs", "max_steps")
    values = case.file_values(*fields)
    lines = read_text(Path(case.config.file), "replace").splitlines()
    comments = " ".join(lines[item.line - 1].partition("#")[2] for item in values)
    if steps > 0 and len(values) == 2 and not any(item.field in comments for item in values):
        yield case.finding("epochs-without-effect", fields, steps=f"{steps:,}")


def _context(case: Case) -> Iterator[Finding]:
    length, model = case.training.sequence_length, case.model
    changes_context = any(
        matches(name, "*rope*|overrides_of_model_config*") for name in case.config.field_lines
    )
    unsure_context = model is not None and model.weights_note and not model.parameters_exact
    if model is None or unsure_context or not length or changes_context:
        return
    if length > (context := model.context_length):
        placeholders = {"length": f"{length:,}", "model": model.id, "context": f"{context:,}"}
        change, ends = {"sequence_length": context}, {"value": length, "high": float(context)}
        yield case.finding(
            "longer-than-context", ("sequence_length",), change, **placeholders, **ends
        )


def _misspelt_fields(case: Case) -> Iterator[Finding]:
    table, lines = case.config.table, case.config.field_lines
    fields = [name for name in (*table.fields, *table.noted) if name not in lines]
    for name in case.config.unknown:
        for match in difflib.get_close_matches(name, fields, 1, _MIN_SIMILARITY):
            finding = case.finding("unknown-field", (), title=table.title, name=name)
            details = {"fields": (name,), "line": lines[name], "fix": f"Did you mean {match}?"}
            yield finding.model_copy(update=details)


def _outside_evidence(case: Case) -> Iterator[Finding]:
    """A finding for each value outside the rule book's range."""
    training = case.training
    if training.stage != "sft" or training.method == "other":
        return
    unknown_batch = training.packing or not (training.gpus or case.on_gpu)
    adam = not training.optim or matches(training.optim, "*adam*")
    for name, (parameter, rule) in _parameters(case).items():
        setting_name = _SETTINGS.get(name, name)
        is_batch, is_rate = name == BATCH, name == "learning_rate"
        # A default learning rate of the trainer is judged, too: few are meant for an adapter.
        is_judged = case.file_values(setting_name) or (is_rate and case.config.format != "peft")
        value = case.batch if is_batch else getattr(training, setting_name, None)
        low, high = _range(parameter)
        if not is_judged or not is_number(value) or low is None or high is None:
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
        is_far = value * _WARNING_FACTOR < low if value < low else value > high * _WARNING_FACTOR
        yield case.finding(
            "outside-evidence",
            (setting_name, "gradient_accumulation_steps") if is_batch else (setting_name,),
            {} if is_batch else {setting_name: default},
            level="warning" if is_far and is_rate else "note",
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
    """The rule book's parameters by name, each with the rule that changed it, if any."""
    method = case.training.method
    declared = rule_book().strategies[method].parameters
    ranges = {name: (entry.parameter, "") for name, entry in declared.items()}
    if case.rated is not None:
        rated = case.rated.strategies[method]
        rules = {name: reason.rule for reason in rated.reasons for name in reason.changes}
        ranges |= {name: (p, rules.get(name, "")) for name, p in rated.parameters.items()}
    return ranges


def _range(parameter: Parameter) -> tuple[float | None, float | None]:
    """Both ends of a parameter's range, or of its allowed range if not searched; None if open."""
    if parameter.kind == "categorical":
        numbers = [float(choice) for choice in parameter.choices or () if is_number(choice)]
        return (min(numbers), max(numbers)) if numbers else (None, None)
    return (parameter.low, parameter.high) if parameter.searched else parameter.bounds


CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _packing, _prompt_loss, _warmup, _evaluation, _same_rows, _template, _rslora, _adapter,
    _new_tokens, _targets, _epochs_without_effect, _context, _misspelt_fields,
    _outside_evidence,
)  # fmt: skip
