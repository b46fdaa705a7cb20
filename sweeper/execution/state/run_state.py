"""The state of a run's trials in memory, with the best trial and the finalists.

It is read from the run's files when the command starts, and kept up to date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sweeper.execution.state import attempts
from sweeper.execution.state.status import Best
from sweeper.objective import Limit, titles_beyond
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.search import finalists
from sweeper.trials import State, TrialConfig, TrialResult


@dataclass
class RunState:
    """The trials of a run.

    Args:
        limits: The command's limits on measures of trials.
        configs: Configurations of all trials that were asked for, by number.
        results: Results of the ended trials, by number.
    """

    run: RunFolder
    plan: Plan
    limits: tuple[Limit, ...] = ()
    configs: dict[int, TrialConfig] = field(default_factory=dict)
    results: dict[int, TrialResult] = field(default_factory=dict)

    @property
    def state_counts(self) -> Counter[State]:
        """Number of trials that ended in each state."""
        return Counter(result.state for result in self.results.values())

    @property
    def out_of_memory(self) -> int:
        """Number of trials that failed since memory ran out."""
        failures = (result.failure for result in self.results.values())
        return sum(each is not None and each.kind == "out-of-memory" for each in failures)

    @property
    def best(self) -> Best | None:
        """The best completed trial within the limits, else the one that exceeds them least."""
        return self._find_best(self.results)

    @property
    def best_default(self) -> Best | None:
        """The best completed trial among the rule book's defaults."""
        return self._find_best(self.defaults())

    def _candidate_of(self, number: int) -> tuple[str, str]:
        """The candidate of a trial: its strategy and model."""
        return self.configs[number].strategy, self.configs[number].model

    def finalists(self) -> list[int]:
        """The numbers of the trials that would be confirmed if the search ended now."""
        candidates = {number: self._candidate_of(number) for number in self.results}
        count, objective = self.plan.budget.finalists, self.plan.objective
        return finalists.choose(self.results, candidates, count, self.limits, objective)

    def defaults(self) -> list[int]:
        """The numbers of the completed trials of the rule book's defaults."""
        return [
            number
            for number, config in self.configs.items()
            if config.origin == "default"
            and number in self.results
            and self.results[number].state == "COMPLETE"
        ]

    def _find_best(self, numbers: Iterable[int]) -> Best | None:
        results = {number: self.results[number] for number in numbers}
        limits, objective = self.limits, self.plan.objective
        first = finalists.choose(results, dict.fromkeys(results, ""), 1, limits, objective)
        if not first:
            return None
        config, result = self.configs[first[0]], results[first[0]]
        return Best(
            trial=first[0],
            strategy=config.strategy,
            parameters=config.parameters,
            value=objective.value(finalists.cost_of(result, objective)),
            over_limits=titles_beyond(result.measures, limits),
        )

    def trials_to_keep(self) -> set[int]:
        """Trials whose weights are kept: defaults, the best trial of each candidate, finalists."""
        groups: dict[tuple[str, str], list[int]] = {}
        for number in self.results:
            groups.setdefault(self._candidate_of(number), []).append(number)
        bests = {best.trial for numbers in groups.values() if (best := self._find_best(numbers))}
        return bests | set(self.defaults()) | set(self.finalists())

    def drop_other_weights(self) -> list[int]:
        """Delete weights that ``trials_to_keep`` omits; returns the numbers of their trials."""
        with_weights = [i for i, result in self.results.items() if result.weights]
        if not with_weights:
            return []
        trials_to_keep = self.trials_to_keep()
        dropped = [i for i in with_weights if i not in trials_to_keep]
        for number in dropped:
            attempts.drop_weights(self.run.trial(number))
            self.results[number] = self.results[number].model_copy(update={"weights": None})
        return dropped
