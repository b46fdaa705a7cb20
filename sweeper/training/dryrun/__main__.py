"""``python -m sweeper.training.dryrun``: a request on standard input, JSON on output."""

from __future__ import annotations

import json
from typing import Any

from sweeper.child_process import answer_question
from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup
from sweeper.spec import MODULE_PARAMETERS
from sweeper.training.dryrun.step import follow


def request(text: str) -> tuple[ModelFacts, Setup]:
    """Model facts and set-up out of ``{"model": {...}, "setup": {...}}``."""
    content: dict[str, Any] = json.loads(text)
    setup = content["setup"]
    for name in MODULE_PARAMETERS:
        if isinstance(setup.get(name), list):
            setup[name] = tuple(setup[name])
    return ModelFacts.model_validate(content["model"]), Setup(**setup)


if __name__ == "__main__":
    answer_question(lambda text: follow(*request(text)))
