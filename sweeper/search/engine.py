"""The search without training: a space with priors, an objective that reports rungs, a limit.

The same sampler and pruner as ``sweeper run``, or any of Optuna's, over whatever the objective
computes: a table of recorded trials, a formula, a training loop of one's own. One trial at a
time, in memory. Knows nothing of plans, workers or files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import optuna
from optuna.trial import TrialState

from sweeper.plan import Hint, Parameter
from sweeper.search import space
from sweeper.search.items import attribute
from sweeper.search.named import make_pruner, make_sampler
from sweeper.search.observations import best_so_far
from sweeper.search.problem import Arm, Problem
from sweeper.search.pruner import judge
from sweeper.search.stopping import Outlook, outlook
from sweeper.search.study import CONSTRAINT, FAILURE, ORIGIN, SECONDS
from sweeper.search.untrained import NOTHING, Untrained, note, noted
from sweeper.spec import OwnTrial, Scalar
from sweeper.trials import FirstItems


@dataclass(frozen=True)
class Strategy:
    """One way to train, with what can be chosen about it.

    Args:
        strategy: Its name.
        parameters: By name. A parameter with a condition comes after the one that it names.
        score: What is thought of it beforehand; breaks ties between strategies.
        seconds_per_trial: What a full trial is expected to cost.
        model: Told apart by this where two share a name.
        begins_as_base: Whether a trial that has not moved yet is the base model, of which
            ``Untrained`` may know the loss.
        one_trial: Whether one trial is all of it: a head on the frozen base, in closed form.
    """

    strategy: str
    parameters: Mapping[str, Parameter]
    score: float = 0.0
    seconds_per_trial: float = 1.0
    model: str = ""
    begins_as_base: bool = False
    one_trial: bool = False


@dataclass(frozen=True)
class RungCount:
    """How often a trial reports, and the first report at which it may be pruned.

    Where a parameter ``num_train_epochs`` is searched, ``epochs`` is what takes all rungs: a trial
    with half of them has half of the rungs.
    """

    rungs: int = 8
    first_rung: int = 2
    epochs: float | None = None


@dataclass(frozen=True)
class Space:
    """What is searched.

    Args:
        candidates: The strategies.
        budget: Rungs of a full trial.
        seed: Of the search.
        own_trials: Configurations whose values may lie outside of the allowed ranges.
        hints: What earlier searches found best, one for each candidate at most.
    """

    candidates: Sequence[Strategy]
    budget: RungCount = RungCount()
    seed: int = 0
    own_trials: Sequence[OwnTrial] = ()
    hints: Sequence[Hint] = ()


@dataclass(frozen=True)
class Limit:
    """When to end: at a number of trials, of seconds that trials report, or at a loss.

    With ``while_worth_it`` it also ends when the next trial is expected to gain less than noise
    would show.
    """

    trials: int = 20
    seconds: float = math.inf
    target_loss: float = -math.inf
    while_worth_it: bool = False


@dataclass(frozen=True)
class Rung:
    """What a trial knows at a rung.

    Args:
        rung: Its number.
        loss: The validation loss.
        seconds: Since the trial began.
        items: What the loss was taken over, where it is a mean of items' losses.
        excess: By how much the trial breaks a limit of its user's, up to 0 where it keeps to it.
            The last one counts. Trials over it are no answer.
    """

    rung: int
    loss: float
    seconds: float
    excess: float | None = None
    items: FirstItems | None = None


class Diverged(Exception):
    """An objective raises this where its loss is not finite any more."""


Objective = Callable[[str, dict[str, Scalar]], Generator[Rung, None, float | None]]
State = Literal["COMPLETE", "PRUNED", "FAIL"]


@dataclass(frozen=True)
class Tried:
    """How one trial ended.

    ``loss`` is the final loss of a completed trial; ``because`` says why another one ended.
    """

    number: int
    strategy: str
    parameters: dict[str, Scalar]
    state: State
    rungs: tuple[Rung, ...]
    loss: float | None
    seconds: float
    because: str = ""

    @property
    def keeps(self) -> bool:
        """Whether it keeps to the limit, where there is one."""
        excess = self.rungs[-1].excess if self.rungs else None
        return excess is None or excess <= 0


@dataclass(frozen=True)
class Searched:
    """All trials in their order, and what ended the search."""

    trials: tuple[Tried, ...]
    because: str

    @property
    def best(self) -> Tried | None:
        """The completed trial with the lowest loss, of those that keep to the limit."""
        done = [one for one in self.trials if one.loss is not None and one.keeps]
        return min(done, key=lambda one: one.loss or 0.0, default=None)

    @property
    def seconds(self) -> float:
        """What all trials took together."""
        return sum(one.seconds for one in self.trials)


def search(
    problem: Problem[Arm],
    objective: Objective,
    limit: Limit | None = None,
    *,
    starts: Sequence[Mapping[str, Scalar]] | None = None,
    sampler: str = "sweeper",
    pruner: str = "sweeper",
    untrained: Untrained = NOTHING,
) -> Searched:
    """Search until the limit.

    Args:
        problem: A ``Space``, or a ``Plan``.
        objective: Called with a strategy and its parameters; yields a ``Rung`` at each rung and
            may return the final loss (else it is the lowest one that it yielded). It is closed
            where the pruner ends the trial, and may raise ``Diverged``.
        limit: Twenty trials by default.
        starts: What is tried first, as ``space.fixed`` makes it; the strategies' defaults where
            this is None.
        sampler: ``sweeper``, ``optuna:TPESampler``, ``package.module:Class``, with options in
            brackets.
        pruner: Likewise.
        untrained: Losses that are known before any trial, by model (``""`` where strategies name
            none): of the base model as it is, and of a linear head on it, for trials that may
            start from that (``head_init`` of ``probe``).

    Raises:
        SpecError: Sampler or pruner cannot be made.
    """
    study = optuna.create_study(pruner=make_pruner(pruner, problem))
    note(study, untrained)
    if starts is None:
        keyed = space.candidates(problem)
        starts = [space.fixed(key, one, {}) for key, one in keyed.items()]
    running = _Search(problem, objective, study, sampler, list(starts))
    return running.until(limit or Limit())


@dataclass
class _Search:
    problem: Problem[Arm]
    objective: Objective
    study: optuna.Study
    sampler: str
    starts: list[Mapping[str, Scalar]]
    tried: list[Tried] = field(default_factory=list)

    def until(self, limit: Limit) -> Searched:
        """Try one after the other."""
        spent, best = 0.0, math.inf
        while len(self.tried) < limit.trials:
            if spent >= limit.seconds:
                return Searched(tuple(self.tried), f"{limit.seconds:g} seconds are spent")
            if best <= limit.target_loss:
                return Searched(tuple(self.tried), f"the loss of {limit.target_loss:g} is reached")
            coming = self._outlook() if limit.while_worth_it else None
            if coming is not None and not coming.worth_it:
                return Searched(tuple(self.tried), str(coming))
            one = self._try(len(self.tried))
            self.tried.append(one)
            spent += one.seconds
            best = min(best, math.inf if one.loss is None or not one.keeps else one.loss)
        return Searched(tuple(self.tried), f"{limit.trials} trials have ended")

    def _outlook(self) -> Outlook | None:
        return outlook(self.problem, self.study.trials, noted(self.study))

    def _try(self, number: int) -> Tried:
        known = number < len(self.starts)
        start = dict(self.starts[number]) if known else {}
        origin = "default" if known else "search"
        self.study.enqueue_trial(start, user_attrs={ORIGIN: origin})
        self.study.sampler = make_sampler(self.sampler, self.problem, number)
        trial = self.study.ask()
        key, parameters = space.suggest(trial, self.problem)
        return self._run(trial, key, parameters)

    def _run(self, trial: optuna.Trial, key: str, parameters: dict[str, Scalar]) -> Tried:
        rungs: list[Rung] = []
        state, final, because = self._follow(trial, self.objective(key, parameters), rungs)
        seconds = rungs[-1].seconds if rungs else 0.0
        trial.set_user_attr(SECONDS, seconds)
        if state == "FAIL":
            trial.set_user_attr(FAILURE, "diverged")
            self.study.tell(trial, state=TrialState.FAIL)
        elif state == "PRUNED":
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            if (excess := rungs[-1].excess) is not None:
                self.study._storage.set_trial_system_attr(trial._trial_id, CONSTRAINT, excess)
            self.study.tell(trial, final)
        loss = final if state == "COMPLETE" else None
        return Tried(trial.number, key, parameters, state, tuple(rungs), loss, seconds, because)

    def _follow(
        self, trial: optuna.Trial, steps: Generator[Rung, None, float | None], rungs: list[Rung]
    ) -> tuple[State, float, str]:
        storage = self.study._storage
        try:
            while True:
                rung = next(steps)
                rungs.append(rung)
                if not math.isfinite(rung.loss):
                    return "FAIL", math.inf, f"its loss at rung {rung.rung} is {rung.loss}"
                trial.report(rung.loss, rung.rung)
                if rung.items is not None:
                    trial.set_user_attr(*attribute(rung.rung, rung.items))
                judgement = judge(
                    self.study,
                    storage.get_trial(trial._trial_id),
                    space.one_trial_keys(self.problem),
                )
                if judgement.prune:
                    return "PRUNED", rung.loss, judgement.because
        except StopIteration as end:
            lowest = min(best_so_far({one.rung: one.loss for one in rungs}).values())
            return "COMPLETE", lowest if end.value is None else float(end.value), ""
        except Diverged as error:
            return "FAIL", math.inf, str(error)
        finally:
            steps.close()
