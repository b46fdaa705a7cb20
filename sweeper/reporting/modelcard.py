"""``MODEL_CARD.md``: a draft for the model that a run recommends, with gaps marked."""

from __future__ import annotations

from sweeper import units
from sweeper.findings import words
from sweeper.findings.findings import TrialRow
from sweeper.findings.verdict.headline import figure_lines
from sweeper.reporting.document import Report
from sweeper.reporting.markdown import plain
from sweeper.reporting.parts import mix_lines, parameters_text, recommended_trial
from sweeper.traits.traits import StrategyOnModel

UNKNOWN = "[More Information Needed]"  # as in the Hugging Face Hub's template


def model_card(report: Report) -> str:
    """The draft, or a note that no trial has completed."""
    findings = report.findings
    row = recommended_trial(report)
    name = plain(findings.run.name)
    if row is None:
        return f"# {name}\n\nNo trial has completed: there is no model to describe yet.\n"
    parts = [f"# {name}: draft of a model card", "", *_about(report, row), *_results(report, row)]
    parts += ["", "## Intended use", "", UNKNOWN, "", "## Risks and biases", "", UNKNOWN, ""]
    parts += ["## Known limits of the evaluation", ""]
    parts += [f"- {plain(limit.text)}" for limit in findings.limits] or ["- None was found."]
    return "\n".join(parts) + "\n"


def _about(report: Report, row: TrialRow) -> list[str]:
    data, reproduction = report.plan.data, report.findings.reproduction
    models = [
        f"{plain(name)} (revision {plain(revision) if revision else UNKNOWN})"
        for name, revision in reproduction.models.items()
    ]
    versions = ", ".join(f"{name} {number}" for name, number in reproduction.versions.items())
    return [
        "## Model",
        "",
        f"- Base model: {'; '.join(models)}",
        *_base_note(row),
        f"- Fine-tuned with: {plain(words.strategy(row.strategy))} (trial {row.number} of "
        f"{report.findings.run.ended})",
        f"- Configuration: {plain(parameters_text(row.parameters))}",
        f"- Task: {report.findings.run.task}",
        f"- Language: {UNKNOWN}",
        f"- License: {UNKNOWN}",
        f"- Weights: {plain(row.weights) if row.weights else UNKNOWN}",
        "",
        "## Training data",
        "",
        f"- Source: {plain(data.path) if data.path else UNKNOWN}"
        + (f", commit {plain(data.revision)}" if data.revision else ""),
        *(f"- {plain(name)}: commit {plain(commit)}" for name, commit in data.commits.items()),
        f"- Rows: {data.rows:,}, of which {data.train_rows:,} to train on",
        *(f"- {plain(line)}" for line in mix_lines(report, row)),
        *([f"- Rows changed: {plain('; '.join(data.changes))}"] if data.changes else []),
        f"- SHA-256: {reproduction.data_sha256 or UNKNOWN}",
        f"- Licence and consent: {UNKNOWN}",
        "",
        "## Training",
        "",
        f"- Hardware: {plain(reproduction.hardware)}",
        f"- Time: {units.duration(row.seconds)}, peak memory {units.gib(row.peak_memory_gib)}",
        f"- Tokens: {row.tokens:,}",
        f"- Versions: {plain(versions or UNKNOWN)}",
        f"- Energy and emissions: {UNKNOWN}",
        "",
    ]


def _base_note(row: TrialRow) -> list[str]:
    """A note on the base that an adapter needs, if this is not the plan's base model."""
    traits = StrategyOnModel.of(row.strategy).traits
    if row.base is None or (traits is not None and traits.trains_base):
        return []
    return [
        f"- The weights below are an adapter on {plain(row.base.folder)} in the run folder, which "
        "was made of the base model before this training. They need this base."
    ]


def _results(report: Report, row: TrialRow) -> list[str]:
    findings = report.findings
    lines = ["## Results", "", f"- {plain(findings.verdict.sentence)}"]
    lines += figure_lines(findings, row.number)
    if findings.objective.name != "loss":
        lines.append(f"- Validation loss: {words.loss(row.validation_loss)} {findings.loss_unit}")
    return lines + [f"- {plain(sentence)}" for sentence in report.card]
