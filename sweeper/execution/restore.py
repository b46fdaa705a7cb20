"""Restores trials of earlier calls from the run's files and the storage.

The files decide. A whole result that the storage does not know is taken. A trial whose files are
gone or damaged is taken from the storage. A trial that neither of them knows is asked for again,
which gives the same configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optuna.trial import FrozenTrial, TrialState

from sweeper.execution.next_attempt import configure
from sweeper.execution.state import attempts, work_items
from sweeper.execution.state.attempts import CONFIG, RESULT, WEIGHTS, attempt_folder, attempts_of
from sweeper.execution.state.run_state import RunState
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.search import optuna_space
from sweeper.search.loss_model.observations import FAILURE, ORIGIN, VALIDATION_LOSS
from sweeper.search.search import Asked, End, Restored, Rung, Search
from sweeper.spec import Scalar
from sweeper.trials import Failure, TrialConfig, TrialResult

Say = Callable[[str], None]


def restore(state: RunState, search: Search, stored: Sequence[FrozenTrial], say: Say) -> list[int]:
    """Restore all trials of earlier calls.

    Returns:
        The trials that were begun and have not ended, by number.
    """
    run, plan = state.run, state.plan
    begun = [one for one in stored if one.state != TrialState.WAITING or one.params]
    by_number = {one.number: one for one in begun}
    unfinished: list[int] = []
    for number in range(_count(run, begun)):
        config = _config(run, plan, number, by_number.get(number))
        if config is None:
            state.asked[number] = search.ask()
            unfinished.append(number)
            continue
        asked = Asked(number, _key(plan, config), config.parameters, config.origin)
        state.asked[number], state.configs[number] = asked, config
        result = _result(run, plan, number, by_number.get(number), say)
        if result is None:
            search.restore([Restored(asked)])
            unfinished.append(number)
            continue
        reports = attempts.read_rungs(run.trial(number))
        for report in reports:
            state.rung(report)
        rungs = [Rung.of(report, plan.objective) for report in reports]
        end = End.of(result, reports, plan)
        search.restore([Restored(asked, rungs, end)])
        state.results[number] = result
    state.count()
    return unfinished


def _count(run: RunFolder, begun: Sequence[FrozenTrial]) -> int:
    found = (int(path.name) for path in run.trials.glob("*") if path.name.isdecimal())
    return 1 + max([*found, *(one.number for one in begun)], default=-1)


def _key(plan: Plan, config: TrialConfig) -> str:
    return optuna_space.candidate_key(plan, plan.candidate(config.strategy, config.model))


def _config(
    run: RunFolder, plan: Plan, number: int, stored: FrozenTrial | None
) -> TrialConfig | None:
    home = run.trial(number)
    known = TrialConfig.read_or_none(home / CONFIG)
    for attempt in reversed(attempts_of(home)):
        known = known or TrialConfig.read_or_none(attempt_folder(home, attempt) / CONFIG)
    if known is None and stored is not None and optuna_space.STRATEGY in stored.params:
        known = _from_params(plan, stored)
    if known is not None and TrialConfig.read_or_none(home / CONFIG) is None:
        known.write(home / CONFIG)
    return known


def _from_params(plan: Plan, stored: FrozenTrial) -> TrialConfig:
    key = str(stored.params[optuna_space.STRATEGY])
    candidate = optuna_space.candidates(plan)[key]
    chosen: dict[str, Scalar] = {}
    for name, parameter in candidate.parameters.items():
        if optuna_space.holds(parameter, chosen):
            chosen[name] = stored.params.get(f"{key}.{name}", parameter.default)
    origin = stored.user_attrs.get(ORIGIN, "search")
    return configure(plan, candidate, chosen, number=stored.number, attempt=0, origin=origin)


def _result(
    run: RunFolder, plan: Plan, number: int, stored: FrozenTrial | None, say: Say
) -> TrialResult | None:
    home = run.trial(number)
    missing = not (home / RESULT).exists()
    damaged = not missing and TrialResult.read_or_none(home / RESULT) is None
    work_items.take_over(run, work_items.trial(number))
    known = TrialResult.read_or_none(home / RESULT)
    if known is not None:
        if damaged:
            say(_restored(number, "damaged", "its attempt's copy"))
        return known
    if stored is None or not stored.state.is_finished():
        return None
    result = _from_study(run, plan, stored)
    result.write(home / RESULT)
    what = "missing" if missing else "damaged"
    say(_restored(number, what, "the study, which has only its loss"))
    return result


def _restored(number: int, what: str, source: str) -> str:
    return f"trial {number}: {RESULT} was {what} and has been restored from {source}"


def _from_study(run: RunFolder, plan: Plan, trial: FrozenTrial) -> TrialResult:
    home = run.trial(trial.number)
    config = TrialConfig.read_or_none(home / CONFIG)
    complete = trial.state.name == "COMPLETE"
    failure = Failure.model_validate(
        {"kind": trial.user_attrs.get(FAILURE, "error"), "detail": "its result file was lost"}
    )
    return TrialResult.model_validate(
        {
            "number": trial.number,
            "attempt": max(attempts_of(home), default=1),
            "seed": config.seed if config else 0,
            "state": trial.state.name,
            "failure": failure if trial.state.name == "FAIL" else None,
            "validation_loss": trial.user_attrs.get(VALIDATION_LOSS, trial.value)
            if complete
            else None,
            "objective": trial.value if complete and not plan.objective.is_loss else None,
            "pruned_at_rung": max(trial.intermediate_values, default=None)
            if trial.state.name == "PRUNED"
            else None,
            "item_losses": attempts.ITEM_LOSSES
            if complete and (home / attempts.ITEM_LOSSES).is_file()
            else None,
            "weights": WEIGHTS if (home / WEIGHTS).is_dir() else None,
            **attempts.so_far(attempts.read_rungs(home)),
        }
    )
