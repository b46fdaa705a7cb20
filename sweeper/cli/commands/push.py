"""``sweeper push``: the winner as a repository of the hub."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.cli.options import Quiet, RunName, TrialNumber

ORDER = 80
commands = typer.Typer()


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
    from pathlib import Path

    from sweeper import units
    from sweeper.cli.commands.export import export_weights
    from sweeper.errors import UsageError, near_match
    from sweeper.exporting import push as hub
    from sweeper.exporting.configuration import WEIGHTS
    from sweeper.exporting.kept_files import check_regular
    from sweeper.findings.compute import compute
    from sweeper.plans import Plan
    from sweeper.runfolder import RunFolder
    from sweeper.steps.refit import as_trained
    from sweeper.steps.winner import best_trial
    from sweeper.views.console import show_line

    hub.check_repo(repo)
    if form not in WEIGHTS:
        raise UsageError(f"--as takes no {form!r}", fix=near_match(form, WEIGHTS), where="--as")
    folder = RunFolder.find(run)
    number = best_trial(compute(folder)) if trial is None else trial
    config = as_trained(folder, number)
    facts = next(one for one in Plan.read(folder.plan).facts.models if one.id == config.model)
    draft = folder.path / "MODEL_CARD.md"
    described = ""
    if draft.is_file() and trial is None:
        check_regular(folder.path, [draft])
        described = draft.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=folder.path, prefix=".push-") as temporary:
        model = Path(temporary) / "model"
        _, lines = export_weights(folder, number, form, model, quiet=quiet)
        writes = (model / "config.json").is_file() and not (model / "head.safetensors").is_file()
        library = "peft" if form == "peft" else "transformers" if writes else "sweeper"
        card = model / "README.md"
        readme = card.read_text(encoding="utf-8")
        text = hub.hub_card(readme, described, facts, config.task, library, licence)
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
