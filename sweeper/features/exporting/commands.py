"""``sweeper export`` and ``push``: a trial as a model, as a configuration, and on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import typer
from typing_extensions import TypedDict

from sweeper.cli.options import AsJson, Quiet, RunName, TrialNumber

ORDER = 70
commands = typer.Typer()


class Exported(TypedDict):
    """What ``export --json`` prints. The keys after the first two depend on ``--to``."""

    folder: str
    trial: int
    command: NotRequired[str]
    not_taken_over: NotRequired[list[dict[str, Any]]]
    not_copied: NotRequired[list[str]]
    difference: NotRequired[float | None]
    agreement: NotRequired[float | None]


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    return {"export": Exported}


@commands.command("export")
def export(
    run: RunName,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Weights: model (as they are), merged (an adapter merged into its base), peft "
            "(for PEFT alone). Configuration and rows: axolotl, litgpt, llama-factory, trl, "
            "unsloth.",
        ),
    ],
    trial: TrialNumber = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new folder; RUN/exports/TO if not given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the winner as a model to serve, or its configuration and rows for another trainer.

    Settings that a trainer does not support are listed. A trial that it cannot train is refused;
    the error names the best trial that it can train.
    """
    import json

    from sweeper.features.exporting._configuration import export_trial
    from sweeper.findings.compute import compute
    from sweeper.runfolder import RunFolder
    from sweeper.steps.winner import best_trial
    from sweeper.views.console import show_line

    folder = RunFolder.find(run)
    number = best_trial(compute(folder)) if trial is None else trial
    export_folder = output or folder.path / "exports" / to
    fields, lines = export_trial(folder, number, to, export_folder)
    if as_json:
        typer.echo(json.dumps({"folder": str(export_folder), "trial": number, **fields}))
        return
    show_line(f"trial {number} for {to}: {export_folder}")
    for line in lines:
        show_line(line)


@commands.command("push")
def push(
    run: RunName,
    repo: Annotated[str, typer.Option("--repo", help="The repository.", metavar="OWNER/NAME")],
    form: Annotated[
        Literal["model", "merged", "peft"],
        typer.Option("--as", help="model, merged or peft; see `sweeper export`."),
    ] = "model",
    trial: TrialNumber = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license", help="The hub's name of a licence; the base model's if not given."
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
    upload: Annotated[
        bool, typer.Option("--upload", help="Upload. Without it, only show what would be uploaded.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Show which files of the winner would go to the hub; with --upload, upload them.

    The token comes from HF_TOKEN or `hf auth login`. HF_ENDPOINT sets another hub.
    """
    import tempfile

    from sweeper import units
    from sweeper.features.exporting._configuration import export_trial
    from sweeper.features.exporting._weights import check_repo, facts_of, hub_card, upload_folder
    from sweeper.findings.compute import compute
    from sweeper.runfolder import RunFolder
    from sweeper.steps.winner import best_trial, refit_config
    from sweeper.views.console import show_line

    check_repo(repo)
    folder = RunFolder.find(run)
    number = best_trial(compute(folder)) if trial is None else trial
    config = refit_config(folder, number)
    facts = facts_of(folder, config.model)
    draft = folder.path / "MODEL_CARD.md"
    draft_text = draft.read_text(encoding="utf-8") if draft.is_file() and trial is None else ""
    with tempfile.TemporaryDirectory(dir=folder.path, prefix=".push-") as temporary:
        model = Path(temporary) / "model"
        _, lines = export_trial(folder, number, form, model)
        names = {path.name for path in model.iterdir()}
        in_transformers = "config.json" in names and "head.safetensors" not in names
        library = "peft" if form == "peft" else "transformers" if in_transformers else "sweeper"
        card = model / "README.md"
        readme = card.read_text(encoding="utf-8")
        text = hub_card(readme, draft_text, facts, config.task, library, licence)
        card.write_text(text, encoding="utf-8")
        files = sorted(path for path in model.rglob("*") if path.is_file())
        for line in () if quiet else lines:
            show_line(line)
        if not upload:
            if not quiet:
                show_line(text)
            for path in files:
                size = units.size(path.stat().st_size)
                show_line(f"{path.relative_to(model)}  {size}")
            kind = "public" if public else "private"
            text = f"Nothing was uploaded. With --upload, these go to {repo} ({kind} if it is new)."
            show_line(text)
            return
        address = upload_folder(model, repo, private=not public)
    show_line(f"trial {number} is at {address}")
