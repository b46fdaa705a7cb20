"""How do I use the model, and how do I repeat the run?"""

from __future__ import annotations

import json
from collections.abc import Iterator

from sweeper import units
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.reporting.blocks import Block, Code, FactList, ListedFact
from sweeper.reporting.document import Report
from sweeper.reporting.sections._plan import plan_table

HEADING = Heading(140, "repro", "Use and repeat")


def finding(figures: None, report: Report) -> str:
    """The command that repeats the run."""
    return report.findings.reproduction.command


def blocks(figures: None, report: Report) -> Iterator[Block]:
    """Code to use the model, the command, facts and files to repeat the run, and its plan."""
    reproduction, trial = report.findings.reproduction, report.findings.best
    if trial is not None and trial.result.weights:
        title = "Use this model in Python, in the folder where sweeper ran (docs/use-the-winner.md)"
        weights = json.dumps(f"{report.findings.run.place}/{trial.result.weights}")
        code = f"import sweeper\n\nmodel = sweeper.load({weights})\n"
        yield Code(title, f'{code}print(model.predict(["a text"])[0])')
    if reproduction.trial_yaml:
        yield Code("This configuration, for sweep.yaml", reproduction.trial_yaml, folded=True)
    yield Code("Repeat the run", reproduction.command)
    yield FactList(_facts(report))
    if reproduction.spec_yaml:
        yield Code("sweep.yaml", reproduction.spec_yaml, folded=True)
    if report.findings.run.ended:
        yield plan_table(report)


def _facts(report: Report) -> tuple[ListedFact, ...]:
    reproduction, data = report.findings.reproduction, report.plan.data
    models = [
        f"{name}, revision {revision}" if revision else f"{name}, no revision"
        for name, revision in reproduction.models.items()
    ]
    splits = ", ".join(f"{count:,} {name}" for name, count in reproduction.split_rows.items())
    versions = ", ".join(f"{name} {version}" for name, version in reproduction.versions.items())
    budget, run = report.plan.budget, report.findings.run
    return (
        ListedFact("base model", "; ".join(models)),
        ListedFact(
            "data", f"{data.path or 'not given'}, {data.rows:,} rows ({splits or 'no splits'})"
        ),
        *(ListedFact("training data", line) for line in report.data_lines()),
        *(ListedFact("examples", note.text) for note in report.findings.notes),
        ListedFact(
            "data SHA-256",
            reproduction.data_sha256 or words.DASH,
            "/findings/reproduction/data_sha256",
        ),
        ListedFact("hardware", reproduction.hardware, "/findings/reproduction/hardware"),
        ListedFact("seeds", ", ".join(str(seed) for seed in reproduction.seeds)),
        ListedFact(
            "budget",
            f"{budget.trials} trials of {words.value(budget.epochs)} epochs "
            f"({units.count(budget.full_tokens)} tokens), {budget.rungs} rungs, pruning from rung "
            f"{budget.first_rung} (of diverging trials at any rung)",
        ),
        ListedFact(
            "started",
            f"{run.started or words.DASH} UTC, {units.duration(run.training_seconds)} of training",
        ),
        ListedFact("versions", versions or words.DASH),
        ListedFact("sweeper", report.sweeper_version, "/sweeper_version"),
    )
