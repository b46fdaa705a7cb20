"""A trial measures the study's objective: at rungs where it is free, else at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeper.data.examples import SPLITS, Dataset, Example, Message
from sweeper.objective import Objective
from sweeper.runfolder import ITEM_LOSSES
from sweeper.spec import EvaluationSpec, ModelSpec, Spec
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.torch_backend import scores_on_test, with_answers
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import TrialResult

MACRO_F1 = Objective(
    name="macro_f1", title="macro-F1", metric="macro_f1", computed_from="classes",
    higher_is_better=True, best=1.0,
)  # fmt: skip
ROUGE = Objective(
    name="rouge_l",
    title="ROUGE-L",
    metric="rougeL",
    computed_from="answers",
    higher_is_better=True,
    best=1.0,
)
FUNCTION = Objective(
    name="mine:score", title="score", metric="mine:score", computed_from="classes", function=True
)


def trained(shared: SharedModel, config: Any, folder: Path, heard: Any) -> TrialResult:
    return train_trial(TrialJob(shared, config, folder, heard))


def items(folder: Path) -> list[float]:
    kept: list[float] = json.loads((folder / ITEM_LOSSES).read_text())["objective"]
    return kept


def test_macro_f1_is_measured_at_every_rung_and_chooses_the_weights(
    make_shared: Any, make_config: Any, answering: Any, tmp_path: Path
) -> None:
    shared, heard = make_shared(), answering()
    shared.context.objective = MACRO_F1
    result = trained(shared, make_config(), tmp_path, heard)
    assert result.objective == pytest.approx(result.metrics["macro_f1"])
    assert np.mean(items(tmp_path)) == pytest.approx(result.objective)
    assert [one.objective for one in heard] == [one.metrics["macro_f1"] for one in heard]
    first = heard[0].first_items
    assert first.count == 20
    assert first.cost == pytest.approx(1 - heard[0].objective)
    on_rung_items = [1 - one.first_items.cost for one in heard]
    assert on_rung_items[result.best_rung - 1] == max(on_rung_items)


def test_a_function_of_the_user_is_called_where_the_trial_ends(
    make_shared: Any, make_config: Any, answering: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "def score(predictions, references, rows):\n"
        "    assert set(references) <= {'food', 'money', 'weather', *references}\n"
        "    return [2.0 * (p != r) for p, r in zip(predictions, references)]\n"
    )
    shared, heard = make_shared(), answering()
    shared.context.objective = FUNCTION.model_copy(update={"folder": str(tmp_path)})
    result = trained(shared, make_config(), tmp_path, heard)
    assert result.objective == pytest.approx(2 * (1 - result.metrics["accuracy"]))
    assert result.metrics["mine:score"] == result.objective
    assert [one.objective for one in heard] == [None] * 4


def test_a_function_that_breaks_costs_the_trial_and_is_named(
    make_shared: Any, make_config: Any, answering: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("def score(predictions, references, rows):\n    return {}")
    shared = make_shared()
    shared.context.objective = FUNCTION.model_copy(update={"folder": str(tmp_path)})
    result = trained(shared, make_config(), tmp_path, answering())
    assert result.state == "FAIL"
    assert result.failure is not None
    assert result.failure.kind == "refused"
    assert "the objective mine:score: it returned {}" in result.failure.detail
    assert "mine.py:1)" in result.failure.detail


def test_answers_are_compared_on_validation_and_on_all_test_items(
    byte_llama: Path, tiny_facts: Any, make_config: Any, answering: Any, tmp_path: Path
) -> None:
    turns = (Message("user", "Say it."), Message("assistant", "ab"))
    talk = tuple(Example(f"{n:03}", n + 1, messages=turns) for n in range(4))
    splits, origins = dict.fromkeys(SPLITS, talk), dict.fromkeys(SPLITS, "official")
    dataset = Dataset("x.jsonl", "messages", (), {}, splits, origins, (), "f")
    named = ModelSpec(id=str(byte_llama))
    evaluation = EvaluationSpec(generate_items=1)
    spec = Spec(task="instruction", models=(named,), evaluation=evaluation)
    facts = tiny_facts(str(byte_llama), context_length=1024)
    context = ModelContext(
        named, facts, byte_llama, dataset, spec, 140, 16, torch.device("cpu"), objective=ROUGE
    )
    shared = SharedModel(context)
    config = make_config(task="instruction", sequence_length=140, budget={"epochs": 1})
    result = trained(shared, config, tmp_path, answering())
    assert result.objective is not None
    assert 0 <= result.objective <= 1
    assert len(items(tmp_path)) == 4
    evaluation = context.measure(context.base(), "test")
    plain = scores_on_test("zero_shot", None, shared, evaluation)
    assert plain.item_scores == ()
    found = with_answers(plain, shared, context.base(), None)
    assert found.generated is not None
    assert (found.generated.items, len(found.item_scores)) == (4, 4)
    assert found.metrics["rougeL"] == pytest.approx(np.mean(found.item_scores))
