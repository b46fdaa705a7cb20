"""The Python interface: ``plan``, ``run`` and ``load_run``, with the steps of the command line.

All errors are ``SweeperError``. ``plan`` imports neither pandas, Optuna nor torch.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

from sweeper import plans
from sweeper.backend import TORCH_BACKEND
from sweeper.errors import Problem, SpecError, near_match
from sweeper.findings.findings import Findings
from sweeper.packages import RUNS, install_command, needed_for, require
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec, Task
from sweeper.specfile import FLAGS, resolve, settings, with_set_items
from sweeper.views.console import ProgressMode

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.reporting.document import Report
    from sweeper.use.trained_model import Model

# The path in ``sweep.yaml`` of each keyword.
_KEYWORD_PATHS = {
    flag.lstrip("-").replace("-", "_"): path
    for path, flag in FLAGS.items()
    if path[0] != "features"
}
_BACKEND = TORCH_BACKEND  # tests use another one

PathText = str | os.PathLike[str]
"""A path, or a name such as a model id."""


class PlanKeywords(TypedDict, total=False):
    """The flags of ``sweeper plan`` with underscores; docs/commands.md explains them.

    ``set`` sets any key of sweep.yaml and any parameter of a strategy by its path, such as
    ``{"lora.r": 16, "data.max_held_out_rows": 500}``. ``features`` sets options of features, such
    as ``{"warm_start": {"enabled": True}}``.
    """

    task: Task
    model: PathText
    revision: str
    trust_remote_code: bool
    classes_by: Literal["head", "generate"]
    data: PathText
    data_name: str
    data_split: str
    data_revision: str
    split_by: Literal["stratified", "hash", "group", "time"]
    split_column: str
    validation: PathText
    test: PathText
    format: str
    column: Mapping[str, str]
    examples: int
    assume_length: int
    max_rows: int
    gpu: str
    gpu_memory: float
    gpus: int
    nodes: int
    price: float
    objective: str
    objective_direction: str
    strategies: str | Sequence[str]
    budget: str
    points_per_doubling: float  # points that a trial of twice the time must bring
    tasks_on_one_base: int
    domain_distance: Literal["near", "far"]
    margin: float
    epochs: float
    max_length: int
    precision: str
    gpus_per_trial: int
    class_weight: str
    patience: int
    trials: int
    workers: int
    seed: int
    finalists: int
    confirmation_seeds: int
    rules: Sequence[PathText]
    set: Mapping[str, object]
    features: Mapping[str, Mapping[str, object]]


class RunKeywords(PlanKeywords, total=False):
    """The flags of ``sweeper run``. ``timeout`` is seconds or a text such as ``2h``."""

    generate_items: int
    no_texts: bool
    timeout: float | str
    target_loss: float
    stop_when_settled: bool
    executor: str


_ReprArgs = list[tuple[str | None, Any]]


class NotebookPlan(plans.Plan):
    """A plan. ``print`` shows three lines; a notebook shows what ``sweeper plan`` prints."""

    def __str__(self) -> str:
        from sweeper.views.plan_view import summary

        return summary(self)

    def __repr_args__(self) -> _ReprArgs:  # pydantic and rich call it
        best = self.candidates[0]
        fields = {"task": self.facts.task, "model": best.model, "recommended": best.strategy}
        return list(fields.items())

    def _repr_html_(self) -> str:
        from sweeper.views.console import html_of
        from sweeper.views.plan_view import page

        return html_of(page(self))


class NotebookFindings(Findings):
    """Findings. ``print`` shows the verdict; a notebook also shows the compared models."""

    def __str__(self) -> str:
        return self.verdict.sentence

    def __repr_args__(self) -> _ReprArgs:
        return [("run", self.run.name), ("verdict", self.verdict.sentence)]

    def _repr_html_(self) -> str:
        from sweeper.views.console import html_of, text
        from sweeper.views.verdict_view import verdict_lines

        return html_of(text("\n".join(verdict_lines(self, self.next_step))))


class Run:
    """A run: its plan, findings and tables, which are computed at first use and cached.

    Args:
        content: The content of the report; computed from the folder if None.
    """

    def __init__(self, path: Path, content: Report | None = None) -> None:
        self._folder = RunFolder(path)
        if content is not None:
            self._content = content

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._folder.path

    @property
    def report(self) -> Path:
        """The path of the report, an HTML file."""
        return self._folder.report_html

    @cached_property
    def plan(self) -> NotebookPlan:
        """The run's plan."""
        return NotebookPlan.read(self._folder.plan)

    @cached_property
    def findings(self) -> NotebookFindings:
        """The verdict and the figures that it is based on."""
        return NotebookFindings.model_validate(dict(self._content.findings))

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The figures of the report's sections, by their ids, as in ``report.json``."""
        return self._content.sections

    @cached_property
    def _content(self) -> Report:
        from sweeper.reporting.compose import report_of

        return report_of(self._folder)

    @property
    def verdict(self) -> str:
        """The verdict, as a sentence."""
        return self.findings.verdict.sentence

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row for each trial, with the columns of ``trials.csv``."""
        from sweeper.reporting.csvfiles import trials_table

        return _frame(*trials_table(self.findings))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row for each rung of each trial, with the columns of ``curves.csv``."""
        from sweeper.reporting.csvfiles import curves_table

        return _frame(*curves_table(self.findings))

    def winner(self, device: str | None = None) -> Model:
        """The recommended trial's model, or that of the best trial so far.

        Args:
            device: Device in torch's spelling; by default a GPU if there is one.

        Raises:
            UsageError: No trial has completed, or its weights are missing or damaged.
        """
        from sweeper.steps.winner import kept_weights

        weights = kept_weights(self._folder)
        from sweeper.use.trained_model import load  # loads torch

        return load(weights, device)

    def __repr__(self) -> str:
        return f"<Run {self.path}: {self.verdict}>"

    def _repr_html_(self) -> str:
        return self.findings._repr_html_()


