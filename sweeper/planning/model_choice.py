"""The plan without a named model: compares models of the catalogue and chooses one.

``search_spaces/model_choice.yaml`` lists the models and the criteria.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, Strict

from sweeper.errors import NothingFits, SpecError
from sweeper.facts.record import Facts, ModelFacts
from sweeper.planning.budget.budget import USEFUL_TRIALS
from sweeper.planning.planner import plan_with
from sweeper.planning.rulebook.book import RuleBook, rule_book
from sweeper.planning.rulebook.strategy_files import Text
from sweeper.plans import Duration, ModelChoice, ModelOption, Plan, Reason
from sweeper.resources import search_spaces
from sweeper.spec import ModelSpec, Spec, Task
from sweeper.yamlfile import FileModel, read

# A variant for the task is preferred to models of up to this many times its parameters.
_VARIANT_FACTOR = 3
# A sweep may exceed the limit of hours by this factor: estimates of times are less exact than that.
_OVER_LIMIT = 1.25

Tasks = Annotated[tuple[Task, ...], Strict(strict=False)]


class _Reason(FileModel):
    why: Text
    source: Text


class _KindRule(_Reason):
    tasks: Tasks
    kind: Literal["encoder", "decoder"]


class _Variants(_Reason):
    tasks: Tasks
    models: Annotated[tuple[str, ...], Strict(strict=False)]


class _Hours(_Reason):
    most: float = Field(gt=0)
    most_on_cpus: float = Field(gt=0)


class _Benchmark(FileModel):
    name: Text
    tasks: Tasks
    what: Text
    scores: dict[str, float]
    date: Text
    source: Text


class ModelComparison(FileModel):
    """The content of ``model_choice.yaml``: the compared models and the criteria."""

    models: Annotated[tuple[str, ...], Strict(strict=False)]
    kinds: Annotated[tuple[_KindRule, ...], Strict(strict=False)]
    hours: _Hours
    larger: _Reason
    measures: Annotated[tuple[_Benchmark, ...], Strict(strict=False)]
    variants: Annotated[tuple[_Variants, ...], Strict(strict=False)]

    def variants_of(self, task: Task) -> list[_Variants]:
        """Models that were pretrained further for a task, with the reason to prefer them."""
        return [variant for variant in self.variants if task in variant.tasks]

    def models_of(self, task: Task) -> list[str]:
        """The models to compare for a task."""
        return [*self.models, *(name for item in self.variants_of(task) for name in item.models)]


@lru_cache(maxsize=1)
def comparison() -> ModelComparison:
    """The content of ``model_choice.yaml``."""
    return ModelComparison.model_validate(read(search_spaces() / "model_choice.yaml").data)


@dataclass(frozen=True)
class _PlannedOption:
    summary: ModelOption
    plan: Plan | None = None
    fits_context: bool = False
    in_time: bool = False
    seconds: float = 0.0
    refused: SpecError | None = None


def plan_without_model(spec: Spec, facts: Facts) -> tuple[Spec, Plan]:
    """The request with the best model for task, data and hardware, and its plan.

    Args:
        facts: The facts, with every compared model in ``models``.

    Raises:
        NothingFits: None of the models can be used.
        SpecError: The declared parameters apply to none of the models.
    """
    book = rule_book(spec.rules)
    specs = {
        entry.id: spec.model_copy(update={"models": (ModelSpec(id=entry.id),)})
        for entry in facts.models
    }
    options = [_option(book, specs[entry.id], facts, entry) for entry in facts.models]
    chosen = _chosen(options, facts.task)
    if chosen is None or chosen.plan is None:
        for entry in options:
            if entry.refused is not None:  # the declaration fits no model: it has a mistake
                raise entry.refused
        raise NothingFits(
            f"none of the {len(options)} models that were compared fits this hardware",
            why=options[0].summary.reason,
            fix="Name a smaller model with --model, or give more memory.",
        )
    choice = ModelChoice(
        model=chosen.summary.model,
        options=tuple(entry.summary for entry in options),
        reasons=_reasons(chosen, facts.task),
        measures={
            entry.name: f"{entry.what} ({entry.source}; {entry.date})"
            for entry in _benchmarks(facts.task)
        },
    )
    return specs[choice.model], chosen.plan.model_copy(update={"model_choice": choice})


def _option(book: RuleBook, spec: Spec, facts: Facts, model: ModelFacts) -> _PlannedOption:
    benchmarks = [entry for entry in _benchmarks(facts.task) if model.id in entry.scores]
    option = ModelOption(
        model=model.id,
        kind=model.kind,
        parameters=model.parameters,
        scores={entry.name: entry.scores[model.id] for entry in benchmarks},
    )
    try:
        plan = plan_with(book, spec, facts.model_copy(update={"models": (model,)}))
    except (NothingFits, SpecError) as error:
        option = option.model_copy(update={"reason": error.problems[0].what})
        refused = error if isinstance(error, SpecError) else None
        return _PlannedOption(option, refused=refused)
    lead, trials = plan.candidates[0], plan.budget.trials
    # The search of the recommended strategy alone: a model with more candidates must not appear
    # slower.
    required = [name for name, cost in plan.budget.features.items() if not cost.optional]
    search = Duration.sum([lead.duration] * trials + [plan.budget.phases[n] for n in required])
    names = tuple(dict.fromkeys(candidate.strategy for candidate in plan.candidates))
    update = {"strategies": names, "memory": lead.memory, "search": search, "trials": trials}
    lengths = facts.data.lengths
    fits_context = lengths is None or lengths.p99 <= model.context_length
    hours = comparison().hours
    most = hours.most if facts.hardware.gpus else hours.most_on_cpus
    in_time = min(search.seconds, plan.budget.sweep.seconds) <= _OVER_LIMIT * most * 3600
    if spec.aim.budget is not None:
        in_time = trials >= min(spec.search.trials, USEFUL_TRIALS)
    option = option.model_copy(update=update)
    return _PlannedOption(option, plan, fits_context, in_time, search.seconds)


def _chosen(options: Sequence[_PlannedOption], task: Task) -> _PlannedOption | None:
    """The largest model that meets the criteria; the fastest if no sweep is in time.

    The criteria, in order: the task's kind, a sweep within the time limit, a context that
    fits the texts, and a base without quantisation. One that no model left meets is skipped.
    A variant is preferred to models of ``_VARIANT_FACTOR`` times its size. None without plans.
    """
    kind = _kind(task).kind
    tests: tuple[Callable[[_PlannedOption], bool], ...] = (
        lambda option: option.summary.kind == kind,
        lambda option: option.in_time,
        lambda option: option.fits_context,
        lambda option: (
            option.plan is not None and option.plan.candidates[0].setup.quantization is None
        ),
    )
    left = [option for option in options if option.plan is not None]
    for test in tests:
        left = [option for option in left if test(option)] or left
    if not left:
        return None
    if not left[0].in_time:
        return min(left, key=lambda option: option.seconds)
    largest = max(left, key=lambda option: option.summary.parameters)
    variants = {name for option in comparison().variants_of(task) for name in option.models}
    least = largest.summary.parameters / _VARIANT_FACTOR
    preferred = [option for option in left if option.summary.model in variants]
    best = max(preferred, key=lambda option: option.summary.parameters, default=largest)
    return best if best.summary.parameters >= least else largest


def _kind(task: Task) -> _KindRule:
    return next(kind for kind in comparison().kinds if task in kind.tasks)


def _benchmarks(task: Task) -> list[_Benchmark]:
    return [measure for measure in comparison().measures if task in measure.tasks]


def _reasons(chosen: _PlannedOption, task: Task) -> tuple[Reason, ...]:
    file, kind = comparison(), _kind(task)
    reasons = []
    if chosen.summary.kind == kind.kind:
        title = f"{kind.kind.capitalize()}s for {task}"
        reasons.append(Reason(rule="model-kind", title=title, why=kind.why, source=kind.source))
    if chosen.in_time:
        reasons.append(
            Reason(
                rule="largest-in-time",
                title="The largest model whose search is in time",
                why=f"{file.larger.why} {file.hours.why}",
                source=f"{file.larger.source}; {file.hours.source}",
            )
        )
    reasons += [
        Reason(
            rule="variant", title=f"A variant for {task}", why=variant.why, source=variant.source
        )
        for variant in file.variants_of(task)
        if chosen.summary.model in variant.models
    ]
    return tuple(reasons)
