"""Objectives by name: what fits a task, and what is refused with the place where it was given."""

import re

import numpy as np
import pytest

from sweeper.errors import SpecError
from sweeper.metrics.metric import item_values, metrics
from sweeper.metrics.objectives import objective_of, objectives_for
from sweeper.specfile import resolve


def asked(tmp_path, text):
    path = tmp_path / "sweep.yaml"
    path.write_text(f"task: {'code' if 'pass' in text else 'classification'}\nmodel: x\n{text}\n")
    return objective_of(resolve({}, path))


def test_a_metric_of_the_task_is_an_objective(tmp_path):
    found = asked(tmp_path, "objective: macro_f1")
    assert (found.metric, found.computed_from, found.best) == ("macro_f1", "classes", 1.0)
    assert found.higher_is_better
    assert found.at_rungs
    assert asked(tmp_path, "").is_loss
    allowed = "objective: pass_at_1\nfeatures: {generated_code: {allow: true}}"
    assert asked(tmp_path, allowed).metric == "pass@1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("objective: acuracy", r"sweep.yaml:3 .*no objective 'acuracy'.*\n.*\n.*'accuracy'"),
        ("objective:\n  name: rouge_l", r"sweep.yaml:4 .*rouge_l does not fit task classification"),
        ("objective: pass_at_1", r"pass_at_1 needs permission to run code"),
        ("objective: mine:score", r"sweep.yaml:3 .*the objective has no direction"),
        ("objective: 'mine:not this'", r"'mine:not this' does not name a function"),
        ("objective: {name: accuracy, direction: minimize}", r"for accuracy, higher is better"),
        ("objective: {name: accuracy, direction: up}", r"direction = 'up' is not known"),
        ("objective: {nam: accuracy}", r"no key 'nam' here"),
        ("objective: accuracy\nsearch: {target_loss: 1}", r"target_loss needs the validation loss"),
        (
            "objective: accuracy\nsearch: {stop_when_settled: true}",
            r"stop_when_settled needs the validation loss",
        ),
    ],
)
def test_mistakes_are_refused_where_they_stand(tmp_path, text, told):
    with pytest.raises(SpecError) as raised:
        asked(tmp_path, text)
    text = "\n".join(f"{p.where}: {p.what}\n{p.why}\n{p.fix}" for p in raised.value.problems)
    assert re.search(told, text), text


def test_a_function_is_found_beside_the_file_and_counts_by_its_text(tmp_path):
    code = tmp_path / "mine.py"
    code.write_text("def score(p, r, rows): return 1.0")
    text = "objective: {name: 'mine:score', direction: maximize}"
    first = asked(tmp_path, text)
    assert (first.function, first.folder, first.metric) == (True, str(tmp_path), "mine:score")
    code.write_text("def score(p, r, rows): return 2.0")
    assert asked(tmp_path, text).source != first.source != ""


def test_item_values_of_a_metric_over_all_items_tell_its_noise():
    pairs = [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (1, 1), (1, 0), (2, 2), (2, 2)] * 30
    mixed = np.random.default_rng(1).permutation(pairs)
    true, said = mixed[:, 0].tolist(), mixed[:, 1].tolist()
    metric = metrics()["macro_f1"]
    items = item_values(metric.compute, said, true, per_item=False)
    assert sum(items) / len(items) == pytest.approx(metric.compute(said, true))
    # The jackknife's error is near that of the bootstrap over items.
    draws = np.random.default_rng(0).integers(0, 300, (400, 300))
    values = [metric.compute(np.take(said, d), np.take(true, d)) for d in draws]
    error = np.std(items, ddof=1) / len(items) ** 0.5
    assert error == pytest.approx(np.std(values), rel=0.25)


def test_tasks_have_the_objectives_that_fit_them():
    assert objectives_for("classification") == ["validation_loss", "accuracy", "macro_f1"]
    assert "rouge_l" in objectives_for("instruction")
    assert "pass_at_1" not in objectives_for("instruction")
    assert {"pass_at_1", "exact_match"} <= set(objectives_for("code"))