def plan(
    sweep: PathText | Mapping[str, Any] | None = None,
    *,
    measure_domain: bool = False,
    probe: bool = False,
    **keywords: Unpack[PlanKeywords],
) -> NotebookPlan:
    """Pick strategies and a search space from best-practice rules, as ``sweeper plan`` does.

    >>> plan(task="classification", model="7B", examples=2000, gpu_memory=24).recommended
    'lora'

    Args:
        sweep: A ``sweep.yaml``, or its keys as a mapping.
        measure_domain: Whether the base model's loss on some rows decides ``domain_distance``.
        probe: Whether each strategy first trains a few steps on this machine.
        keywords: Flags with underscores; they take precedence over ``sweep``.

    Raises:
        UsageError: Spec, data or model is wrong; lists all problems.
        NothingFits: No strategy fits the hardware.
    """
    from sweeper.steps.planned import planned
    from sweeper.views.console import say

    spec = _spec_of(sweep, keywords, needs_model=measure_domain or probe)
    _, new_plan = planned(spec, measure_domain=measure_domain, probe=probe, tell=say)
    return NotebookPlan.model_validate(dict(new_plan))


def run(
    sweep: PathText | Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    new: bool = False,
    probe: bool | None = None,
    fail_under: float | None = None,
    progress: ProgressMode = "auto",
    **keywords: Unpack[RunKeywords],
) -> Run:
    """Run a sweep to its end, as ``sweeper run`` does. The same call resumes it.

    It writes ``runs/NAME`` in the current folder. Trials train in child processes; a script needs
    no ``if __name__ == "__main__"``.

    Args:
        sweep: A ``sweep.yaml``, or its keys as a mapping.
        name: Name of the run; if None, made from task, data and model.
        new: Whether to start a new run; an existing run of this name is renamed.
        probe: Whether each strategy first trains a few steps; if None, only on a GPU.
        fail_under: Worst accepted test score of the winner; shares are 0 to 1.
        progress: ``auto`` redraws a notebook's cell or a terminal, ``plain`` prints lines.
        keywords: Flags with underscores; they take precedence over ``sweep``.

    Raises:
        UsageError: Spec, data, model or folder is wrong.
        NothingFits: No strategy fits the hardware.
        NoTrialCompleted: The sweep ended without a completed trial.
        GateFailed: The winner's test score is worse than ``fail_under``, or it forgot too much.
        KeyboardInterrupt: Ctrl-C or a notebook's stop button, after all results and the report are
            written. SIGTERM raises ``SystemExit`` in the same way.
    """
    require("sweeper.run", RUNS)
    from sweeper.steps import sweep as steps
    from sweeper.views.console import say, say_nothing
    from sweeper.views.progress import progress as progress_view
    from sweeper.views.work_progress import work_progress

    if progress not in (modes := get_args(ProgressMode)):
        raise SpecError(
            f"{progress!r} is not known", fix=near_match(progress, modes), where="progress"
        )
    named = {} if name is None else {"name": name}
    spec = _spec_of(sweep, {**keywords, **named}, needs_model=False)
    if not spec.models:
        raise steps.without_model(spec, lambda model: f"sweeper.run(..., model={model!r})")
    tell = say_nothing if progress == "none" else say
    prepared = steps.prepare(
        spec,
        check_model=_BACKEND == TORCH_BACKEND,
        file=None if sweep is None or isinstance(sweep, Mapping) else Path(sweep),
        new=new,
        probe=probe,
        tell=tell,
        work=work_progress(progress),
    )
    view = progress_view(progress, plan=prepared.plan, run=prepared.folder)
    steps.check_fail_under(prepared.plan, fail_under)
    ended = steps.sweep(prepared, new=new, backend=_BACKEND, view=view, tell=tell)
    if (number := ended.outcome.signal) is not None:
        text = f"{ended.folder.path} was interrupted; the same call continues it"
        raise KeyboardInterrupt(text) if number == signal.SIGINT else SystemExit(128 + number)
    steps.check_results(ended, fail_under)
    return Run(ended.folder.path, ended.report)


