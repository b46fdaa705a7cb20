"""Classification by the class's name, from the shared to the sealed test; answers in writing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sweeper.backend import Decision, ProgressReporter
from sweeper.data.examples import SPLITS, Dataset, Example, Message
from sweeper.evaluation.evaluator import Evaluator
from sweeper.objective import LOSS, Objective
from sweeper.runfolder import WEIGHTS
from sweeper.spec import EvaluationSpec, ModelSpec, Spec, TrainingSpec
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.torch_backend import TorchBackend, scores_on_test, with_answers
from sweeper.training.trial.artifacts import load_trained, record_of
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import GeneratedAnswers, TestScore, TestSeal

CLASSES = {"fruit": "apple", "metal": "zinc", "river": "rhine"}


def rows(count: int, offset: int) -> tuple[Example, ...]:
    labels = sorted(CLASSES)
    return tuple(
        Example(
            f"{offset}-{n:03}",
            n + 1,
            text=f"{'so ' * (n % 3)}{CLASSES[labels[n % 3]]}",
            label=labels[n % 3],
        )
        for n in range(count)
    )


def talk(count: int) -> tuple[Example, ...]:
    turns = (Message("user", "Say it."), Message("assistant", "ab"))
    return tuple(Example(f"{n:03}", n + 1, messages=turns) for n in range(count))


@pytest.fixture
def make(byte_llama: Path, tiny_facts: Any) -> Any:
    """A shared model on these splits for a spec."""

    def shared(splits: Any, **spec: Any) -> SharedModel:
        labels = tuple(sorted(CLASSES)) if spec["task"] == "classification" else ()
        dataset = Dataset(
            "x.jsonl", "text-label", (), {}, splits, dict.fromkeys(SPLITS, "official"), labels, "f"
        )
        named = ModelSpec(id=str(byte_llama))
        facts = tiny_facts(str(byte_llama), context_length=1024)
        whole = Spec(models=(named,), **spec)
        return SharedModel(
            ModelContext(named, facts, byte_llama, dataset, whole, 140, 16, torch.device("cpu"))
        )

    return shared


@pytest.fixture
def by_name(make: Any) -> SharedModel:
    splits = {"train": rows(36, 1), "validation": rows(15, 2), "test": rows(12, 3)}
    training = TrainingSpec(classes_by="generate")
    shared: SharedModel = make(splits, task="classification", training=training)
    return shared


def test_every_model_to_beat_is_scored_as_a_classifier(by_name: SharedModel) -> None:
    found = {baseline.name: baseline.evaluate("validation") for baseline in by_name.baselines}
    assert list(found) == ["majority", "tfidf", "probe", "zero_shot", "few_shot"]
    assert found["tfidf"].metrics["accuracy"] == 1.0
    for evaluation in found.values():
        assert set(evaluation.metrics) == {"accuracy", "macro_f1"}
        assert sum(count for *_, count in evaluation.decisions.confusion) == 15


def test_untrained_models_are_scored_in_the_precision_of_trials(by_name: SharedModel) -> None:
    def losses() -> dict[str, Any]:
        shots = [one for one in by_name.baselines if one.name.endswith("_shot")]
        return {one.name: one.evaluate("validation").losses for one in shots}

    plain = losses()
    by_name.context.mixed_dtype = "bfloat16"
    mixed = losses()
    for name in ("zero_shot", "few_shot"):
        assert not np.array_equal(plain[name], mixed[name])
        assert mixed[name] == pytest.approx(plain[name], rel=0.2)
    evaluator = Evaluator(
        by_name.context.task, by_name.context.items("validation"), 16, mixed_dtype="bfloat16"
    )
    as_trial = evaluator.evaluate(by_name.context.task.assemble(by_name.context.base(), {}))
    assert np.array_equal(as_trial.losses, mixed["zero_shot"])


@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_a_trial_learns_the_names_and_its_weights_give_the_same_losses_again(
    by_name: SharedModel, make_config: Any, tmp_path: Any, strategy: str
) -> None:
    rate = {"lora": 2e-2, "full": 3e-3}[strategy]
    parameters = {"learning_rate": rate, "r": 8, "lora_alpha": 16, "target_modules": "qkvo"}
    config = make_config(
        strategy=strategy,
        parameters=parameters,
        keep_weights=True,
        sequence_length=140,
        budget={"epochs": 6, "rung_items": 9},
    )
    job = TrialJob(by_name, config, tmp_path, lambda _: Decision.CONTINUE)
    result = train_trial(job)
    untrained = by_name.context.measure(by_name.context.base(), "validation")
    assert result.state == "COMPLETE"
    assert result.validation_loss is not None
    assert result.validation_loss < untrained.loss
    assert set(result.metrics) == {"accuracy", "macro_f1"}
    record = record_of(tmp_path / WEIGHTS)
    assert (record.classes_by, record.labels) == ("generate", ("fruit", "metal", "river"))
    model = load_trained(tmp_path / WEIGHTS, by_name.context.base_lender.lend(torch.float32))
    evaluation = by_name.context.measure(model, "validation")
    assert evaluation.loss == pytest.approx(result.validation_loss, rel=1e-4)


def _evaluate_by(shared: SharedModel, **options: Any) -> None:
    """Change the options of the evaluation."""
    changes = {"evaluation": EvaluationSpec(**options)}
    shared.context.spec = shared.context.spec.model_copy(update=changes)


def test_the_base_answers_the_first_test_items_in_writing(make: Any) -> None:
    splits = {"train": talk(3), "validation": talk(3), "test": talk(5)}
    shared = make(splits, task="instruction")
    base, weights = shared.context.base(), (3.0,) * 5
    bare = TestScore(
        name="zero_shot", metrics={}, items_sha256="", item_scores=(), item_weights=weights
    )

    def answers(**wanted: Any) -> GeneratedAnswers | None:
        _evaluate_by(shared, **wanted)
        return with_answers(bare, shared, base, None).generated

    found = answers(generate_items=2)
    assert found is not None
    assert (found.items, found.max_tokens) == (2, 4)
    assert {"bleu", "chrf", "rougeL", "exact_match"} <= set(found.metrics)
    again = answers(generate_items=2)
    assert again is not None
    assert again.metrics == found.metrics
    assert sorted(found.shown_texts) == [0, 1]
    without = answers(generate_items=2, no_texts=True)
    assert without is not None
    assert without.shown_texts == {}
    assert answers(generate_items=0) is None
    few = next(one for one in shared.baselines if one.name == "few_shot")
    asked: list[Example] = []

    def prompt(example: Example) -> list[int]:
        asked.append(example)
        return few.prompt(example)

    _evaluate_by(shared, generate_items=2)
    with_shots = with_answers(bare, shared, base, None, prompt)
    assert with_shots.generated is not None
    assert [example.answer for example in asked] == [e.answer for e in splits["test"][:2]]


def test_test_items_over_the_length_limit_are_neither_counted_nor_shown_nor_asked(
    make: Any,
) -> None:
    long = Example("k", 9, messages=(Message("user", "Say it."), Message("assistant", "x" * 200)))
    short = talk(5)
    shared = make(
        {"train": talk(3), "validation": talk(3), "test": (short[0], long, *short[1:])},
        task="instruction",
    )
    base = shared.context.base()
    score = scores_on_test("zero_shot", None, shared, shared.context.measure(base, "test"))
    assert [weight > 0 for weight in score.item_weights] == [True, False, True, True, True, True]
    assert 1 not in score.texts
    _evaluate_by(shared, generate_items=3)
    found = with_answers(score, shared, base, None).generated
    assert found is not None
    assert (found.items, found.places) == (3, (0, 2, 3))
    assert sorted(found.shown_texts) == [0, 2, 3]
    for name in ("bleu", "chrf", "rougeL", "exact_match"):
        assert len(found.item_metrics[name]) == 3
        assert np.mean(found.item_metrics[name]) == pytest.approx(found.metrics[name])


def _places(by_name: SharedModel) -> list[int]:
    """Numbers of the right classes of the test items."""
    dataset = by_name.context.dataset
    return [dataset.labels.index(str(example.label)) for example in dataset.splits["test"]]


def test_a_classification_writes_no_answers_but_keeps_its_confusions(by_name: SharedModel) -> None:
    evaluation = by_name.context.measure(by_name.context.base(), "test")
    score = scores_on_test("zero_shot", None, by_name, evaluation)
    assert sum(count for *_, count in score.confusion) == 12
    assert score.item_weights == (1.0,) * 12
    right = [said == place for said, place in zip(score.predicted, _places(by_name), strict=True)]
    assert list(score.item_scores) == right
    assert all(1 / 3 <= sure <= 1 for sure in score.confidence)
    first = by_name.context.dataset.splits["test"][0]
    assert (score.texts[0].asked, score.texts[0].reference) == (first.text, first.label)
    assert score.texts[0].line == first.line
    base = by_name.context.base()
    assert with_answers(score, by_name, base, None) == score


def test_finalists_write_but_not_their_confirmation_runs_and_no_other_trial(
    monkeypatch: Any, make: Any, make_config: Any, tmp_path: Any
) -> None:
    splits = {"train": talk(3), "validation": talk(3), "test": talk(5)}
    shared = make(splits, task="instruction")
    asked: list[str] = []

    class Trained:
        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> Any:
            return shared.context.base()

        def __exit__(self, *_: Any) -> None: ...

    def write(*_: Any, **__: Any) -> None:
        asked.append("asked")

    monkeypatch.setattr("sweeper.training.torch_backend.trained", Trained)
    monkeypatch.setattr("sweeper.training.torch_backend.with_answers", write)
    backend: Any = TorchBackend.__new__(TorchBackend)
    backend._spec = Spec(task="instruction", models=(ModelSpec(id="x"),))
    backend._plan = SimpleNamespace(seed=0, objective=LOSS)
    backend._run = tmp_path
    backend._on_progress = ProgressReporter()
    TestSeal(
        order=(3,),
        opened_at="now",
        headline_metric="loss",
        higher_is_better=False,
        items=5,
    ).write(tmp_path / "test.json")
    backend.shared = lambda _: shared
    backend.score_test("trial-3", make_config(seed=0), shared.context.folder)
    backend.score_test("trial-3-seed-1", make_config(seed=1), shared.context.folder)
    backend.score_test("trial-4", make_config(number=4), shared.context.folder)
    assert asked == ["asked"]
    compared = Objective(name="rouge_l", computed_from="answers", higher_is_better=True)
    backend._plan = SimpleNamespace(seed=0, objective=compared)
    backend.score_test("trial-3-seed-1", make_config(seed=1), shared.context.folder)
    assert asked == ["asked"] * 2
