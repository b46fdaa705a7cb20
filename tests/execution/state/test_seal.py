from __future__ import annotations

import json
from pathlib import Path

import pytest
from curve_backend import make_plan

from sweeper.execution.state import attempts
from sweeper.execution.state.seal import seeds_of, trainings
from sweeper.runfolder import RunFolder
from sweeper.trials import TrialResult


def test_a_finalist_has_the_least_memory_of_its_trainings(tmp_path: Path) -> None:
    run, plan = RunFolder(tmp_path), make_plan()
    # The first training of a process also grows by what its libraries keep.
    folders = [run.trial(3), *(run.seed(3, seed) for seed in seeds_of(plan))]
    for peak, folder in zip((0.24, 0.09, 0.1), folders, strict=True):
        folder.mkdir(parents=True)
        TrialResult(
            number=3, attempt=1, seed=0, state="COMPLETE", validation_loss=0.5,
            peak_memory_gib=peak,
        ).write(folder / attempts.RESULT)  # fmt: skip
    assert trainings(run, plan, 3).memory_gib == 0.09


def test_items_without_weight_are_not_among_those_of_a_finalist(tmp_path: Path) -> None:
    run, plan = RunFolder(tmp_path), make_plan()
    for folder in (run.trial(0), *(run.seed(0, seed) for seed in seeds_of(plan))):
        folder.mkdir(parents=True)
        kept = {"losses": [0.2, 0.0, 0.6], "scores": [1.0, 0.0, 1.0], "weights": [3.0, 0.0, 1.0]}
        (folder / attempts.ITEM_LOSSES).write_text(json.dumps(kept))
        TrialResult(
            number=0, attempt=1, seed=0, state="COMPLETE", validation_loss=0.3,
        ).write(folder / attempts.RESULT)  # fmt: skip
    scores = trainings(run, plan, 0).scores
    assert scores is not None
    assert scores.items.shape == (3, 2)
    assert scores.mean == pytest.approx(0.3)
