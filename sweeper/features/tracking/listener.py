"""One listener for each service, which logs the run there as it goes on."""

from __future__ import annotations

import sys

from sweeper.errors import NotInstalled
from sweeper.extras import install_command, missing
from sweeper.features.tracking._follower import Follower, tracker_class
from sweeper.features.tracking.options import Options
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec

# The module of each service's client; its extra has the service's name.
_CLIENTS = {"mlflow": "mlflow", "wandb": "wandb", "tensorboard": "tensorboardX"}
# The end of a run, its report included, takes a second or two.
_END_SECONDS = 10.0


def wanted(spec: Spec) -> dict[str, float]:
    """A listener for each service.

    Raises:
        NotInstalled: Clients are missing; all of them are named.
    """
    services = dict.fromkeys(spec.features.of(Options).services)
    problems = [
        problem
        for name in services
        for problem in missing(f"--track {name}", [_CLIENTS[name]], install_command(name))
    ]
    if problems:
        raise NotInstalled(problems)
    return dict.fromkeys(services, _END_SECONDS)


def listen(name: str, run: RunFolder, spec: Spec) -> Follower:
    """The follower that logs to a service; loads its client."""
    if name == "tensorboard":
        # tensorboardX loads torch where it can, though it works without: 200 MiB for nothing.
        # MLflow takes the name in sys.modules for a torch that is loaded, and imports it.
        sys.modules["torch"] = None  # type: ignore[assignment]
    return Follower(run, tracker_class(name)(run, Plan.read(run.plan)))
