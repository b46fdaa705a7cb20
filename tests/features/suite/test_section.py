"""What training changed on other tasks: paired by item, and honest about noise."""

import json

import altair as alt
import numpy as np
import page_tree
import pytest
from scored_tasks import measured
from section_figures import blocks_of, figures_of

from sweeper.evaluation.task_scores import ModelScores, TaskScores, base_file, trial_file
from sweeper.features.suite import section
from sweeper.features.suite.section import Figures
from sweeper.reporting.charts import draw
from sweeper.reporting.write import html


def scores(values, name="mmlu", unit="points", keys=None, digest="d", weights=()):
    return TaskScores(
        task=name,
        digest=digest,
        kind="multiple-choice" if unit == "points" else "text",
        metric="acc" if unit == "points" else "loss",
        unit=unit,
        higher_is_better=unit == "points",
        shots=0,
        total_items=1140,
        keys=keys or tuple(f"i{n}" for n in range(len(values))),
        scores=tuple(float(v) for v in values),
        weights=weights,
        harness="lm-eval 0.4.13",
    )


def put(run, base, tuned, trial=0, dtype="float32"):
    """Scores of one trial and its base, beside the run's other files."""
    folder = run.path / "evaluations"
    ModelScores(model="m", dtype="float32", tasks=base).write(base_file(folder, "k"))
    ModelScores(model="m", dtype=dtype, trial=trial, strategy="lora", tasks=tuned).write(
        trial_file(folder, trial)
    )


def test_a_clear_loss_is_lost_and_positive(make_run):
    run = make_run(trials=2)
    base = [1.0] * 150 + [0.0] * 50
    tuned = [1.0] * 100 + [0.0] * 100
    put(run, (scores(base),), (scores(tuned),))
    found = figures_of(run, section)
    assert isinstance(found, Figures)
    (task,) = found.tasks
    assert task.outcome == "lost"
    assert task.lost.value == pytest.approx(25)
    assert 15 < task.lost.low < 25 < task.lost.high < 35
    assert (task.base.value, task.tuned.value) == (0.75, 0.5)
    assert task.more_items is None
    assert (found.of(0), found.of(1)) == ([task], [])


def test_few_items_leave_it_open_and_say_what_they_would_show(make_run):
    run = make_run(trials=2)
    put(run, (scores([1, 0] * 20),), (scores([1, 0] * 17 + [0, 1, 0, 0, 1, 1]),))
    (task,) = figures_of(run, section).tasks
    assert task.outcome == "unresolved"
    assert task.detectable_points > task.lost.value
    assert task.more_items > 0


def test_164_unpaired_items_show_about_fifteen_points(make_run):
    run = make_run(trials=2)
    rng = np.random.default_rng(1)
    base, tuned = (rng.permutation([1, 0] * 82).tolist() for _ in range(2))
    put(run, (scores(base),), (scores(tuned),))
    (task,) = figures_of(run, section).tasks
    assert task.detectable_points == pytest.approx(15.5, abs=1.5)


def test_the_loss_on_text_counts_by_tokens_and_in_hundredths_of_a_nat(make_run):
    run = make_run(trials=2)
    weights = (1.0, 3.0) * 30
    base = scores([2.0, 3.0] * 30, "text", "nats/token", weights=weights)
    tuned = scores([2.0, 3.2] * 30, "text", "nats/token", weights=weights)
    put(run, (base,), (tuned,))
    (task,) = figures_of(run, section).tasks
    assert task.base.value == pytest.approx(2.75)
    assert task.lost.value == pytest.approx(15.0)
    assert task.outcome == "lost"


@pytest.mark.parametrize(
    "changed", [{"digest": "other"}, {"keys": tuple(f"j{n}" for n in range(40))}]
)
def test_scores_of_other_items_are_never_paired(make_run, changed):
    run = make_run(trials=2)
    put(run, (scores([1, 0] * 20),), (scores([1, 0] * 20, **changed),))
    assert figures_of(run, section) is None


def test_a_base_in_another_dtype_is_not_the_base(make_run):
    run = make_run(trials=2)
    put(run, (scores([1, 0] * 20),), (scores([1, 0] * 20),), dtype="bfloat16")
    assert figures_of(run, section) is None


def test_base_and_tuned_stand_side_by_side_with_interval_and_detectable_difference(make_run):
    report = measured(make_run(trials=12))
    page = page_tree.parse(html(report))
    part = page.one("section", id="suite")
    chosen = report.findings.verdict.recommended_trial
    assert [f.attributes["data-chart"] for f in part.all("figure")] == ["tasks"]
    assert f"Trial {chosen} lost more than noise explains: gsm8k" in part.text
    assert "in four of five studies" in part.text
    assert f"Limit of 3 points of a score, 0.03 nats/token of a text: trial {chosen} is" in (
        page.one("section", id="verdict").text
    )
    assert "200 of 1140 items" in part.text
    assert "acc, lm-eval 0.4.13" in part.text
    assert f"#{chosen}" in part.one("table").text


def test_every_spec_is_valid_and_names_the_limit_and_the_recommended_trial(make_run, monkeypatch):
    report = measured(make_run(trials=12))
    seen = []
    spec = draw.Sheet.spec

    def checked(sheet, chart):
        made = spec(sheet, chart)
        alt.Chart.from_dict(json.loads(json.dumps(made)))
        seen.append(json.dumps(made["datasets"]))
        return made

    monkeypatch.setattr(draw.Sheet, "spec", checked)
    blocks_of(report, section)
    assert len(seen) == 2
    assert "limit 3" in seen[1]


def test_names_of_tasks_are_text_and_nothing_else(make_run):
    mark = "</script><b>mmlu</b>"
    page = page_tree.parse(html(measured(make_run(trials=12), (mark, "gsm8k"))))
    part = page.one("section", id="suite")
    assert mark in part.text
    assert not [b for b in part.all("b") if b.text == "mmlu"]
