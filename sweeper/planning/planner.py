"""From a request and its facts to a plan. Pure: the same input gives the same plan, to the byte.

Knows nothing of torch, files other than the rule book, or how trials are run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.errors import NothingFits, Problem
from sweeper.facts.record import Facts, ModelFacts
from sweeper.planning.answers import answers
from sweeper.planning.budget import RUNGS, make_budget, rung_items
from sweeper.planning.effects import fill
from sweeper.planning.factkinds import Values
from sweeper.planning.facttable import fact_values
from sweeper.planning.fitting import MARGIN, Fit, Work, fit
from sweeper.planning.identity import identity
from sweeper.planning.lengths import Cap, sequence_cap
from sweeper.planning.plan import (
    Candidate,
    Duration,
    MemoryEstimate,
    Parameter,
    Plan,
    Reason,
    Rejected,
)
from sweeper.planning.remedies import too_large
from sweeper.planning.rules import RuleBook, rule_book
from sweeper.planning.space import Standing, fired, notes, standings
from sweeper.spec import Spec

TYPICAL_CLASSES = 2


@dataclass(frozen=True, slots=True)
class _Scene:
    """One of the base models with what the rules make of every strategy for it."""

    model: ModelFacts
    values: Values
    standings: dict[str, Standing]
    cap: Cap


def make_plan(spec: Spec, facts: Facts) -> Plan:
    """Which strategies compete, over which space, at what cost, and why.

    Args:
        spec: The request.
        facts: What is known of models, data and machine.

    Raises:
        NothingFits: No strategy can be used; with every reason and remedy.
        RuleError: A rule or strategy file holds mistakes.
    """
    return plan_with(rule_book(spec.rules), spec, facts)


def plan_with(book: RuleBook, spec: Spec, facts: Facts) -> Plan:
    """``make_plan`` with a rule book of one's own."""
    scenes = [_scene(book, spec, facts, model) for model in facts.models]
    epochs = _epochs(spec, scenes[0])
    candidates, rejected = _ranked(book, spec, facts, scenes, epochs)
    lead = candidates[0]
    scene = next(scene for scene in scenes if scene.model.id == lead.model)
    rules = fired(book, scene.values)
    steps = _steps(facts, lead, epochs)
    items = rung_items(_validation_rows(spec, facts), facts.data.train_rows, epochs)
    full_tokens = round(epochs * facts.data.train_rows * scene.cap.mean)
    return Plan(
        facts=facts,
        recommended=lead.strategy,
        candidates=tuple(candidates),
        rejected=tuple(rejected),
        warnings=(*notes(rules, scene.values, "warning"), *_cut(scene.cap)),
        advice=notes(rules, scene.values, "advice"),
        answers=answers(rules, scene.values, facts, candidates, rejected),
        own_trials=spec.trials,
        budget=make_budget(spec, facts, candidates, epochs, full_tokens, steps, items),
        seed=spec.search.seed,
        identity=identity(spec, facts),
    )


def outlook(book: RuleBook, spec: Spec, facts: Facts) -> tuple[list[Candidate], list[Rejected]]:
    """Only the candidates in order and the rejected: what a plan decides, without its texts.

    Raises:
        NothingFits: No strategy can be used.
    """
    scenes = [_scene(book, spec, facts, model) for model in facts.models]
    return _ranked(book, spec, facts, scenes, _epochs(spec, scenes[0]))


def _ranked(
    book: RuleBook, spec: Spec, facts: Facts, scenes: Sequence[_Scene], epochs: float
) -> tuple[list[Candidate], list[Rejected]]:
    candidates, rejected = _entries(spec, facts, scenes, epochs, leave_out=True)
    if not candidates:
        # Nothing else fits: a strategy that rules leave out is better than no plan.
        candidates, rejected = _entries(spec, facts, scenes, epochs, leave_out=False)
    if not candidates:
        raise NothingFits([_problem(item) for item in rejected])
    order = {name: strategy.order for name, strategy in book.strategies.items()}
    candidates.sort(key=lambda c: (-c.score, order[c.strategy]))
    return candidates, rejected


def _scene(book: RuleBook, spec: Spec, facts: Facts, model: ModelFacts) -> _Scene:
    values = fact_values(spec, facts, model)
    return _Scene(model, values, standings(book, values), sequence_cap(spec, facts, model))


def _epochs(spec: Spec, scene: _Scene) -> float:
    """One full budget for the whole study: the user's, else that of the best-scored strategy."""
    if spec.training.epochs is not None:
        return spec.training.epochs
    ranked = sorted(scene.standings.values(), key=lambda s: -s.score)
    for standing in ranked:
        parameter = standing.parameters.get("num_train_epochs")
        if parameter is not None and standing.refused is None:
            return float(parameter.default)
    return 1.0


def _entries(
    spec: Spec, facts: Facts, scenes: Sequence[_Scene], epochs: float, *, leave_out: bool
) -> tuple[list[Candidate], list[Rejected]]:
    candidates: list[Candidate] = []
    rejected: list[Rejected] = []
    for scene in scenes:
        for standing in scene.standings.values():
            entry = _entry(spec, facts, scene, standing, epochs, leave_out)
            if isinstance(entry, Candidate):
                candidates.append(entry)
            else:
                rejected.append(entry)
    return candidates, rejected


