"""How a class's weight follows from its rows, for whoever trains with weights or judges trials.

Knows counts only.
"""

from __future__ import annotations

from collections.abc import Mapping

from sweeper.spec import ClassWeight

NAME = "class_weight"
# A weight is rows to the power of minus this: equal sums for all classes, or half of the way there.
POWERS: Mapping[ClassWeight, float] = {"none": 0.0, "balanced-sqrt": 0.5, "balanced": 1.0}
