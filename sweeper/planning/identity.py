"""The identity of a run: digests of the request, compared on resume.

The digests cover the request and the data, never the rules: a resume obeys the frozen plan even
where the rules have changed since.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sweeper.facts.record import Facts
from sweeper.objective import LOSS, Objective
from sweeper.planning.budget.trial_budget import RUNGS
from sweeper.plans import Identity
from sweeper.spec import Spec

OBJECTIVE = "validation loss: mean over items, unpadded, without penalties; version 1"


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def identity(spec: Spec, facts: Facts, objective: Objective = LOSS) -> Identity | None:
    """The run's identity; None if nothing can be run (no data, or only a model's size)."""
    data = facts.data
    if data.fingerprint is None or any(model.source == "size" for model in facts.models):
        return None
    aim, training = spec.aim, spec.training
    splits = [split.model_dump(mode="json") for split in data.splits]
    given = spec.data
    fractions: list[Any] = [given.validation_fraction, given.test_fraction, given.split_seed]
    # Only where it was asked for, so that runs from before it could be still resume.
    if given.split_by != "stratified":
        fractions += [given.split_by, given.split_column]
    typed = spec.places.typed
    # A corpus of which facts are known counts by its text, any other one by its name.
    corpus = data.corpus.sha256 if data.corpus is not None else given.corpus and typed(given.corpus)
    general: Any = given.general and typed(given.general)
    if given.general_revision is not None:
        general = [general, given.general_revision]
    space: dict[str, Any] = {
        "strategies": aim.strategies,
        "tasks_on_one_base": aim.tasks_on_one_base,
        "domain_distance": aim.domain_distance,
        "max_length": training.max_length,
        "precision": training.precision,
        "gradient_checkpointing": training.gradient_checkpointing,
        "system_prompt": training.system_prompt,
        "rules": [typed(folder) for folder in spec.rules],
    }
    # Only where they are asked for, so that runs from before they could be still resume.
    names = ("replay_share", "kl_weight", "class_weight", "stop_overfitting")
    chosen = {name: getattr(training, name) for name in names}
    space |= {name: value for name, value in chosen.items() if value is not None}
    if spec.parameters:
        space["parameters"] = spec.model_dump(mode="json", include={"parameters"})
    # Weights, too, are told only where there are any; augmented rows are in the fingerprint.
    weights = [sorted([one.title, one.weight] for one in data.sources)] if data.sources else []
    written = facts.task == "classification" and training.classes_by == "generate"
    # Between base models the loss of a text is counted in bytes.
    unit = ["bits per byte"] if len(facts.models) > 1 and facts.task != "classification" else []
    # A function of the user counts by its text, wherever it lies.
    asked = [] if objective.is_loss else [objective.model_dump(mode="json", exclude={"folder"})]
    # Likewise, runs from before there was curation still resume.
    curation = [spec.curation.model_dump(mode="json")] if spec.curation.asked else []
    return Identity(
        model=digest([[typed(model.id), model.revision] for model in facts.models]),
        data=digest([data.fingerprint, corpus, general, *weights, *curation]),
        task=digest([facts.task, "generate"] if written else facts.task),
        split=digest([splits, fractions]),
        space=digest(space),
        objective=digest([OBJECTIVE, training.max_length, *unit, *asked]),
        rungs=digest([RUNGS, training.epochs]),
        seed=digest(spec.search.seed),
        general=data.general_sha256,
    )