def load_run(run: PathText) -> Run:
    """Load an existing run in any state.

    Args:
        run: Its name, for a run below ``runs`` in the current folder, or its path.

    Raises:
        RunError: There is no such run; the error suggests the nearest name.
    """
    require("sweeper.load_run", RUNS)
    return Run(RunFolder.find(os.fspath(run)).path)


def _spec_of(
    sweep: PathText | Mapping[str, Any] | None, keywords: Mapping[str, Any], *, needs_model: bool
) -> Spec:
    """The spec from a file or mapping and keywords."""
    known = {*_KEYWORD_PATHS, "set", "features"}
    if unknown := [name for name in keywords if name not in known]:
        suggested = known - {"name"}  # a parameter of ``run`` only
        raise SpecError(
            [
                Problem(f"there is no keyword {name!r}", fix=near_match(name, suggested))
                for name in unknown
            ]
        )
    given = {name: value for name, value in keywords.items() if value is not None}
    set_values = {key: _as_json(value, key) for key, value in given.pop("set", {}).items()}
    set_items = settings([f"{key}={json.dumps(value)}" for key, value in set_values.items()])
    features = _as_json(given.pop("features", {}), "features")
    flags = {_KEYWORD_PATHS[name]: _as_json(value, name) for name, value in given.items()}
    flags |= {
        ("features", feature, key): value
        for feature, options in features.items()
        for key, value in options.items()
    }
    file: Path | Mapping[str, Any] | None = None
    if sweep is not None:
        file = _as_json(sweep, "sweep") if isinstance(sweep, Mapping) else Path(sweep)
    return resolve(with_set_items(flags, set_items), file, needs_model=needs_model)


def _as_json(value: object, where: str) -> Any:
    """A copy with JSON types only; paths become text.

    Args:
        where: The keyword or key, for error messages.
    """
    try:
        return json.loads(json.dumps(value, default=os.fspath))
    except (TypeError, ValueError) as error:
        raise SpecError(f"{value!r} cannot be used ({error})", where=where) from error


def _frame(head: Sequence[str], rows: Sequence[Sequence[object]]) -> pd.DataFrame:
    with needed_for("A table of trials", install_command("train")):
        import pandas as pd
    return pd.DataFrame(rows, columns=list(head))
