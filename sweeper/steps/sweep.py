"""The steps of ``sweeper run``: facts and plan before anything is written, then the sweep."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sweeper.artifact import Record
from sweeper.child_process import in_child
from sweeper.data.prepared import changing_features
from sweeper.data.reading.files import with_commits
from sweeper.data.write_rows import ListedChange, change_list
from sweeper.errors import (
    GateFailed,
    NoTrialCompleted,
    Problem,
    SpecError,
    SweeperError,
    UsageError,
)
from sweeper.execution.coordinator import RunOutcome, run_sweep
from sweeper.execution.interruption import leaving_on_signals
from sweeper.execution.state.continuation import plan_to_run, refuse_if_running
from sweeper.execution.state.status import Event, Status, make_event
from sweeper.facts.gather import gather, rows_of
from sweeper.facts.models.model import missing_weights, must_be_trainable
from sweeper.facts.record import Facts, Missing
from sweeper.features import parts
from sweeper.findings.findings import Findings
from sweeper.findings.study.reading import read_run
from sweeper.findings.study.trained_changes import gate
from sweeper.metrics import user_function
from sweeper.metrics.objectives import objective_of
from sweeper.objective import limits_of
from sweeper.plans import Plan
from sweeper.processes.listeners import Listeners, wanted_listeners
from sweeper.processes.probe_process import measured_plan
from sweeper.processes.report_maker import ReportMaker
from sweeper.reporting.document import Report
from sweeper.runfolder import RunFolder
from sweeper.search.named import check_named
from sweeper.spec import ModelSpec, Spec
from sweeper.specfile import resolve, to_yaml, with_positions
from sweeper.steps.planned import check_features, planned
from sweeper.steps.winner import best_trial
from sweeper.textfiles import write_text
from sweeper.views.console import Say, say_nothing
from sweeper.views.progress import ProgressView
from sweeper.views.work_progress import Hidden, WorkProgress

_CONVERT = "sweeper.training.base_model.weights:convert"


@dataclass(frozen=True)
class Prepared:
    """A sweep that is ready to start: nothing has been written into its folder yet.

    ``phase_seconds`` are the seconds of each phase that is already done; ``changes`` are the
    features' changes of rows.
    """

    folder: RunFolder
    spec: Spec
    plan: Plan
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    changes: tuple[ListedChange, ...] = ()


@dataclass(frozen=True)
class Ended:
    """A sweep that ended, with its last report."""

    spec: Spec
    folder: RunFolder
    outcome: RunOutcome
    report: Report


def without_model(spec: Spec, with_model: Callable[[str], str]) -> SpecError:
    """The error for a run without a model, with the command for the recommended model.

    Args:
        with_model: Makes the user's command with that model.

    Raises:
        SweeperError: Data or machine have a problem, or no model fits.
    """
    what, fix = "no model is given", "Name one: a hub id, a folder or packaged:NAME."
    if missing := _no_data(spec):
        return SpecError([Problem(what, fix=fix, where="--model"), missing])
    _, plan = planned(spec)
    choice = plan.model_choice
    assert choice is not None  # a plan without a model has made one
    why = (
        f"Of {len(choice.options)} models that 'sweeper plan' compares, {choice.model} suits this "
        "data and machine best."
    )
    return SpecError([Problem(what, why, with_model(choice.model), "--model")])


def _no_data(spec: Spec) -> Problem | None:
    if spec.data.named is not None:
        return None
    return Problem("no data is given", "A sweep trains on real examples.", "Name a file.", "--data")


@with_positions
def prepare(
    spec: Spec,
    *,
    check_model: bool,
    file: Path | None = None,
    new: bool = False,
    probe: bool | None = None,
    tell: Say = say_nothing,
    work: WorkProgress | None = None,
) -> Prepared:
    """Gather facts and plan; all of the user's mistakes are raised here, before a folder is made.

    Args:
        file: The request's ``sweep.yaml``.
        check_model: Whether to download what training needs, and calibrate the machine.
        new: Whether an existing run in the folder will be set aside.
        probe: Whether to train a few steps of each candidate first; if None, only if trials run on
            a GPU of this machine.
        work: Shows the progress of downloads and conversions; None to show nothing.
    """
    check_features(spec, for_run=True)
    if missing_data := _no_data(spec):
        raise SpecError([missing_data])
    wanted_listeners(spec)  # raises for missing packages before anything is downloaded
    objective = objective_of(spec)
    work = work or Hidden()
    spec = spec.model_copy(update={"name": spec.name or default_name(spec)})
    folder = _folder(spec, file)
    spec = _with_data(spec, work)
    missing, phase_seconds = _make_models_ready(spec, work, tell) if check_model else ({}, {})
    rows = rows_of(spec, None if new else _known_changes(spec, folder))
    facts = _with_missing(gather(spec, rows=rows, for_run=True), missing)
    if objective.function and rows is not None:
        # Called once, with references in place of predictions.
        value = user_function.check(objective, rows.dataset.splits["validation"])
        tell(f"{objective.name} returns {value:.4g} for references in place of predictions.")
    plan = measured_plan(spec, facts, measure=check_model, probe=probe, tell=tell)
    check_named(spec.search.sampler, spec.search.pruner, plan)
    proposed = [trial for _, hook in parts.PROPOSE.all() for trial in hook(spec, plan, tell)]
    plan = plan.model_copy(update={"proposed": tuple(proposed)})
    return Prepared(folder, spec, plan, phase_seconds, rows.changes if rows else ())


def _make_models_ready(
    spec: Spec, work: WorkProgress, tell: Say
) -> tuple[dict[str, Missing], dict[str, float]]:
    """Download or convert the models that need it; returns what each lacked, and the seconds of
    each phase."""
    missing: dict[str, Missing] = {}
    phase_seconds: dict[str, float] = {}
    for model in spec.models:
        must_be_trainable(model)
        start = time.monotonic()
        phase = missing_weights(model)
        if phase is None:
            continue
        if phase == "conversion":
            _convert(model.id, work, tell)
        else:
            _download(model, work, tell)
        missing[model.id] = phase
        phase_seconds[phase] = round(phase_seconds.get(phase, 0.0) + time.monotonic() - start, 3)
    return missing, phase_seconds


def _known_changes(spec: Spec, folder: RunFolder) -> Path | None:
    """The file with the row changes of the run that is resumed, if this request asks for the same
    features' changes."""
    if not (folder.plan.is_file() and folder.spec.is_file()):
        return None
    is_same = changing_features(resolve({}, folder.spec)) == changing_features(spec)
    return folder.data_changes if is_same else None


