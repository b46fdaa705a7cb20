from __future__ import annotations

import pytest

from sweeper.tasks.instruction import FAMILIES, answers, family

TEXTS = {
    "ChatML": (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nSo long<|im_end|>\n",
        ["Hello<|im_end|>", "So long<|im_end|>"],
    ),
    "Llama 3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>",
        ["Hello<|eot_id|>"],
    ),
    "Gemma": (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n",
        ["Hello<end_of_turn>"],
    ),
    "[INST]": (
        "<s>[INST] Hi [/INST] Hello</s><s>[INST] Bye [/INST] So long</s>",
        [" Hello</s>", " So long</s>"],
    ),
    "Zephyr": (
        "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n",
        ["Hello</s>"],
    ),
    "Alpaca": (
        "### Instruction:\nSay hi.\n\n### Response:\nHello\n\n"
        "### Instruction:\nSay bye.\n\n### Response:\nSo long\n",
        ["Hello", "So long"],
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_answers_are_found_by_the_markers_around_them(name: str) -> None:
    text, said = TEXTS[name]

    known = family(text)

    assert known is not None
    assert known.name == name
    assert [text[start:end] for start, end in answers(text, known)] == said


def test_every_family_has_a_text_in_this_test() -> None:
    assert {known.name for known in FAMILIES} == set(TEXTS)


def test_an_answer_without_end_marker_ends_where_the_next_turn_begins() -> None:
    text = "[INST] Hi [/INST] Hello [INST] Bye [/INST] So long \n"
    known = family(text)
    assert known is not None

    assert [text[a:b] for a, b in answers(text, known)] == [" Hello", " So long"]


def test_plain_text_has_no_family() -> None:
    assert family("The assistant said: hello.") is None


def test_an_unanswered_prompt_has_no_answer() -> None:
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    known = family(text)
    assert known is not None

    assert answers(text, known) == ()
