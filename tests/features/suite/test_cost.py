"""The time of scoring a suite."""

from __future__ import annotations

from typing import Any

import pytest
from scenes import make_scene as scene

from sweeper.errors import NothingFits
from sweeper.features.suite.facts import SuiteFacts, SuiteTaskFacts
from sweeper.planning.planner import make_plan
from sweeper.plans import Budget, Duration

QUESTIONS = SuiteTaskFacts(
    name="questions", output_type="multiple_choice", items=200, prompt_tokens=100.0, requests=1
)


def budget(asked: SuiteTaskFacts | None, **changes: Any) -> Budget:
    spec, facts = scene(**({"model": "smollm2", "gpu_gib": None} | changes))
    features = {}
    if asked is not None:
        found = SuiteFacts(tasks=(asked,), measured_with="lm-eval")
        features["suite"] = found.model_dump(mode="json")
    return make_plan(spec, facts.model_copy(update={"features": features})).budget


def suite(asked: SuiteTaskFacts, **changes: Any) -> Duration:
    return budget(asked, **changes).phases["suite"]


def test_a_suite_is_a_phase_and_the_sweep_is_the_sum_of_all_phases() -> None:
    missing = {
        "model_changes": {"missing": "conversion"},
        "request": {"features": {"forgetting": {"replay_share": 0.2}}},
    }
    made = budget(QUESTIONS, **missing)
    phases = ["conversion", "forgetting", "baselines", "search", "confirmation", "test", "suite"]
    assert list(made.phases) == phases
    for end in ("seconds", "low", "high"):
        whole = sum(getattr(phase, end) for phase in made.phases.values())
        assert getattr(made.sweep, end) == pytest.approx(whole, abs=0.01)
    phase = made.phases["suite"]
    assert 0 < phase.low < phase.seconds < phase.high
    assert "suite" not in budget(None).phases


@pytest.mark.parametrize(
    ("more", "factor"),
    [
        ({"items": 400}, 2.0),
        ({"requests": 4}, 4.0),
        ({"prompt_tokens": 3000.0}, 15.0),
        ({"max_new_tokens": 100}, 20.0),
    ],
)
def test_more_work_takes_longer(more: dict[str, Any], factor: float) -> None:
    plain = suite(QUESTIONS).seconds
    assert suite(QUESTIONS.model_copy(update=more)).seconds > 0.8 * factor * plain


def test_every_finalist_is_scored_but_no_more_than_there_are_trials() -> None:
    def of(**search: int) -> float:
        return suite(QUESTIONS, search=search).seconds

    one, two, three = of(finalists=1), of(finalists=2), of(finalists=3)
    assert two - one == pytest.approx(three - two, abs=0.01)
    assert one > three - two  # the base, and the start of the process
    assert of(finalists=3, trials=1) == one


def test_what_is_not_known_makes_the_range_wider_and_is_said() -> None:
    task = SuiteTaskFacts(name="mmlu", limit=10, shots=5)
    made = budget(task)
    known, unknown = suite(QUESTIONS), made.phases["suite"]
    assert unknown.high / unknown.low > 10 * known.high / known.low
    (note,) = [note for note in made.notes if "mmlu" in note]
    assert "10 to 570 items" in note
    assert not any("not on this machine" in note for note in budget(QUESTIONS).notes)


def test_a_suite_takes_its_share_of_a_budget() -> None:
    heavy = QUESTIONS.model_copy(update={"items": 20_000})
    whole = budget(heavy)
    scoring = whole.phases["suite"].seconds
    names = ("search", "confirmation", "suite")
    hours = sum(whole.phases[name].seconds for name in names) / 3600
    enough = {"aim": {"budget": f"{hours * 0.9:.3f}h"}}
    less, more = (budget(one, **enough) for one in (heavy, QUESTIONS))
    assert less.finalists * less.confirmation_seeds < more.finalists * more.confirmation_seeds
    nothing_left = {"aim": {"budget": f"{scoring / 3600:.3f}h"}}
    with pytest.raises(NothingFits):
        budget(heavy, **nothing_left)


def test_a_head_writes_nothing_to_score() -> None:
    made = budget(QUESTIONS, model="minilm", task="classification")
    assert "suite" not in made.phases
    assert any("classification head" in note for note in made.notes)
