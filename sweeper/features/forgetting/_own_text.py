"""The folder for general text that a base model wrote, known without loading the model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from sweeper.cache import home
from sweeper.facts.models.model_folder import weights_state
from sweeper.facts.record import ModelFacts
from sweeper.features.forgetting._general_data import SelfSampling

FOLDER = "general"


def own_text_folder(facts: ModelFacts, weights: Path, sampling: SelfSampling) -> Path:
    """Its folder in the cache, whether it is there or not."""
    parts = {
        "sampling": asdict(sampling),
        "model": [facts.id, facts.revision],
        "weights": weights_state(weights),
    }
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    return home() / FOLDER / digest


def has_written(facts: ModelFacts) -> bool:
    """Whether the base wrote such text for an earlier run."""
    if facts.folder is None:
        return False
    return own_text_folder(facts, Path(facts.folder), SelfSampling()).is_dir()
