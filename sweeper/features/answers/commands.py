"""``sweeper data prompts`` writes the prompts that a model elsewhere must answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sweeper.cli.options import AsJson, takes_spec
from sweeper.yamlfile import KeyPath

ORDER = 165  # position in the help
commands = typer.Typer(name="data", help="Work with data sets.")


@commands.command("prompts")
@takes_spec(sections=("task", "data"))
def prompts(
    flags: dict[KeyPath, Any],
    output: Annotated[Path, typer.Option("--output", "-o", help="New file, in JSONL.")],
    file: Annotated[Path | None, typer.Argument(help="The sweep.yaml of the study.")] = None,
    request_model: Annotated[
        str, typer.Option("--request-model", help="Name of the model in the requests.")
    ] = "MODEL",
    as_json: AsJson = False,
) -> None:
    """Write the prompts of validation and test, for a model elsewhere to answer.

    Each line is a request of OpenAI's Batch API; the answers that it gives go to --answers. Give
    the data as for sweeper run, so that the splits are the same. Do not tune anything by these
    rows: the test split is for one comparison, at the end.
    """
    from sweeper.cli.data_options import must_be_free
    from sweeper.data.prepared import prepared_data
    from sweeper.data.write_rows import write_rows
    from sweeper.errors import UsageError
    from sweeper.features.answers._saved_answers import HELD_OUT, PromptsFile
    from sweeper.features.answers._saved_answers import prompts as requests
    from sweeper.specfile import resolve
    from sweeper.views.console import out

    must_be_free(output)
    if output.suffix != ".jsonl":
        raise UsageError("requests are written as JSONL", fix="Name it NAME.jsonl.", where="-o")
    dataset = prepared_data(resolve(flags, file, needs_model=False)).dataset
    rows = list(requests(dataset, request_model))
    write_rows(output, rows)
    counts = {split: len(dataset.splits[split]) for split in HELD_OUT}
    if as_json:
        prompts_file = PromptsFile(output=str(output), prompts=len(rows), rows=dict(counts))
        typer.echo(prompts_file.model_dump_json(indent=2))
    else:
        rows_by_split = " and ".join(f"{count:,} {split}" for split, count in counts.items())
        out().print(f"{len(rows):,} prompts of {rows_by_split} rows: {output}", markup=False)


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    from sweeper.features.answers._saved_answers import PromptsFile

    return {"data prompts": PromptsFile}
