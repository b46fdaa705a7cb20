"""The real command where the optimizer of a trial ends the worker's process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Sweeper, ended_after

from sweeper.execution.state.attempts import attempt_folder, attempts_of, read_end
from sweeper.runfolder import RESULT
from sweeper.trials import TrialResult

pytestmark = pytest.mark.usefixtures("preloaded")


class OnASmallCard(Sweeper):
    """Starts the command over sweeper's own backend, on a tiny model."""

    strategies = "lora"
    model = ""

    def command(self, trials: int, workers: int, seed: int) -> list[str]:
        changed = {
            "curve_backend:make": "dying_optimizer:make",
            "packaged:minilm": self.model,
        }
        words = super().command(trials, workers, seed)
        return [
            *(changed.get(word, word) for word in words),
            *("--epochs", "1", "--set", "lora.per_device_train_batch_size=4"),
        ]


@pytest.fixture
def small_card(tmp_path: Path, model_folders: dict[str, Path]) -> Iterator[OnASmallCard]:
    made = OnASmallCard(tmp_path / "runs" / "run")
    made.model = str(model_folders["bert"])
    with ended_after(made):
        yield made


@pytest.mark.slow
def test_an_optimizer_that_ends_the_process_costs_its_trial_alone(small_card: OnASmallCard) -> None:
    small_card.finish(2)
    homes = [small_card.run.trial(number) for number in range(2)]
    first, second = (TrialResult.read(home / RESULT) for home in homes)
    ends = [
        [
            end.kind
            for number in attempts_of(home)
            if (end := read_end(attempt_folder(home, number)))
        ]
        for home in homes
    ]
    assert ends == [["out-of-memory"], []]
    assert (first.state, first.attempt, first.micro_batch) == ("COMPLETE", 2, 2)
    # What the first trial taught holds for the second, which runs in the new process.
    assert second.state != "FAIL"
    assert second.micro_batch == 2
    assert json.loads((small_card.folder / "test.json").read_text())
