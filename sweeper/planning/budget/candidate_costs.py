"""Times of a candidate's trials and of its base model, for each phase of a sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sweeper.facts.record import Facts, ModelFacts
from sweeper.features import parts
from sweeper.hyperparameters import (
    BATCH,
    CLASS_WEIGHT,
    EPOCHS,
    MODULES_TO_SAVE,
    OPTIMIZER,
    TARGET_MODULES,
)
from sweeper.memory.setup import OTHER
from sweeper.objective import LOSS, Objective
from sweeper.planning.budget.sequence_cap import Cap, sequence_cap
from sweeper.planning.budget.trial_budget import (
    RUNGS,
    TYPICAL_CLASSES,
    further_tokens,
    scored_rungs,
    scoring_tokens,
)
from sweeper.planning.costs.corrections import interval_factor
from sweeper.planning.costs.device_speed import machines, of_one_worker
from sweeper.planning.costs.setups import candidate_setup
from sweeper.planning.costs.trial_seconds import (
    Clock,
    Workload,
    clock_of,
    fit_seconds,
)
from sweeper.plans import Candidate, Duration, Parameter
from sweeper.spec import Scalar, Spec

# Measured on two cores over five sweeps: a worker has torch, transformers, PEFT and the base in 7
# to 8 s; between two trials or jobs lies about half a second of claiming, restoring and writing.
START_SECONDS, BETWEEN_SECONDS = 7.5, 0.5
# Items that are answered in writing unless the user says otherwise.
_WRITTEN = {"cpu": 20, "cuda": 256}
# The length of an answer where no data is at hand.
_ANSWER_SHARE = 0.5
_TIMED = (BATCH, TARGET_MODULES, OPTIMIZER, MODULES_TO_SAVE)


def timed_parameters() -> tuple[str, ...]:
    """The parameters that decide a trial's time, besides its length."""
    return (*_TIMED, *(name for _, names in parts.STEP_PARAMETERS.all() for name in names))


class Priced(NamedTuple):
    """A candidate with what its trials take, in seconds.

    Args:
        candidate: Candidate of the plan, its ``duration`` as here.
        default: A full trial of the default.
        searched: A trial of the search that is not stopped, expected over the batches, modules
            and epochs it will try.
        scoring: One model on the test split.
        writing: Its answers to the first test items.
        free: The trial is what a baseline has made already.
        source: Measurements that corrected the times, as text; empty without any.
    """

    candidate: Candidate
    default: float
    searched: float
    scoring: float
    writing: float
    free: bool
    source: str


def workload_of(
    spec: Spec,
    facts: Facts,
    model: ModelFacts,
    epochs: float,
    objective: Objective = LOSS,
    part: int | None = None,
) -> Workload:
    """Tokens and items that trials of this study train and score.

    Args:
        part: Rows that the search trains on; None for all.
    """
    cap, data = sequence_cap(spec, facts, model), facts.data
    rows = part or data.train_rows
    validation = data.rows_of("validation") or round(data.rows * spec.data.validation_fraction)
    validation = max(validation, 1)
    scored = scored_rungs(spec, facts, cap, validation, epochs, rows)
    head = facts.task == "classification" and spec.training.classes_by == "head"
    classes = (len(data.labels) or TYPICAL_CLASSES) if facts.task == "classification" else 0
    answer = data.lengths.output_mean if data.lengths else None
    at_rung, at_end = further_tokens(spec, cap.tokens)
    test = data.rows_of("test") or max(round(data.rows * spec.data.test_fraction), 1)
    wanted = spec.evaluation.generate_items
    written = _WRITTEN[facts.hardware.device] if wanted is None else wanted
    return Workload(
        train_rows=cap.items(rows),
        all_rows=cap.items(data.train_rows) if part else 0,
        epochs=epochs,
        rungs=RUNGS,
        rung_items=scored.items,
        rung_every=scored.every,
        validation_rows=validation,
        test_rows=test,
        item_tokens=max(round(cap.mean), 1),
        scoring_tokens=scoring_tokens(spec, facts, cap),
        classes=classes if head else 0,
        longest=cap.tokens,
        answer_fraction=_answer_share(facts, cap),
        written_items=0 if classes else test if objective.of_answers else min(written, test),
        written_tokens=answer or cap.mean * _ANSWER_SHARE,
        answered_rows=validation if objective.of_answers else 0,
        further_tokens=(scored.below + 1) * at_rung + at_end,
        processes=_processes(spec, facts),
    )


def _answer_share(facts: Facts, cap: Cap) -> float:
    """The share of answers in the tokens of a batch at the cap; 1 if unknown."""
    lengths = facts.data.lengths
    if lengths is None or lengths.output_share is None:
        return 1.0
    if cap.tokens >= lengths.p90 or lengths.output_mean is None:
        return lengths.output_share
    # The longest tenth is cut or left out.
    return min(lengths.output_mean / lengths.mean, 1.0)


def _processes(spec: Spec, facts: Facts) -> int:
    """Workers of this machine that have cores of their own."""
    if facts.hardware.device != "cpu" or spec.search.executor != "local":
        return 1
    return min(spec.search.workers or 1, spec.search.trials, facts.hardware.cpu_cores or 1)


