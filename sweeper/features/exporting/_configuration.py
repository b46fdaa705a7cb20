"""Exports a trial's configuration and rows as a folder for another trainer.

A folder in ``_targets/`` describes a trainer: ``target.yaml`` says what the trainer can train, and
there is a Jinja template for each file that the trainer reads. A setting (``settings_of``) with an
effect that no template uses is reported as lost.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jinja2 import meta
from pydantic import Field, TypeAdapter

from sweeper import __version__, units, yamlfile
from sweeper.child_process import in_child
from sweeper.data.examples import Dataset, Example, Message, Split
from sweeper.data.formats.text_label import class_turns
from sweeper.data.further_rows import choosing_parameters, rows_for_trial
from sweeper.data.prepared import unchanged_dataset
from sweeper.data.splits import in_order
from sweeper.data.tools import as_text, for_template
from sweeper.data.write_rows import json_lines
from sweeper.errors import Problem, RuleError, UsageError, near_match
from sweeper.execution.interruption import leaving_on_signals
from sweeper.facts.record import DataChange, ModelFacts
from sweeper.features.exporting._weights import (
    CARD,
    RECORD,
    MergeRequest,
    card,
    copy_adapter,
    copy_model,
    facts_of,
    kept_files,
    must_be_new,
    public_name,
    suggestion,
    templates,
)
from sweeper.findings.compute import compute
from sweeper.findings.findings import Findings
from sweeper.findings.verdict.headline import figure_lines
from sweeper.hyperparameters import ATTENTION, PADDING_FREE, PATIENCE, TARGET_MODULES, modules_of
from sweeper.packages import RUNS, require
from sweeper.plans import Plan, autocast_dtype, frozen_dtype
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec
from sweeper.specfile import resolve
from sweeper.steps.winner import kept_weights, refit_config
from sweeper.textfiles import json_object, replacing, write_text
from sweeper.training.loop.schedule import optimizer_steps, rung_steps, schedule
from sweeper.trials import TrialConfig
from sweeper.yamlfile import FileModel, checked

Settings = Mapping[str, Any]
ExportOutput = tuple[dict[str, Any], list[str]]
"""Fields for JSON, and lines for the terminal."""
RowForm = Literal["messages", "prompt-completion", "instruction", "text"]
"""Row formats that other trainers read."""
# The folder of the exported rows.
ROWS = "data"
# Values of ``--to`` that export the weights instead of the configuration.
WEIGHTS = ("model", "merged", "peft")
_CHAT_TEMPLATE, _ADAPTER = "chat_template.jinja", "adapter_config.json"
_TARGETS = Path(__file__).parent / "_targets"
# In a trainer's folder: the name of its description, and the suffix of templates.
_DESCRIPTION, _TEMPLATE = "target.yaml", ".jinja"

#: Values at which a setting has no effect, so that no trainer needs a key for it.
_WITHOUT_EFFECT: Mapping[str, Any] = {
    "quantization": None,
    "revision": None,
    "lr_scheduler_kwargs": {},
    "use_rslora": False,
    "use_dora": False,
    "init_lora_weights": "default",
    "loraplus_lr_ratio": 1.0,
    "layerwise_lr_decay": 1.0,
    "replay_share": 0.0,
    "kl_weight": 0.0,
    "class_weight": "none",
    "source_weights": {},
    "chat_template": False,
}
# Parameters that are not exported: they stop a training early, or choose an implementation here.
_PARAMETERS_LEFT_OUT = (PATIENCE, PADDING_FREE, ATTENTION)
# Number of evaluations in an exported training.
_EVALUATIONS = 8


class Target(FileModel):
    """The description of a trainer: ``_targets/<name>/target.yaml``."""

    title: str
    checked_with: str = Field(description="the release whose schema the keys were checked against")
    strategies: list[str]
    rows: list[RowForm] = Field(description="formats of rows, the preferred one first")
    tasks_left_out: Mapping[str, str] = Field({}, description="task: why it cannot be expressed")
    differs: Mapping[str, str] = Field(
        {}, description="setting: how the trainer's differs from sweeper's"
    )
    lost: Mapping[str, str] = Field({}, description="setting: what the trainer has in its place")
    implied: list[str] = Field([], description="settings that others already determine")
    split_names: Mapping[Split, str] = Field({}, description="file names, if they are fixed")
    command: str = Field(description="that trains, in the exported folder; a Jinja template")


@dataclass(frozen=True)
class LostSetting:
    """A setting that the trainer does not support, or not in the same way."""

    setting: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.setting} = {json.dumps(self.value)}: {self.why}"


@dataclass(frozen=True)
class ExportedConfiguration:
    """An exported folder, and the settings that the trainer lacks.

    Args:
        folder: Folder with the trainer's files, ``data/`` and ``README.md``.
        command: Command that starts the training in that folder.
        lost: Settings of the trial that the trainer does not support.
    """

    folder: Path
    command: str
    lost: tuple[LostSetting, ...]


def settings_of(
    config: TrialConfig,
    facts: ModelFacts,
    dataset: Dataset,
    *,
    model: str,
    target_modules: tuple[str, ...] | None = None,
    chat_template: bool = False,
) -> Settings:
    """Every setting of a training, by sweeper's name for it.

    Args:
        config: The configuration for one device, with the epochs of the trained weights.
        target_modules: The layers of the trained adapter; those of the configuration if None.
        chat_template: Whether the exported folder has a chat template.
    """
    parameters: dict[str, Any] = dict(config.parameters)
    batch = config.setup.micro_batch * config.setup.gradient_accumulation_steps
    steps = optimizer_steps(len(dataset.splits["train"]), batch, config.budget.epochs)
    rate_schedule = schedule(parameters, steps)
    for name in ("num_train_epochs", "per_device_train_batch_size", "warmup_ratio"):
        parameters.pop(name, None)
    if TARGET_MODULES in parameters:
        modules = target_modules or modules_of(str(parameters[TARGET_MODULES]))
        parameters[TARGET_MODULES] = modules if isinstance(modules, str) else list(modules)
    # Rows that these parameters choose are exported with the others.
    left_out = (*_PARAMETERS_LEFT_OUT, *choosing_parameters())
    kept = {name: value for name, value in parameters.items() if not name.startswith(left_out)}
    return {
        "weight_decay": 0.0,  # these two unless the parameters have them
        "max_grad_norm": 1.0,
        **kept,
        "source_weights": dict(dataset.weights),
        "model": model,
        "chat_template": chat_template,
        "revision": facts.revision,
        "strategy": config.strategy,
        **config.setup.model_dump(exclude={"gpus"}),
        "effective_batch": batch,
        "epochs": config.budget.epochs,
        "steps": steps,
        "evaluation_steps": min(rung_steps(steps, _EVALUATIONS)),
        "lr_scheduler_type": rate_schedule.kind,
        "lr_scheduler_kwargs": dict(rate_schedule.options),
        "warmup_steps": rate_schedule.warmup_steps,
        "base_dtype": _base_dtype(config),
        "seed": config.seed,
    }


def _base_dtype(config: TrialConfig) -> str:
    """The dtype of the base model's weights."""
    setup = config.setup
    trains_base, mixed = config.strategy == "full", autocast_dtype(setup.precision) is not None
    in_fp32 = setup.precision == "fp32" or (trains_base and mixed)
    return frozen_dtype(setup.precision) if setup.quantization or not in_fp32 else "float32"