def _entry(
    spec: Spec, facts: Facts, scene: _Scene, standing: Standing, epochs: float, leave_out: bool
) -> Candidate | Rejected:
    name = standing.strategy.name
    wanted = spec.aim.strategies
    if wanted is not None and name not in wanted:
        return _rejected(scene, name, "not among the strategies asked for", "", "the request")
    if standing.refused is not None:
        why, rule, source = standing.refused
        return _rejected(scene, name, why, rule, source)
    out = standing.left_out
    if out is not None and wanted is None and leave_out:
        remedy = f"name it with --strategies to let it compete ({name})"
        return _rejected(scene, name, fill(out.why, scene.values), out.id, out.source, remedy)
    parameters = _with_epochs(standing.parameters, epochs, spec)
    found = fit(
        standing.strategy,
        parameters,
        _optimizer(standing, scene.values),
        scene.model,
        facts.hardware,
        spec.training,
        _work(spec, facts, scene, standing, epochs),
    )
    if not found.fits:
        return too_large(standing.strategy, scene.model, found, facts.hardware)
    return _candidate(scene, standing, parameters, found)


def _rejected(
    scene: _Scene, name: str, why: str, rule: str, source: str, remedy: str = ""
) -> Rejected:
    return Rejected(
        strategy=name, model=scene.model.id, reason=why, rule=rule, source=source, remedy=remedy
    )


def _optimizer(standing: Standing, values: Values) -> str:
    return next(name for when, name in standing.strategy.optimizers if when.holds(values))


def _with_epochs(
    parameters: dict[str, Parameter], epochs: float, spec: Spec
) -> dict[str, Parameter]:
    """The study's epochs are every candidate's, whatever its own rules say of the range."""
    old = parameters.get("num_train_epochs")
    if old is None:
        return parameters
    low, high = min(old.low or epochs, epochs), max(old.high or epochs, epochs)
    update: dict[str, object] = {"default": epochs, "low": low, "high": high}
    if spec.training.epochs is not None:
        update |= {"source": "the request", "why": "The full budget that was asked for."}
    return parameters | {"num_train_epochs": old.model_copy(update=update)}


def _validation_rows(spec: Spec, facts: Facts) -> int:
    rows = [split.rows for split in facts.data.splits if split.name == "validation"]
    return rows[0] if rows else max(round(facts.data.rows * spec.data.validation_fraction), 1)


def _work(spec: Spec, facts: Facts, scene: _Scene, standing: Standing, epochs: float) -> Work:
    rows, validation = facts.data.train_rows, _validation_rows(spec, facts)
    items = rung_items(validation, rows, epochs)
    if "num_train_epochs" not in standing.parameters:
        # Features of a frozen model are computed once, whatever the epochs.
        epochs, items = 1.0, 0
    classes = len(facts.data.labels) or TYPICAL_CLASSES
    return Work(
        sequence_length=scene.cap.tokens,
        train_tokens=round(epochs * rows * scene.cap.mean),
        evaluation_tokens=round(((RUNGS - 1) * items + validation) * scene.cap.mean),
        classes=classes if facts.task == "classification" else 0,
    )


def _candidate(
    scene: _Scene, standing: Standing, parameters: dict[str, Parameter], found: Fit
) -> Candidate:
    setup, strategy = found.setup, standing.strategy
    return Candidate(
        strategy=strategy.name,
        model=scene.model.id,
        score=round(standing.score, 6),
        reasons=tuple(standing.reasons),
        cautions=tuple(standing.cautions),
        memory=_rounded(found.memory),
        seconds_per_trial=round(found.duration.seconds, 3),
        duration=Duration(
            seconds=round(found.duration.seconds, 3),
            low=round(found.duration.low, 3),
            high=round(found.duration.high, 3),
        ),
        micro_batch=setup.micro_batch,
        gradient_accumulation_steps=setup.gradient_accumulation_steps,
        evaluation_batch=setup.evaluation_batch,
        gradient_checkpointing=setup.gradient_checkpointing,
        precision=setup.precision,
        sequence_length=setup.sequence_length,
        optimizer=setup.optimizer,
        quantization=setup.quantization,
        gpus_per_trial=setup.gpus,
        trainable_parameters=found.trainable,
        expected_quality=f"{strategy.quality} ({strategy.quality_source})",
        setup_notes=_setup_notes(scene, found),
        parameters=parameters,
    )


def _rounded(memory: MemoryEstimate) -> MemoryEstimate:
    """To a thousandth of a GiB, so that plans of equal worth do not differ in a diff."""
    return memory.model_copy(
        update={
            "peak_gib": round(memory.peak_gib, 3),
            "low_gib": round(memory.low_gib, 3),
            "high_gib": round(memory.high_gib, 3),
            "parts": {name: round(gib, 3) for name, gib in memory.parts.items()},
        }
    )


def _setup_notes(scene: _Scene, found: Fit) -> tuple[str, ...]:
    heaviest = found.heaviest
    return (
        f"sequence cap of {scene.cap.tokens} tokens: {scene.cap.why}",
        f"margin: {MARGIN}; the heaviest configuration of the range needs "
        f"{heaviest.peak_gib:.1f} GiB (up to {heaviest.high_gib:.1f}) of {heaviest.limit_gib:g}",
    )


def _steps(facts: Facts, lead: Candidate, epochs: float) -> int:
    """Optimizer steps of one full budget at the default's effective batch."""
    batch = lead.micro_batch * lead.gradient_accumulation_steps * lead.gpus_per_trial
    return max(round(epochs * facts.data.train_rows / batch), 1)


def _cut(cap: Cap) -> tuple[Reason, ...]:
    if not cap.cuts:
        return ()
    return (
        Reason(
            rule="sequence-cap",
            title="Long texts are cut",
            why=f"{cap.cuts} of the examples are longer than the cap of {cap.tokens} tokens "
            f"and lose their end ({cap.why}).",
            source="measured: token lengths of the data",
        ),
    )


def _problem(item: Rejected) -> Problem:
    return Problem(
        f"{item.strategy} cannot be used for {item.model}: {item.reason}", "", item.remedy
    )
