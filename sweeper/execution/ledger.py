"""What the study holds, as the coordinating command remembers it: results read once, and counted.

Knows the run's files and the study; decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

from sweeper.execution import records, repair
from sweeper.execution.status import Best
from sweeper.runfolder import RunFolder
from sweeper.search import finalists
from sweeper.search.optuna_space import STRATEGY
from sweeper.search.study import ORIGIN
from sweeper.trials import TrialConfig, TrialResult


@dataclass
class Ledger:
    """The trials of a run that have ended, and which ones wait or run.

    ``limit_points`` is the forgetting that the user allows.
    """

    run: RunFolder
    trials: list[FrozenTrial] = field(default_factory=list)
    results: dict[int, TrialResult] = field(default_factory=dict)
    configs: dict[int, TrialConfig] = field(default_factory=dict)
    limit_points: float | None = None

    def refresh(
        self, trials: list[FrozenTrial], say: Callable[[str], None] = lambda _text: None
    ) -> list[FrozenTrial]:
        """Take in the study as it is now.

        Args:
            trials: All of them, by number.
            say: Told of files that were damaged.

        Returns:
            The trials that have ended since the last time.
        """
        self.trials = trials
        ended = [
            trial
            for trial in trials
            if trial.state.is_finished() and trial.number not in self.results
        ]
        repaired: list[str] = []
        for trial in ended:
            self.results[trial.number] = repair.result_of(self.run, trial, repaired.append)
            config = repair.config_of(self.run, trial)
            if config is not None:
                self.configs[trial.number] = config
        for text in repaired:  # not before all are taken in: who hears of it looks at them
            say(text)
        return ended

    def in_state(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in any of these states."""
        return [trial for trial in self.trials if trial.state in states]

    def finished(self, below: int) -> int:
        """How many trials of the first ``below`` have ended."""
        return sum(1 for trial in self.trials[:below] if trial.state.is_finished())

    def strategies(self) -> dict[int, str]:
        """The study's name of the candidate of each trial that has one."""
        return {
            trial.number: trial.params[STRATEGY]
            for trial in self.trials
            if STRATEGY in trial.params
        }

    def finalists(self, n: int) -> list[int]:
        """The trials that would be confirmed if the search ended now."""
        return finalists.choose(self.results, self.strategies(), n, self.limit_points)

    def defaults(self) -> list[int]:
        """The completed trials of the rule book's defaults."""
        return [
            trial.number
            for trial in self.in_state(TrialState.COMPLETE)
            if trial.user_attrs.get(ORIGIN) == "default"
        ]

    def best(self, among: Iterable[int] | None = None) -> Best | None:
        """The completed trial with the lowest loss; one over the user's limit where all are."""
        numbers = self.results if among is None else among
        losses = {number: finalists.loss_of(self.results[number]) for number in numbers}
        completed = [n for n in losses if self.results[n].state == "COMPLETE" and n in self.configs]
        if not completed:
            return None
        kept = [n for n in completed if self._keeps(n)]
        number = min(kept or completed, key=lambda n: (losses[n], n))
        config = self.configs[number]
        return Best(
            trial=number,
            strategy=config.strategy,
            parameters=config.parameters,
            validation_loss=losses[number],
            over_limit=not kept,
        )

    def _keeps(self, number: int) -> bool:
        return finalists.within(self.results[number].forgetting_points, self.limit_points)

    def worth_their_weights(self, n: int) -> set[int]:
        """Trials whose weights are kept: defaults, the best of each strategy, finalists."""
        strategies = self.strategies()
        bests = {
            best.trial
            for key in set(strategies.values())
            if (best := self.best(i for i in self.results if strategies.get(i) == key))
        }
        return bests | set(self.defaults()) | set(self.finalists(n))

    def drop_other_weights(self, n: int) -> list[int]:
        """Delete the weights of all other trials. A trial that lost once cannot win again."""
        worth = self.worth_their_weights(n)
        losers = [i for i, result in self.results.items() if result.weights and i not in worth]
        for number in losers:
            records.drop_weights(self.run.trial(number))
            self.results[number] = self.results[number].model_copy(update={"weights": None})
        return losers
