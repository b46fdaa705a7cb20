from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.backend import Decision
from sweeper.execution.claims import Queue
from sweeper.execution.records import read_rungs
from sweeper.execution.reporting import Reporter
from sweeper.search.observations import noted_items
from sweeper.search.storage import open_storage
from sweeper.search.study import create_study
from sweeper.trials import FirstItems, RungReport

ITEMS = FirstItems.among([0.2, 0.4], 50)


@pytest.mark.parametrize("prunes", [True, False])
def test_what_a_rung_says_is_in_the_study_and_in_the_curve(
    any_storage: str, tmp_path: Path, prunes: bool
) -> None:
    storage = open_storage(any_storage)
    queue = Queue(storage, create_study(storage, "s"))
    queue.add({}, {})
    claim = queue.claim("h/1/0")
    assert claim is not None
    attempt = tmp_path / "attempts" / "1"
    attempt.mkdir(parents=True)
    heard: list[RungReport] = []
    report = Reporter(claim, tmp_path, attempt, lambda: False, heard.append, prunes)
    told = RungReport(
        number=0, attempt=1, rung=2, validation_loss=0.3, items=2, first_items=ITEMS,
        optimizer_steps=4, epochs=0.5, tokens=90, training_seconds=1.0, evaluation_seconds=0.1,
    )  # fmt: skip
    assert report(told) is Decision.CONTINUE
    assert heard == [told]
    assert read_rungs(tmp_path) == read_rungs(attempt) == [told]
    # A confirmation run is no trial: it has nothing to tell the search.
    assert queue.trial(0).intermediate_values == ({2: 0.3} if prunes else {})
    assert noted_items(queue.trial(0).user_attrs) == ({2: ITEMS} if prunes else {})
