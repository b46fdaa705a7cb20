"""Saved answers are scored on the items of trials, by their metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_fixtures import facts_of

from sweeper.data.prepared import prepared_data
from sweeper.features import parts
from sweeper.features.answers._saved_answers import prompts
from sweeper.features.answers.trial import baselines
from sweeper.metrics.objectives import objective_of
from sweeper.spec import DataSpec, ModelSpec, Spec
from sweeper.training.base_model.context import ModelContext
from sweeper.trials import TestScore
from tests.features.answers.answer_files import batch_line, write


def context_of(folder: Path, task: str, data: str, objective: str, length: int = 64):
    spec = Spec(task=task, data=DataSpec(path=data), models=(ModelSpec(id=str(folder)),))
    options = spec.features.model_copy(
        update={"answers": parts.OPTIONS.of("answers")(files=("mine.jsonl",))}
    )
    named = spec.objective.model_copy(update={"name": objective})
    spec = spec.model_copy(update={"features": options, "objective": named})
    facts = facts_of("llama", folder).model_copy(update={"context_length": 1024})
    return ModelContext(
        spec.models[0],
        facts,
        folder,
        prepared_data(spec).dataset,
        spec,
        length,
        16,
        torch.device("cpu"),
        objective=objective_of(spec),
    )


@pytest.fixture
def labelled(here):
    """``topics/`` with two classes, and the answers of a model, a fifth of which are wrong."""
    labels = ("Fruit", "metal")
    for split, rows in (("train", 60), ("validation", 20), ("test", 30)):
        lines = [{"text": f"{split} {n}", "label": labels[n % 2]} for n in range(rows)]
        write(here / "topics" / f"{split}.jsonl", lines)

    def answer(dataset):
        by_key = {e.key: e for split in ("validation", "test") for e in dataset.splits[split]}
        lines = []
        for request in prompts(dataset, "m"):
            example = by_key[request["custom_id"]]
            said = "no class" if example.line % 5 == 0 else f" {example.label.upper()}\n"
            lines.append(batch_line(request, said))
        write(here / "mine.jsonl", lines)

    return answer


@pytest.mark.parametrize("objective", ["validation_loss", "accuracy", "macro_f1"])
def test_an_answer_is_a_class_by_its_name_and_wrong_without_one(labelled, model_folders, objective):
    context = context_of(model_folders["llama"], "classification", "topics", objective)
    labelled(context.dataset)
    (model,) = baselines(context)
    validation, test = model.on_validation(), model.on_test()
    assert validation.reference
    assert (validation.name, validation.title) == ("answers-mine", "mine")
    assert validation.metrics["accuracy"] == pytest.approx(0.8)
    assert validation.validation_loss is None
    named = None if objective == "validation_loss" else validation.metrics[objective]
    assert validation.objective == named
    assert (test.test_loss, test.item_losses) == (None, ())
    assert test.metrics["accuracy"] == pytest.approx(0.8)
    assert np.mean(test.item_scores) == pytest.approx(
        test.metrics["macro_f1" if objective == "macro_f1" else "accuracy"]
    )
    if objective != "macro_f1":
        tests = context.dataset.splits["test"]
        assert list(test.item_scores) == [float(e.line % 5 != 0) for e in tests]


@pytest.mark.parametrize("objective", ["exact_match", "rouge_l"])
def test_answers_in_writing_are_scored_by_the_objective(chat, here, byte_llama, objective):
    context = context_of(byte_llama, "instruction", "chat", objective, 256)
    lines = [
        batch_line(request, "Wrong." if number % 4 == 0 else chat(request))
        for number, request in enumerate(prompts(context.dataset, "m"))
    ]
    write(here / "mine.jsonl", lines)
    (model,) = baselines(context)
    test = model.on_test()
    assert isinstance(test, TestScore)
    assert test.generated is not None
    assert test.generated.items == len(test.item_scores) == 25
    assert set(test.item_weights) == {1.0}
    assert np.mean(test.item_scores) == pytest.approx(test.metrics[context.objective.metric])
    assert 0.6 < test.metrics["exact_match"] < 0.9
    assert model.on_validation().objective is not None


def test_items_that_no_trial_is_scored_on_count_nowhere(here, chat, byte_llama):
    rows = (here / "chat/test.jsonl").read_text().replace("Number 3.", "Number 3. " * 60)
    (here / "chat/test.jsonl").write_text(rows)
    context = context_of(byte_llama, "instruction", "chat", "exact_match", 256)
    lines = [batch_line(request, "Wrong.") for request in prompts(context.dataset, "m")]
    write(here / "mine.jsonl", lines)
    (model,) = baselines(context)
    test = model.on_test()
    pairs = zip(context.dataset.splits["test"], test.item_weights, strict=True)
    dropped = [example.line for example, weight in pairs if not weight]
    assert dropped == [4]
    assert test.generated.items == 24


def test_a_worker_scores_them_beside_its_own_baselines(backend, monkeypatch):
    class Model:
        name = "answers-x"

        def on_validation(self):
            from sweeper.trials import BaselineResult

            return BaselineResult(name=self.name, title="x", reference=True)

        def on_test(self):
            return TestScore(name=self.name, metrics={}, item_scores=(1.0,), items_sha256="s")

    monkeypatch.setattr(
        parts.Hook,
        "all",
        lambda hook: iter(
            [("answers", lambda context: [Model()])] if hook is parts.BASELINES else []
        ),
    )
    assert next(one.name for one in backend.baselines()) == "answers-x"
    assert backend.score_test("answers-x", None, None).item_scores == (1.0,)
    assert backend.score_test("majority", None, None).test_loss is not None
