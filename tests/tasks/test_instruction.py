from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sweeper.data.examples import Example, Message
from sweeper.errors import DataError
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.task import task as task_named

MakeTask = Callable[..., Any]
ASK, SAY = Message("user", "What is the capital of France?"), Message("assistant", "Paris.")


def _trained(task: Any, feature: Any) -> str:
    return task.tokenizer.decode([label for label in feature["labels"] if label != -100])


def test_it_is_found_by_its_name() -> None:
    assert task_named("instruction") is Instruction


def test_system_prompt_comes_from_the_spec(make_task: MakeTask) -> None:
    example = Example("k", 1, messages=(ASK, SAY))
    task = make_task(Instruction, {"train": [example]}, training={"system_prompt": "Be brief."})

    text = task.tokenizer.decode(task.encode([example])[0]["input_ids"])

    assert text.startswith("<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhat is")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n",
            "Hello<|im_end|>",
        ),
        ("<s>[INST] Hi [/INST] Hello</s>", " Hello</s>"),
        ("### Instruction:\nHi\n\n### Response:\nHello\n", "Hello</s>"),
    ],
)
def test_texts_with_markers_are_not_templated_again(
    text: str, said: str, make_task: MakeTask
) -> None:
    example = Example("k", 1, text=text, templated=True)
    task = make_task(Instruction, {"train": [example]})

    feature = task.encode([example])[0]

    assert _trained(task, feature) == said
    written = task.tokenizer.decode(feature["input_ids"])
    assert written.count("Hi") == 1
    assert written.count("<s>") == text.count("<s>")
    assert written.endswith(said)


@pytest.mark.parametrize(
    "prompt",
    ["<s>[INST] Hi [/INST]", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"],
)
def test_prompts_that_were_templated_before_are_not_templated_again(
    prompt: str, make_task: MakeTask
) -> None:
    example = Example(
        "k", 1, messages=(Message("user", prompt), Message("assistant", "Hello there."))
    )
    task = make_task(Instruction, {"train": [example]})

    feature = task.encode([example])[0]

    assert task.tokenizer.decode(feature["input_ids"]) == f"{prompt}Hello there.</s>"
    assert _trained(task, feature) == "Hello there.</s>"
    asked = task.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert task.prompt(example) == asked


def test_a_question_about_markers_is_only_a_question(make_task: MakeTask) -> None:
    asked = Message("user", "What does [/INST] mean in a prompt?")
    example = Example("k", 1, messages=(asked, SAY))
    task = make_task(Instruction, {"train": [example]})

    assert task.tokenizer.decode(task.encode([example])[0]["input_ids"]).startswith("<s>[INST] ")


def test_all_unusable_examples_are_named_with_their_lines(make_task: MakeTask) -> None:
    good = Example("a", 1, messages=(ASK, SAY))
    silent = Example("b", 7, messages=(ASK,))
    marked = Example("c", 9, text="<|im_start|>user\nHi<|im_end|>", templated=True)
    task = make_task(Instruction, {"train": [good]})

    with pytest.raises(DataError) as caught:
        task.encode([good, silent, marked])

    assert [problem.where for problem in caught.value.problems] == ["talk.jsonl:7", "talk.jsonl:9"]