def _with_missing(facts: Facts, missing: Mapping[str, Missing]) -> Facts:
    """The facts with what models lacked before, so that the plan includes the time of preparing
    them."""
    models = tuple(m.model_copy(update={"missing": missing.get(m.id)}) for m in facts.models)
    return facts.model_copy(update={"models": models})


def _folder(spec: Spec, file: Path | None) -> RunFolder:
    """The folder of ``file`` if that is the ``sweep.yaml`` of this run; otherwise ``runs/NAME``."""
    is_run_file = file is not None and (file.parent / "plan.json").is_file()
    if is_run_file and file is not None and resolve({}, file).name == spec.name:
        return RunFolder.find(file.parent)
    return RunFolder.named(str(spec.name))


def default_name(spec: Spec) -> str:
    """A run name from the task, the data and the model."""
    model = spec.models[0].id.removeprefix("packaged:").rstrip("/").split("/")[-1]
    data_spec = spec.data
    data = "+".join(source.title for source in data_spec.sources)
    data = data or Path(data_spec.path or "").name.split(".")[0]
    generates = spec.task == "classification" and spec.training.classes_by == "generate"
    text = f"{spec.task}{'-generate' if generates else ''}-{data}-{model}"
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in text)[:100]


def _with_data(spec: Spec, work: WorkProgress) -> Spec:
    """The request with the commit of its data set; a data set of the hub is downloaded."""
    with contextlib.closing(work):
        return with_commits(spec, lambda done, of: work("downloading data (MB)", done, of))


