"""What plans and running sweeps said of their time, beside what finished runs took.

    python -m benchmarks.forecast RUN [RUN ...]

Seconds on the clock are scaled to an idle machine: the share of the trials' time in which other
programs had the processor is taken off. *Left* replays the remaining time: what it said as each
trial of the search ended, from the trials until then, against what the rest of the run took.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeper.execution.run_progress import remaining, took
from sweeper.execution.state.seal import seeds_of
from sweeper.findings.compute import findings_of
from sweeper.findings.study.reading import RunFiles, read_run
from sweeper.findings.study.trial_rows import result_seconds
from sweeper.reporting.sections import cost
from sweeper.runfolder import RunFolder
from sweeper.search import finalists
from sweeper.trials import TrialResult


@dataclass(frozen=True)
class Said:
    """What was said of the rest of a run after so many trials, and what it took; in seconds."""

    trials: int
    low: float
    high: float
    took: float

    @property
    def off(self) -> float:
        """The factor between what it took and the nearer end of the range; 1 within it."""
        return max(1.0, self.low / self.took, self.took / max(self.high, 1e-9))


def undisturbed(result: TrialResult) -> TrialResult:
    """The result as on an idle machine."""
    whole = result_seconds(result)
    share = max(0.1, 1 - result.waited_seconds / whole) if whole else 1.0
    names = ("training_seconds", "evaluation_seconds", "setup_seconds")
    return result.model_copy(update={name: getattr(result, name) * share for name in names})


def replayed(run: RunFiles, workers: int, test_seconds: float) -> Iterator[Said]:
    """What would have been said of the rest as each trial ended."""
    trials = [t for t in run.trials if t.result is not None and t.result.state != "FAIL"]
    trials.sort(key=lambda t: t.result.ended_at if t.result else "")
    results = [undisturbed(t.result) for t in trials if t.result]
    configs = {t.config.number: t.config for t in trials}
    budget = run.plan.budget
    again = sum(result_seconds(undisturbed(s.result)) for t in trials for s in t.seeds)
    for count in range(2, len(trials)):
        ended = {one.number: one for one in results[:count]}
        each = (took(run.plan, configs[number], one) for number, one in ended.items())
        keys = {n: f"{configs[n].strategy} {configs[n].model}" for n in ended}
        best = finalists.choose(ended, keys, budget.finalists)
        left = remaining(
            budget,
            [one for one in each if one is not None],
            phase="search",
            trials_left=len(trials) - count,
            jobs_left=0,
            jobs=0,
            workers=workers,
            again=statistics.fmean(result_seconds(ended[n]) for n in best) if best else 0.0,
        )
        if left is None:
            continue
        rest = sum(map(result_seconds, results[count:])) + again
        yield Said(count, left.low, left.high, rest / workers + test_seconds)


def table(run: RunFiles, folder: RunFolder) -> Iterator[str]:
    """The lines of one run."""
    test = 0.0
    yield f"{folder.path.name}: {len(run.trials)} trials, {len(seeds_of(run.plan))} further seeds"
    for one in cost.compute(run, findings_of(run)).predictions:
        own = one.actual * (1 - one.disturbed)
        test = own if one.what == "test" else test
        inside = "inside" if one.low <= own <= one.high else "outside"
        yield (
            f"  {one.what:12} {one.strategy:6} planned {one.predicted:8.3g} "
            f"({one.low:.3g} to {one.high:.3g}) {one.unit:4} took {one.actual:8.3g}, idle "
            f"{own:8.3g}, ratio {own / one.predicted if one.predicted else 0:5.2f} {inside}"
        )
    said = list(replayed(run, run.plan.budget.trials_at_once, test))
    held = sum(each.off == 1 for each in said)
    yield f"  left: {held} of {len(said)} ranges hold what the rest took"
    for each in said:
        yield (
            f"    after {each.trials:2} trials: {each.low:6.0f} to {each.high:6.0f} s, "
            f"took {each.took:6.0f} s, off by {each.off:.2f}"
        )


def main() -> None:
    """Print the table of each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    for path in parser.parse_args().runs:
        folder = RunFolder(path)
        print("\n".join(table(read_run(folder), folder)))


if __name__ == "__main__":
    main()
