"""``planned``: makes the plan of a request, for this machine or another one."""

from __future__ import annotations

from sweeper.errors import SpecError
from sweeper.facts.gather import gather
from sweeper.features import parts
from sweeper.planning.planner import make_plan
from sweeper.plans import Plan
from sweeper.spec import Spec
from sweeper.specfile import with_positions
from sweeper.views.console import Say, say_nothing


def check_features(spec: Spec, *, for_run: bool) -> None:
    """Check that every feature can do what a request asks for.

    Args:
        for_run: Whether the plan will be run here.

    Raises:
        SpecError: A feature cannot do it; the error lists all problems.
    """
    if problems := [problem for _, check in parts.CHECK.all() for problem in check(spec, for_run)]:
        raise SpecError(problems)


@with_positions
def planned(
    spec: Spec, *, measure_domain: bool = False, probe: bool = False, tell: Say = say_nothing
) -> tuple[Spec, Plan]:
    """The request, completed with the model that the plan chose if it names none, and the plan.

    Args:
        measure_domain: Whether the base model scores some of the data, in a process with torch.
        probe: Whether each candidate first trains a few steps, in a process; needs a model.

    Raises:
        SweeperError: Data, model or machine have a problem, or nothing fits.
    """
    check_features(spec, for_run=False)
    if spec.data.named or any(parts.named_data(spec.features)):
        from sweeper.data.reading.files import with_commits

        spec = with_commits(spec)
    if spec.models:
        plan = make_plan(spec, gather(spec, measure_domain=measure_domain))
        if not probe:
            return spec, plan
        from sweeper.processes.probe_process import with_probes

        return spec, with_probes(spec, plan, tell)
    from sweeper.data.hub_client import switched_off
    from sweeper.facts.models.model import available_models, catalogue_facts
    from sweeper.planning.model_choice import comparison, plan_without_model

    names = comparison().models_of(spec.task)
    is_this_machine = spec.hardware.gpu is None and spec.hardware.gpu_memory_gib is None
    only_available = is_this_machine and switched_off("--model") is not None
    models = available_models(names) if only_available else tuple(map(catalogue_facts, names))
    return plan_without_model(spec, gather(spec, models=models))
