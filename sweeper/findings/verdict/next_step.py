"""The step that would most likely help next, with its figures.

Obstacles to a verdict come first, then the verdict, then the best trial's curve and the search.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from itertools import chain

from sweeper import units
from sweeper.findings import words
from sweeper.findings.findings import MIN_FINALISTS, MIN_SEEDS, Comparison, Findings, NextStep


def next_step(findings: Findings, advice: Iterable[NextStep] = ()) -> NextStep | None:
    """The next step after a run; None while it runs.

    Args:
        advice: Steps that sections advise if no step here applies. The first one counts.
    """
    if findings.run.status == "running":
        return None
    own = (step for check in _CHECKS if (step := check(findings)) is not None)
    return next(chain(own, advice), None) or NextStep(kind="use")


_TITLES: dict[str, str] = {
    "resume": "resume this sweep",
    "use": "use this model",
    "more-data": "more training rows",
    "more-trials": "more trials",
    "more-finalists": "more finalists",
    "longer-training": "more epochs",
    "another-base": "another base model",
    "more-test-rows": "more test rows",
    "more-seeds": "more seeds",
    "failures": "see why trials failed",
    "stop": "stop here",
}


def next_step_line(step: NextStep) -> str:
    """The step and its figures, as text."""
    return f"Next: {_TITLES[step.kind]}. {words.sentence(step.because)}".rstrip()


def next_step_lines(step: NextStep | None) -> list[str]:
    """The step, and a line with its command; empty if there is no step."""
    if step is None:
        return []
    return [next_step_line(step), *([f"  {step.command}"] if step.command else [])]


def _resume(findings: Findings) -> NextStep | None:
    run = findings.run
    if run.status == "complete":
        return None
    because = f"{run.ended} of {units.plural(run.trials_requested, 'trial')} have ended"
    if run.ended >= run.trials_requested:
        because += ", and the finalists are not yet scored on the test split"
    return NextStep(kind="resume", because=f"{because}.", command=_run_command(findings))


def _failures(findings: Findings) -> NextStep | None:
    run = findings.run
    if run.complete:
        return None
    because = (
        f"No trial completed: {run.pruned} pruned, {run.failed} failed. Remove the cause, then "
        "start again with --new."
    )
    return NextStep(kind="failures", because=because, command=f"{_run_command(findings)} --new")


def _no_fine_tuning(findings: Findings) -> NextStep | None:
    """A step for the case that fine-tuning is no better than a baseline."""
    against = _against_baseline(findings)
    if findings.verdict.fine_tuning_needed is not False or against is None:
        return None
    because = f"{_gap(findings, against)}."
    if against.outcome == "worse":
        advice = "Name one with --model, and --new (this run is kept, renamed)."
        return NextStep(kind="another-base", because=f"{because} {advice}")
    return NextStep(kind="stop", because=because)


def _more_test_rows(findings: Findings) -> NextStep | None:
    """A step for the case that the test split leaves open whether fine-tuning pays."""
    against = _against_baseline(findings)
    if findings.verdict.recommended_baseline is None or against is None or not against.more_items:
        return None
    items = findings.verdict.test_items
    items_text = f" on {units.plural(items, 'test item')}" if items else ""
    because = (
        f"{_gap(findings, against)}{items_text}; {words.more(against.more_items)} would settle "
        "it. Give a larger test split with --test, and --new (this run is kept, renamed)."
    )
    return NextStep(kind="more-test-rows", because=because)


def _too_few_seeds(findings: Findings) -> NextStep | None:
    limitation = next((item for item in findings.limits if item.id == "few-seeds"), None)
    open_question = findings.verdict.kind == "insufficient" or findings.verdict.recommended_baseline
    if limitation is None or not open_question:
        return None
    because = f"{limitation.text} {limitation.action}"
    seeds = findings.verdict.seeds or 1
    needed_seeds = MIN_SEEDS if seeds < MIN_SEEDS else 2 * seeds
    command = f"{_run_command(findings)} --new --confirmation-seeds {needed_seeds}"
    if _lacks_finalists(findings):
        because += f" A choice also needs {MIN_FINALISTS} finalists."
        command += f" --finalists {MIN_FINALISTS}"
    return NextStep(kind="more-seeds", because=because, command=command)


def _no_decision(findings: Findings) -> NextStep | None:
    """A step for a study that ended without a recommendation, though it had enough seeds."""
    if findings.verdict.kind != "insufficient":
        return None
    finalists = units.plural(len(findings.finalists), "finalist")
    because = (
        f"{finalists} of {units.plural(findings.run.complete, 'completed trial')} cannot decide."
    )
    if _lacks_finalists(findings):
        command = f"{_run_command(findings)} --new --finalists {MIN_FINALISTS}"
        return NextStep(kind="more-finalists", because=because, command=command)
    return twice_the_trials(findings, because)


def _lacks_finalists(findings: Findings) -> bool:
    return len(findings.finalists) < MIN_FINALISTS <= findings.run.complete


def _no_difference(findings: Findings) -> NextStep | None:
    """A step if no difference from a baseline is shown.

    How many test rows would decide is unknown: else ``_more_test_rows`` applies before.
    """
    against = _against_baseline(findings)
    if findings.verdict.recommended_baseline is None or against is None:
        return None
    return NextStep(kind="stop", because=f"{_gap(findings, against)}.")


def _longer_training(findings: Findings) -> NextStep | None:
    limitation = next((item for item in findings.limits if item.id == "best-at-last-step"), None)
    if limitation is None:
        return None
    row = findings.recommended
    command = f"{_run_command(findings)} --new"
    if row is not None and row.rungs:
        command += f" --epochs {2 * row.rungs[-1].epochs:g}"
    because = f"{limitation.text} {limitation.action}"
    return NextStep(kind="longer-training", because=because, command=command)


def _more_data(findings: Findings) -> NextStep | None:
    """A step for a recommended trial that overfits, so that more training rows would help."""
    row = findings.recommended
    if row is None or row.result.stopped_by != "overfitting":
        return None
    rung, why = row.result.stopped_at_rung, row.result.stopped_because
    because = (
        f"Trial {row.number} stopped at rung {rung}: {why}. Give "
        "more rows with --data, and --new (this run is kept, renamed)."
    )
    return NextStep(kind="more-data", because=because)


# The first check that returns a step counts.
_CHECKS: tuple[Callable[[Findings], NextStep | None], ...] = (
    _resume,
    _failures,
    _no_fine_tuning,
    _more_test_rows,
    _too_few_seeds,
    _no_decision,
    _no_difference,
    _longer_training,
    _more_data,
)


def _against_baseline(findings: Findings) -> Comparison | None:
    """The comparison of the recommended trial with the recommended or the best baseline."""
    name = findings.verdict.recommended_baseline or findings.verdict.best_baseline
    return next((c for c in findings.verdict.comparisons if c.second == name), None)


def _gap(findings: Findings, against: Comparison) -> str:
    baseline = findings.baseline(against.second)
    title = baseline.title if baseline else against.second
    trial = against.first.replace("-", " ")  # "trial-12" as "trial 12"
    return f"{trial} − {title} = {words.difference(against.difference, findings.metric)}"


def twice_the_trials(findings: Findings, because: str) -> NextStep:
    """A new run with twice the trials."""
    # The test split is opened once, so that later trials of the same run are not tested.
    command = f"{_run_command(findings)} --new --trials {2 * findings.run.trials_requested}"
    return NextStep(kind="more-trials", because=because, command=command)


def _run_command(findings: Findings) -> str:
    return f"sweeper run {shlex.quote(findings.run.place)}/sweep.yaml"
