"""The objective that ``sweep.yaml`` names, and checks of it."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from sweeper.errors import Problem, SpecError, near_match
from sweeper.metrics.metric import TaskMetric, metrics
from sweeper.metrics.programs import samples
from sweeper.objective import LOSS, Objective, ObjectiveInput
from sweeper.spec import Spec

# package.module:function
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def objective_of(spec: Spec) -> Objective:
    """The objective of a spec.

    Raises:
        SpecError: The objective, or a setting that depends on it, is wrong; lists all problems.
    """
    request, where = spec.objective, spec.places.where(("objective", "name"))
    problems: list[Problem] = []
    if request.name == LOSS.name:
        objective = LOSS
    elif ":" in request.name:
        objective = _function_objective(spec, where, problems)
    else:
        objective = _metric_objective(spec, where, problems)

    def refuse(section: str, key: str, what: str, why: str, fix: str = "Leave it out.") -> None:
        problems.append(Problem(what, why, fix, spec.places.where((section, key))))

    direction = "maximize" if objective.higher_is_better else "minimize"
    direction_is_fixed = not objective.function and not problems
    if direction_is_fixed and request.direction not in (None, direction):
        fact = f"for {request.name}, {objective.direction_in_words}"
        what = f"direction = {request.direction!r}, but {fact}"
        refuse("objective", "direction", what, "", f"Leave it out, or write {direction}.")
    basis = f"trials are compared by {request.name}."
    if spec.search.target_loss is not None and not objective.is_loss:
        why = f"Here {basis}"
        refuse("search", "target_loss", "target_loss needs the validation loss as objective", why)
    if spec.search.stop_when_settled and not objective.is_loss:
        what = "stop_when_settled needs the validation loss as objective"
        why = f"The gain of more trials can be predicted for losses only; {basis}"
        refuse("search", "stop_when_settled", what, why)
    if problems:
        raise SpecError(problems)
    return objective


def objectives_for(task: str) -> list[str]:
    """The names of the objectives that fit a task."""
    return [LOSS.name, *(objective_name(m.name) for m in metrics().values() if _fits_task(m, task))]


def objective_name(metric: str) -> str:
    """The name of a metric as an objective.

    >>> objective_name("rougeL"), objective_name("pass@1")
    ('rouge_l', 'pass_at_1')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", metric).replace("@", "_at_").lower()


def _fits_task(metric: TaskMetric, task: str) -> bool:
    kinds = {"classification": ("classes",), "code": ("answers", "programs")}
    return metric.unit == "%" and metric.computed_from in kinds.get(task, ("answers",))


def _metric_objective(spec: Spec, where: str, problems: list[Problem]) -> Objective:
    name = spec.objective.name
    metrics_by_name = {
        objective_name(m.name): m
        for m in metrics().values()
        if m.unit == "%" and m.computed_from in get_args(ObjectiveInput)
    }
    choices = objectives_for(spec.task)
    if name not in metrics_by_name:
        fix = near_match(name, choices)
        why = f"Task {spec.task} has {', '.join(choices)}, or a function: package.module:function."
        problems.append(Problem(f"there is no objective {name!r}", why, fix, where))
        return LOSS
    metric = metrics_by_name[name]
    if name not in choices:
        kind = "class decisions" if metric.computed_from == "classes" else "generated answers"
        what = f"{name} does not fit task {spec.task}"
        why = f"It is computed from {kind}" + (" and their tests." if name == "pass_at_1" else ".")
        problems.append(Problem(what, why, f"Choose one of {', '.join(choices)}.", where))
    elif metric.computed_from == "programs" and samples(spec) == 0:  # the user has not allowed it
        why = "It runs code that models wrote."
        fix = "Allow that, or choose another objective."
        problems.append(Problem(f"{name} needs permission to run code", why, fix, where))
    return Objective(
        name=name,
        title=metric.title,
        metric=metric.name,
        higher_is_better=True,
        computed_from=metric.computed_from,
        best=1.0,
    )


def _function_objective(spec: Spec, where: str, problems: list[Problem]) -> Objective:
    section = spec.objective
    if not _FUNCTION.fullmatch(section.name):
        fix = "Write package.module:function."
        problems.append(Problem(f"{section.name!r} does not name a function", "", fix, where))
        return LOSS
    if section.direction is None:
        why = f"Only you know whether higher or lower values of {section.name} are better."
        fix = "Add direction: maximize or minimize (--objective-direction)."
        problems.append(Problem("the objective has no direction", why, fix, where))
    module, _, function = section.name.partition(":")
    source = _source_file(module, (section.folder, str(Path.cwd()), *sys.path))
    return Objective(
        name=section.name,
        title=function,
        metric=section.name,
        higher_is_better=section.direction == "maximize",
        computed_from="classes" if spec.task == "classification" else "answers",
        function=True,
        folder=section.folder,
        source=hashlib.sha256(source.read_bytes()).hexdigest() if source else "",
    )


def _source_file(module: str, folders: Sequence[str]) -> Path | None:
    """The source file of a module, found without importing it; None if there is none."""
    parts = module.split(".")
    for folder in filter(None, folders):
        for end in (Path(*parts).with_suffix(".py"), Path(*parts, "__init__.py")):
            if (path := Path(folder, end)).is_file():
                return path
    return None
