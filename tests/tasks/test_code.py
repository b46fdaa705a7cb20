from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sweeper.data.examples import Example, Message
from sweeper.tasks.code import FORMATS, CodeTask, FillIn, fill_in, fill_in_format
from sweeper.tasks.task import task as task_named

MakeTask = Callable[..., Any]
TALK = (
    Message("user", "Add two numbers."),
    Message("assistant", "def add(a, b):\n    return a + b"),
)


def _trained(task: Any, feature: Any) -> str:
    return task.tokenizer.decode([label for label in feature["labels"] if label != -100])


def _coder(form: FillIn | None) -> Any:
    """A tokenizer of single bytes, with fill-in tokens or without."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    own = [form.prefix, form.suffix, form.middle] if form else []
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", additional_special_tokens=own
    )


def test_it_is_found_by_its_name() -> None:
    assert task_named("code") is CodeTask


def test_assertions_are_part_of_the_question(make_task: MakeTask) -> None:
    example = Example(
        "k", 1, messages=TALK, tests=("assert add(1, 2) == 3", "assert add(0, 0) == 0")
    )
    task = make_task(CodeTask, {"train": [example]}, task="code")

    feature = task.encode([example])[0]

    assert _trained(task, feature) == " def add(a, b):\n    return a + b</s>"
    assert (
        "Add two numbers.\n\nYour code should pass these tests:\n\n"
        "assert add(1, 2) == 3\nassert add(0, 0) == 0 [/INST]"
    ) in task.tokenizer.decode(feature["input_ids"])


def test_a_test_program_is_not_shown(make_task: MakeTask) -> None:
    example = Example("k", 1, messages=TALK, tests=("def check(f):\n    assert f(1) == 1",))
    task = make_task(CodeTask, {"train": [example]}, task="code")

    assert task.turns(example) == list(TALK)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.prefix)
def test_fill_in_tokens_are_recognised(form: FillIn) -> None:
    assert fill_in_format(_coder(form)) == form


def test_a_tokenizer_without_them_has_none() -> None:
    assert fill_in_format(_coder(None)) is None


@given(st.text(min_size=2, max_size=40), st.text(max_size=5))
def test_a_text_with_a_hole_can_be_put_together_again(text: str, seed: str) -> None:
    tokenizer = _CODER

    encoded = fill_in(tokenizer, FORMATS[0], text, seed)

    said = [label for label in encoded.labels() if label != -100]
    assert said[-1] == tokenizer.eos_token_id
    middle = tokenizer.decode(said[:-1])
    asked = tokenizer.decode(encoded.ids[: encoded.answers[0][0]])
    before, after = (
        asked.removeprefix("<fim_prefix>").removesuffix("<fim_middle>").split("<fim_suffix>")
    )
    assert before + middle + after == text
    assert encoded == fill_in(tokenizer, FORMATS[0], text, seed)


_CODER = _coder(FORMATS[0])


def test_source_files_are_learnt_with_a_hole_where_the_tokenizer_can(make_task: MakeTask) -> None:
    source = Example("k", 1, text="def add(a, b):\n    return a + b\n")
    holed = make_task(CodeTask, {"train": [source]}, task="code", tokenizer=_CODER)
    plain = make_task(CodeTask, {"train": [source]}, task="code", tokenizer=_coder(None))

    asked = holed.tokenizer.decode(holed.encode([source])[0]["input_ids"])
    whole = plain.encode([source])[0]

    assert asked.startswith("<fim_prefix>")
    assert _trained(plain, whole) == source.text[1:] + "<eos>"
