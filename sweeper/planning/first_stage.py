"""What the first stage of domain adaptation costs: its time, once for each way to run it.

Knows the plan's side of it; how a stage is run is training's business.
"""

from __future__ import annotations

from dataclasses import replace

from sweeper import units
from sweeper.facts.record import Facts, ModelFacts
from sweeper.planning.duration import trial_duration
from sweeper.planning.memory import Setup
from sweeper.planning.plan import Candidate

NAME, NONE = "first_stage", "none"
# LoRA's rank in a first stage, as training has it.
RANK = 256


def with_first_stage(
    candidate: Candidate, facts: Facts, model: ModelFacts, setup: Setup
) -> Candidate:
    """The candidate with a note on what reading the corpus takes, where it may read one.

    Args:
        candidate: Of the plan.
        facts: With those of the corpus.
        model: The candidate's base.
        setup: That the candidate trains the task with.
    """
    parameter, corpus = candidate.parameters.get(NAME), facts.data.corpus
    ways = [way for way in (parameter.choices or ()) if way != NONE] if parameter else []
    if corpus is None or not ways:
        return candidate
    way = str(ways[0])
    epochs = candidate.parameters["first_stage_epochs"].default
    tokens = round(corpus.tokens * float(epochs))
    reading = replace(
        setup,
        strategy=way,
        quantization=None,
        r=RANK,
        target_modules="all-linear",
        optimizer="adamw_torch",
    )
    time = trial_duration(model, reading, facts.hardware, tokens, 0)
    note = (
        f"first stage: about {tokens:,} tokens of {corpus.documents:,} documents, "
        f"{units.span(time.low, time.high)} with {way}, once for each way to run it and shared "
        "between trials"
    )
    return candidate.model_copy(update={"setup_notes": (*candidate.setup_notes, note)})
