"""The plan without a named model: compares models of the catalogue and chooses one.

``search_spaces/model_choice.yaml`` says which models and what decides between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, Strict

from sweeper.errors import NothingFits, SpecError
from sweeper.facts.record import Facts, ModelFacts
from sweeper.planning.planner import plan_with
from sweeper.planning.rulebook.book import RuleBook, rule_book
from sweeper.planning.rulebook.strategy_files import Text
from sweeper.plans import Duration, ModelChoice, ModelOption, Plan, Reason
from sweeper.resources import search_spaces
from sweeper.spec import ModelSpec, Spec, Task
from sweeper.yamlfile import FileModel, read

# Models whose numbers of parameters differ by less than this are of one size.
_SIZE = 1.5

Tasks = Annotated[tuple[Task, ...], Strict(strict=False)]


class _Reason(FileModel):
    why: Text
    source: Text


class _Kind(_Reason):
    tasks: Tasks
    kind: Literal["encoder", "decoder"]


class _Variants(_Reason):
    tasks: Tasks
    models: Annotated[tuple[str, ...], Strict(strict=False)]


class _Hours(_Reason):
    most: float = Field(gt=0)
    most_on_cpus: float = Field(gt=0)


class _Measure(FileModel):
    name: Text
    tasks: Tasks
    what: Text
    scores: dict[str, float]
    date: Text
    source: Text


class ModelComparison(FileModel):
    """The file with the compared models and the criteria."""

    models: Annotated[tuple[str, ...], Strict(strict=False)]
    kinds: Annotated[tuple[_Kind, ...], Strict(strict=False)]
    hours: _Hours
    larger: _Reason
    measures: Annotated[tuple[_Measure, ...], Strict(strict=False)]
    variants: Annotated[tuple[_Variants, ...], Strict(strict=False)]

    def variants_of(self, task: Task) -> list[_Variants]:
        """The models that were made for a task."""
        return [variant for variant in self.variants if task in variant.tasks]

    def models_of(self, task: Task) -> list[str]:
        """The models to compare for a task."""
        variants = self.variants_of(task)
        return [*self.models, *(name for variant in variants for name in variant.models)]


@lru_cache(maxsize=1)
def comparison() -> ModelComparison:
    """What ``model_choice.yaml`` holds."""
    return ModelComparison.model_validate(read(search_spaces() / "model_choice.yaml").data)


@dataclass(frozen=True)
class _Option:
    option: ModelOption
    plan: Plan | None = None
    whole: bool = False
    in_time: bool = False
    seconds: float = 0.0
    refused: SpecError | None = None


def plan_without_model(spec: Spec, facts: Facts) -> tuple[Spec, Plan]:
    """The plan for the model that suits task, data and hardware best, and the request for it.

    Args:
        facts: With those of every model that is compared.

    Raises:
        NothingFits: None of the models can be used.
        SpecError: What was declared applies to none of them.
    """
    book = rule_book(spec.rules)
    asked = {
        entry.id: spec.model_copy(update={"models": (ModelSpec(id=entry.id),)})
        for entry in facts.models
    }
    options = [_option(book, asked[entry.id], facts, entry) for entry in facts.models]
    chosen = _chosen(options, facts.task)
    if chosen is None or chosen.plan is None:
        for entry in options:
            if entry.refused is not None:  # what is declared suits none of them: a mistake in it
                raise entry.refused
        raise NothingFits(
            f"none of the {len(options)} models that were compared fits this hardware",
            why=options[0].option.reason,
            fix="Name a smaller model with --model, or give more memory.",
        )
    choice = ModelChoice(
        model=chosen.option.model,
        options=tuple(entry.option for entry in options),
        reasons=_reasons(chosen, facts.task),
        measures={
            entry.name: f"{entry.what} ({entry.source}; {entry.date})"
            for entry in _measures(facts.task)
        },
    )
    return asked[choice.model], chosen.plan.model_copy(update={"model_choice": choice})


def _option(book: RuleBook, spec: Spec, facts: Facts, model: ModelFacts) -> _Option:
    scores = {
        entry.name: entry.scores[model.id]
        for entry in _measures(facts.task)
        if model.id in entry.scores
    }
    option = ModelOption(
        model=model.id, kind=model.kind, parameters=model.parameters, scores=scores
    )
    try:
        plan = plan_with(book, spec, facts.model_copy(update={"models": (model,)}))
    except (NothingFits, SpecError) as error:
        option = option.model_copy(update={"reason": error.problems[0].what})
        refused = error if isinstance(error, SpecError) else None
        return _Option(option, refused=refused)
    lead, trials = plan.candidates[0], plan.budget.trials
    # As if only the recommended strategy were searched: others do not make a model dear.
    required = [name for name, cost in plan.budget.features.items() if not cost.optional]
    search = Duration.sum([lead.duration] * trials + [plan.budget.phases[n] for n in required])
    option = option.model_copy(
        update={
            "strategies": tuple(dict.fromkeys(entry.strategy for entry in plan.candidates)),
            "memory": lead.memory,
            "search": search,
            "trials": trials,
        }
    )
    lengths = facts.data.lengths
    whole = lengths is None or lengths.p99 <= model.context_length
    hours = comparison().hours
    most = hours.most if facts.hardware.gpus else hours.most_on_cpus
    in_time = search.seconds <= most * 3600
    if spec.aim.budget is not None:
        in_time = plan.budget.trials >= spec.search.trials
    return _Option(option, plan, whole, in_time, search.seconds)


def _chosen(options: Sequence[_Option], task: Task) -> _Option | None:
    """The largest model that meets most wishes; the fastest if none is in time.

    A model of the task's kind comes before others; then one that a sweep is in time with, that
    reads the texts whole, and whose base need not be quantised.
    """
    kind = _kind(task).kind
    tests: tuple[Callable[[_Option], bool], ...] = (
        lambda option: option.option.kind == kind,
        lambda option: option.in_time,
        lambda option: option.whole,
        lambda option: option.plan is not None and option.plan.candidates[0].quantization is None,
    )
    left = [option for option in options if option.plan is not None]
    for test in tests:
        left = [option for option in left if test(option)] or left
    if not left:
        return None
    if not left[0].in_time:
        return min(left, key=lambda option: option.seconds)
    largest = max(left, key=lambda option: option.option.parameters)
    variants = {name for option in comparison().variants_of(task) for name in option.models}
    least = largest.option.parameters / _SIZE
    alike = [option for option in left if option.option.parameters > least]
    return next((option for option in alike if option.option.model in variants), largest)


def _kind(task: Task) -> _Kind:
    return next(kind for kind in comparison().kinds if task in kind.tasks)


def _measures(task: Task) -> list[_Measure]:
    return [measure for measure in comparison().measures if task in measure.tasks]


def _reasons(chosen: _Option, task: Task) -> tuple[Reason, ...]:
    file, kind = comparison(), _kind(task)
    reasons = []
    plan = chosen.plan
    cpu = plan is not None and not plan.facts.hardware.gpus
    hours = file.hours.most_on_cpus if cpu else file.hours.most
    if chosen.option.kind == kind.kind:
        title = f"{kind.kind.capitalize()}s for {task}"
        reasons.append(Reason(rule="model-kind", title=title, why=kind.why, source=kind.source))
    if chosen.in_time:
        reasons.append(
            Reason(
                rule="largest-in-time",
                title="The largest model whose search is in time",
                why=f"{file.larger.why} Searches of more than {hours:g} hours are not "
                "recommended unless a budget allows for them.",
                source=f"{file.larger.source}; {file.hours.source}",
            )
        )
    reasons += [
        Reason(
            rule="variant", title=f"A variant for {task}", why=variant.why, source=variant.source
        )
        for variant in file.variants_of(task)
        if chosen.option.model in variant.models
    ]
    return tuple(reasons)
