"""Decides whether a command may continue a run, and which plan the run then has."""

from __future__ import annotations

from sweeper.errors import Problem, RunError
from sweeper.execution.state.repair import read_stored
from sweeper.execution.state.second_command import refuse_if_running
from sweeper.plans import Identity, Plan
from sweeper.runfolder import RunFolder

_MEANINGS = {
    "model": "the base model or its revision",
    "data": "the data set (its rows, further rows or weights of sources)",
    "task": "the task",
    "split": "how the rows are split",
    "space": "the strategies, their search space or options of features",
    "objective": "what validation measures",
    "rungs": "the full budget of a trial or its rungs",
    "seed": "the seed",
}


def changes(stored: Identity, fresh: Identity) -> list[str]:
    """Names of the parts in which two identities differ."""
    core_changes = [name for name in _MEANINGS if getattr(stored, name) != getattr(fresh, name)]
    names = sorted(stored.features.keys() | fresh.features.keys())
    changed_features = [
        name for name in names if stored.features.get(name) != fresh.features.get(name)
    ]
    return [*core_changes, *(f"features.{name}" for name in changed_features)]


def plan_to_run(run: RunFolder, fresh: Plan) -> Plan:
    """The stored plan with this command's time budget, else the new plan.

    Args:
        run: The folder of the run; the caller holds its lock, and has written nothing yet.
        fresh: The new plan of this command.

    Raises:
        OtherVersion: The run was made by another version of sweeper.
        RunError: The run has another identity, its plan cannot be run, or a command on
            another machine runs it.
    """
    refuse_if_running(run)
    if fresh.identity is None:
        raise RunError(
            "this plan cannot be run",
            why="It was made for a model size or a number of examples, not for a model and data.",
            fix="Name a model (--model) and a data set (--data).",
        )
    if not run.plan.exists():
        return fresh
    plan = read_stored(Plan, run.plan)
    if plan.identity is None:
        raise RunError("the run folder holds a plan that cannot be run", where=str(run.plan))
    changed_parts = changes(plan.identity, fresh.identity)
    if changed_parts:
        raise RunError([_change_problem(run, name) for name in changed_parts])
    limit = {"limit_seconds": fresh.budget.limit_seconds}  # a later command may have another budget
    return plan.model_copy(update={"budget": plan.budget.model_copy(update=limit)})


def _change_problem(run: RunFolder, name: str) -> Problem:
    return Problem(
        f"{_MEANINGS.get(name, f'what {name} uses')} changed since this run began",
        why="Its trials would not be comparable with those that are there.",
        fix="Give --new to start over (the old run is kept, renamed), choose another --name, or "
        "undo the change.",
        where=str(run.path),
    )
