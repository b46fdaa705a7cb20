"""The data needed to repeat a run, without private data of the machine."""

from __future__ import annotations

import json

from sweeper import units
from sweeper.facts.record import HardwareFacts
from sweeper.findings.findings import Reproduction
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.safe_text import clean
from sweeper.trials import TrialResult


def reproduction(run: RunFiles, recommended: int | None, *, complete: bool) -> Reproduction:
    """Command, spec, versions, hardware, seeds, splits and revisions of a run.

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
    lines = ["trials:", f"  - strategy: {trial.config.strategy}", "    parameters:"]
    lines += [
        f"      {name}: {json.dumps(value)}"
        for name, value in sorted(trial.config.parameters.items())
    ]
    return "\n".join(lines)


def _versions(results: list[TrialResult]) -> dict[str, str]:
    """Versions by package; several if trials ran with different versions."""
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
