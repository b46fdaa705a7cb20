"""Whether the best trial is worse than a model elsewhere by less than the margin."""

from __future__ import annotations

import pytest
from section_figures import figures_of

from sweeper.features.answers import section
from sweeper.findings.compute import compute
from sweeper.trials import BaselineResult, TestSeal

NAME = "answers-hosted"


@pytest.fixture
def compared(make_run):
    """A finished run whose best trial has 90% of 2,000 test items right; the model a share."""

    def made(share: float):
        run = make_run(trials=20, test_items=2000, prune=False)
        seal = TestSeal.read(run.test_seal)
        items = seal.items

        def right(of: float, shift: int = 0):
            return tuple(float((i + shift) % items < round(of * items)) for i in range(items))

        scores = [
            score.model_copy(
                update={"item_scores": right(0.9 if score.trial == seal.order[0] else 0.5)}
            )
            for score in seal.scores
        ]
        model = scores[0].model_copy(
            update={
                "name": NAME, "trial": None, "seed": None, "loss": None, "item_losses": (),
                "item_scores": right(share), "metrics": {"accuracy": share},
            }
        )  # fmt: skip
        changes = {"scores": (*scores, model), "recommended": seal.order[0]}
        seal.model_copy(update=changes).write(run.test_seal)
        BaselineResult(
            name=NAME, title="hosted", metrics={"accuracy": share}, reference=True
        ).write(run.baselines / f"{NAME}.json")
        return run

    return made


@pytest.mark.parametrize(
    ("share", "outcome", "not_worse"),
    [
        (0.80, "better", True),
        (0.899, "equivalent", True),
        (0.92, "worse", False),
    ],
)
def test_not_worse_by_more_than_the_margin_is_a_value_of_the_verdict(
    compared, share, outcome, not_worse
):
    run = compared(share)
    found = compute(run)
    comparison = next(c for c in found.verdict.comparisons if c.second == NAME)
    assert (comparison.outcome, comparison.not_worse) == (outcome, not_worse)
    assert (comparison.difference.low > -0.01) == not_worse
    figures = figures_of(run, section)
    assert [model.title for model in figures.models] == ["hosted"]
    assert figures.models[0].comparison == comparison
    (sentence,) = section.because(figures, found)
    assert "hosted" in sentence


def test_a_model_elsewhere_is_shown_but_is_no_reason_against_training(compared):
    found = compute(compared(0.97))
    assert found.verdict.fine_tuning_needed is True
    assert found.verdict.recommended_baseline is None
    assert found.verdict.best_baseline != NAME
    assert NAME in {model.name for model in found.tested}
