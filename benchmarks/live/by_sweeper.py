"""sweeper as a contender: its own command, and what the run's folder says afterwards.

Loads no torch. Knows the files of a run and nothing of the other contenders.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import json_lines
from benchmarks.live.record import Mode, Seen, Told, Winner
from sweeper.runfolder import RunFolder
from sweeper.trials import BaselineResult, TestScore, TestSeal, TrialConfig, TrialResult

MODEL = "packaged:minilm"
_NAME = "live"
# The strategy that is searched like for like; the others search neither heads nor other
# strategies, and train no configuration on further seeds.
STRATEGY = "lora"
_LIKE = ("--strategies", STRATEGY, "--finalists", "1", "--confirmation-seeds", "1")


def command(mode: Mode, data: Path, trials: int, seed: int) -> list[str]:
    """What is typed."""
    asked = ["run", "--task", "classification", "--model", MODEL, "--data", str(data)]
    asked += ["--trials", str(trials), "--seed", str(seed), "--name", _NAME, "--progress", "plain"]
    program = str(Path(sys.executable).parent / "sweeper")
    return [program, *asked, *(_LIKE if mode == "like" else ())]


def read(folder: Path) -> Told:
    """What the run in a folder did.

    A trial's loss counts as known at the end of the second in which its trial ended.
    """
    run = RunFolder.named(_NAME, folder / "runs")
    ended = {
        event["trial"]: _unix(event["at"]) + 1.0
        for event in json_lines.read(run.events)
        if event["kind"] == "trial-ended"
    }
    states: dict[str, int] = {}
    seen: list[Seen] = []
    best: tuple[TrialResult, TrialConfig] | None = None
    for path in sorted(run.trials.glob("*/result.json")):
        result = TrialResult.read(path)
        config = TrialConfig.read(path.with_name("config.json"))
        states[result.state] = states.get(result.state, 0) + 1
        if result.validation_loss is None:
            continue
        trained = config.strategy != "head"
        number = result.number
        seen.append(Seen(ended[number], _mean_loss(path), str(number), trained))
        if best is None or result.validation_loss < (best[0].validation_loss or 0.0):
            best = result, config
    assert best is not None, "no trial completed"
    seen.sort(key=lambda one: one.at)
    winner = _winner(run, *best)
    return Told(tuple(seen), max(ended.values()), states, winner, tuple(_others(run)))


def _mean_loss(path: Path) -> float:
    """The mean of the losses of all validation items, item by item."""
    losses: list[float] = json.loads(path.with_name("item_losses.json").read_text("utf-8"))[
        "losses"
    ]
    return sum(losses) / len(losses)


def _unix(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _winner(run: RunFolder, result: TrialResult, config: TrialConfig) -> Winner:
    scores = {score.name: score for score in TestSeal.read(run.test_seal).scores}
    name = f"trial-{result.number}"
    loss = _mean_loss(run.trial(result.number) / "result.json")
    said = {key: _short(value) for key, value in config.parameters.items() if key in _SHOWN}
    return _scored(str(result.number), f"{config.strategy} {said}", loss, scores.get(name))


_SHOWN = (
    "learning_rate",
    "per_device_train_batch_size",
    "r",
    "target_modules",
    "head_learning_rate",
    "head_init",
)


def _short(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _scored(trial: str, what: str, loss: float, score: TestScore | None) -> Winner:
    if score is None:
        return Winner(trial, what, loss, None, None)
    return Winner(trial, what, loss, score.test_loss, score.metrics["accuracy"])


def _others(run: RunFolder) -> list[Winner]:
    """Baselines and finalists on the same splits."""
    scores = {score.name: score for score in TestSeal.read(run.test_seal).scores}
    found = []
    for path in sorted(run.baselines.glob("*.json")):
        one = BaselineResult.read(path)
        if one.validation_loss is not None:
            what = f"{one.title}, {one.seconds:.1f} s"
            found.append(_scored(one.name, what, one.validation_loss, scores.get(one.name)))
    for number in TestSeal.read(run.test_seal).order:
        config = TrialConfig.read(run.trial(number) / "config.json")
        loss = _mean_loss(run.trial(number) / "result.json")
        what = f"finalist, {config.strategy}"
        found.append(_scored(str(number), what, loss, scores.get(f"trial-{number}")))
    return found
