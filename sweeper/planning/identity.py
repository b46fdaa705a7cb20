"""The identity of a run: digests that must be equal for the run to be resumed.

The digests cover the request and the data, not the rules: a resumed run follows its stored plan
even if the rules have changed.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sweeper.facts.record import Facts
from sweeper.features import parts
from sweeper.objective import LOSS, Objective
from sweeper.planning.budget.trial_budget import RUNGS
from sweeper.plans import Identity
from sweeper.spec import Spec

# Fields of the request that are part of a run's identity; the others may change on a resume.
_SPLIT_FIELDS = {"validation_fraction", "test_fraction", "split_seed", "split_by", "split_column"}
_AIM_FIELDS = {"strategies", "tasks_on_one_base", "domain_distance"}
_TRAINING_FIELDS = {
    "max_length", "precision", "gradient_checkpointing", "system_prompt", "class_weight",
    "stop_overfitting", "gpus_per_trial",
}  # fmt: skip


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
    # ``typed`` gives a path as the user wrote it, so that a run that was moved keeps its identity.
    typed, training = spec.places.typed, spec.training
    splits = [split.model_dump(mode="json") for split in data.splits]
    # The fingerprint covers the rows, including those that features add, but not sources' weights.
    weights = sorted([source.title, source.weight] for source in data.sources)
    return Identity(
        model=digest([[typed(model.id), model.revision] for model in facts.models]),
        data=digest([data.fingerprint, weights]),
        task=digest([facts.task, training.classes_by]),
        split=digest([splits, spec.data.model_dump(mode="json", include=_SPLIT_FIELDS)]),
        space=digest(
            [
                spec.aim.model_dump(mode="json", include=_AIM_FIELDS),
                training.model_dump(mode="json", include=_TRAINING_FIELDS),
                spec.model_dump(mode="json", include={"parameters"}),
                [typed(folder) for folder in spec.rules],
                _feature_options(spec),
            ]
        ),
        # A user's function counts by its text, not by its path.
        objective=digest(
            [training.max_length, objective.model_dump(mode="json", exclude={"folder"})]
        ),
        rungs=digest([RUNGS, training.epochs]),
        seed=digest(spec.search.seed),
        features={name: digest(hook(spec, facts)) for name, hook in parts.IDENTITY.all()},
    )


def _feature_options(spec: Spec) -> list[Any]:
    """The options of features that are part of the identity and differ from their defaults."""
    given = spec.features.model_dump(mode="json")
    defaults = type(spec.features)().model_dump(mode="json")
    return [
        [feature, key, given[feature][key]]
        for (_, feature, key), flag in sorted(parts.flags().items())
        if flag.identity and given[feature][key] != defaults[feature][key]
    ]
