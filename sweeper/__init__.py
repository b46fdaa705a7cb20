"""sweeper: how should I fine-tune this model on this data with this hardware, and how do I know?

Importing this package loads nothing heavy. Follow one run through ``sweeper.spec``,
``sweeper.facts``, ``sweeper.planning``, ``sweeper.execution``, ``sweeper.findings`` and
``sweeper.reporting``: each stage reads the artifact of the stage before it.

``sweeper.load(PATH)`` gives a trained model; it loads torch when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeper.use.model import Model, Prediction, load

__version__ = "0.1.0"
__all__ = ["Model", "Prediction", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "Prediction", "load"):
        return getattr(importlib.import_module("sweeper.use.model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
