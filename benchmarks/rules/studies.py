"""Simulated studies in which the effect of each rule is known, judged by sweeper's own verdicts.

A study is twenty trials of a search on a task that answers any configuration: a formula, a model of
recorded trials with the noise of their seeds, or the recorded trials themselves
(``benchmarks.search.world``). The three best trials are trained again with two seeds. Parameters
that change nothing are added to every strategy, with a rule about each; the search chooses their
values like any other's. The verdicts are those of ``rule_findings``, without files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.search.formula import KINDS, FormulaWorld
from benchmarks.search.replay import PLANNED_LIKE, answered_by, seeded
from benchmarks.search.table import read
from benchmarks.search.world import Ground, ModelWorld, Realised, TableWorld, World
from sweeper.evaluation.significance import holm
from sweeper.execution.next_attempt import configure
from sweeper.findings.evidence.paired_trials import compare_pairs
from sweeper.findings.evidence.rules import DOUBT, rule_findings, rule_pairs
from sweeper.findings.record import RuleFinding
from sweeper.findings.study.reading import RunFiles, SeedRun, TrialFiles, ValidationItems
from sweeper.plans import Candidate, Parameter, Plan, Reason
from sweeper.runfolder import RunFolder
from sweeper.search.engine import StopCondition, Tried, search
from sweeper.search.optuna_space import searchable
from sweeper.search.rule_claims import Claim, claims
from sweeper.search.search import known_starts
from sweeper.spec import Scalar
from sweeper.trials import RungReport, TrialResult

TRIALS = 20
FINALISTS, SEEDS = 3, 3
_SOURCE = "nothing"
# Parameters that change nothing, and what rules say about them.
NOTHING = {
    "null_rate": (
        Parameter(kind="float", low=1e-3, high=1e-2, log=True, allowed_low=1e-4, allowed_high=1e-1,
                  default=3e-3, source=_SOURCE),
        "null_rate 1e-3 to 0.01 (3e-3)",
    ),
    "null_size": (
        Parameter(kind="int", low=8, high=64, allowed_low=1, allowed_high=256, default=16,
                  source=_SOURCE),
        "null_size 8 to 64 (16)",
    ),
    "null_choice": (
        Parameter(kind="categorical", choices=("a", "b"), allowed_choices=("a", "b"), default="a",
                  source=_SOURCE),
        "null_choice {a|b} (a)",
    ),
}  # fmt: skip


def with_nothing(plan: Plan) -> Plan:
    """The plan with parameters that change nothing, and rules about them."""

    def candidate(one: Candidate) -> Candidate:
        if not searchable(one):
            return one
        rules = tuple(
            Reason(rule=f"{one.strategy}-{name}", title=name, why="", source=_SOURCE, effect=effect)
            for name, (_, effect) in NOTHING.items()
        )
        parameters = {name: parameter for name, (parameter, _) in NOTHING.items()}
        return one.model_copy(
            update={"parameters": one.parameters | parameters, "reasons": one.reasons + rules}
        )

    return plan.model_copy(update={"candidates": tuple(map(candidate, plan.candidates))})


@dataclass
class Surface:
    """A task whose plan has parameters that change nothing."""

    world: World
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        self.plan = with_nothing(self.world.plan)

    @property
    def known(self) -> bool:
        """Whether losses without noise are known, and any configuration can be trained again."""
        return not isinstance(self.world, TableWorld)

    def trial(self, strategy: str, parameters: Mapping[str, Scalar]) -> Realised:
        """What a trial would show."""
        # Formulas and models draw a trial's noise from all of its parameters, and ignore these.
        left_out = {} if self.known else NOTHING
        kept = {name: value for name, value in parameters.items() if name not in left_out}
        return self.world.trial(strategy, kept)

    def truths(self, strategy: str, configurations: Sequence[Mapping[str, Scalar]]) -> list[float]:
        """Log losses without noise."""
        if isinstance(self.world, FormulaWorld):
            return [math.log(self.world._truth(strategy, one)[0]) for one in configurations]
        assert isinstance(self.world, ModelWorld)
        return [math.log(loss) for loss in self.world.ground.truths(strategy, configurations)]


def surfaces(name: str) -> Callable[[int], Surface]:
    """What makes a task from a seed: ``form``, ``wellformed`` or ``wellformed:recorded``."""
    if name in KINDS:
        plan = read(PLANNED_LIKE).plan
        return lambda seed: Surface(FormulaWorld(plan, KINDS[name], seed))
    task, _, recorded = name.partition(":")
    ground = Ground.of(read(task))
    if recorded:
        return lambda seed: Surface(TableWorld(ground, seed))
    return lambda seed: Surface(ModelWorld(ground, seed))


def study(surface: Surface, seed: int, sampler: str, pruner: str, rule_tests: int = 0) -> RunFiles:
    """The files that a study would leave."""
    plan = seeded(surface.plan, seed, None)
    realised: list[Realised] = []
    done = search(
        plan,
        answered_by(surface, plan, realised),  # type: ignore[arg-type]
        StopCondition(TRIALS),
        starts=[start.fixed for start in known_starts(plan, TRIALS)],
        sampler=sampler,
        pruner=pruner,
        rule_tests=rule_tests,
    )
    complete = sorted((one for one in done.trials if one.loss is not None), key=_loss)
    best = {one.number for one in complete[:FINALISTS]} if surface.known else set()
    trials = []
    for one, shown in zip(done.trials, realised, strict=True):
        again = range(1, SEEDS) if one.number in best else ()
        seeds = [surface.trial(one.strategy, {**one.parameters, "again": k}) for k in again]
        trials.append(_files(plan, one, shown, seeds))
    return RunFiles(RunFolder(Path("simulated")), plan, "", tuple(trials), (), None, {})


def _loss(one: Tried) -> float:
    return one.loss if one.loss is not None else math.inf


def _files(plan: Plan, one: Tried, shown: Realised, again: list[Realised]) -> TrialFiles:
    candidate = plan.candidate(one.strategy)
    config = configure(
        plan, candidate, one.parameters, number=one.number, attempt=1, origin="search"
    ).model_copy(update={"tests_rule": one.rule})
    rungs = tuple(
        RungReport(number=one.number, attempt=1, rung=rung.rung, validation_loss=rung.loss, items=1,
                   optimizer_steps=1, epochs=1, tokens=1, training_seconds=1, evaluation_seconds=1)
        for rung in one.rungs
    )  # fmt: skip
    finite = one.state != "COMPLETE" or math.isfinite(_loss(one))
    result = TrialResult(
        number=one.number,
        attempt=1,
        seed=0,
        state=one.state if finite else "FAIL",
        validation_loss=one.loss if finite else None,
    )
    seeds = tuple(
        SeedRun(seed, result.model_copy(update={"validation_loss": run.first_half}), _items(run))
        for seed, run in enumerate(again, start=1)
    )
    return TrialFiles(config, rungs, result, _items(shown), 1, seeds, None)


def _items(shown: Realised) -> ValidationItems | None:
    if shown.items is None:
        return None
    losses = shown.items[0::2]
    return ValidationItems(losses, losses, np.ones_like(losses))


@dataclass(frozen=True)
class Judged:
    """The verdict on one rule, and the true effect that it should have the sign of.

    ``preference`` says whether it is about strategies, ``own_trial`` whether a trial was spent on
    it. ``truth`` is in log loss, above 0 where the
    rule is right; None where it is not known, or nothing was compared.
    """

    rule: str
    verdict: str
    truth: float | None
    preference: bool
    own_trial: bool = False

    @property
    def false(self) -> bool:
        """Whether a verdict was given that is not true."""
        if self.truth is None or self.verdict == "untested":
            return False
        return self.truth == 0 or (self.truth > 0) != (self.verdict == "held")


def judged(surface: Surface, run: RunFiles, *, corrected: bool = False) -> list[Judged]:
    """Every rule of the study, where asked for with Holm's correction over its comparisons."""
    found = list(rule_findings(run, compare_pairs(rule_pairs(run))))
    if corrected:
        places = [place for place, one in enumerate(found) if one.comparison is not None]
        doubts = [found[place].comparison.doubt for place in places]  # type: ignore[union-attr]
        for place, doubt in zip(places, holm(doubts), strict=True):
            if doubt >= DOUBT:
                found[place] = found[place].model_copy(update={"verdict": "untested"})
    own = {trial.config.tests_rule for trial in run.trials}
    return [
        Judged(
            one.rule,
            one.verdict,
            _truth(surface, run, one),
            one.comparison is None,
            one.rule in own,
        )
        for one in found
    ]


