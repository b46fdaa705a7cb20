"""``sweeper export`` and ``push``: a trial as a model, as a configuration, and on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

import typer
from typing_extensions import TypedDict

from sweeper.cli.options import AsJson, Quiet, RunName, TrialNumber

if TYPE_CHECKING:
    from sweeper.runfolder import RunFolder

ORDER = 70
commands = typer.Typer()


class Exported(TypedDict):
    """What ``export --json`` prints; which keys beyond the first two depends on ``--to``."""

    folder: str
    trial: int
    command: NotRequired[str]
    not_taken_over: NotRequired[list[dict[str, Any]]]
    not_copied: NotRequired[list[str]]
    difference: NotRequired[float | None]
    agreement: NotRequired[float | None]


def answers() -> dict[str, Any]:
    """The types of what the commands print with ``--json``."""
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

    from sweeper.features.exporting._configuration import WEIGHTS
    from sweeper.findings.compute import compute
    from sweeper.runfolder import RunFolder
    from sweeper.steps.winner import best_trial
    from sweeper.views.console import show_line

    folder = RunFolder.find(run)
    number = best_trial(compute(folder)) if trial is None else trial
    target = output or folder.path / "exports" / to
    if to in WEIGHTS:
        fields, lines = _weights(folder, number, to, target)
    else:
        fields, lines = _configuration(folder, number, to, target)
    if as_json:
        typer.echo(json.dumps({"folder": str(target), "trial": number, **fields}))
        return
    show_line(f"trial {number} for {to}: {target}")
    for line in lines:
        show_line(line)


@commands.command("push")
def push(
    run: RunName,
    repo: Annotated[str, typer.Option("--repo", help="The repository.", metavar="OWNER/NAME")],
    form: Annotated[
        str, typer.Option("--as", help="model, merged or peft; see `sweeper export`.")
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
    from sweeper.errors import UsageError, near_match
    from sweeper.features.exporting import _weights as hub
    from sweeper.features.exporting._configuration import WEIGHTS
    from sweeper.findings.compute import compute
    from sweeper.runfolder import RunFolder
    from sweeper.steps.winner import best_trial, refit_config
    from sweeper.views.console import show_line

    hub.check_repo(repo)
    if form not in WEIGHTS:
        raise UsageError(f"--as takes no {form!r}", fix=near_match(form, WEIGHTS), where="--as")
    folder = RunFolder.find(run)
    number = best_trial(compute(folder)) if trial is None else trial
    config = refit_config(folder, number)
    facts = hub.facts_of(folder, config.model)
    draft = folder.path / "MODEL_CARD.md"
    draft_text = draft.read_text(encoding="utf-8") if draft.is_file() and trial is None else ""
    with tempfile.TemporaryDirectory(dir=folder.path, prefix=".push-") as temporary:
        model = Path(temporary) / "model"
        _, lines = _weights(folder, number, form, model)
        writes_text = (model / "config.json").is_file() and not (
            model / "head.safetensors"
        ).is_file()
        library = "peft" if form == "peft" else "transformers" if writes_text else "sweeper"
        card = model / "README.md"
        readme = card.read_text(encoding="utf-8")
        text = hub.hub_card(readme, draft_text, facts, config.task, library, licence)
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
        address = hub.upload(model, repo, private=not public)
    show_line(f"trial {number} is at {address}")


ExportOutput = tuple[dict[str, Any], list[str]]
"""Fields for JSON, and lines for the terminal."""


def _configuration(run: RunFolder, number: int, to: str, target: Path) -> ExportOutput:
    """Export the configuration of a trial for a trainer."""
    from sweeper.features.exporting._configuration import export_configuration
    from sweeper.findings.compute import compute
    from sweeper.steps.winner import refit_config

    exported = export_configuration(run, compute(run), refit_config(run, number), to, target)
    lost = [f"  not supported: {entry}" for entry in exported.lost]
    fields = {
        "command": exported.command,
        "not_taken_over": [vars(entry) for entry in exported.lost],
    }
    return fields, [*lost, f"train: cd {target} && {exported.command}"]


def _weights(run: RunFolder, number: int, to: str, target: Path) -> ExportOutput:
    """Export the kept weights of a trial."""
    from sweeper.features.exporting import _weights as files
    from sweeper.findings.compute import compute
    from sweeper.steps.winner import kept_weights, refit_config

    weights = kept_weights(run, number)
    files.must_be_new(target)
    if to == "merged":
        files.kept_files(weights)
        return _merged(weights, target)
    if to == "model":
        left_out = files.copy_model(weights, target)
        lines = [f"  not copied: {name}, which sweeper did not write" for name in left_out]
        return {"not_copied": left_out}, lines
    facts = files.facts_of(run, refit_config(run, number).model)
    files.copy_adapter(weights, target, compute(run), facts)
    return {}, []


def _merged(weights: Path, target: Path) -> ExportOutput:
    from sweeper.child_process import in_child
    from sweeper.execution.interruption import leaving_on_signals
    from sweeper.extras import RUNS, require
    from sweeper.features.exporting._weights import MergeRequest

    require("sweeper export --to merged", RUNS)
    request = MergeRequest(weights=str(weights), folder=str(target))
    with leaving_on_signals():
        merge = "sweeper.features.exporting._merge:merge"
        result = in_child(merge, request, MergeRequest, what="merging")
    fields = {"difference": result.difference, "agreement": result.agreement}
    return fields, [result.agreement_text]
