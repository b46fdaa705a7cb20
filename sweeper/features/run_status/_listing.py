"""The line of a run in ``sweeper list``."""

from __future__ import annotations

from sweeper.errors import UsageError
from sweeper.execution.state.status import ENDED, Status
from sweeper.findings.findings import Findings
from sweeper.findings.verdict.headline import headline_figures
from sweeper.runfolder import RunFolder


def listed(run: RunFolder, status: Status | None) -> dict[str, str]:
    """One run: its name, status, trials, verdict, score and cost to train."""
    row = {"name": run.path.name, "status": "planned", "trials": "0"}
    row |= dict.fromkeys(("answer", "verdict", "score", "cost"), "")
    if status is not None:
        row["status"] = status.phase if status.phase in ENDED else "running"
        row["trials"] = f"{status.done}/{status.trials}"
    if not run.findings.is_file():  # before its first report
        return row
    try:
        findings = Findings.read(run.findings)
    except UsageError:  # a damaged run must not hide the others
        remedy = f"sweeper report {run.quoted}"
        return row | {"status": "unreadable", "answer": remedy, "verdict": remedy}
    run_figures = findings.run
    if status is None:
        row |= {
            "status": run_figures.status,
            "trials": f"{run_figures.ended}/{run_figures.trials_asked}",
        }
    if row["status"] == "complete":
        failed = f", {run_figures.failed} failed" if run_figures.failed else ""
        row["status"] += f"{failed}{'' if findings.baselines else ', no baselines'}"
    row |= {"answer": findings.verdict.answer, "verdict": findings.verdict.sentence}
    if figures := headline_figures(findings):
        score, cost = figures[:2]
        finalist = findings.finalist(findings.verdict.best_trial)
        tested = finalist is not None and finalist.test_score is not None
        has_test_score = tested or findings.verdict.recommended_baseline is not None
        row |= {
            "score": f"{score.text} ({score.detail})" if has_test_score else "",
            "cost": str(cost),
        }
    return row


def shortened(row: dict[str, str]) -> dict[str, str]:
    """The row without the verdict's sentence, shortened to fit into 100 columns."""
    return {
        name: text.replace("95% CI ", "").removesuffix(" besides the process")
        for name, text in row.items()
        if name != "verdict"
    }
