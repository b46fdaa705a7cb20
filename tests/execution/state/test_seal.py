from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from curve_backend import make_plan

from sweeper.execution.next_attempt import configure
from sweeper.execution.state import attempts
from sweeper.execution.state.seal import contender, seeds_of
from sweeper.runfolder import RunFolder
from sweeper.trials import TrialResult


def test_a_contender_has_the_least_memory_of_its_trainings_and_whether_it_tests_a_rule(
    tmp_path: Path,
) -> None:
    run, plan = RunFolder(tmp_path), make_plan()
    lora = plan.candidate("lora")
    for number, rule in ((3, "lora-rank"), (4, "")):
        config = configure(plan, lora, lora.defaults(), number=number, attempt=1, origin="search")
        config = config.model_copy(update={"tests_rule": rule})
        # The first training of a process also grows by what its libraries keep.
        folders = [run.trial(number), *(run.seed(number, seed) for seed in seeds_of(plan))]
        for peak, folder in zip((0.24, 0.09, 0.1), folders, strict=True):
            folder.mkdir(parents=True)
            config.write(folder / attempts.CONFIG)
            TrialResult(
                number=number, attempt=1, seed=0, state="COMPLETE", validation_loss=0.5,
                peak_memory_gib=peak,
            ).write(folder / attempts.RESULT)  # fmt: skip
        found = contender(run, plan, number)
        assert (found.memory_gib, found.tests_rule) == (0.09, bool(rule))


def test_items_without_weight_are_not_among_those_of_a_contender(tmp_path: Path) -> None:
    run, plan = RunFolder(tmp_path), make_plan()
    lora = plan.candidate("lora")
    config = configure(plan, lora, lora.defaults(), number=0, attempt=1, origin="search")
    for folder in (run.trial(0), *(run.seed(0, seed) for seed in seeds_of(plan))):
        folder.mkdir(parents=True)
        config.write(folder / attempts.CONFIG)
        kept = {"losses": [0.2, 0.0, 0.6], "weights": [3.0, 0.0, 1.0]}
        (folder / attempts.ITEM_LOSSES).write_text(json.dumps(kept))
        TrialResult(
            number=0, attempt=1, seed=0, state="COMPLETE", validation_loss=0.3,
        ).write(folder / attempts.RESULT)  # fmt: skip
    items = contender(run, plan, 0).items
    assert np.isnan(items).tolist() == 3 * [[False, True, False]]
    assert np.nanmean(items) == 0.3
