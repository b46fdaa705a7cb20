"""The methods that are compared, as the names of a sampler and a pruner.

All start from the rule book's defaults unless they are told not to.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One way to search.

    Args:
        name: In tables.
        sampler: As ``sweep.yaml`` names it.
        pruner: Likewise.
        slow: Loads torch or takes minutes; left out unless it is asked for.
        stops: Whether it ends by itself.
        module: Runs it where it is no sampler of Optuna's.
        package: That it needs and no extra installs.
    """

    name: str
    sampler: str
    pruner: str
    slow: bool = False
    stops: bool = False
    module: str = ""
    package: str = ""


OURS = "sweeper"
_NOP = "optuna:NopPruner"
# Bounds are stated, since Optuna's automatic ones wait for a first trial to end.
_ASHA = "optuna:SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)"
_HYPERBAND = "optuna:HyperbandPruner(min_resource=1, max_resource=8, reduction_factor=2)"

METHODS = {
    method.name: method
    for method in (
        Method(OURS, "sweeper", "sweeper"),
        Method("sweeper, no pruning", "sweeper", _NOP),
        Method("sweeper, stops by itself", "sweeper", "sweeper", stops=True),
        Method("TPE", "optuna:TPESampler", _NOP),
        Method("TPE, median", "optuna:TPESampler", "optuna:MedianPruner"),
        Method("TPE, Hyperband", "optuna:TPESampler", _HYPERBAND),
        Method("random", "optuna:RandomSampler", _NOP),
        Method("random, ASHA", "optuna:RandomSampler", _ASHA),
        Method("engineer", "benchmarks.search.engineer:Engineer", _NOP),
        Method("GP", "optuna:GPSampler", _NOP, slow=True),
        Method(
            "GP by strategy", "benchmarks.search.by_strategy:GaussianProcess", "sweeper", slow=True
        ),
        Method(
            "SMAC by strategy",
            "benchmarks.search.by_strategy:Smac",
            "sweeper",
            slow=True,
            package="smac",
        ),
        Method(
            "HEBO by strategy",
            "benchmarks.search.by_strategy:Hebo",
            "sweeper",
            slow=True,
            package="HEBO",
        ),
        Method("race", "", "", module="benchmarks.search.race"),
    )
}