def export_configuration(
    run: RunFolder, findings: Findings, config: TrialConfig, to: str, folder: Path
) -> ExportedConfiguration:
    """Write one trial's configuration for a trainer.

    Args:
        config: The configuration, with the epochs of the trained weights.
        folder: A new folder, which appears once it is complete.

    Raises:
        UsageError: The trainer cannot train like the trial, or the folder exists.
        DataError: The data has changed since the sweep.
    """
    target = _target(to)
    must_be_new(folder)
    plan, spec = Plan.read(run.plan), resolve({}, run.spec)
    _check(target, to, findings, config, spec)
    why = "The trial was chosen on other rows than those that would be exported."
    dataset = unchanged_dataset(spec, run.data_changes, plan.facts.data.fingerprint, why)
    further_rows = rows_for_trial(dataset.further_rows, config.parameters)
    config, dataset = _with_further_rows(
        _without_off_parameters(config, plan), dataset, further_rows
    )
    form = _form(target, dataset)
    facts = next(model for model in plan.facts.models if model.id == config.model)
    weights = run.trial(config.number) / "weights"
    file_names = kept_files(weights).names if (weights / RECORD).is_file() else ()
    template = weights / _CHAT_TEMPLATE
    settings = settings_of(
        config,
        facts,
        dataset,
        model=public_name(facts),
        target_modules=_trained_modules(weights) if _ADAPTER in file_names else None,
        chat_template=form != "text" and _CHAT_TEMPLATE in file_names,
    )
    files, command, lost = _render(to, target, settings, form)
    with replacing(folder) as temporary:
        temporary.mkdir()
        unsealed: tuple[Split, ...] = ("test",) if run.test_seal.is_file() else ()
        splits: tuple[Split, ...] = ("train", "validation", *unsealed)
        names = {split: target.split_names.get(split, split) for split in splits}
        (temporary / ROWS).mkdir()
        for split, name in names.items():
            rows = [
                _row(example, form, dataset.labels, spec.training.system_prompt)
                for example in dataset.splits[split]
            ]
            write_text(temporary / ROWS / f"{name}.jsonl", json_lines(rows))
        for name, text in files.items():
            write_text(temporary / name, text)
        if settings["chat_template"] and "chat_template" not in {entry.setting for entry in lost}:
            shutil.copyfile(template, temporary / _CHAT_TEMPLATE)
        text = card(
            "configuration",
            trial=config.number,
            run=findings.run.name,
            target=target,
            command=command,
            figures=figure_lines(findings, config.number),
            lost=lost,
            facts=facts,
            about_rows=_about_rows(plan.facts.data.changes, further_rows),
        )
        write_text(temporary / CARD, text)
    return ExportedConfiguration(folder, command, lost)


