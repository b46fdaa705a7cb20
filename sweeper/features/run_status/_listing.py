"""The line of a run in ``sweeper list``."""

from __future__ import annotations

from sweeper.errors import UsageError
from sweeper.execution.state.status import ENDED, Status
from sweeper.findings import words
from sweeper.findings.record import Findings
from sweeper.runfolder import RunFolder


def listed(run: RunFolder, status: Status | None) -> dict[str, str]:
    """One run: its name, status, trials, score and verdict."""
    row = {"name": run.path.name, "status": "planned", "trials": "0", "score": "", "verdict": ""}
    if status is not None:
        row["status"] = status.phase if status.phase in ENDED else "running"
        row["trials"] = f"{status.done}/{status.trials}"
    if not run.findings.is_file():  # before its first report
        return row
    try:
        findings = Findings.read(run.findings)
    except UsageError:  # one damaged run hides no other
        return row | {"status": "unreadable", "verdict": f"sweeper report {run.quoted}"}
    run_figures = findings.run
    if status is None:
        row |= {
            "status": run_figures.status,
            "trials": f"{run_figures.ended}/{run_figures.trials_asked}",
        }
    if row["status"] == "complete":
        failed = f", {run_figures.failed} failed" if run_figures.failed else ""
        row["status"] += f"{failed}{'' if findings.baselines else ', no baselines'}"
    return row | {"score": _score(findings), "verdict": findings.verdict.sentence}


def _score(findings: Findings) -> str:
    """The headline figure on the test split of what is recommended, with its interval."""
    verdict, metric = findings.verdict, findings.metric
    wanted = verdict.recommended_baseline or f"trial-{verdict.recommended_trial}"
    model = next((one for one in findings.tested if one.name == wanted), None)
    if model is None:
        return ""
    whose = f" ({model.title})" if verdict.recommended_baseline else ""
    return f"test {metric.title} {words.score_with_interval(model.score, metric)}{whose}"
