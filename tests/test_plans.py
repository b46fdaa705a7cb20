from __future__ import annotations

from curve_backend import make_plan

from sweeper.execution.next_attempt import trial_budget
from sweeper.plans import Condition, Parameter, StrategySpace, TrialBudget


def test_a_trial_has_the_budget_of_its_study_but_for_its_own_epochs() -> None:
    plan = make_plan()
    full, part = plan.budget, trial_budget(plan, {"num_train_epochs": plan.budget.epochs / 2})
    own = {"epochs", "full_tokens", "rungs", "rung_items"}
    assert part.rungs == full.rungs_of({"num_train_epochs": full.epochs / 2}) == full.rungs / 2
    assert (part.epochs, part.full_tokens) == (full.epochs / 2, full.full_tokens / 2)
    for name in TrialBudget.model_fields.keys() - own:
        assert getattr(part, name) == getattr(full, name), name


def test_a_space_gives_what_is_missing_of_a_configuration_and_tells_what_is_searched() -> None:
    lora = make_plan().candidate("lora")
    given = lora.defaults({"learning_rate": 0.5})
    assert given == lora.defaults() | {"learning_rate": 0.5}
    head = Parameter(
        kind="float", default=1.0, source="", condition=Condition(parameter="start", values=("x",))
    )
    start = Parameter(
        kind="categorical", choices=("x", "y"), default="y", source="", searched=False
    )
    both = StrategySpace(strategy="s", parameters={"start": start, "head": head})
    assert both.defaults() == {"start": "y"}
    assert (whole := both.defaults({"start": "x"})) == {"start": "x", "head": 1.0}
    assert both.searched(whole) == {"head": 1.0}