def _truth(surface: Surface, run: RunFiles, finding: RuleFinding) -> float | None:
    if finding.rule.rpartition("-")[2] in NOTHING:
        return 0.0
    if not surface.known or not finding.evidence:
        return None
    compared = finding.comparison
    if compared is None:
        return _preference(surface, run, finding)
    candidate = run.plan.candidate(compared.strategy)
    reason = next(one for one in candidate.reasons if one.rule == finding.rule)
    claim = next(one for one in claims(reason, candidate) if one.told == compared.values)
    points = [t.config.parameters for t in run.trials if t.config.strategy == compared.strategy]
    return effect_at(surface, compared.strategy, points, claim)


def effect_at(
    surface: Surface, strategy: str, points: Sequence[Mapping[str, Scalar]], claim: Claim
) -> float:
    """The mean over all of these configurations, with each value tried outside less inside."""
    sides = []
    for wanted in (False, True):
        values = [p[claim.parameter] for p in points if claim.inside(p[claim.parameter]) == wanted]
        moved = [{**point, claim.parameter: value} for point in points for value in values]
        sides.append(float(np.mean(surface.truths(strategy, moved))))
    return sides[0] - sides[1]


def _preference(surface: Surface, run: RunFiles, finding: RuleFinding) -> float | None:
    """How much lower the loss of the preferred strategy's best trial is than the others' best."""
    found = [
        (candidate.strategy, one.weight)
        for candidate in run.plan.candidates
        for one in candidate.reasons
        if one.rule == finding.rule and one.weight
    ]
    if not found:
        return None  # it warns or advises
    strategy, weight = found[0]
    own = next(trial.config for trial in run.completed if trial.config.strategy == strategy)
    rest = next(trial.config for trial in run.completed if trial.config.strategy != strategy)
    losses = [surface.truths(one.strategy, [one.parameters])[0] for one in (rest, own)]
    return (losses[0] - losses[1]) * math.copysign(1, weight)
