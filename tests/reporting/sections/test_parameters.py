"""Which values of parameters can be told apart, which matter, and which lie at a bound."""

import json

import pytest
from section_figures import figures_of

from sweeper.findings import words
from sweeper.findings.compute import compute
from sweeper.plans import Parameter, Plan
from sweeper.reporting.compose import report_of
from sweeper.reporting.sections import parameters
from sweeper.reporting.sections.parameters import importances
from sweeper.trials import TrialConfig


def parameters_of(run):
    return figures_of(run, parameters).parameters


def test_strategies_are_never_pooled(make):
    found = {(p.strategy, p.parameter): p for p in parameters_of(make(trials=18, prune=False))}
    assert found["lora", "learning_rate"].trials == 6
    assert found["full", "learning_rate"].trials == 6
    assert ("full", "r") not in found


def test_within_noise_of_the_best_holds_the_best_and_is_no_wider_than_what_was_tried(make):
    run = make(trials=30, strategies=("lora",), prune=False, validation_items=300)
    findings = compute(run)
    rate = next(p for p in parameters_of(run) if p.parameter == "learning_rate")
    tried = [t.config.parameters["learning_rate"] for t in findings.trials]
    assert min(tried) <= rate.within_noise_low <= rate.best <= rate.within_noise_high <= max(tried)
    assert rate.within_noise_trials < 30


def test_a_parameter_that_did_not_vary_says_so(make):
    found = parameters_of(make(trials=6, constant=True, prune=False))
    assert not any(p.varied for p in found)
    assert not any(p.within_noise_low for p in found)


def test_best_at_a_bound_is_seen_and_becomes_a_limit(make):
    run = make(trials=9, prune=False)
    plan = Plan.read(run.plan)
    findings = compute(run)
    before = [limit.id for limit in parameters.limits(figures_of(run, parameters), findings)]
    winner = min((t for t in findings.trials if t.completed), key=lambda t: t.value)
    rate = winner.config.parameters["learning_rate"]
    candidates = []
    for candidate in plan.candidates:
        rates = candidate.parameters["learning_rate"].model_copy(
            update={"allowed_low": rate * 0.9, "allowed_high": rate * 1000}
        )
        changed = candidate.parameters | {"learning_rate": rates}
        candidates.append(candidate.model_copy(update={"parameters": changed}))
    plan.model_copy(update={"candidates": tuple(candidates)}).write(run.plan)
    figures = figures_of(run, parameters)
    edge = {limit.id: limit.text for limit in parameters.limits(figures, compute(run))}
    finding = next(
        p
        for p in figures.parameters
        if p.strategy == winner.strategy and p.parameter == "learning_rate"
    )
    assert finding.at_edge == "low"
    assert f"(bound: {words.value(finding.low)})" in edge["bound-learning_rate"]
    assert "bound-learning_rate" not in before


@pytest.mark.parametrize(("low", "edge"), [(0.01, "low"), (0.0, None)])
def test_a_bound_of_zero_is_the_end_of_the_parameter(make, low, edge):
    run = make(trials=12, strategies=("lora",))
    plan = Plan.read(run.plan)
    candidate = plan.candidates[0]
    rates = {"kind": "float", "log": False, "allowed_low": low, "allowed_high": 10.0}
    rate = candidate.parameters["learning_rate"].model_copy(update=rates)
    changed = candidate.model_copy(
        update={"parameters": candidate.parameters | {"learning_rate": rate}}
    )
    plan.model_copy(update={"candidates": (changed,)}).write(run.plan)
    figures = figures_of(run, parameters)
    finding = next(p for p in figures.parameters if p.parameter == "learning_rate")
    assert finding.at_edge == edge


def test_importance_is_hidden_under_twenty_completed_trials(make):
    few = parameters_of(make(trials=19, strategies=("lora",), prune=False))
    assert all(p.importance is None for p in few)
    assert parameters.importance_panel(few) is None
    many = parameters_of(make(name="b", trials=24, strategies=("lora",), prune=False))
    shown = {p.parameter: p.importance for p in many if p.importance}
    assert shown["learning_rate"].n == 5
    assert shown["learning_rate"].low <= shown["learning_rate"].value
    rows = next(iter(json.loads(parameters.importance_panel(many).spec)["datasets"].values()))
    assert {row["label"]: row["x"] for row in rows} == {k: v.value for k, v in shown.items()}
    assert rows == sorted(rows, key=lambda row: -row["x"])


