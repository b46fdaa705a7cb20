"""Progress and times of a run."""

from __future__ import annotations

import math
from collections import Counter

from sweeper.execution.state.status import ENDED
from sweeper.findings.findings import RunStatus, RunSummary
from sweeper.findings.study.reading import RunFiles
from sweeper.trials import TrialResult


def run_summary(run: RunFiles) -> RunSummary:
    """Counts, times and status of a run."""
    states, last = Counter(trial.result.state for trial in run.trials), run.status
    results = [trial.result for trial in run.trials if trial.ended]
    confirmations = [seed.result for trial in run.trials for seed in trial.seeds]
    trial_seconds = [seconds for trial in run.trials if (seconds := trial.seconds) is not None]
    return RunSummary(
        name=run.folder.path.name,
        place=run.folder.place,
        task=run.plan.facts.task,
        models=tuple(model.id for model in run.plan.facts.models),
        device=run.plan.facts.hardware.device,
        status=status(run),
        failed_because=last.failed_because if last else "",
        trials_asked=trials_asked(run),
        complete=states["COMPLETE"],
        pruned=states["PRUNED"],
        failed=states["FAIL"],
        started_at=min(_times(results, "started_at"), default=""),
        ended_at=max(_times(run.results, "ended_at"), default=""),
        seconds=math.fsum(trial_seconds) if trial_seconds else None,
        confirmation_seconds=(
            math.fsum(result.whole_seconds for result in confirmations) if confirmations else None
        ),
        search_ended=last.search_ended if last else "",
        outlook=str(last.outlook) if last and last.outlook else "",
    )


def status(run: RunFiles) -> RunStatus:
    """The status by ``status.json``; ``complete`` also if the files show it."""
    ended = sum(trial.ended for trial in run.trials)
    opened = run.seal.complete if run.seal else not run.ranked
    phase = run.status.phase if run.status else ""
    if phase == "complete" or (ended >= trials_asked(run) and opened):
        return "complete"
    if phase and phase not in ENDED:
        return "running"
    return "timeout" if phase == "timeout" else "failed" if phase == "failed" else "interrupted"


def trials_asked(run: RunFiles) -> int:
    """The total number of trials: of the last command if ``status.json`` has it, else of the
    plan."""
    return run.status.trials if run.status else run.plan.budget.trials


def _times(results: list[TrialResult], field: str) -> list[str]:
    return [text for result in results if (text := str(getattr(result, field)))]
