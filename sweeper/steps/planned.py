"""``planned``: from a request to its plan, for this machine or another one."""

from __future__ import annotations

from sweeper.errors import SpecError
from sweeper.facts.gather import gather
from sweeper.features import parts
from sweeper.planning.planner import make_plan
from sweeper.plans import Plan
from sweeper.spec import Spec
from sweeper.specfile import with_positions
from sweeper.views.console import Tell, say_nothing


def check_features(spec: Spec, *, for_run: bool) -> None:
    """Ask every feature whether it can do what a request asks for.

    Args:
        for_run: Whether it will be trained here.

    Raises:
        SpecError: With all problems.
    """
    if problems := [problem for _, check in parts.CHECK.all() for problem in check(spec, for_run)]:
        raise SpecError(problems)


@with_positions
def planned(
    spec: Spec, *, measure_domain: bool = False, probe: bool = False, tell: Tell = say_nothing
) -> tuple[Spec, Plan]:
    """The plan of a request, and the request with the model that the plan is for.

    Args:
        measure_domain: Let the base model read some of the data. Loads torch in a process.
        probe: Let each candidate train a few steps first, in a process; needs a model.

    Raises:
        SweeperError: Something is wrong with data, model or machine, or nothing fits.
    """
    check_features(spec, for_run=False)
    if spec.data.named or any(parts.named_data(spec.features)):
        from sweeper.data.reading.hub import with_commits

        spec = with_commits(spec)
    if spec.models:
        made = make_plan(spec, gather(spec, measure_domain=measure_domain))
        if not probe:
            return spec, made
        from sweeper.processes.probe_process import with_probes

        return spec, with_probes(spec, made, tell)
    from sweeper.data.hub_client import switched_off
    from sweeper.facts.models.model import available_models, catalogue_facts
    from sweeper.planning.model_choice import comparison, plan_without_model

    names = comparison().models_of(spec.task)
    here = spec.hardware.gpu is None and spec.hardware.gpu_memory_gib is None
    only_available = here and switched_off("--model") is not None
    models = available_models(names) if only_available else tuple(map(catalogue_facts, names))
    return plan_without_model(spec, gather(spec, models=models))
