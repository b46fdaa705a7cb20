from __future__ import annotations

import pytest

from sweeper.errors import UsageError
from sweeper.facts.models.model import model_facts
from sweeper.features.memory_estimate._setup_checks import check_targets, checked_setup
from sweeper.memory.linear_layers import targeted
from sweeper.spec import ModelSpec


def test_all_mistakes_are_listed_with_near_matches() -> None:
    with pytest.raises(UsageError) as caught:
        checked_setup(strategy="lroa", optimizer="adamw", micro_batch=0, r=-1, classes=-2)
    text = str(caught.value)
    assert "--strategy: 'lroa'" in text
    assert "Did you mean 'lora'?" in text
    assert "--optimizer" in text
    assert "--micro-batch: micro_batch is 0" in text
    assert "--rank: r is -1" in text
    assert "--classes" in text


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
    with pytest.raises(UsageError, match=r"no linear layer named 'q_prj'") as caught:
        check_targets(model, checked_setup(strategy="lora", target_modules="q_prj,v_proj"))
    assert "Did you mean 'q_proj'?" in str(caught.value)
