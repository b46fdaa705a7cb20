"""The run: its progress and times, and what is needed to repeat it, without private data."""

from __future__ import annotations

import json
import math
from collections import Counter

from sweeper import units
from sweeper.execution.state.status import ENDED
from sweeper.facts.record import HardwareFacts
from sweeper.findings.findings import Reproduction, RunStatus, RunSummary
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.safe_text import clean
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
        status=_status(run),
        failed_because=last.failed_because if last else "",
        trials_requested=_trials_requested(run),
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


def _status(run: RunFiles) -> RunStatus:
    """The status from ``status.json``, or ``complete`` if the files of the run show it."""
    ended = sum(trial.ended for trial in run.trials)
    is_tested = run.seal.complete if run.seal else not run.ranked
    phase = run.status.phase if run.status else ""
    if phase == "complete" or (ended >= _trials_requested(run) and is_tested):
        return "complete"
    if phase and phase not in ENDED:
        return "running"
    return "timeout" if phase == "timeout" else "failed" if phase == "failed" else "interrupted"


def _trials_requested(run: RunFiles) -> int:
    """The number of trials that the last command asked for; the plan's without ``status.json``."""
    return run.status.trials if run.status else run.plan.budget.trials


def _times(results: list[TrialResult], field: str) -> list[str]:
    return [text for result in results if (text := str(getattr(result, field)))]


def reproduction(run: RunFiles, recommended: int | None, *, complete: bool) -> Reproduction:
    """What is needed to repeat a run.

    Args:
        recommended: The recommended trial, if there is one.
        complete: Whether the run is complete, so that only a new run repeats it.
    """
    data = run.plan.facts.data
    chosen = run.trial(recommended) if recommended is not None else None
    seeds = {run.plan.seed, *(result.seed for result in run.results)}
    return Reproduction(
        # The run's own sweep.yaml has its name, seed and number of trials.
        command=f"sweeper run {run.folder.quoted}/sweep.yaml" + (" --new" if complete else ""),
        spec_yaml=run.spec_yaml,
        versions=_versions(run.results),
        hardware=_hardware(run.plan.facts.hardware),
        seeds=tuple(sorted(seeds)),
        split_rows={split.name: split.rows for split in data.splits},
        data_sha256=data.fingerprint,
        models={clean(model.id): model.revision for model in run.plan.facts.models},
        trial_yaml=_trial_yaml(chosen) if chosen else "",
    )


def _trial_yaml(trial: TrialFiles) -> str:
    """The configuration as a ``trials:`` entry of a ``sweep.yaml``."""
    lines = ["trials:", f"  - strategy: {trial.strategy.strategy}"]
    if trial.strategy.model:
        lines.append(f"    model: {json.dumps(trial.strategy.model)}")
    lines.append("    parameters:")
    lines += [
        f"      {name}: {json.dumps(value)}"
        for name, value in sorted(trial.config.parameters.items())
    ]
    return "\n".join(lines)


def _versions(results: list[TrialResult]) -> dict[str, str]:
    """Versions by package, separated by commas if trials ran with different ones."""
    seen: dict[str, set[str]] = {}
    for result in results:
        for package, version in result.versions.items():
            seen.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(seen[package])) for package in sorted(seen)}


def _hardware(facts: HardwareFacts) -> str:
    if facts.device == "cpu":
        cores = f"{facts.cpu_cores} cores, " if facts.cpu_cores else ""
        return f"{facts.name} (CPU), {cores}{units.gib(facts.memory_gib)} of memory"
    nodes = f" on {facts.nodes} nodes" if facts.nodes > 1 else ""
    return f"{facts.gpus} x {facts.name}{nodes}, {units.gib(facts.memory_gib)} each"
