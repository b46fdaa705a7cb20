"""``sweeper plan``: from task, data and hardware to strategies and a search space, with reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sweeper.cli.options import takes_spec
from sweeper.errors import NothingFits
from sweeper.features import parts
from sweeper.yamlfile import KeyPath

ORDER = 10
commands = typer.Typer()


@commands.command("plan")
@takes_spec()
def plan(
    flags: dict[KeyPath, Any],
    spec_file: Annotated[
        Path | None, typer.Argument(help="A sweep.yaml.", metavar="[SWEEP.YAML]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole plan as JSON.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Write a sweep.yaml with these flags and all defaults."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Also write sweep.yaml and the plan into runs/NAME."),
    ] = None,
    measure_domain: Annotated[
        bool,
        typer.Option(
            "--measure-domain",
            help="Measure with the base model how far the data are from general text. This loads "
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
    from sweeper.specfile import resolve, to_yaml
    from sweeper.steps.planned import planned
    from sweeper.textfiles import write_text
    from sweeper.views import plan_view
    from sweeper.views.console import say

    if name is not None:
        flags[("name",)] = name
    spec = resolve(flags, spec_file, needs_model=measure_domain or probe)
    if any(show(spec, as_json=as_json) for _, show in parts.PLAN_OUTPUT.all()):
        return
    try:
        spec, new_plan = planned(spec, measure_domain=measure_domain, probe=probe, tell=say)
    except NothingFits as error:
        if as_json and error.plan:
            typer.echo(error.plan, nl=False)
        raise
    if output is not None:
        write_text(output, to_yaml(spec))
    if name is not None:
        from sweeper.runfolder import RunFolder

        folder = RunFolder.named(name)
        with folder.lock():
            write_text(folder.spec, to_yaml(spec))
            new_plan.write(folder.plan)
    if as_json:
        typer.echo(new_plan.to_json(), nl=False)
    else:
        plan_view.show(new_plan, verbose=verbose)
    if output is not None:
        next_command = f"; to train: sweeper run {output}" if new_plan.identity else ""
        say(f"Written: {output}{next_command}")
