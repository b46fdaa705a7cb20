"""Plans without a named model: compares models of the catalogue and chooses one.

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

# A variant pretrained further for the task is preferred to models of up to this many times its
# parameters.
_VARIANT_FACTOR = 3
# Factor by which a sweep may exceed the limit of hours, since estimates of times are less exact.
_OVER_LIMIT = 1.25

Tasks = Annotated[tuple[Task, ...], Strict(strict=False)]


class _Explained(FileModel):
    why: Text
    source: Text


class _KindRule(_Explained):
    tasks: Tasks
    kind: Literal["encoder", "decoder"]


class _Variants(_Explained):
    tasks: Tasks
    models: Annotated[tuple[str, ...], Strict(strict=False)]


class _Hours(_Explained):
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
    larger: _Explained
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
    """A compared model with its plan, and whether it meets the criteria.

    Args:
        plan: None if there is none; ``refused`` is its error if the request is at fault.
        seconds: Time of the search.
    """

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
        model.id: spec.model_copy(update={"models": (ModelSpec(id=model.id),)})
        for model in facts.models
    }
    options = [_option(book, specs[model.id], facts, model) for model in facts.models]
    chosen = _chosen(options, facts.task)
    if chosen is None or chosen.plan is None:
        for option in options:
            if option.refused is not None:  # what no model can use is a mistake in the request
                raise option.refused
        raise NothingFits(
            f"none of the {len(options)} models that were compared fits this hardware",
            why=options[0].summary.reason,
            fix="Name a smaller model with --model, or give more memory.",
        )
    choice = ModelChoice(
        model=chosen.summary.model,
        options=tuple(option.summary for option in options),
        reasons=_reasons(chosen, facts.task),
        measures={
            benchmark.name: f"{benchmark.what} ({benchmark.source}; {benchmark.date})"
            for benchmark in _benchmarks(facts.task)
        },
    )
    return specs[choice.model], chosen.plan.model_copy(update={"model_choice": choice})


def _option(book: RuleBook, spec: Spec, facts: Facts, model: ModelFacts) -> _PlannedOption:
    """A compared model with its plan; without one, with the reason."""
    scores = ((each.name, each.scores.get(model.id)) for each in _benchmarks(facts.task))
    option = ModelOption(
        model=model.id,
        kind=model.kind,
        parameters=model.parameters,
        scores={name: score for name, score in scores if score is not None},
    )
    try:
        plan = plan_with(book, spec, facts.model_copy(update={"models": (model,)}))
    except (NothingFits, SpecError) as error:
        option = option.model_copy(update={"reason": error.problems[0].what})
        refused = error if isinstance(error, SpecError) else None
        return _PlannedOption(option, refused=refused)
    lead, trials = plan.candidates[0], plan.budget.trials
    # Only the recommended strategy's trials: models with more candidates must not appear slower.
    required = [name for name, cost in plan.budget.features.items() if not cost.optional]
    search = Duration.sum([lead.duration] * trials + [plan.budget.phases[n] for n in required])
    names = tuple(dict.fromkeys(candidate.strategy for candidate in plan.candidates))
    update = {"strategies": names, "memory": lead.memory, "search": search, "trials": trials}
    lengths = facts.data.lengths
    fits_context = lengths is None or lengths.p99 <= model.context_length
    hours = comparison().hours
    limit_hours = hours.most if facts.hardware.gpus else hours.most_on_cpus
    in_time = min(search.seconds, plan.budget.sweep.seconds) <= _OVER_LIMIT * limit_hours * 3600
    if spec.aim.budget is not None:
        in_time = trials >= min(spec.search.trials, USEFUL_TRIALS)
    option = option.model_copy(update=update)
    return _PlannedOption(option, plan, fits_context, in_time, search.seconds)


def _chosen(options: Sequence[_PlannedOption], task: Task) -> _PlannedOption | None:
    """The largest model that meets the criteria; the fastest if no sweep is in time.

    The criteria, in order: the task's kind, a sweep within the time limit, a context that fits the
    texts, and a base without quantisation. A criterion that no remaining model meets is skipped. A
    variant is preferred to models of ``_VARIANT_FACTOR`` times its size. None if no model has a
    plan.
    """
    kind = _kind(task).kind
    criteria: tuple[Callable[[_PlannedOption], bool], ...] = (
        lambda option: option.summary.kind == kind,
        lambda option: option.in_time,
        lambda option: option.fits_context,
        lambda option: (
            option.plan is not None and option.plan.candidates[0].setup.quantization is None
        ),
    )
    remaining = [option for option in options if option.plan is not None]
    for is_met in criteria:
        remaining = [option for option in remaining if is_met(option)] or remaining
    if not remaining:
        return None
    if not remaining[0].in_time:
        return min(remaining, key=lambda option: option.seconds)
    largest = max(remaining, key=lambda option: option.summary.parameters)
    variants = {name for option in comparison().variants_of(task) for name in option.models}
    least = largest.summary.parameters / _VARIANT_FACTOR
    preferred = [option for option in remaining if option.summary.model in variants]
    best = max(preferred, key=lambda option: option.summary.parameters, default=largest)
    return best if best.summary.parameters >= least else largest


def _kind(task: Task) -> _KindRule:
    """The kind of model for a task, with the reason."""
    return next(kind for kind in comparison().kinds if task in kind.tasks)


def _benchmarks(task: Task) -> list[_Benchmark]:
    return [benchmark for benchmark in comparison().measures if task in benchmark.tasks]


def _reasons(chosen: _PlannedOption, task: Task) -> tuple[Reason, ...]:
    """The criteria that decided for the chosen model."""
    criteria, kind = comparison(), _kind(task)
    reasons = []
    if chosen.summary.kind == kind.kind:
        title = f"{kind.kind.capitalize()}s for {task}"
        reasons.append(Reason(rule="model-kind", title=title, why=kind.why, source=kind.source))
    if chosen.in_time:
        reasons.append(
            Reason(
                rule="largest-in-time",
                title="The largest model whose search is in time",
                why=f"{criteria.larger.why} {criteria.hours.why}",
                source=f"{criteria.larger.source}; {criteria.hours.source}",
            )
        )
    reasons += [
        Reason(
            rule="variant", title=f"A variant for {task}", why=variant.why, source=variant.source
        )
        for variant in criteria.variants_of(task)
        if chosen.summary.model in variant.models
    ]
    return tuple(reasons)