def _without_off_parameters(config: TrialConfig, plan: Plan) -> TrialConfig:
    """The configuration without parameters whose values switch them off."""
    declared = plan.candidate(config.strategy, config.model).parameters
    kept = {
        name: value
        for name, value in config.parameters.items()
        if name not in declared or value != declared[name].off_value
    }
    return config.model_copy(update={"parameters": kept})


def _with_further_rows(
    config: TrialConfig, dataset: Dataset, further_rows: Sequence[Example]
) -> tuple[TrialConfig, Dataset]:
    """The data with further train rows, and the configuration with epochs for the same steps."""
    if not further_rows:
        return config, dataset
    train = dataset.splits["train"]
    rows = in_order((*train, *further_rows))
    epochs = config.budget.epochs * len(train) / len(rows)
    budget = config.budget.model_copy(update={"epochs": epochs})
    dataset = replace(dataset, splits={**dataset.splits, "train": rows})
    return config.model_copy(update={"budget": budget}), dataset


def _row(
    example: Example, form: RowForm, labels: Sequence[str], system_prompt: str | None
) -> dict[str, object]:
    """The example as a row of this form. A system prompt is added if there is no system message.

    Turns and tool calls are objects, except in ``instruction`` rows, where they are text.
    """
    turns = class_turns(example, labels) if labels else example.messages
    if turns and system_prompt and turns[0].role != "system":
        turns = (Message("system", system_prompt), *turns)
    if form == "text":
        return {"text": example.text}
    if form == "instruction":
        return _instruction(example, as_text(turns))
    messages, tools = for_template(turns)
    tools_field = {"tools": tools} if tools else {}
    if form == "messages":
        return {"messages": messages, **tools_field}
    return {"prompt": messages[:-1], "completion": messages[-1:], **tools_field}


def _instruction(example: Example, turns: Sequence[Message]) -> dict[str, object]:
    *questions, answer = (turn.content for turn in turns)
    if len(questions) > 1 + (turns[0].role == "system"):
        raise UsageError(
            f"row {example.line} has several questions, and this trainer reads one for each row",
            fix="Export to 'trl' or 'axolotl', which read conversations.",
        )
    return {"instruction": "\n\n".join(filter(None, questions)), "output": answer}


