"""Models to beat: right figures on all items, and the test split is read only when asked."""

import numpy as np
import pytest

from sweeper.data.examples import Dataset, Example, digest
from sweeper.evaluation import baselines as module
from sweeper.evaluation.baselines import FrozenProbe, Majority, Tfidf, fit_path
from sweeper.spec import ModelSpec, Spec
from sweeper.tasks.classification import Classification
from tests.tasks.task_fixtures import TINY_FACTS

numbers = Classification.targets

FACTS = TINY_FACTS.model_copy(update={"model_type": "bert", "kind": "encoder", "hidden_size": 2})


class NoTokenizer:
    pad_token_id = 0
    eos_token_id = None


def rows(count, shift):
    """Three quarters are about fruit; the word tells which."""
    found = []
    for i in range(count):
        label = "metal" if i % 4 == 0 else "fruit"
        text = f"some {'iron' if label == 'metal' else 'apple'} number {i + shift}"
        found.append(Example(key=digest(text), line=i + 1, text=text, label=label))
    return tuple(found)


@pytest.fixture
def task():
    dataset = Dataset(
        path="x",
        format="text-label",
        evidence=(),
        columns={},
        splits={"train": rows(80, 0), "validation": rows(40, 100), "test": rows(20, 200)},
        origins={"train": "hash", "validation": "hash", "test": "hash"},
        labels=("fruit", "metal", "never seen"),
        fingerprint="",
    )
    spec = Spec(task="classification", models=(ModelSpec(id="tiny"),))
    return Classification(dataset, NoTokenizer(), FACTS, spec, 8)


@pytest.fixture
def baselines(task):
    def features(split):
        targets = np.array(task.targets(task.dataset.splits[split]))
        return np.stack([targets == 0, np.ones(len(targets))], 1).astype(np.float32)

    def probe():
        targets = [task.targets(task.dataset.splits[s]) for s in ("train", "validation")]
        return fit_path(features("train"), targets[0], features("validation"), targets[1], 3)

    made = (Majority(task), Tfidf(task), FrozenProbe(task, probe, features))
    return {b.name: b for b in made}


def test_majority_gives_the_frequencies_of_the_train_split(baselines):
    found = baselines["majority"].evaluate("validation")
    assert found.metrics["accuracy"] == 0.75
    expected = -(0.75 * np.log(61 / 83) + 0.25 * np.log(21 / 83))
    assert found.loss == pytest.approx(expected)


@pytest.mark.parametrize("name", ["tfidf", "probe"])
def test_the_others_learn_the_word(baselines, name):
    found = baselines[name].evaluate("validation")
    assert found.metrics == {"accuracy": 1.0, "macro_f1": 1.0}
    assert found.loss < 0.1
    assert len(found.losses) == len(found.scores) == 40
    assert "C = " in baselines[name].note


def test_tfidf_is_fitted_on_a_part_of_many_rows(task, baselines, monkeypatch):
    monkeypatch.setattr(module, "_TFIDF_ROWS", 40)
    fitted_on = []
    monkeypatch.setattr(
        type(task), "targets", lambda self, rows: fitted_on.append(len(rows)) or numbers(self, rows)
    )
    assert baselines["tfidf"].evaluate("validation").metrics["accuracy"] == 1.0
    assert baselines["tfidf"].note.endswith(", fitted on 40 of 80 rows")
    assert fitted_on
    assert 80 not in fitted_on


def test_the_test_split_is_scored_only_when_asked_for(baselines, task, monkeypatch):
    read = []

    class Watched(dict):
        def __getitem__(self, split):
            read.append(split)
            return super().__getitem__(split)

    object.__setattr__(task.dataset, "splits", Watched(task.dataset.splits))
    for baseline in baselines.values():
        baseline.evaluate("validation")
    assert "test" not in read
    assert len(baselines["tfidf"].evaluate("test").scores) == 20
    assert "test" in read
