"""Two base models in one study: what is said is said of pairs of strategy and model."""

import yaml
from section_figures import figures_of

from sweeper.findings.compute import compute
from sweeper.findings.study.model_strategy_pairs import with_strategies_on_models
from sweeper.plans import Plan
from sweeper.reporting.compose import report_of
from sweeper.reporting.sections import cost
from sweeper.spec import TrialRequest
from sweeper.trials import TrialConfig

OTHER = "org/other-model"


def two_models(run):
    """Every second trial is of another base model."""
    plan = Plan.read(run.plan)
    others = tuple(one.model_copy(update={"model": OTHER}) for one in plan.candidates)
    first = plan.facts.models[0]
    facts = plan.facts.model_copy(
        update={"models": (first, first.model_copy(update={"id": OTHER}))}
    )
    plan = plan.model_copy(update={"candidates": (*plan.candidates, *others), "facts": facts})
    plan.write(run.plan)
    for folder in run.trials.iterdir():
        config = TrialConfig.read(folder / "config.json")
        if config.number % 2:
            config.model_copy(update={"model": OTHER}).write(folder / "config.json")
    return plan


def test_a_strategy_is_counted_for_each_base_model_apart(make) -> None:
    run = make(trials=20)
    before = compute(run)
    plan = two_models(run)
    findings = compute(run)
    names = [one.strategy for one in findings.strategies]
    assert set(names) == {f"{one.strategy}@{one.model}" for one in plan.candidates}
    assert sum(one.complete for one in findings.strategies) == before.run.complete
    for row in findings.trials:
        assert (row.strategy.model == OTHER) is bool(row.number % 2)
    for gain in figures_of(run, cost).gains:
        models = {t.config.model for t in findings.trials if t.number in (gain.best_trial,)}
        assert models <= {gain.strategy.model}
    assert " of " in findings.verdict.sentence


def test_the_trial_for_a_sweep_yaml_names_strategy_and_model_apart(make) -> None:
    run = make(trials=20)
    two_models(run)
    findings = compute(run)
    chosen = findings.trial(findings.verdict.recommended_trial)
    (trial,) = yaml.safe_load(findings.reproduction.trial_yaml)["trials"]
    assert (trial["strategy"], trial["model"]) == (chosen.strategy.strategy, chosen.config.model)
    assert TrialRequest.model_validate(trial).parameters == chosen.config.parameters


def test_the_plan_in_a_report_has_the_names_of_the_findings(make) -> None:
    run = make(trials=8)
    two_models(run)
    report = report_of(run)
    planned = [candidate.strategy for candidate in report.plan.strategies]
    assert planned == [summary.strategy for summary in report.findings.strategies]
    assert "learning_rate" in report.plan.searched_values(report.findings.trials[0])


def test_texts_are_counted_in_bytes_between_base_models(make) -> None:
    run = make(trials=8, task="instruction")
    assert compute(run).loss_unit == "nats/token"
    two_models(run)
    assert compute(run).loss_unit == "bits/byte"


def test_one_base_model_changes_no_name(make) -> None:
    plan = Plan.read(make(trials=2).plan)
    assert with_strategies_on_models(plan) == plan