def _target(to: str) -> Target:
    all_targets = targets()
    if to not in all_targets:
        names = [*all_targets, *WEIGHTS]
        raise UsageError(
            f"sweeper cannot export to {to!r}",
            fix=near_match(to, names),
            where="--to",
            code="unknown-trainer",
        )
    return all_targets[to]


def _check(target: Target, to: str, findings: Findings, config: TrialConfig, spec: Spec) -> None:
    """Refuse a trial that the trainer cannot train, and name the best one that it can train."""
    if spec.task == "classification" and spec.training.classes_by == "head":
        raise UsageError(
            f"{target.title} does not train this classification head",
            why="sweeper's head has its own pooling, learning rate and initialisation.",
            fix="'sweeper export RUN --to model' gives the trained model. A sweep with "
            "'training.classes_by: generate' trains a model that other trainers can train, too.",
            where=f"--to {to}",
        )
    if spec.task in target.tasks_left_out:
        raise UsageError(
            f"{target.title} does not have the task {spec.task}",
            why=target.tasks_left_out[spec.task],
            where=f"--to {to}",
        )
    if config.strategy not in target.strategies:
        raise UsageError(
            f"{target.title} cannot train trial {config.number}: {config.strategy}",
            why=f"Its strategies are {units.joined(list(target.strategies))}.",
            fix=suggestion(findings, target.strategies),
            where=f"--to {to}",
        )
    base = next(trial.result.base for trial in findings.trials if trial.number == config.number)
    if base is not None:
        raise UsageError(
            f"trial {config.number} was trained on a base model of this sweep, {base.folder}",
            why=f"{target.title} trains in one stage, from the base model as it was published.",
            fix="'sweeper export RUN --to merged' gives the trained model.",
            where=f"--to {to}",
            code="base-in-run",
        )


def _form(target: Target, dataset: Dataset) -> RowForm:
    """The format of the written rows."""
    if dataset.templated:
        raise UsageError(
            "the rows already hold chat markers",
            why="Every trainer would add its own markers around them.",
            fix="Give the data as messages, or as prompt and completion, to a new sweep.",
            where=dataset.path,
        )
    examples = (example for split in dataset.splits.values() for example in split)
    if any(not turn.trained for example in examples for turn in example.messages):
        raise UsageError(
            "some answers in the rows have weight 0",
            why=f"{target.title} would train on them.",
            fix="Leave these rows out, or end each before its first answer with weight 0.",
            where=dataset.path,
        )
    if dataset.labels or any(example.messages for example in dataset.splits["train"]):
        form = target.rows[0]
        has_several_answers = any(
            sum(turn.role == "assistant" for turn in example.messages) > 1
            for split in dataset.splits.values()
            for example in split
        )
        return "messages" if has_several_answers and form == "prompt-completion" else form
    if "text" in target.rows:
        return "text"
    readers = [name for name, entry in targets().items() if "text" in entry.rows]
    raise UsageError(
        f"{target.title} does not read plain text",
        fix=f"These do: {units.joined(readers)}.",
        where=dataset.path,
    )


def _trained_modules(weights: Path) -> tuple[str, ...] | None:
    """The target modules of a kept adapter; None if its configuration does not list them."""
    config = (weights / _ADAPTER).read_text(encoding="utf-8")
    modules = json_object(config).get("target_modules")
    return tuple(sorted(modules)) if isinstance(modules, list) else None


def _about_rows(changes: Sequence[DataChange], further_rows: Sequence[Example]) -> str:
    """Sentences on the exported rows, for the card."""
    sentences = [f"`{ROWS}/` holds the split of the sweep, so that figures compare."]
    if changes:
        counts = "; ".join(change.summary for change in changes)
        sentences.append(
            f"Its rows are those of the files after changes ({counts}); data_changes.jsonl in the "
            "folder of the run lists all of them."
        )
    for source, rows in Counter(row.source for row in further_rows).items():
        sentences.append(f"Of the rows of train, {rows:,} are {source}.")
    return " ".join(sentences)


