"""Did the search beat the default? The gains, and when more trials are advised."""

import json

import pytest
from section_figures import blocks_of, figures_of

from sweeper.findings import words
from sweeper.findings.compute import compute
from sweeper.findings.findings import Findings, Interval
from sweeper.reporting.compose import report_of
from sweeper.reporting.sections import cost
from sweeper.reporting.sections.cost import Figures, SearchGain


def test_a_gain_that_is_within_noise_is_called_so(make):
    figures = figures_of(make(trials=6, prune=False, losses={0: 0.2402, 3: 0.2401}), cost)
    gain = next(g for g in figures.gains if g.strategy == "lora")
    assert gain.outcome in ("within noise", "equivalent")
    assert gain.gain.low <= 0 <= gain.gain.high


@pytest.mark.parametrize("opened", [True, False])
def test_baselines_have_test_figures_once_the_seal_is_open(make, opened):
    run = make() if opened else make(seal=False, phase="search", seeds=1)
    (figure,) = blocks_of(report_of(run), cost)
    table = next(each for each in figure.tables if each.id == "baselines")
    column = [each.title for each in table.columns].index("test accuracy")
    shown = [row.cells[column].text for row in table.rows]
    assert shown
    assert all((text != words.DASH) == opened for text in shown)


def test_a_clear_gain_is_positive_and_better(make):
    figures = figures_of(
        make(trials=6, prune=False, losses={0: 0.9, 3: 0.2}, validation_items=400, seeds=2),
        cost,
    )
    gain = next(g for g in figures.gains if g.strategy == "lora")
    assert gain.gain.value > 0.5
    assert (gain.outcome, gain.lacking) == ("better", None)


@pytest.mark.parametrize(
    ("shape", "lacks"),
    [({"validation_items": 400, "seeds": 1}, "seeds"), ({"validation_items": 19}, "items")],
)
def test_few_items_or_one_seed_show_no_gain_and_no_default_that_is_enough(make, shape, lacks):
    run = make(trials=6, prune=False, losses={0: 0.9, 3: 0.2}, **shape)
    figures = figures_of(run, cost)
    gain = next(g for g in figures.gains if g.strategy == "lora")
    assert gain.gain.low > 0.1
    assert (gain.outcome, gain.lacking) == ("within noise", lacks)
    assert "enough" not in cost.search_sentence(figures, compute(run))


def test_a_trial_that_gained_nothing_is_recommended_with_the_reason(make):
    document = report_of(
        make(trials=12, prune=False, seeds=3, validation_items=200, test_items=300), "none"
    )
    figures, findings = document.figures("cost", cost.Figures), document.findings
    gain = next(g for g in figures.gains if g.best_trial == findings.verdict.recommended_trial)
    assert (gain.outcome, gain.lacking) == ("within noise", None)
    recommended = f"trial {gain.best_trial} is recommended because"
    assert recommended in cost.search_sentence(figures, findings)
    other = findings.verdict.model_copy(update={"recommended_baseline": "probe"})
    findings = findings.model_copy(update={"verdict": other})
    assert recommended not in cost.search_sentence(figures, findings)


def test_no_gain_where_the_default_is_the_best(make):
    figures = figures_of(make(trials=6, prune=False, losses={0: 0.1, 3: 0.5}), cost)
    gain = next(g for g in figures.gains if g.strategy == "lora")
    assert gain.best_trial == gain.default_trial == 0
    assert gain.gain is None


def test_the_means_that_a_gain_compares_add_up(make):
    figures = figures_of(make(trials=9, prune=False, finalists=3), cost)
    compared = [gain for gain in figures.gains if gain.gain]
    assert max(gain.best_seeds for gain in compared) == 3
    for gain in compared:
        assert gain.default.value - gain.best.value == pytest.approx(gain.gain.value)


def test_chart_and_table_show_the_means_that_the_gain_compares(make):
    report = report_of(make(trials=9, prune=False, finalists=3), no_charts="not here")
    figures = report.figures("cost", Figures)
    (figure,) = cost.blocks(figures, report)
    cells = {row.cells[0].text: row.cells for row in figure.tables[0].rows}
    (panel,) = figure.panels
    marks = [
        row
        for rows in json.loads(panel.spec)["datasets"].values()
        for row in rows
        if "strategy" in row and "low" in row
    ]
    for gain in figures.gains:
        ends = {row["y"] for row in marks if row["strategy"] == gain.strategy}
        assert ends == {gain.default.value, gain.best.value}
        shown = cells[words.short(gain.strategy)]
        assert shown[2].text == words.number(gain.best.value)


def test_last_useful_trial_is_the_last_that_lowered_the_best(make):
    losses = {0: 0.5, 1: 0.3, 2: 0.4, 3: 0.2, 4: 0.25, 5: 0.6}
    run = make(trials=6, prune=False, losses=losses)
    assert compute(run).last_gain == 3


@pytest.mark.parametrize(
    ("last", "outcome", "ended", "advised"),
    [
        (18, "better", "", True),
        (9, "better", "", False),
        (18, "within noise", "", False),
        (18, "better", "it settled", False),
    ],
)
def test_a_search_that_still_gained_takes_more_trials_unless_it_is_noise(
    make, monkeypatch, last, outcome, ended, advised
):
    found = compute(make(trials=20))
    summary = found.run.model_copy(update={"search_ended": ended})
    row = found.trial(found.verdict.recommended_trial)
    gain = SearchGain(
        strategy=row.strategy,
        default_trial=0,
        default=Interval(value=0.5),
        best_trial=row.number,
        best=Interval(value=0.4),
        gain=Interval(value=0.1, low=0.05, high=0.15),
        outcome=outcome,
    )
    monkeypatch.setattr(Findings, "last_gain", last)
    step = cost.advise(Figures(gains=(gain,)), found.model_copy(update={"run": summary}))
    assert (step is not None) == advised
    if step is not None:
        assert step.kind == "more-trials"
        assert "trial 18, one of the last of 20" in step.because
