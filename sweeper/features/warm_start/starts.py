"""Records of finished studies in ``SWEEPER_HOME``, and the warm starts of new ones from them.

The records hold facts and best configurations, but no rows, class names or paths.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from sweeper.artifact import Artifact, Record
from sweeper.cache import home
from sweeper.facts.record import Facts, ModelFacts
from sweeper.features.warm_start.options import Options
from sweeper.objective import Objective, cost_within, limits_of
from sweeper.plans import Candidate, Parameter, Plan, ProposedTrial
from sweeper.runfolder import CONFIG, RESULT, RunFolder
from sweeper.search.finalists import cost_of
from sweeper.spec import Scalar, Spec, Task
from sweeper.trials import TrialConfig, TrialResult

# The folder of ``StudyRecord`` files, below SWEEPER_HOME.
FOLDER = "studies"
# Factor of the similarity for ten times the rows, parameters, classes or tokens, and for another
# family of models; chosen, not measured.
FACTOR = 0.5
# A less similar study is not used; chosen, not measured. A bad warm start costs one trial of a
# candidate, and its weight in the sampler's prior fades with more trials.
MIN_SIMILARITY = 0.25


class RememberedModel(Record):
    """A base model, named without its path."""

    name: str
    model_type: str
    kind: Literal["encoder", "decoder", "encoder-decoder"]
    parameters: int


class RememberedBest(Record):
    """The best completed trial of one candidate, with its searched parameters."""

    strategy: str
    model: RememberedModel
    parameters: dict[str, Scalar]
    cost: float
    default_cost: float | None = None


class StudyRecord(Artifact):
    """One finished study: ``SWEEPER_HOME/studies/<digest>.json``.

    Args:
        classes_by: How its classifiers work: with a ``head``, or by text that they ``generate``.
        classes: Number of classes; 0 for other tasks.
        mean_tokens: Mean tokens of an example.
        objective: Name of the objective, and its source if it is the user's own.
        bests: The best trial of each candidate.
    """

    study: str
    ended_at: str
    task: Task
    classes_by: str
    train_rows: int
    classes: int
    mean_tokens: float | None = None
    objective: str = "validation_loss"
    bests: tuple[RememberedBest, ...]


def remember(run: RunFolder, spec: Spec, plan: Plan, ended_at: str) -> None:
    """Write the record of a finished study, unless no trial completed within the limits.

    Raises:
        OSError: The cache folder cannot be written.
    """
    limits, trials = limits_of(spec), []
    for folder in sorted(run.trials.glob("*")):
        config = TrialConfig.read_or_none(folder / CONFIG)
        result = TrialResult.read_or_none(folder / RESULT)
        if config and result and cost_within(result, plan.objective, limits) is not None:
            trials.append((config, result))
    best_trials = [_best_trial(plan, candidate, trials) for candidate in plan.candidates]
    if not any(best_trials):
        return
    facts = plan.facts
    record = StudyRecord(
        study=run.path.name,
        ended_at=ended_at,
        task=facts.task,
        classes_by=facts.classes_by,
        train_rows=facts.data.train_rows,
        classes=len(facts.data.labels),
        mean_tokens=facts.data.lengths.mean if facts.data.lengths else None,
        objective=_objective_key(plan.objective),
        bests=tuple(best for best in best_trials if best is not None),
    )
    identity = plan.identity.model_dump_json() if plan.identity else ""
    name = hashlib.sha256(f"{run.path.name} {identity}".encode()).hexdigest()[:24]
    record.write(home() / FOLDER / f"{name}.json")


def _objective_key(objective: Objective) -> str:
    return f"{objective.name} {objective.source}".rstrip()


def _best_trial(
    plan: Plan, candidate: Candidate, trials: Iterable[tuple[TrialConfig, TrialResult]]
) -> RememberedBest | None:
    candidate_trials = [
        (config, result)
        for config, result in trials
        if (config.strategy, config.model) == (candidate.strategy, candidate.model)
    ]
    if not candidate_trials:
        return None
    objective = plan.objective
    config, result = min(
        candidate_trials, key=lambda trial: (cost_of(trial[1], objective), trial[0].number)
    )
    default_costs = (
        cost_of(trial_result, objective)
        for trial_config, trial_result in candidate_trials
        if trial_config.origin == "default"
    )
    facts = next(model for model in plan.facts.models if model.id == candidate.model)
    searched = {name for name, parameter in candidate.parameters.items() if parameter.searched}
    return RememberedBest(
        strategy=candidate.strategy,
        # The name without its path; the other fields are those of the facts.
        model=RememberedModel.taken_from(facts, name=facts.id.rstrip("/").rpartition("/")[2]),
        parameters={name: value for name, value in config.parameters.items() if name in searched},
        cost=cost_of(result, objective),
        default_cost=next(default_costs, None),
    )


def propose(spec: Spec, plan: Plan, tell: Callable[[str], None]) -> Iterator[ProposedTrial]:
    """For each candidate, the best configuration of the most similar earlier study, if any."""
    if not spec.features.of(Options).enabled:
        return
    records = map(StudyRecord.read_or_none, sorted((home() / FOLDER).glob("*.json")))
    key = _objective_key(plan.objective)
    studies = [study for study in records if study is not None and study.objective == key]
    studies.sort(key=lambda study: study.ended_at, reverse=True)
    proposed = [
        trial
        for candidate in plan.candidates
        if (trial := _warm_start(plan, candidate, studies)) is not None
    ]
    if not proposed:
        tell("No earlier study is similar: the search starts without a warm start.")
    yield from proposed


def _warm_start(
    plan: Plan, candidate: Candidate, studies: Iterable[StudyRecord]
) -> ProposedTrial | None:
    facts = plan.facts
    model = next(model for model in facts.models if model.id == candidate.model)
    by_similarity = [
        (similarity(facts, model, study, best.model), study, best)
        for study in studies
        for best in study.bests
        if best.strategy == candidate.strategy
    ]
    if not by_similarity:
        return None
    # The first of equally similar studies is the newest.
    highest, study, best = max(by_similarity, key=lambda entry: entry[0])
    parameters = candidate.parameters
    usable_parameters = {
        n: v for n, v in best.parameters.items() if n in parameters and _allows(parameters[n], v)
    }
    if highest < MIN_SIMILARITY or not usable_parameters:
        return None
    return ProposedTrial(
        feature="warm_start",
        strategy=candidate.strategy,
        model=candidate.model,
        parameters=usable_parameters,
        weight=round(highest, 3),
        text=_log_text(candidate, highest, study.study, best, usable_parameters, plan.objective),
        record={"study": study.study, "similarity": round(highest, 3)},
    )


def similarity(
    facts: Facts, model: ModelFacts, study: StudyRecord, study_model: RememberedModel
) -> float:
    """The similarity of a study with this base model to a plan's facts and model, 0 to 1."""
    is_comparable = (facts.task, facts.classes_by, model.kind) == (
        study.task,
        study.classes_by,
        study_model.kind,
    )
    if not is_comparable:
        return 0.0
    lengths = facts.data.lengths
    decades = [
        _decades(facts.data.train_rows, study.train_rows),
        _decades(model.parameters, study_model.parameters),
        _decades(len(facts.data.labels), study.classes),
        _decades(lengths.mean if lengths else None, study.mean_tokens),
    ]
    family = 1.0 if model.model_type == study_model.model_type else FACTOR
    return family * FACTOR ** sum(decades)


