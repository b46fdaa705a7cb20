from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeper.data.examples import Example, Message
from sweeper.tasks.discovery import task as task_named
from sweeper.tasks.domain import Domain

MakeTask = Callable[..., Any]
TALK = [
    Example(
        f"k{n}", n, messages=(Message("user", f"What is {n}?"), Message("assistant", f"It is {n}."))
    )
    for n in range(1, 5)
]
TEXT = [Example("t", 1, text="The quick brown fox jumps.")]


def test_it_is_found_by_its_name() -> None:
    assert task_named("domain") is Domain


def test_questions_are_answered_as_instructions_are(make_task: MakeTask) -> None:
    task = make_task(Domain, {"train": TALK}, task="domain")

    said = [label for label in task.encode(TALK)[0]["labels"] if label != -100]

    assert task.tokenizer.decode(said) == " It is 1.</s>"


def test_plain_text_is_learnt_from_its_second_token_on(make_task: MakeTask) -> None:
    task = make_task(Domain, {"train": TEXT}, task="domain")

    feature = task.encode(TEXT)[0]

    assert feature["labels"] == [-100, *feature["input_ids"][1:]]
    assert task.tokenizer.decode(feature["input_ids"]) == "The quick brown fox jumps.</s>"


def test_only_questions_can_be_shown_before_a_question(
    make_task: MakeTask, make_context: Any, llama: Any
) -> None:
    def names(train: list[Example]) -> list[str]:
        task = make_task(Domain, {"train": train}, task="domain")
        return [baseline.name for baseline in task.baselines(make_context(task, llama))]

    assert names(TALK) == ["zero_shot", "few_shot"]
    assert names(TEXT) == ["zero_shot"]
