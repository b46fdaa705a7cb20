"""Whether a call may continue a run: compares identities, and keeps the run's plan."""

from __future__ import annotations

from sweeper.errors import Problem, RunError
from sweeper.execution.state.repair import read_frozen
from sweeper.execution.state.second_command import refuse_second
from sweeper.plans import Identity, Plan
from sweeper.runfolder import RunFolder

_MEANING = {
    "model": "the base model or its revision",
    "data": "the data set (its rows, further rows or weights of sources)",
    "task": "the task",
    "split": "how the rows are split",
    "space": "the strategies, their search space or options of features",
    "objective": "what validation measures",
    "rungs": "the full budget of a trial or its rungs",
    "seed": "the seed",
}


def changes(frozen: Identity, fresh: Identity) -> list[str]:
    """The parts in which two identities differ, by name."""
    of_core = [name for name in _MEANING if getattr(frozen, name) != getattr(fresh, name)]
    names = sorted(frozen.features.keys() | fresh.features.keys())
    differ = [name for name in names if frozen.features.get(name) != fresh.features.get(name)]
    return [*of_core, *(f"features.{name}" for name in differ)]


def frozen_plan(run: RunFolder, fresh: Plan) -> Plan:
    """The run's plan: its own if it has one, else the one just made.

    Args:
        run: The folder of the run; the caller holds its lock, and has written nothing yet.
        fresh: The plan that this call would make.

    Raises:
        OtherVersion: Another version of sweeper made the run.
        RunError: The run has another identity, or a plan that cannot be run, or a command on
            another machine runs it.
    """
    refuse_second(run)
    if fresh.identity is None:
        raise RunError(
            "this plan cannot be run",
            why="It was made for a model size or a number of examples, not for a model and data.",
            fix="Name a model (--model) and a data set (--data).",
        )
    if not run.plan.exists():
        return fresh
    plan = read_frozen(Plan, run.plan)
    if plan.identity is None:
        raise RunError("the run folder holds a plan that cannot be run", where=str(run.plan))
    different = changes(plan.identity, fresh.identity)
    if different:
        raise RunError([_changed(run, name) for name in different])
    limit = {"limit_seconds": fresh.budget.limit_seconds}  # a later call may have another budget
    return plan.model_copy(update={"budget": plan.budget.model_copy(update=limit)})


def _changed(run: RunFolder, name: str) -> Problem:
    return Problem(
        f"{_MEANING.get(name, f'what {name} uses')} changed since this run began",
        why="Its trials would not be comparable with those that are there.",
        fix="Give --new to start over (the old run is kept, renamed), choose another --name, or "
        "undo the change.",
        where=str(run.path),
    )
