"""sweeper as a contender: its own command, and what the run's folder says afterwards.

Loads no torch.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

from benchmarks import json_lines
from benchmarks.live.record import Seen, Told, Winner
from sweeper.runfolder import ITEM_LOSSES, RunFolder
from sweeper.trials import BaselineResult, TestSeal, TrialConfig, TrialResult

MODEL = "packaged:minilm"
_NAME = "live"


def command(data: Path, trials: int, seed: int) -> list[str]:
    """What is typed."""
    asked = ["run", "--task", "classification", "--model", MODEL, "--data", str(data)]
    asked += ["--trials", str(trials), "--seed", str(seed), "--name", _NAME, "--progress", "plain"]
    program = str(Path(sys.executable).parent / "sweeper")
    return [program, *asked]


def read(folder: Path) -> Told:
    """What the run in a folder did.

    A trial's loss counts as known at the end of the second in which its trial ended.
    """
    run = RunFolder.named(_NAME, folder / "runs")
    ended = {
        event["trial"]: datetime.fromisoformat(event["at"]).timestamp() + 1.0
        for event in json_lines.read(run.events)
        if event["kind"] == "trial-ended"
    }
    results = [TrialResult.read(path) for path in run.trials.glob("*/result.json")]
    complete = {one.number: loss for one in results if (loss := one.validation_loss) is not None}
    losses = {number: _mean_loss(run.trial(number)) for number in complete}
    configs = {number: TrialConfig.read(run.trial(number) / "config.json") for number in complete}
    seal = TestSeal.read(run.test_seal)
    scores = {score.name: score for score in seal.scores}

    def scored(trial: str, what: str, loss: float, name: str) -> Winner:
        score = scores.get(name)
        return Winner(
            trial=trial,
            what=what,
            validation_loss=loss,
            test_loss=score.test_loss if score else None,
            test_accuracy=score.metrics["accuracy"] if score else None,
        )

    def trial(number: int) -> Winner:
        what = f"{configs[number].strategy} {configs[number].parameters}"
        return scored(str(number), what, losses[number], f"trial-{number}")

    baselines = [BaselineResult.read(path) for path in sorted(run.baselines.glob("*.json"))]
    others = [
        scored(one.name, f"{one.title}, {one.seconds:.1f} s", one.validation_loss, one.name)
        for one in baselines
        if one.validation_loss is not None
    ]
    seen = [
        Seen(
            at=ended[number],
            loss=loss,
            trial=str(number),
            trained=configs[number].strategy != "head",
        )
        for number, loss in losses.items()
    ]
    return Told(
        seen=tuple(sorted(seen, key=lambda one: one.at)),
        searched_at=max(ended.values()),
        states=dict(Counter(one.state for one in results)),
        winner=trial(min(complete, key=complete.__getitem__)),
        others=(*others, *map(trial, seal.order)),
    )


def _mean_loss(trial: Path) -> float:
    """The mean of the losses of all validation items, item by item."""
    text = (trial / ITEM_LOSSES).read_text(encoding="utf-8")
    losses: list[float] = json.loads(text)["losses"]
    return sum(losses) / len(losses)
