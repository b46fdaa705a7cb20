"""A trial's configuration and rows as a folder that another trainer can start from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.artifact import write_text
from sweeper.data.examples import Dataset, Split
from sweeper.data.splits import in_order
from sweeper.errors import DataError, UsageError, near_match
from sweeper.exporting.rows import RowForm, is_plain_text, one_answer_each, write_rows
from sweeper.exporting.settings import settings_of
from sweeper.exporting.target import Lost, Target, fill, targets
from sweeper.facts.dataset.curation import curated
from sweeper.facts.models.packaged import PREFIX, packaged
from sweeper.facts.record import ModelFacts
from sweeper.findings import words
from sweeper.findings.record import Findings
from sweeper.hyperparameters import AUGMENTED, FIRST_STAGE, NO_AUGMENTED, NO_FIRST_STAGE
from sweeper.jsontext import object_of
from sweeper.plans import Plan
from sweeper.redaction import clean
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec
from sweeper.specfile import resolve
from sweeper.trials import TrialConfig

ROWS = "data"
# What is made of the kept weights, not of the configuration.
WEIGHTS = ("model", "merged", "peft")
_CHAT_TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class Exported:
    """The exported folder and what was left out.

    Args:
        folder: With the trainer's files, ``data/`` and ``README.md``.
        command: Trains, in that folder.
        lost: Settings of the trial that the trainer does not take over.
    """

    folder: Path
    command: str
    lost: tuple[Lost, ...]


def export_configuration(
    run: RunFolder, findings: Findings, config: TrialConfig, to: str, folder: Path
) -> Exported:
    """Write one trial's configuration for a trainer.

    Args:
        config: With as many epochs as the trial's weights had seen.
        folder: A new one. It appears once it is whole.

    Raises:
        UsageError: The trainer cannot express the trial, or the folder exists.
        DataError: The data has changed since the sweep.
    """
    target = _target(to)
    part = new_folder(folder)
    plan, spec = Plan.read(run.plan), resolve({}, run.spec)
    _check(target, to, findings, config, spec)
    dataset = curated(spec, run.data_changes).dataset
    if dataset.fingerprint != plan.facts.data.fingerprint:
        raise DataError(
            "the data has changed since the sweep",
            why="The configuration would be exported with other rows than it was chosen on.",
            fix="Put the old data back, or run a new sweep on this data.",
            where=dataset.path,
        )
    config, dataset = _with_augmented(config, dataset)
    form = _form(target, dataset)
    facts = next(model for model in plan.facts.models if model.id == config.model)
    weights = run.trial(config.number) / "weights"
    template = weights / _CHAT_TEMPLATE
    settings = settings_of(
        config,
        facts,
        dataset,
        model=public_name(facts),
        target_modules=_trained_modules(weights),
        chat_template=form != "text" and template.is_file(),
    )
    filled = fill(to, settings, form)
    part.mkdir(parents=True)
    opened: tuple[Split, ...] = ("test",) if run.test_seal.is_file() else ()
    splits: tuple[Split, ...] = ("train", "validation", *opened)
    names = {split: target.split_names.get(split, split) for split in splits}
    write_rows(part / ROWS, dataset, names, form, spec.training.system_prompt)
    for name, text in filled.files.items():
        write_text(part / name, text)
    if settings["chat_template"] and "chat_template" not in {one.setting for one in filled.lost}:
        shutil.copyfile(template, part / _CHAT_TEMPLATE)
    card = _card(target, findings, config, facts, filled.command, filled.lost)
    write_text(part / "README.md", card)
    part.rename(folder)
    return Exported(folder, filled.command, filled.lost)


def _with_augmented(config: TrialConfig, dataset: Dataset) -> tuple[TrialConfig, Dataset]:
    """The train split with the augmented rows, if the trial trained on them, and as many epochs of
    it as give the same number of steps."""
    if config.parameters.get(AUGMENTED, NO_AUGMENTED) == NO_AUGMENTED:
        return config, dataset
    train = dataset.splits["train"]
    rows = in_order((*train, *dataset.augmented))
    epochs = config.budget.epochs * len(train) / len(rows)
    budget = config.budget.model_copy(update={"epochs": epochs})
    dataset = replace(dataset, splits={**dataset.splits, "train": rows})
    return config.model_copy(update={"budget": budget}), dataset


def new_folder(folder: Path) -> Path:
    """A temporary path for a folder until it is complete.

    Raises:
        UsageError: The folder exists.
    """
    if folder.exists():
        raise UsageError(
            "the folder exists", fix="Delete it, or name another with --output.", where=str(folder)
        )
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    return part


def public_name(facts: ModelFacts) -> str:
    """The base model as others can load it: a hub id, or a folder by its name alone.

    A packaged model is named by the published one that it was made from.
    """
    if facts.id.startswith(PREFIX):
        return packaged(facts.id).catalogue
    return Path(facts.id).name if facts.source == "local" else facts.id


def _target(to: str) -> Target:
    known = targets()
    if to not in known:
        names = [*known, *WEIGHTS]
        raise UsageError(
            f"sweeper exports nothing to {to!r}", fix=near_match(to, names), where="--to"
        )
    return known[to]


def _check(target: Target, to: str, findings: Findings, config: TrialConfig, spec: Spec) -> None:
    """Refuse a trial that the trainer cannot train, and name the nearest one that it can.

    Raises:
        UsageError: It cannot.
    """
    if spec.task == "classification" and spec.training.classes_by == "head":
        raise UsageError(
            f"{target.title} does not train this classification head",
            why="The head has its own pooling, learning rate and start.",
            fix="'sweeper export RUN --to model' gives the trained model. A sweep with "
            "'training.classes_by: generate' trains a model that other trainers can train, too.",
            where=f"--to {to}",
        )
    if spec.task in target.tasks_left_out:
        raise UsageError(
            f"{target.title} cannot express the task {spec.task}",
            why=target.tasks_left_out[spec.task],
            where=f"--to {to}",
        )
    if config.strategy not in target.strategies:
        raise UsageError(
            f"{target.title} cannot express trial {config.number}: {config.strategy}",
            why=f"It trains by {words.joined(list(target.strategies))}.",
            fix=nearest(findings, target.strategies),
            where=f"--to {to}",
        )
    if config.parameters.get(FIRST_STAGE, NO_FIRST_STAGE) != NO_FIRST_STAGE:
        raise UsageError(
            f"trial {config.number} read a corpus before it was trained on the task",
            why=f"{target.title} trains in one stage, and on the base model as it was published.",
            fix="'sweeper export RUN --to merged' gives the trained model.",
            where=f"--to {to}",
        )


def nearest(findings: Findings, strategies: Sequence[str]) -> str:
    """The best completed trial that the trainer can train."""
    fit = [trial for trial in findings.best_first() if trial.strategy in strategies]
    if not fit:
        return "No completed trial of this run used one of these."
    best = fit[0]
    return f"The best such trial is {best.number} ({best.strategy}): --trial {best.number}."


def _form(target: Target, dataset: Dataset) -> RowForm:
    """The format of the written rows.

    Raises:
        UsageError: The trainer reads no such rows.
    """
    if dataset.templated:
        raise UsageError(
            "the rows already hold chat markers",
            why="Every trainer would write its own around them.",
            fix="Give the data as messages, or as prompt and completion, to a new sweep.",
            where=dataset.path,
        )
    if not is_plain_text(dataset):
        form = target.rows[0]
        several = form == "prompt-completion" and not one_answer_each(dataset)
        return "messages" if several else form
    if "text" in target.rows:
        return "text"
    readers = [name for name, one in targets().items() if "text" in one.rows]
    raise UsageError(
        f"{target.title} reads no plain text",
        fix=f"These do: {words.joined(readers)}.",
        where=dataset.path,
    )


def _trained_modules(weights: Path) -> tuple[str, ...] | None:
    """The layers that a kept adapter was put on."""
    config = weights / "adapter_config.json"
    if not config.is_file():
        return None
    named = object_of(config.read_text(encoding="utf-8")).get("target_modules")
    return tuple(sorted(named)) if isinstance(named, list) else None


def _card(
    target: Target,
    findings: Findings,
    config: TrialConfig,
    facts: ModelFacts,
    command: str,
    lost: Sequence[Lost],
) -> str:
    row = next(trial for trial in findings.trials if trial.number == config.number)
    finalist = next((f for f in findings.finalists if f.trial == config.number), None)
    figures = [f"- {words.validation_figure(row.objective, findings.objective)}"]
    if finalist is not None and finalist.test_score is not None:
        score = words.score_with_interval(finalist.test_score, findings.metric)
        figures.append(f"- Test {findings.metric.title}: {score}")
    note = [f"- {facts.weights_note}"] if facts.weights_note else []
    if facts.source == "local":
        note.append("- The sweep used a local folder. Give its path as the model.")
    return clean(
        "\n".join(
            [
                f"# Trial {config.number} of {findings.run.name} for {target.title}",
                "",
                "Written by sweeper. Train with",
                "",
                f"    {command}",
                "",
                f"in this folder. The keys were checked against {target.checked_with}.",
                "",
                "The sweep measured on this trial:",
                "",
                *figures,
                "",
                "## What is not supported",
                "",
                *([f"- `{one.setting}` = `{json.dumps(one.value)}`: {one.why}" for one in lost]),
                *note,
                *([] if lost or note else ["Nothing: every setting of the trial is expressed."]),
                "",
                f"`{ROWS}/` holds the split of the sweep, so that figures compare.",
                "",
            ]
        )
    )