def test_the_bars_of_importance_stand_beside_the_scatters_of_their_strategy(make):
    report = report_of(make(trials=24, strategies=("lora",), prune=False), no_charts="not here")
    figures = report.figures("hparams", parameters.Figures)
    figure = next(iter(parameters.blocks(figures, report)))
    assert figure.panels[-1].title == "LoRA: importance of parameters"
    assert len(figure.panels) > 1


def test_importance_finds_what_the_loss_depends_on():
    rows = [{"rate": 10.0 ** (-i % 7), "other": (i * 7) % 5, "same": 1} for i in range(40)]
    losses = [float(-i % 7) for i in range(40)]
    found = importances(rows, losses, {"rate": True, "other": False, "same": False})
    assert found["rate"].value > 0.9
    assert "same" not in found
    assert importances(rows[:1], losses[:1], {"rate": True}) == {}


LAMP = Parameter(
    kind="categorical",
    choices=("dark", "bright"),
    default="bright",
    off_value="dark",
    source="common practice",
)


@pytest.fixture
def lit(make):
    """Two trials of LoRA: 0 with the effect of a parameter and 1 without, else the same."""

    def write(losses, other=None, lamp=LAMP, **changes):
        run = make(trials=2, prune=False, losses=losses, strategies=("lora",), **changes)
        plan = Plan.read(run.plan)
        candidates = [
            c.model_copy(update={"parameters": {**c.parameters, "lamp": lamp}})
            for c in plan.candidates
        ]
        plan.model_copy(update={"candidates": tuple(candidates)}).write(run.plan)
        same = TrialConfig.read(run.trial(0) / "config.json").parameters
        bright = {"lamp": "bright", "lamp_hours": 3}
        for number, own in ((0, bright), (1, {"lamp": "dark", **(other or {})})):
            path = run.trial(number) / "config.json"
            config = TrialConfig.read(path)
            config.model_copy(update={"parameters": {**same, **own}}).write(path)
        return run

    return write


def effects_of(run):
    return figures_of(run, parameters).effects


def test_a_parameter_that_pays_is_called_better_than_without_its_effect(lit):
    run = lit({0: 0.2, 1: 0.9}, validation_items=400, seeds=2)
    (found,) = effects_of(run)
    assert (found.strategy, found.parameter) == ("lora", "lamp")
    assert (found.with_trial, found.without_trial) == (0, 1)
    assert found.same_configuration
    assert found.gain.value == pytest.approx(0.7, abs=0.1)
    assert (found.outcome, found.lacking, found.comparisons) == ("better", None, 1)
    found = report_of(run)
    said = parameters.finding(found.figures("hparams", parameters.Figures), found)
    assert "trial 0 against trial 1" in said


def test_a_parameter_that_does_not_pay_is_called_worse(lit):
    (found,) = effects_of(lit({0: 0.9, 1: 0.2}, validation_items=400, seeds=2))
    assert found.gain.value < 0
    assert found.outcome == "worse"


def test_one_seed_each_shows_no_gain_however_large(lit):
    (found,) = effects_of(lit({0: 0.2, 1: 0.9}, validation_items=400, seeds=1))
    assert found.gain.low > 0.5
    assert (found.outcome, found.lacking) == ("within noise", "seeds")


def test_trials_that_differ_in_more_are_the_best_of_each(lit):
    (found,) = effects_of(lit({0: 0.5, 1: 0.5}, other={"r": 99}))
    assert not found.same_configuration


def test_without_an_off_value_or_a_trial_at_it_nothing_is_compared(lit, make):
    never_off = LAMP.model_copy(update={"off_value": None})
    assert effects_of(lit({0: 0.2, 1: 0.9}, lamp=never_off)) == ()
    assert effects_of(lit({0: 0.2, 1: 0.9}, other={"lamp": "bright"})) == ()
    assert effects_of(make(trials=3)) == ()


@pytest.mark.parametrize(("trials", "charts"), [(7, 0), (8, 1)])
def test_a_hyperparameter_has_a_chart_from_eight_trials_of_a_strategy(report, trials, charts):
    made = report(trials=trials, prune=False, strategies=("lora",))
    figures = made.figures("hparams", parameters.Figures)
    assert bool(parameters.finding(figures, made)) is bool(charts)
    assert sum(block.kind == "figure" for block in parameters.blocks(figures, made)) == charts
