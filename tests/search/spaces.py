"""A space that needs no plan: two strategies, each with a rate."""

from __future__ import annotations

from sweeper.plans import Parameter
from sweeper.search.engine import RungCount, Space, StrategySpace

RATE = Parameter(
    kind="float", log=True, low=1e-4, high=3e-4, allowed_low=1e-5, allowed_high=1e-2,
    default=2e-4, source="test",
)  # fmt: skip
SPACE = Space(
    [
        StrategySpace("lora", {"learning_rate": RATE}),
        StrategySpace("full", {"learning_rate": RATE}),
    ],
    RungCount(8, 2),
)
