from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from sweeper.data.examples import Example
from sweeper.evaluation.objective_values import first, from_decisions
from sweeper.objective import Objective
from sweeper.spec import ModelSpec, Spec, TrainingSpec
from sweeper.tasks.classification import Classification
from sweeper.tasks.generate_label import GenerateLabel
from sweeper.tasks.sequences.answer_likelihoods import log_likelihoods
from sweeper.tasks.task import task as task_named
from sweeper.tasks.task import task_of

LABELS = ("fox", "fox or dog", "paris")
EXAMPLES = [
    Example(f"k{line}", line, text=text, label=label)
    for line, (text, label) in enumerate(
        [
            ("The quick brown one.", "fox"),
            ("What is the capital of France, please?", "paris"),
            ("Lazy or quick?", "fox or dog"),
        ],
        1,
    )
]


@pytest.fixture
def task(make_task: Callable[..., Any]) -> Any:
    return make_task(GenerateLabel, {"train": EXAMPLES}, labels=LABELS, task="classification")


def test_it_is_found_by_its_name() -> None:
    assert task_named("generate_label") is GenerateLabel


@pytest.mark.parametrize(
    ("classes_by", "kind"), [("head", Classification), ("generate", GenerateLabel)]
)
def test_the_spec_says_which_of_the_two_ways(classes_by: Any, kind: Any) -> None:
    training = TrainingSpec(classes_by=classes_by)
    spec = Spec(task="classification", models=(ModelSpec(id="tiny"),), training=training)

    assert task_of(spec) is kind


def test_it_learns_to_say_the_name_and_to_end_the_turn(task: Any) -> None:
    feature = task.encode(EXAMPLES)[1]

    said = [label for label in feature["labels"] if label != -100]
    assert task.tokenizer.decode(said) == " paris</s>"
    assert task.tokenizer.decode(feature["input_ids"]) == (
        "<s>[INST] Which class does this text belong to: fox, fox or dog, paris?\n\n"
        "What is the capital of France, please? [/INST] paris</s>"
    )


def test_many_classes_are_not_listed(make_task: Callable[..., Any]) -> None:
    labels = tuple(f"class {number}" for number in range(11))
    examples = [Example("k", 1, text="Hi.", label="class 3")]
    task = make_task(GenerateLabel, {"train": examples}, labels=labels, task="classification")

    asked = task.tokenizer.decode(task.encode(examples)[0]["input_ids"])

    assert "Which class does this text belong to?\n\nHi." in asked


def test_validation_loss_is_that_of_the_class_among_the_classes(task: Any, llama: Any) -> None:
    batch = task.collate(task.encode(EXAMPLES))

    with torch.no_grad():
        scores = task.score(llama, batch)
        said = torch.zeros(len(EXAMPLES), len(LABELS))
        for column, label in enumerate(LABELS):
            relabelled = [Example(e.key, e.line, text=e.text, label=label) for e in EXAMPLES]
            whole = super(GenerateLabel, task).score(llama, task.collate(task.encode(relabelled)))
            said[:, column] = -(whole.losses * whole.weights)

    expected = -said.log_softmax(1)[torch.arange(3), torch.tensor([0, 2, 1])]
    torch.testing.assert_close(scores.losses, expected, rtol=1e-4, atol=1e-4)
    assert scores.weights.tolist() == [1, 1, 1]


def test_metrics_are_those_of_a_classifier(task: Any, llama: Any) -> None:
    batch = task.collate(task.encode(EXAMPLES))
    with torch.no_grad():
        scores = task.score(llama, batch)
    scores.outputs["logits"][:] = torch.eye(3)[[0, 2, 2]]

    evaluation = task.evaluation(scores, EXAMPLES)

    assert evaluation.metrics["accuracy"] == pytest.approx(2 / 3)
    assert evaluation.scores.tolist() == [1.0, 1.0, 0.0]
    assert "macro_f1" in evaluation.metrics


def test_an_item_whose_name_exceeds_the_limit_is_in_no_figure(
    make_task: Callable[..., Any], llama: Any
) -> None:
    long = "fox or dog or fox or dog or fox or dog or fox or dog"
    labels, examples = ("fox", long, "paris"), [*EXAMPLES[:2], replace(EXAMPLES[2], label=long)]
    task = make_task(GenerateLabel, {"train": examples}, 12, labels=labels, task="classification")
    with torch.no_grad():
        scores = task.score(llama, task.collate(task.encode(examples)))
    assert scores.weights.tolist() == [1, 1, 0]
    assert scores.losses[2] == 0
    scores.outputs["logits"][:] = torch.eye(3)[[0, 0, 1]]  # wrong only on the second item

    evaluation = task.evaluation(scores, examples)

    assert evaluation.scored.tolist() == [True, True, False]
    assert evaluation.metrics["accuracy"] == 0.5
    assert evaluation.scores.tolist() == [1.0, 0.0, 0.0]
    assert evaluation.decisions is not None
    assert evaluation.decisions.select(evaluation.scored).confusion == ((0, 0, 1), (2, 0, 1))
    accuracy = Objective(
        name="accuracy", metric="accuracy", computed_from="classes", higher_is_better=True
    )
    known = from_decisions(accuracy, task, evaluation, examples)
    assert known is not None
    assert (known.value, known.items.tolist()) == (0.5, [1.0, 0.0])
    early = from_decisions(accuracy, task, first(evaluation, 1), examples[:1])
    assert early is not None
    assert early.value == 1.0


def test_confusions_are_pairs_of_classes_with_their_items(task: Any, llama: Any) -> None:
    batch = task.collate(task.encode(EXAMPLES))
    with torch.no_grad():
        scores = task.score(llama, batch)
    scores.outputs["logits"][:] = torch.eye(3)[[0, 2, 2]]

    assert task.evaluation(scores, EXAMPLES).decisions.confusion == (
        (0, 0, 1),
        (1, 2, 1),
        (2, 2, 1),
    )


def test_the_untrained_model_is_a_baseline_without_and_with_an_example_of_each_class(
    task: Any, llama: Any, make_context: Any
) -> None:
    context = make_context(task, llama)
    task.facts = task.facts.model_copy(update={"context_length": 2048})
    zero, few = task.baselines(context)

    assert (zero.name, few.name) == ("zero_shot", "few_shot")
    assert [shot.label for shot in few.shots] == ["fox", "paris", "fox or dog"]
    assert few.title == "Untrained model, 3 examples in the prompt"
    assert zero.evaluate("validation").metrics["accuracy"] <= 1.0
    evaluation = few.evaluate("validation")
    assert evaluation.weights.tolist() == [1, 1, 1]
    before = [turn for shot in few.shots for turn in task.turns(shot)]
    for row, item in enumerate(EXAMPLES):
        whole = task.chat.prompt([*before, task.turns(item)[0]])
        with torch.no_grad():
            said = log_likelihoods(
                llama, task.tree, torch.tensor([whole]), torch.ones(1, len(whole)).long()
            )
        expected = -said.log_softmax(1)[0, LABELS.index(item.label)]
        assert evaluation.losses[row] == pytest.approx(float(expected), rel=1e-4)
