"""``sweeper plan``: from task, data and hardware to strategies and a search space, with reasons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli.options import takes_spec
from sweeper.errors import NothingFits
from sweeper.yamlfile import Path_

if TYPE_CHECKING:
    from sweeper.plan import Plan
    from sweeper.spec import Spec


@takes_spec()
def plan(
    flags: dict[Path_, Any],
    spec_file: Annotated[
        Path | None, typer.Argument(help="A sweep.yaml.", metavar="[SWEEP.YAML]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole plan as JSON.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Write the request, defaults included, as a sweep.yaml."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Also start a run folder of this name.")
    ] = None,
    measure_domain: Annotated[
        bool,
        typer.Option(
            "--measure-domain",
            help="Measure with the base model how far the data lie from general text. This loads "
            "torch and the weights once and takes seconds to minutes.",
        ),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Let each strategy train a few steps on this machine first. This loads torch and "
            "takes seconds to minutes, once for each set-up.",
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show every reason.")] = False,
) -> None:
    """Pick strategies and a search space from best-practice rules, with reasons.

    Without --model it also compares models of the catalogue and picks one.
    It writes no file, unless -o or --name asks for one.
    """
    from sweeper.artifact import write_text
    from sweeper.cli.views import plan_view
    from sweeper.runfolder import RunFolder
    from sweeper.specfile import resolve, to_yaml

    if name is not None:
        flags[("name",)] = name
    spec = resolve(flags, spec_file, needs_model=measure_domain or probe)
    try:
        spec, made = planned(spec, measure_domain=measure_domain)
    except NothingFits as error:
        if as_json and error.plan:
            typer.echo(error.plan, nl=False)
        raise
    if probe:
        from sweeper.cli.processes.probed_plan import with_probes

        made = with_probes(spec, made, quiet=False)
    if output is not None:
        write_text(output, to_yaml(spec))
    if name is not None:
        folder = RunFolder.named(name)
        with folder.lock():
            write_text(folder.spec, to_yaml(spec))
            made.facts.write(folder.facts)
            made.write(folder.plan)
    if as_json:
        typer.echo(made.to_json(), nl=False)
    else:
        plan_view.show(made, verbose=verbose)


def planned(spec: Spec, *, measure_domain: bool = False) -> tuple[Spec, Plan]:
    """The plan of a request, and the request with the model that the plan is for.

    Raises:
        SweeperError: Something is wrong with data, model or machine, or nothing fits.
    """
    from sweeper.facts.gather import gather
    from sweeper.facts.models.model import catalogue_facts
    from sweeper.planning.model_choice import comparison, plan_without_model
    from sweeper.planning.planner import make_plan

    if spec.models:
        return spec, make_plan(spec, gather(spec, measure_domain=measure_domain))
    models = tuple(catalogue_facts(name) for name in comparison().models)
    return plan_without_model(spec, gather(spec, models=models))
