from __future__ import annotations

import pytest

from sweeper.metrics.metric import compute_metrics

REFERENCES = [["The cat sat on the mat.", "A cat was on the mat."], ["Dogs bark loudly at night."]]


def test_the_references_themselves_are_perfect() -> None:
    scores = compute_metrics("answers", [accepted[0] for accepted in REFERENCES], REFERENCES)

    assert scores == pytest.approx(
        {"bleu": 100, "chrf": 100, "rouge1": 1, "rouge2": 1, "rougeL": 1, "exact_match": 1}
    )


def test_any_of_several_references_will_do() -> None:
    scores = compute_metrics(
        "answers", ["A cat was on the mat.", "Dogs bark loudly at night."], REFERENCES
    )

    assert scores["bleu"] == pytest.approx(100)
    assert scores["exact_match"] == 1.0


def test_unrelated_answers_score_nothing() -> None:
    scores = compute_metrics("answers", ["xyz", "qqq"], REFERENCES)

    assert scores["bleu"] == scores["rougeL"] == scores["exact_match"] == 0.0


def test_rouge_is_the_f_measure_of_shared_words() -> None:
    scores = compute_metrics("answers", ["dogs bark"], [["dogs bark loudly"]])

    assert scores["rouge1"] == pytest.approx(2 * 1.0 * (2 / 3) / (1.0 + 2 / 3))


def test_exact_match_looks_past_case_and_spaces() -> None:
    assert (
        compute_metrics("answers", ["  the CAT sat on the mat. "], REFERENCES[:1])["exact_match"]
        == 1.0
    )
