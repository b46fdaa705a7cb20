from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sweeper.data.examples import SPLITS, Dataset, Example, Message
from sweeper.errors import RunError
from sweeper.evaluation import objective_values as answers_module
from sweeper.evaluation.objective_values import Sampling, answer, code_of, pass_at_k
from sweeper.facts.record import ModelFacts
from sweeper.spec import ModelSpec, Spec
from sweeper.tasks.code import CodeTask

ITEMS = [
    Example(
        f"k{n}",
        n,
        messages=(Message("user", f"Give {n}."), Message("assistant", "x = 1")),
        tests=(f"assert x == {n}",),
        references=references,
    )
    for n, references in enumerate([(), ("y", "x = 1"), ("z",)])
]


@pytest.fixture(scope="module")
def task() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, eos_token="</s>")
    dataset = Dataset(
        "code.jsonl",
        "messages",
        (),
        {},
        dict.fromkeys(SPLITS, tuple(ITEMS)),
        dict.fromkeys(SPLITS, "official"),
        (),
        "0" * 64,
    )
    spec = Spec(task="code", models=(ModelSpec(id="tiny"),))
    return CodeTask(dataset, tokenizer, ModelFacts.model_construct(), spec, 256)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def _says(monkeypatch: pytest.MonkeyPatch, texts: Sequence[list[str]]) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def generate(*arguments: Any, **options: Any) -> Sequence[list[str]]:
        calls.append({"prompts": arguments[2], **options})
        return texts

    monkeypatch.setattr(answers_module, "generate", generate)
    return calls


def test_a_model_is_asked_as_it_was_trained(
    task: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _says(monkeypatch, [["x = 1"]] * 3)

    answer(task, model, ITEMS)

    asked = task.tokenizer.decode(calls[0]["prompts"][2])
    assert asked == (
        "[INST] Give 2.\n\nYour code should pass these tests:\n\nassert x == 2 [/INST]"
    )
    # As long as the longest reference " x = 1" with its end of turn, in bytes.
    assert calls[0]["max_new_tokens"] == 7


def test_all_accepted_answers_count(task: Any, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _says(monkeypatch, [["x = 1"]] * 3)

    answered = answer(task, model, ITEMS)

    assert answered.metrics["exact_match"] == pytest.approx(2 / 3)
    assert "pass@1" not in answered.metrics


def test_code_is_run_only_when_that_was_allowed(
    task: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, tuple[str, ...]]] = []

    def run(program: str, tests: tuple[str, ...]) -> bool:
        ran.append((program, tests))
        return program == "x = 1"

    monkeypatch.setattr(answers_module, "run_program", run)
    _says(monkeypatch, [["x = 1", "x = 2"], ["```\nx = 1```", "x = 1"], ["x", "y"]])

    assert answer(task, model, ITEMS).metrics.keys() & {"pass@1", "pass@2"} == set()
    assert ran == []
    metrics = answer(task, model, ITEMS, run_code=True, sampling=Sampling(1.0, samples=2)).metrics
    assert metrics["pass@1"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert metrics["pass@2"] == pytest.approx(2 / 3)
    assert ran[2] == ("x = 1", ("assert x == 1",))


def test_code_that_cannot_be_cut_off_is_not_scored(
    task: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> bool:
        raise RunError("this machine cannot run unread code safely, so it was not run")

    monkeypatch.setattr(answers_module, "run_program", refuse)
    _says(monkeypatch, [["x = 1"]] * 3)

    with pytest.raises(RunError):
        answer(task, model, ITEMS, run_code=True)


def test_a_real_model_answers_every_item(task: Any, model: Any) -> None:
    answered = answer(task, model, ITEMS, batch_size=2)

    assert [len(texts) for texts in answered.answers] == [1, 1, 1]
    assert answered == answer(task, model, ITEMS, batch_size=3)


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_it_is_the_share_of_draws_with_a_right_answer(
    passed: list[bool], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(passed)))
    draws = list(combinations(passed, k))

    assert pass_at_k([passed], k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_problems_count_alike() -> None:
    assert pass_at_k([[True, True], [False, False], [True, False]], 1) == pytest.approx(0.5)


@pytest.mark.parametrize("k", [0, 3])
def test_more_tries_than_answers_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match="1 <= k <= answers"):
        pass_at_k([[True, False]], k)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("def f(): pass", "def f(): pass"),
        ("Here:\n```python\ndef f(): pass\n```\nand\n```\nx\n```", "def f(): pass\n"),
        ("```\ndef f(): pass\n```", "def f(): pass\n"),
        ("```py\ndef f(): pass", "def f(): pass"),
    ],
)
def test_code_is_taken_out_of_its_fence(answer: str, code: str) -> None:
    assert code_of(answer) == code
