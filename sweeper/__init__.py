"""sweeper: how should I fine-tune this model on this data with this hardware, and how do I know?

Importing this package loads nothing heavy. Follow one run through ``sweeper.spec``,
``sweeper.facts``, ``sweeper.planning``, ``sweeper.execution``, ``sweeper.findings`` and
``sweeper.reporting``: each stage reads the artifact of the stage before it.

``sweeper.plan``, ``sweeper.run`` and ``sweeper.load_run`` do the same as the commands, and
``sweeper.load(PATH)`` returns a trained model. Their modules are imported at the first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeper.api import NotebookFindings, NotebookPlan, Run, load_run, plan, run
    from sweeper.errors import SweeperError
    from sweeper.use.trained_model import Model, Prediction, load

__version__ = "0.1.0"
__all__ = [
    "Model",
    "NotebookFindings",
    "NotebookPlan",
    "Prediction",
    "Run",
    "SweeperError",
    "__version__",
    "load",
    "load_run",
    "plan",
    "run",
]

# The module of each public name.
_MODULES = {
    **dict.fromkeys(
        ("NotebookFindings", "NotebookPlan", "Run", "load_run", "plan", "run"), "sweeper.api"
    ),
    **dict.fromkeys(("Model", "Prediction", "load"), "sweeper.use.trained_model"),
    "SweeperError": "sweeper.errors",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
