"""Creates and opens the two studies of a run: its trials, and the queue of its other work.

Knows their names and attributes; nothing about workers.
"""

from __future__ import annotations

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler

from sweeper.errors import RunError
from sweeper.search.observations import CONSTRAINT as CONSTRAINT
from sweeper.search.observations import FAILURE as FAILURE
from sweeper.search.observations import ORIGIN as ORIGIN
from sweeper.search.observations import SECONDS as SECONDS
from sweeper.search.storage import Storage

# Study attributes. Plain Optuna code and dashboards show them as they are.
RUN = "sweeper:run"
PHASE = "sweeper:phase"
OPEN, CLOSED = "open", "closed"
TOTAL = "sweeper:total"
SPEC = "sweeper:spec"
BACKEND = "sweeper:backend"
IDENTITY = "sweeper:identity"

# Trial attributes.
OVERRIDES = "sweeper:overrides"
GENERAL_LOSS = "sweeper:general_loss"
FORGETTING = "sweeper:forgetting_points"


def jobs_name(name: str) -> str:
    """The study that queues baselines, confirmation runs and test scores."""
    return f"{name}/jobs"


def create_study(storage: Storage, name: str) -> optuna.Study:
    """The study with that name, made if it is new. Validation loss: lower is better."""
    with storage.exclusive():
        return optuna.create_study(
            storage=storage.optuna,
            study_name=name,
            direction="minimize",
            load_if_exists=True,
            sampler=RandomSampler(),
        )


def load_study(
    storage: Storage,
    name: str,
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
) -> optuna.Study:
    """Open a study that a sweeper command made.

    Raises:
        RunError: The storage holds no study of that name.
    """
    try:
        return optuna.load_study(
            study_name=name,
            storage=storage.optuna,
            sampler=sampler or RandomSampler(),
            pruner=pruner,
        )
    except KeyError as error:
        known = [study.study_name for study in storage.optuna.get_all_studies()]
        raise RunError(
            f"the storage holds no study {name!r}",
            why=f"It holds: {', '.join(sorted(known)) or 'none'}.",
            fix="Start 'sweeper run' with this --storage first, or name the run.",
        ) from error
