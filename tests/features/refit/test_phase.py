"""The winner of a search on a part of the rows is trained on all of them, and scored once."""

from __future__ import annotations

from pathlib import Path

import pytest
from curve_backend import make_plan
from fake_pool import FakePool, Sweep, make_sweep

from sweeper.execution.state import attempts
from sweeper.features.refit import section
from sweeper.findings.compute import compute
from sweeper.findings.study.reading import read_run
from sweeper.plans import Plan
from sweeper.steps.winner import kept_weights, refit_config
from sweeper.trials import TestSeal, TrialConfig


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return make_sweep(tmp_path, monkeypatch)


def on_a_part(rows: int | None) -> Plan:
    plan = make_plan(4)
    return plan.model_copy(update={"budget": plan.budget.model_copy(update={"train_rows": rows})})


def jobs(pool: FakePool) -> list[str]:
    return [f"{job.kind} {job.name}" for job in pool.jobs]


def test_the_search_sees_the_part_and_the_winner_all_rows(sweep: Sweep) -> None:
    assert sweep.go(4, on_a_part(100)).kind == "complete"
    plan, winner = Plan.read(sweep.run.plan), TestSeal.read(sweep.run.test_seal).order[0]
    rows, seed = plan.facts.data.train_rows, plan.seed
    name = f"trial-{winner}-rows-{rows}-seed-{seed}"
    assert jobs(sweep.pool)[-2:] == [f"confirm {name}", f"test {name}"]
    trained = [job.config.train_rows for job in sweep.pool.jobs if job.kind == "trial"]
    assert trained == [100] * 4
    folder = sweep.run.trial(winner) / "all-rows" / str(rows) / str(seed)
    config = TrialConfig.read(folder / "config.json")
    assert (config.train_rows, config.keep_weights) == (rows, True)
    assert (folder / attempts.WEIGHTS).is_dir()
    assert name not in [score.name for score in TestSeal.read(sweep.run.test_seal).scores]
    assert refit_config(sweep.run, winner).train_rows is None

    done = len(sweep.pool.jobs)
    sweep.go(4)
    assert len(sweep.pool.jobs) == done, "it is trained and scored once"
    figures = section.compute(read_run(sweep.run), compute(sweep.run))
    assert figures is not None
    assert (figures.trial, figures.searched_rows, figures.rows) == (winner, 100, rows)
    assert figures.test_loss == 1.0
    (folder / attempts.WEIGHTS / "sweeper.json").write_text("{}")
    assert kept_weights(sweep.run) == folder / attempts.WEIGHTS


def test_a_search_on_all_rows_trains_nothing_more(sweep: Sweep) -> None:
    assert sweep.go(4, on_a_part(None)).kind == "complete"
    assert not [name for name in jobs(sweep.pool) if "-rows-" in name]
    assert section.compute(read_run(sweep.run), compute(sweep.run)) is None
