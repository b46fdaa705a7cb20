"""The section on forgetting: what was measured, how sure that is, and the front."""

import json

import altair as alt
import numpy as np
import page_tree
import pytest
from section_figures import blocks_of

from sweeper.evaluation.task_scores import ModelScores, TaskScores, base_file, trial_file
from sweeper.features.forgetting import section as forgetting
from sweeper.reporting.charts import draw
from sweeper.reporting.compose import report_of
from sweeper.reporting.markdown import markdown
from sweeper.reporting.sections import cost
from sweeper.reporting.write import html
from sweeper.trials import Measure, TrialResult


def task(name, values, unit="points", kind="multiple-choice"):
    return TaskScores(
        task=name, digest="d", kind=kind, metric="acc" if unit == "points" else "loss",
        unit=unit, higher_is_better=unit == "points", shots=5, total_items=1140,
        keys=tuple(map(str, range(len(values)))), scores=tuple(map(float, values)),
        harness="lm-eval 0.4.13",
    )  # fmt: skip


def measured(run, names=("mmlu", "gsm8k")):
    """A run whose finalists lost something on several tasks, and whose trials were watched."""
    rng = np.random.default_rng(0)
    base = {name: (rng.random(200) < 0.5).astype(float) for name in names}
    loss = rng.normal(3.0, 0.4, 200)
    order = json.loads((run.path / "test.json").read_text())["order"]
    folder = run.path / "evaluations"
    tasks = [task(n, v) for n, v in base.items()] + [task("text", loss, "nats/token", "text")]
    ModelScores(model="m", dtype="float32", tasks=tuple(tasks)).write(base_file(folder, "k"))
    for number in order:
        strategy = json.loads((run.trial(number) / "config.json").read_text())["strategy"]
        share = [0.02, 0.2][: len(names)]
        tuned = [
            task(n, np.where(rng.random(200) < s, 0.0, base[n]))
            for n, s in zip(names, share, strict=False)
        ]
        tuned.append(task("text", loss + rng.normal(0.05, 0.05, 200), "nats/token", "text"))
        ModelScores(
            model="m", dtype="float32", trial=number, strategy=strategy, tasks=tuple(tuned)
        ).write(trial_file(folder, number))
    for path in run.trials.glob("*/result.json"):
        result = TrialResult.read(path)
        if result.validation_loss is not None:
            after = 3.0 + 0.02 / result.validation_loss
            lost = Measure(title="lost on general text", unit="nats/token", value=after, base=3.0)
            result.model_copy(update={"measures": {"general.text": lost}}).write(path)
    run.spec.write_text(run.spec.read_text() + "features:\n  forgetting:\n    max_points: 3\n")
    return report_of(run)


def section_of(report, parse):
    page = parse(html(report))
    return next(s for s in page.all("section") if s.attributes["id"] == "forgetting")


@pytest.fixture
def parse():
    return page_tree.parse


def test_base_and_tuned_stand_side_by_side_with_interval_and_detectable_difference(make, parse):
    report = measured(make(trials=12))
    section = section_of(report, parse)
    chosen = report.findings.verdict.recommended_trial
    assert [f.attributes["data-chart"] for f in section.all("figure")] == ["forgetting-tasks"]
    assert f"Trial {chosen} lost more than noise explains: gsm8k" in section.text
    assert "in four of five studies" in section.text
    assert f"Limit of 3 points of a score, 0.03 nats/token of a text: trial {chosen} is" in (
        parse(html(report)).one("section", id="verdict").text
    )
    assert "200 of 1140 items" in section.text
    assert "acc, lm-eval 0.4.13" in section.text
    tables = section.all("table")
    assert len(tables) == 2
    assert f"#{chosen}" in tables[0].text


def test_every_spec_is_valid_and_names_the_limit_and_the_recommended_trial(make, monkeypatch):
    report = measured(make(trials=12))
    seen = []
    spec = draw.Sheet.spec

    def checked(sheet, chart):
        made = spec(sheet, chart)
        alt.Chart.from_dict(json.loads(json.dumps(made)))
        seen.append(json.dumps(made["datasets"]))
        return made

    monkeypatch.setattr(draw.Sheet, "spec", checked)
    blocks_of(report, forgetting)
    assert len(seen) == 2
    assert "limit 3" in seen[1]
    blocks_of(report, cost)
    assert "limit 0.03" in seen[-2]


def test_forgetting_is_a_third_cost(make, parse):
    page = parse(html(measured(make(trials=12))))
    section = page.one("section", id="cost")
    assert [one.text for one in section.all("label")] == ["time", "memory", "lost on general text"]
    assert len(section.all("svg")) == 4
    assert "lost on general text" in page.one("section", id="strategies").text


def test_names_of_tasks_are_text_and_nothing_else(make, parse):
    mark = "</script><b>mmlu</b>"
    section = section_of(measured(make(trials=12), (mark, "gsm8k")), parse)
    assert mark in section.text
    assert not [b for b in section.all("b") if b.text == "mmlu"]


def test_the_markdown_says_it_in_a_sentence(make):
    report = measured(make(trials=12))
    assert "lost more than noise explains: gsm8k" in markdown(report)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({}, "classification head"),
        ({"task": "instruction", "model": "packaged:smollm2"}, "was not scored"),
    ],
)
def test_without_figures_the_section_says_what_it_takes(make, parse, shape, said):
    found = parse(html(report_of(make(trials=3, **shape)))).one("section", id="not-measured")
    assert said in found.text
    assert not found.all("figure")
