"""The step that would most likely help next, with the figures that say so.

Obstacles to a verdict come first, then the verdict, then the recommended trial's training.
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
        advice: Steps that sections of the report advise, used if no check here returns one.
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
    """A step if a baseline is shown to be at least as good as fine-tuning."""
    against = _against_baseline(findings)
    if findings.verdict.fine_tuning_needed is not False or against is None:
        return None
    because = f"{_gap(findings, against)}."
    if against.outcome == "worse":
        advice = "Name one with --model, and --new (this run is kept, renamed)."
        return NextStep(kind="another-base", because=f"{because} {advice}")
    return NextStep(kind="stop", because=because)


def _more_test_rows(findings: Findings) -> NextStep | None:
    """A step if more test rows would settle whether fine-tuning pays."""
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
    """A step if the study ended without a recommendation, though it had enough seeds."""
    if findings.verdict.kind != "insufficient":
        return None
    completed = units.plural(findings.run.complete, "completed trial")
    because = (
        f"There are too few finalists to choose from: {len(findings.finalists)} of {completed}."
    )
    if _lacks_finalists(findings):
        command = f"{_run_command(findings)} --new --finalists {MIN_FINALISTS}"
        return NextStep(kind="more-finalists", because=because, command=command)
    return twice_the_trials(findings, because)


def _lacks_finalists(findings: Findings) -> bool:
    return len(findings.finalists) < MIN_FINALISTS <= findings.run.complete


def _no_difference(findings: Findings) -> NextStep | None:
    """A step if no difference from a baseline is shown, and no number of test rows would show it.

    If such a number is known, ``_more_test_rows`` has returned a step before.
    """
    against = _against_baseline(findings)
    if findings.verdict.recommended_baseline is None or against is None:
        return None
    return NextStep(kind="stop", because=f"{_gap(findings, against)}.")


def _longer_training(findings: Findings) -> NextStep | None:
    """A step if the best trial was still improving when its budget ended."""
    limitation = next((item for item in findings.limits if item.id == "best-at-last-step"), None)
    if limitation is None:
        return None
    trial = findings.recommended
    command = f"{_run_command(findings)} --new"
    if trial is not None and trial.rungs:
        command += f" --epochs {2 * trial.rungs[-1].epochs:g}"
    because = f"{limitation.text} {limitation.action}"
    return NextStep(kind="longer-training", because=because, command=command)


def _more_data(findings: Findings) -> NextStep | None:
    """A step if the recommended trial was stopped since it overfitted: more rows would help."""
    trial = findings.recommended
    if trial is None or trial.result.stopped_by != "overfitting":
        return None
    rung, why = trial.result.stopped_at_rung, trial.result.stopped_because
    because = (
        f"Trial {trial.number} stopped at rung {rung}: {why}. Give "
        "more rows with --data, and --new (this run is kept, renamed)."
    )
    return NextStep(kind="more-data", because=because)


# The step of the first check that returns one is used.
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
    """The test difference of the trial and the baseline, with both names."""
    baseline = findings.baseline(against.second)
    title = baseline.title if baseline else against.second
    trial = against.first.replace("-", " ")  # "trial-12" as "trial 12"
    return f"{trial} − {title} = {words.difference(against.difference, findings.metric)}"


def twice_the_trials(findings: Findings, because: str) -> NextStep:
    """The step that runs the sweep anew with twice the trials."""
    # The test split is opened once per run, so more trials of this run would not be tested.
    command = f"{_run_command(findings)} --new --trials {2 * findings.run.trials_requested}"
    return NextStep(kind="more-trials", because=because, command=command)


def _run_command(findings: Findings) -> str:
    return f"sweeper run {shlex.quote(findings.run.place)}/sweep.yaml"