def priced(candidate: Candidate, facts: Facts, workload: Workload) -> Priced:
    """What a candidate's trials take."""
    clocks = [
        (weight, _clock(candidate, facts, workload, parameters))
        for weight, parameters in _configurations(candidate)
    ]
    default = clock_of_default(candidate, facts, workload)
    whole = default.whole(workload)
    # Where only the memory of the card is known, from the fastest such card to the slowest.
    setup, hardware = default.setup, facts.hardware
    cards = machines(of_one_worker(hardware, workload.processes))
    each = [clock_of(default.model, setup, card).whole(workload) for card in cards]
    low, high = default.speed.spread
    wider = interval_factor(facts, "trial-time")
    ends = min(whole, *each) * low / wider, max(whole, *each) * high * wider
    duration = Duration(seconds=whole, low=ends[0], high=ends[1])
    source = default.learned.source
    return Priced(
        candidate=candidate.model_copy(
            update={"duration": duration, "time_notes": (source,) if source else ()}
        ),
        default=whole,
        searched=math.fsum(weight * clock.whole(workload) for weight, clock in clocks)
        * usual_share(candidate.parameters.get(EPOCHS)),
        scoring=default.scoring(workload, workload.test_rows),
        writing=default.writing(workload),
        # A frozen head is fitted as the baseline is, with all classes alike.
        free=candidate.one_trial
        and bool(workload.classes)
        and not workload.all_rows
        and candidate.defaults().get(CLASS_WEIGHT, "none") == "none",
        source=source,
    )


def clock_of_default(candidate: Candidate, facts: Facts, workload: Workload) -> Clock:
    """The clock of a candidate's default."""
    return _clock(candidate, facts, workload, candidate.defaults())


def clock_of_base(candidate: Candidate, facts: Facts, workload: Workload) -> Clock:
    """The clock of a candidate's base model, without the strategy's layers."""
    clock = clock_of_default(candidate, facts, workload)
    setup = clock.setup.replace(strategy=OTHER.name, trainable=0, quantization=None)
    return clock_of(clock.model, setup, of_one_worker(facts.hardware, workload.processes))


def _clock(
    candidate: Candidate, facts: Facts, workload: Workload, parameters: Mapping[str, Scalar]
) -> Clock:
    model = next(m for m in facts.models if m.id == candidate.model)
    setup = candidate_setup(
        candidate, parameters, workload.item_tokens, workload.classes, facts.hardware.device
    )
    return clock_of(model, setup, of_one_worker(facts.hardware, workload.processes))


def _configurations(candidate: Candidate) -> Iterator[tuple[float, dict[str, Scalar]]]:
    """Every combination of what decides a trial's time, with its chance to be tried."""
    defaults = candidate.defaults()
    names = timed_parameters()
    options = [list(_weighted(name, candidate.parameters.get(name))) for name in names]
    for combination in itertools.product(*options):
        chosen = {name: value for name, _, value in combination if value is not None}
        yield math.prod(weight for _, weight, _ in combination), defaults | chosen


def _weighted(name: str, parameter: Parameter | None) -> Iterator[tuple[str, float, Scalar | None]]:
    if parameter is None:
        yield name, 1.0, None
        return
    choices = parameter.choices if parameter.searched else None
    if not choices:
        yield name, 1.0, parameter.default
        return
    given = parameter.prior.weights if parameter.prior else None
    weights = given if given and len(given) == len(choices) else (1.0,) * len(choices)
    for choice, weight in zip(choices, weights, strict=True):
        yield name, weight / sum(weights), choice


def expected_values(parameter: Parameter | None) -> list[Scalar | None]:
    """The values that trials may have of a parameter that a trial's time depends on."""
    return [value for _, _, value in _weighted("", parameter)]


def usual_share(epochs: Parameter | None) -> float:
    """Mean share of a full budget that trials are given, by the prior and before pruning."""
    if epochs is None or not epochs.searched or epochs.choices is None:
        return 1.0
    full = max(map(float, epochs.choices))
    shares = [weight * float(choice or 0) for _, weight, choice in _weighted(EPOCHS, epochs)]
    return sum(shares) / full


def baseline_seconds(facts: Facts, lead: Candidate, workload: Workload) -> float:
    """The models that need no training: one pass over the examples for a probe, or prompts."""
    clock, workload = clock_of_base(lead, facts, workload), workload.whole
    if workload.classes:
        features = clock.scoring(workload, workload.train_rows + workload.validation_rows)
        return features + fit_seconds(workload)
    answers = clock.generating(workload.answered_rows, workload.written_tokens)
    return 2 * (clock.scoring(workload, workload.validation_rows) + answers)


def baseline_scoring(facts: Facts, lead: Candidate, workload: Workload) -> float:
    """The same models on the test split."""
    clock = clock_of_base(lead, facts, workload)
    if workload.classes:
        return clock.scoring(workload, workload.test_rows)
    return 2 * (clock.scoring(workload, workload.test_rows) + clock.writing(workload))
