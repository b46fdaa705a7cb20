from __future__ import annotations

from typing import Any

import pytest

from sweeper.facts.record import CorpusFacts
from sweeper.planning.identity import identity
from sweeper.planning.planner import make_plan

CORPUS = {"corpus": "corpus.txt"}
TEXT = CorpusFacts(path="corpus.txt", documents=449, words=100_000, tokens=160_000, sha256="a")


def test_reading_a_corpus_and_skipping_it_are_configurations_of_every_trained_strategy(
    scene: Any,
) -> None:
    spec, facts = scene("domain", "smollm2", spec=CORPUS, aim={"strategies": ("lora", "prefix")})

    for candidate in make_plan(spec, facts).candidates:
        stage = candidate.parameters["first_stage"]
        assert stage.choices == ("none", "full")
        assert candidate.defaults()["first_stage"] == "full"
        rates = candidate.parameters["first_stage_learning_rate"]
        assert rates.condition is not None
        assert rates.condition.parameter == "first_stage"
        assert set(rates.choices or ()) <= {2e-5, 5e-5}


@pytest.mark.parametrize(
    ("task", "spec"),
    [
        ("domain", {}),
        ("instruction", CORPUS),
        ("domain", {"path": None, "corpus": "data.jsonl"}),
    ],
)
def test_without_a_corpus_beside_the_task_there_is_no_first_stage(
    scene: Any, task: str, spec: dict[str, Any]
) -> None:
    plan = make_plan(*scene(task, "smollm2", spec=spec))

    assert not any("first_stage" in candidate.parameters for candidate in plan.candidates)


def test_a_base_that_does_not_fit_in_fp32_reads_nothing(scene: Any) -> None:
    plan = make_plan(*scene("domain", "70B", spec=CORPUS))

    assert not any("first_stage" in candidate.parameters for candidate in plan.candidates)
    assert any(warning.rule == "first-stage-does-not-fit" for warning in plan.warnings)


def test_the_plan_says_what_reading_takes(scene: Any) -> None:
    plan = make_plan(*scene("domain", "smollm2", spec=CORPUS, data={"corpus": TEXT}))

    (note,) = [n for n in plan.candidates[0].setup_notes if n.startswith("first stage")]
    assert "160,000 tokens of 449 documents" in note
    assert "with full" in note


def test_another_text_under_the_same_name_makes_another_run(scene: Any) -> None:
    runs = [
        identity(*scene("domain", spec=CORPUS, data={"corpus": text}))
        for text in (TEXT, TEXT, TEXT.model_copy(update={"sha256": "b"}))
    ]

    assert all(run is not None for run in runs)
    data = [run.data for run in runs if run is not None]
    assert data[0] == data[1] != data[2]
