"""The time that general text, replay and the KL penalty take: at steps, at rungs, in the study."""

from __future__ import annotations

from collections.abc import Mapping

from sweeper.facts.record import StepExtra
from sweeper.features.forgetting._general_data import (
    HELD_BACK_TEXTS,
    HELD_BACK_TOKENS,
    RUNG_TEXTS,
    SelfSampling,
)
from sweeper.features.forgetting.facts import ForgettingFacts
from sweeper.features.forgetting.options import Options
from sweeper.features.parts import record_of
from sweeper.planning.budget.study_phases import StudyPhases, base_times, possible_values
from sweeper.plans import PhaseCost
from sweeper.spec import Scalar, Spec

# Parameters on which the time of a training step depends; see ``step``.
STEP_PARAMETERS = ("replay_share", "kl_weight")
_SAMPLING = SelfSampling()


def step(parameters: Mapping[str, Scalar]) -> StepExtra:
    """The work added to a training step: replayed tokens, the base's outputs for the KL penalty."""
    share = float(parameters.get("replay_share", 0.0))
    return StepExtra(further_share=share, reference=bool(parameters.get("kl_weight")))


def scored_tokens(spec: Spec, cap: int) -> tuple[int, int]:
    """Number of tokens of general text that are scored at a rung, and at the end.

    Args:
        cap: The maximum number of tokens of an example.
    """
    options = spec.features.of(Options)
    limited = options.max_points is not None
    if _has_head(spec) or (not limited and options.general is None):
        return 0, 0
    text_tokens = min(cap, HELD_BACK_TOKENS)
    return (RUNG_TEXTS * text_tokens if limited else 0), HELD_BACK_TEXTS * text_tokens


def _has_head(spec: Spec) -> bool:
    return spec.task == "classification" and spec.training.classes_by == "head"


def plan_phase(spec: Spec, study: StudyPhases) -> PhaseCost | None:
    """The time in which the bases write general text; None if none has to.

    A base writes text if a trial uses it, the user gave none, and no earlier run has kept it.
    """
    facts, workload, options = study.facts, study.workload, spec.features.of(Options)
    if _has_head(spec) or options.general is not None:
        return None
    replays = any(
        share
        for timed in study.candidates
        for share in possible_values(timed.candidate.parameters.get("replay_share"))
    )
    # Trials use general text if they replay it, or score it: no other feature scores tokens.
    if not (workload.feature_tokens > 0 or replays):
        return None
    record = record_of(facts.features, "forgetting", ForgettingFacts) or ForgettingFacts()
    models = {model.id: model for model in facts.models}
    seconds = 0.0
    for name, timed in {timed.candidate.model: timed for timed in study.candidates}.items():
        if name not in record.written:
            # A base with a chat template writes a question, then its answer.
            texts = _SAMPLING.texts * (2 if models[name].chat_template else 1)
            times = base_times(timed.candidate, facts, workload)
            seconds += times.generation_seconds(texts, _SAMPLING.tokens, _SAMPLING.batch)
    if not seconds:
        return None
    title = "general text that the base model writes"
    return PhaseCost(title=title, in_search=True, seconds=seconds)