def _decades(first: float | None, second: float | None) -> float:
    """The powers of ten between two sizes; 0 if one is 0 or unknown."""
    return abs(math.log10(first / second)) if first and second else 0.0


def _allows(parameter: Parameter, value: Scalar) -> bool:
    """Whether a parameter is searched and a value lies in its range or allowed range."""
    if not parameter.searched:
        return False
    if parameter.kind == "categorical":
        return value in (*(parameter.allowed_choices or ()), *(parameter.choices or ()))
    if isinstance(value, bool | str):
        return False
    lows = [end for end in (parameter.allowed_low, parameter.low) if end is not None]
    highs = [end for end in (parameter.allowed_high, parameter.high) if end is not None]
    return min(lows, default=-math.inf) <= value <= max(highs, default=math.inf)


def _log_text(
    candidate: Candidate,
    study_similarity: float,
    study: str,
    best: RememberedBest,
    usable_parameters: Mapping[str, Scalar],
    objective: Objective,
) -> str:
    """The text of a warm start in the run's log."""
    reached, title = objective.value(best.cost), "loss" if objective.is_loss else objective.title
    default = None if best.default_cost is None else objective.value(best.default_cost)
    default_text = "" if default is None else f" (its default {default:.4g})"
    dropped_names = sorted(set(best.parameters) - set(usable_parameters))
    dropped_text = f", without {', '.join(dropped_names)}" if dropped_names else ""
    return (
        f"{candidate.strategy} of {candidate.model} starts with the best configuration of "
        f"{study}, which reached a {title} of {reached:.4g}{default_text}"
        f"{dropped_text}; similarity {study_similarity:.0%}"
    )
