"""Makes the requests of ``sweeper refit`` with their cards, and finds the unfinished ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sweeper import units
from sweeper.artifact import Artifact
from sweeper.data.examples import Split
from sweeper.errors import UsageError
from sweeper.findings.compute import compute
from sweeper.findings.findings import Findings
from sweeper.findings.verdict.headline import figure_lines
from sweeper.runfolder import RunFolder
from sweeper.steps.winner import best_trial, refit_config
from sweeper.trials import TrialConfig

# The file of a ``RefitRequest`` in its folder.
REFIT_RECORD = "refit.json"


class RefitRequest(Artifact):
    """One more training of a configuration, on more rows; stored as ``refit.json``.

    Args:
        config: Configuration, trained to its last rung, since no rows are left to choose a rung.
        folder: Output folder with ``weights/``, ``trainer.log`` and ``refit.json``.
        card: Text that is appended to the card of the weights.
    """

    run: str
    config: TrialConfig
    splits: tuple[Split, ...]
    folder: str
    card: str


# The function that the training process runs.
TRAIN = "sweeper.features.refit._process:refit"


def requests(
    run: RunFolder, trial: int | None, seeds: int, output: Path | None, *, all_rows: bool
) -> list[RefitRequest]:
    """One training for each seed, from the trial's own seed upwards.

    Raises:
        UsageError: The trial has not completed.
    """
    findings = compute(run)
    number = best_trial(findings) if trial is None else trial
    config = refit_config(run, number)
    splits: tuple[Split, ...] = ("train", "validation", *(("test",) if all_rows else ()))
    folder = output or run.path / ("refit-all" if all_rows else "refit")
    return [
        RefitRequest(
            run=str(run.path),
            config=config.model_copy(update={"seed": seed}),
            splits=splits,
            folder=str(folder / str(seed)),
            card=card(findings, number, config, splits),
        )
        for seed in range(config.seed, config.seed + seeds)
    ]


def unfinished(requests: Sequence[RefitRequest]) -> Iterator[RefitRequest]:
    """The requests whose folders do not exist yet.

    Raises:
        UsageError: A folder exists and holds something else. Nothing is trained then.
    """
    are_done = []
    for request in requests:
        folder = Path(request.folder)
        earlier_request = RefitRequest.read_or_none(folder / REFIT_RECORD)
        requested = request.config, request.splits
        are_done.append(
            earlier_request is not None
            and (earlier_request.config, earlier_request.splits) == requested
        )
        if folder.exists() and not are_done[-1]:
            raise UsageError(
                "the folder exists, but does not belong to this refit",
                fix="Delete it, or name another folder with --output.",
                where=str(folder),
            )
    return (request for request, is_done in zip(requests, are_done, strict=True) if not is_done)


def card(findings: Findings, number: int, config: TrialConfig, splits: tuple[Split, ...]) -> str:
    """The card of a refit: its origin, the sweep's figures, and what was not measured."""
    measured = figure_lines(findings, number)
    count = config.budget.epochs
    epochs = "1 pass" if count == 1 else f"{count:g} passes"
    lines = [
        "",
        "## Trained again on more rows",
        "",
        f"This model has the configuration of trial {number} of the run {findings.run.name}. It",
        f"was trained on {units.joined(list(splits))}, in {epochs} over the rows.",
        "",
        f"The sweep measured these figures on trial {number}, which was trained on train alone:",
        "",
        *measured,
        "",
        "This model was not measured:",
        "",
        "- Validation: not known, since it was trained on these rows.",
        "- Test: not known, since it was trained on these rows."
        if "test" in splits
        else "- Test: not measured. The test split was scored once, for the sweep.",
        "- What it forgot: not measured.",
        "",
    ]
    return "\n".join(lines)
