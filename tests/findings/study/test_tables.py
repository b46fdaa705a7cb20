"""The tables of a study hold what its files hold, row by row, in every state of a run."""

import numpy as np
import pytest

from sweeper.findings.study.reading import read_run
from sweeper.findings.study.tables import tables_of as study_tables
from sweeper.trials import TestSeal, TrialResult


def tables_of(run):
    return study_tables(read_run(run))


def test_each_training_has_a_row_with_its_seed_and_its_rows(make):
    run = make(trials=6, parts=0.5, ends={4: "FAIL"}, prune=False)
    trials = tables_of(run).trials
    assert sorted(trials[trials.own].trial) == list(range(6))
    best = TestSeal.read(run.test_seal).order[0]
    mine = trials[trials.trial == best]
    assert sorted(mine[mine.rows.isna()].seed) == [0, 1, 2]
    assert set(mine[mine.rows.notna()].rows) == {70, 140, 280}
    result = TrialResult.read(run.seed(best, 1) / "result.json")
    (row,) = mine[mine.rows.isna() & (mine.seed == 1)].to_dict("records")
    assert row["validation_loss"] == row["objective"] == row["cost"] == result.validation_loss
    assert row["metric.accuracy"] == result.metrics["accuracy"]
    assert not row["own"]
    (failed,) = trials[trials.trial == 4].to_dict("records")
    assert failed["state"] == "FAIL"
    assert np.isnan(failed["validation_loss"])


def test_rungs_and_items_are_those_of_the_files(make):
    run = make(trials=4, prune=False, validation_items=30)
    tables, files = tables_of(run), read_run(run)
    assert len(tables.rungs) == sum(len(trial.rungs) for trial in files.trials)
    last = tables.rungs.groupby("trial").validation_loss.last()
    assert last[2] == files.trials[2].rungs[-1].validation_loss
    means = tables.items.groupby(["trial", "seed"]).loss.mean()
    for trial in files.trials:
        for training in trial.trainings():
            found = means[trial.config.number, training.seed]
            assert found == pytest.approx(training.items.losses.mean())
    assert tables.items.item.max() == 29


def test_models_are_those_of_the_test_split_and_every_baseline(make):
    run = make(trials=6)
    models = tables_of(run).models
    seal = TestSeal.read(run.test_seal)
    assert len(models) == len(seal.scores)
    first = models[models.trial == seal.order[0]]
    assert sorted(first.seed) == [0, 1, 2]
    assert models.set_index("name").loc["probe", "validation_loss"] == 0.3
    before = tables_of(make(name="b", trials=6, seal=False)).models
    assert set(before.name) == {"majority", "probe", "tfidf"}
    assert before.test_loss.isna().all()


def test_a_study_without_trials_has_empty_tables_that_can_be_asked(make):
    tables = tables_of(make(trials=0, baselines=False, seal=False, phase=None))
    assert tables.trials[tables.trials.own].groupby("strategy").cost.min().empty
    assert tables.rungs.groupby("trial").validation_loss.last().empty
    assert tables.items.loss.sum() == 0
    assert tables.models.empty