def _download(model: ModelSpec, work: WorkProgress, tell: Say) -> None:
    """Download a hub model into the hub's cache, so that its facts are exact and pinned."""
    from sweeper.facts.models.hub_download import download  # loads the hub's client

    tell(f"Downloading {model.id}; later runs find it in the cache.")
    with contextlib.closing(work):
        download(model, lambda done, of: work(f"downloading {model.id} (MB)", done, of))


def _convert(model: str, work: WorkProgress, tell: Say) -> None:
    """Convert a packaged model, in a process with torch."""
    tell(f"Preparing {model} once; later runs load it in seconds.")
    what, request = f"the preparation of {model}", ModelSpec(id=model)
    with contextlib.closing(work):
        in_child(_CONVERT, request, Record, what=what, where="--model", work=work)


def sweep(
    prepared: Prepared, *, new: bool, backend: str, view: ProgressView, tell: Say = say_nothing
) -> Ended:
    """Start or resume the run. Findings and report are written, if possible after errors too.

    Args:
        new: Whether to rename an existing run and start over.
        backend: ``module:function`` of the training backend.
    """
    folder = prepared.folder
    if new:
        rename_earlier_run(folder, tell)
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder.lock())
        plan = _stored_plan(prepared)
        _run_begin_hooks(folder, prepared.spec, plan, tell)
        listeners = stack.enter_context(Listeners(folder, prepared.spec))
        show = listeners.with_warnings(_silent_once_closed(view))
        texts = not prepared.spec.evaluation.no_texts
        maker = ReportMaker(folder, texts=texts, spec=prepared.spec)
        try:
            outcome = run_sweep(
                folder,
                prepared.spec,
                plan,
                backend=backend,
                before=prepared.phase_seconds,
                on_event=show,
                on_trial_end=maker.request,
                on_tick=maker.poll,
            )
            if outcome.kind == "complete":
                for _, remember in parts.REMEMBER.all():
                    with contextlib.suppress(OSError):  # later studies do without this one
                        remember(folder, prepared.spec, plan, outcome.status.ended_at)
            outcome = _run_finish_hooks(folder, plan, prepared.spec, outcome, show)
            # After a Ctrl-C there is no time to retry charts.
            report = maker.finish(try_charts=outcome.signal is None)
            warnings = [*(note.text for note in report.findings.notes), maker.warning]
            if maker.no_study:
                incomplete = f"study.db lacks a part of this run: {maker.no_study}"
                warnings.append(f"{incomplete}. Give the same command again to write it")
            for text in filter(None, warnings):
                show(make_event("warning", text=text), outcome.status)
            for text in listeners.finish(outcome.kind, hurried=outcome.signal is not None):
                show(make_event("warning", text=text), outcome.status)
        except SweeperError:
            if folder.lock_file.exists():  # the run's folder was not deleted
                with contextlib.suppress(OSError):  # the cause of the error may prevent the report
                    maker.finish(try_charts=False)
            raise
        finally:
            maker.close()
            with contextlib.suppress(OSError):
                view.close()
        return Ended(prepared.spec, folder, outcome, report)


def _run_begin_hooks(folder: RunFolder, spec: Spec, plan: Plan, tell: Say) -> None:
    """Run the features' hooks before the first trial. After a bug in a feature, only its own
    figures are missing."""
    for name, begin in parts.BEGIN.all():
        try:
            begin(folder, spec, plan)
        except SweeperError:
            raise
        except Exception as error:  # noqa: BLE001 - as in ``_run_finish_hooks``
            tell(parts.failure(name, error))


