"""``sweeper evaluate suite`` scores general capability before and after training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typing_extensions import TypedDict

from sweeper.cli.options import AsJson, Quiet, RunName, takes_limits

if TYPE_CHECKING:
    from sweeper.findings.study.trained_changes import TaskChange
    from sweeper.runfolder import RunFolder

ORDER = 40  # position in the help
commands = typer.Typer(name="evaluate", help="Score or compare models of a run.")


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    from sweeper.evaluation.task_scores import ModelScores
    from sweeper.findings.study.trained_changes import TaskChange

    fields = {"run": str, "trials": list[int], "base": list[ModelScores], "tasks": list[TaskChange]}
    return {"evaluate suite": TypedDict("Scored", fields)}  # type: ignore[operator]


@commands.command("suite")
@takes_limits()
def evaluate_suite(
    run: RunName,
    suite: Annotated[
        Path | None,
        typer.Option("--suite", help="Folder or YAML of lm-eval tasks; the run's if not given."),
    ] = None,
    trial: Annotated[
        list[int] | None,
        typer.Option("--trial", help="Number of a trial. The recommended one, if not given."),
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="The base model only.")] = False,
    run_generated_code: Annotated[
        bool,
        typer.Option(
            "--run-generated-code",
            help="Run the code that models write against tests, without network and files.",
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    flags: Any = None,
) -> None:
    """Score base and tuned model on the same items of other tasks, to see what the model lost.

    Scores are kept in the run's folder: an interrupted command continues where it stopped.
    """
    from sweeper.packages import RUNS, require

    require("sweeper evaluate suite", RUNS)
    from sweeper.errors import UsageError
    from sweeper.execution.interruption import leaving_on_signals
    from sweeper.features.suite import _scoring as scoring
    from sweeper.features.suite.options import Options
    from sweeper.findings.compute import compute
    from sweeper.findings.study.reading import read_run
    from sweeper.findings.study.trained_changes import gate, task_changes
    from sweeper.metrics.programs import samples
    from sweeper.objective import limits_of
    from sweeper.plans import Plan
    from sweeper.processes.report_maker import ReportMaker
    from sweeper.runfolder import RunFolder
    from sweeper.specfile import resolve
    from sweeper.steps.winner import best_trial
    from sweeper.views.console import say, say_nothing
    from sweeper.views.work_progress import work_progress

    folder = RunFolder.find(run)
    plan, spec = Plan.read(folder.plan), resolve({}, folder.spec)
    suite_of_run = spec.features.of(Options).path
    path = suite or (Path(suite_of_run) if suite_of_run else None)
    if path is None:
        raise UsageError(
            "no suite is given",
            why="A suite is a folder of lm-eval's task files that the models are scored by.",
            fix="Name one with --suite; examples/suites/ has some to start from.",
        )
    tasks = scoring.require_suite(path)
    base_advice = "Score its base model alone with --base."
    numbers = [] if base else list(trial or [best_trial(compute(folder), base_advice)])
    permitted = run_generated_code or samples(spec) > 0
    request = scoring.request_for(folder, plan, spec, tasks, numbers, permitted=permitted)
    interrupted = "Interrupted. The same command continues where it stopped."
    with folder.lock(), leaving_on_signals(interrupted):
        try:
            scoring.score(request, say_nothing if quiet else say, work_progress(quiet=quiet))
        finally:
            with ReportMaker(folder, texts=not spec.evaluation.no_texts) as maker:
                maker.finish()
    if maker.warning:
        say(f"warning: {maker.warning}")
    files = read_run(folder)
    changes = [change for change in task_changes(files) if change.trial in numbers]
    _show(folder, changes, numbers, as_json=as_json)
    if flags:
        gate(files, numbers, limits_of(resolve(flags, folder.spec)))


def _show(
    folder: RunFolder, changes: list[TaskChange], numbers: list[int], *, as_json: bool
) -> None:
    import json
    from statistics import fmean

    from sweeper.evaluation.task_scores import ModelScores, evaluations
    from sweeper.views.console import show_line

    paths = sorted(evaluations(folder).glob("base-*.json"))
    bases = [item for item in map(ModelScores.read_or_none, paths) if item is not None]
    if as_json:
        fields = {
            "run": folder.path.name,
            "trials": numbers,
            "base": [item.model_dump(mode="json") for item in bases],
            "tasks": [item.model_dump(mode="json") for item in changes],
        }
        typer.echo(json.dumps(fields, indent=2, ensure_ascii=False))
        return
    if changes:
        _print_tasks(changes, numbers)
    else:
        for scores in bases:
            show_line(f"base {scores.model} ({scores.dtype})")
            for task in scores.tasks:
                mean = fmean(task.scores, task.weights or None)
                text = f"{100 * mean:.1f}%" if task.unit == "points" else f"{mean:.3f} {task.unit}"
                show_line(f"  {task.task}: {text} ({task.metric}, {len(task.scores)} items)")
    show_line(f"report: {folder.report_html}")


def _print_tasks(changes: list[TaskChange], numbers: list[int]) -> None:
    from sweeper.features.suite.section import COLUMNS
    from sweeper.findings.study.trained_changes import noise_sentence
    from sweeper.views.console import out, show_line, table

    left_out = ("scored by", "shots", "items", "unit of these")
    columns = [column for column in COLUMNS if column.title not in left_out]
    rows = [[str(column.cell(task)) for column in columns] for task in changes]
    out().print(table([column.title for column in columns], rows))
    for number in numbers:
        show_line(noise_sentence(changes, number))
