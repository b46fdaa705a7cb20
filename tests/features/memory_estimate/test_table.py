from __future__ import annotations

from typing import Any

import pytest

from sweeper.errors import UsageError
from sweeper.facts.models.linear_layers import targeted
from sweeper.facts.models.model import model_facts
from sweeper.features.memory_estimate._table import check_targets, checked_setup
from sweeper.spec import ModelSpec


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        checked_setup(strategy="lroa", optimizer="adamw_torc")
    assert [problem.where for problem in caught.value.problems] == ["--strategy", "--optimizer"]
    assert "'lora'" in caught.value.problems[0].fix
    assert "'adamw_torch'" in caught.value.problems[1].fix


@pytest.mark.parametrize(
    "words",
    [("--micro-batch", "0"), ("--rank", "0"), ("--classes", "-1"), ("--quantization", "int3")],
)
def test_numbers_and_choices_are_checked_by_the_command_line(
    sweeper: Any, words: tuple[str, str]
) -> None:
    ran = sweeper("memory", "--model", "7B", *words)
    assert ran.code == 2
    assert words[0] in ran.err


def test_target_modules_are_split_at_commas() -> None:
    setup = checked_setup(strategy="lora", target_modules="q_proj, v_proj")
    assert setup.target_modules == ("q_proj", "v_proj")
    assert checked_setup(strategy="lora", target_modules="all-linear").target_modules == (
        "all-linear"
    )


@pytest.mark.parametrize(
    ("model", "words", "names"),
    [
        ("meta-llama/Meta-Llama-3-8B", ("query", "value"), ["q_proj", "v_proj"]),
        ("meta-llama/Meta-Llama-3-8B", ("mlp",), ["gate_proj", "up_proj", "down_proj"]),
        ("EleutherAI/pythia-1b", ("q_proj",), ["query_key_value"]),
        ("sentence-transformers/all-MiniLM-L6-v2", ("query",), ["query"]),
        ("sentence-transformers/all-MiniLM-L6-v2", ("v_proj",), ["value"]),
    ],
)
def test_words_and_other_families_names_mean_roles(
    model: str, words: tuple[str, ...], names: list[str]
) -> None:
    found = targeted(model_facts(ModelSpec(id=model)), words)
    assert [linear.name for linear in found] == names


def test_a_module_that_the_model_lacks_is_refused() -> None:
    model = model_facts(ModelSpec(id="meta-llama/Meta-Llama-3-8B"))
    with pytest.raises(UsageError, match="'q_prj'") as caught:
        check_targets(model, checked_setup(strategy="lora", target_modules="q_prj,v_proj"))
    assert "Did you mean 'q_proj'?" in str(caught.value)