def targets() -> dict[str, Target]:
    """Every trainer by its name, from the folders of ``_targets/``."""
    return {path.parent.name: _read(path) for path in sorted(_TARGETS.glob(f"*/{_DESCRIPTION}"))}


def _read(path: Path) -> Target:
    problems: list[Problem] = []
    target = checked(TypeAdapter(Target), yamlfile.read(path), (), problems)
    if target is None:
        raise RuleError(problems)
    return target


def _render(
    name: str, target: Target, settings: Settings, form: RowForm
) -> tuple[dict[str, str], str, tuple[LostSetting, ...]]:
    """The texts of a trainer's files by name, its command, and the lost settings."""
    folder = _TARGETS / name
    environment = templates(folder)
    environment.filters["yaml"] = yaml_value
    values = {"sweeper_version": __version__, "form": form, **settings}
    template_settings, files = set[str](), {}
    for template in sorted(folder.glob(f"*{_TEMPLATE}")):
        template_settings |= meta.find_undeclared_variables(
            environment.parse(template.read_text(encoding="utf-8"))
        )
        files[template.stem] = environment.get_template(template.name).render(values)
    command = environment.from_string(target.command).render(values)
    return files, command, tuple(_lost_settings(target, template_settings, settings))


def _lost_settings(
    target: Target, template_settings: set[str], settings: Settings
) -> Iterator[LostSetting]:
    """The settings with an effect that the trainer lacks, or has in another way.

    Args:
        template_settings: Settings that the trainer's templates use.
    """
    for setting, value in settings.items():
        if setting in _WITHOUT_EFFECT and value == _WITHOUT_EFFECT[setting]:
            continue
        if setting in target.differs:
            yield LostSetting(setting, value, target.differs[setting])
        elif setting not in template_settings and setting not in target.implied:
            why = target.lost.get(setting, f"{target.title} has no such setting")
            yield LostSetting(setting, value, why)


def yaml_value(value: object) -> str:
    """A value as YAML with the same meaning in versions 1.1 and 1.2.

    >>> yaml_value(2e-05), yaml_value("on"), yaml_value(["q_proj", 1]), yaml_value(None)
    ('2.0e-05', '"on"', '["q_proj", 1]', 'null')
    """
    if isinstance(value, float):
        text = repr(value)
        mantissa, e, exponent = text.partition("e")
        return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text
    if isinstance(value, list | tuple):
        return f"[{', '.join(yaml_value(item) for item in value)}]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)}: {yaml_value(item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(value, ensure_ascii=False)


def export_trial(run: RunFolder, number: int, to: str, folder: Path) -> ExportOutput:
    """Export a trial into a new folder, as weights or for a trainer.

    Raises:
        SweeperError: The trial cannot be exported like this, or the folder exists.
    """
    if to not in WEIGHTS:
        exported = export_configuration(run, compute(run), refit_config(run, number), to, folder)
        lost = [f"  not supported: {entry}" for entry in exported.lost]
        fields = {
            "command": exported.command,
            "not_taken_over": [vars(entry) for entry in exported.lost],
        }
        return fields, [*lost, f"train: cd {folder} && {exported.command}"]
    weights = kept_weights(run, number)
    if to == "merged":
        must_be_new(folder)
        kept_files(weights)  # refuses damaged files and secrets
        return _export_merged(weights, folder)
    if to == "model":
        left_out = copy_model(weights, folder)
        lines = [f"  not copied: {name}, which sweeper did not write" for name in left_out]
        return {"not_copied": left_out}, lines
    facts = facts_of(run, refit_config(run, number).model)
    copy_adapter(weights, folder, compute(run), facts)
    return {}, []


def _export_merged(weights: Path, folder: Path) -> ExportOutput:
    require("sweeper export --to merged", RUNS)
    request = MergeRequest(weights=str(weights), folder=str(folder))
    with leaving_on_signals():
        merge = "sweeper.features.exporting._merge:merge"
        result = in_child(merge, request, MergeRequest, what="merging")
    fields = {"difference": result.difference, "agreement": result.agreement}
    return fields, [result.agreement_text]