def _run_finish_hooks(
    folder: RunFolder,
    plan: Plan,
    spec: Spec,
    outcome: RunOutcome,
    show: Callable[[Event, Status], None],
) -> RunOutcome:
    """Run the features' hooks at the end of a complete run, until a signal interrupts one.

    Raises:
        SweeperError: A feature cannot do what was asked for.
    """
    if outcome.kind != "complete":
        return outcome
    for name, finish in parts.FINISH.all():
        lines: list[str] = []

        def say(line: str, lines: list[str] = lines, name: str = name) -> None:
            lines.append(line)
            show(make_event("phase", state=name, text=line), outcome.status)

        start = time.monotonic()
        try:
            with leaving_on_signals():
                finish(folder, spec, plan, say)
        except SystemExit as ended:
            return replace(outcome, kind="interrupted", signal=int(str(ended.code)) - 128)
        except (SweeperError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - a bug in a feature only costs its own figures
            show(make_event("warning", text=parts.failure(name, error)), outcome.status)
            continue
        if lines:  # none if the hook had nothing to do
            _add_phase_seconds(folder, name, time.monotonic() - start)
    return outcome


def _add_phase_seconds(run: RunFolder, phase: str, seconds: float) -> None:
    """Add the seconds of a phase to the run's status."""
    status = Status.read_or_none(run.status)
    if status is not None:
        phases = {**status.phases, phase: round(status.phases.get(phase, 0.0) + seconds, 3)}
        update = {"phases": phases, "seconds": round(status.seconds + seconds, 3)}
        status.model_copy(update=update).write(run.status)


def _silent_once_closed(view: ProgressView) -> Callable[[Event, Status], None]:
    """A view that shows nothing once its terminal or pipe is closed, so that the run goes on."""
    closed = False

    def show(event: Event, status: Status) -> None:
        nonlocal closed
        if closed:
            return
        try:
            view(event, status)
        except OSError:
            closed = True

    return show


def _stored_plan(prepared: Prepared) -> Plan:
    """The plan of the run: the stored one, or the new one. Writes the request."""
    folder = prepared.folder
    plan = plan_to_run(folder, prepared.plan)
    write_text(folder.spec, to_yaml(prepared.spec))
    if changing_features(prepared.spec):
        write_text(folder.data_changes, change_list(prepared.changes))
    return plan


def rename_earlier_run(folder: RunFolder, tell: Say) -> None:
    """Rename an existing run to the first free ``NAME.N``; nothing is deleted."""
    if not folder.plan.is_file():
        return
    with folder.lock():
        refuse_if_running(folder)
        number = 1
        while (aside := folder.path.with_name(f"{folder.path.name}.{number}")).exists():
            number += 1
        folder.path.rename(aside)
    tell(f"The earlier run is now {aside}.")


def check_fail_under(plan: Plan, fail_under: float | None) -> None:
    """Refuse a ``fail_under`` outside 0 to 1 if the test score is a share."""
    objective = plan.objective
    is_share = plan.facts.task == "classification" if objective.is_loss else objective.best == 1.0
    if fail_under is not None and is_share and not 0 <= fail_under <= 1:
        why, fix = "The test score is a share between 0 and 1.", "Write 0.8 for 80%."
        raise UsageError(f"fail_under = {fail_under:g}", why, fix, "--fail-under")


def check_results(ended: Ended, fail_under: float | None) -> None:
    """Check the results of a sweep that was not interrupted.

    Raises:
        NoTrialCompleted: The sweep ended without a completed trial.
        GateFailed: The winner's test score is missing or worse than ``fail_under``, or the winner
            exceeds a limit or lacks a limited measure.
    """
    findings = ended.report.findings
    if findings.run.complete == 0:
        raise NoTrialCompleted(
            "no trial completed",
            why=ended.outcome.status.message,
            fix=f"The reasons are in {ended.folder.report_html} and in each trial's trainer.log.",
        )
    _check_test_score(findings, fail_under)
    if limits := limits_of(ended.spec):
        gate(read_run(ended.folder), [best_trial(findings)], limits)


def _check_test_score(findings: Findings, fail_under: float | None) -> None:
    if fail_under is None:
        return
    trial = findings.verdict.recommended_trial
    scores = {f.trial: f.test_score.value for f in findings.finalists if f.test_score is not None}
    score = scores.get(trial) if trial is not None else None
    higher = findings.metric.higher_is_better
    if score is None or (score < fail_under if higher else score > fail_under):
        achieved = "no test score" if score is None else f"{findings.metric.name} {score:.4g}"
        raise GateFailed(
            f"the test score does not meet --fail-under: {achieved}, required {fail_under:g}"
        )
