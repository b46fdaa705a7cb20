"""QLoRA on a card that holds the base in four bits and in no other form."""

from __future__ import annotations

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from fake_card import BrokenCard, FakeCard
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from sweeper.backend import Decision
from sweeper.errors import TooLarge

# The base has 5.3 MB in float32 and 2.7 in 16 bits.
SIZE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}
ONLY_FOUR_BITS = 2_500_000
IN_FOUR_BITS = {"precision": "bf16-mixed", "quantization": "nf4-dq"}
FOUR_BITS = {"strategy": "qlora", **IN_FOUR_BITS}


@pytest.fixture(scope="module")
def model_folders(model_folders):
    """A Llama whose weights are larger than its activations."""
    folder = model_folders["llama"].with_name("larger-llama")
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(model_folders["llama"], **SIZE)
    # In 16 bits, so that it cannot be mapped where float32 is asked for.
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folders["llama"]).save_pretrained(folder)
    return {"llama": folder}


@pytest.fixture
def kind():
    return "llama"


@pytest.fixture
def four_bits(backend):
    """The backend of a plan for QLoRA alone."""
    plan = backend._plan
    candidate = plan.candidates[0]
    setup = candidate.setup.model_copy(update=IN_FOUR_BITS)
    candidate = candidate.model_copy(update={"strategy": "qlora", "setup": setup})
    model = plan.facts.models[0].model_copy(update={"hidden_size": 256, "layers": 2})
    facts = plan.facts.model_copy(update={"models": (model,)})
    backend._plan = plan.model_copy(update={"candidates": (candidate,), "facts": facts})
    return backend


def train(backend, make_config, folder, limit, **changes):
    folder.mkdir()
    model, said = backend._plan.candidates[0].model, []
    config = make_config(
        model=model, keep_weights=True, **FOUR_BITS, budget={"epochs": 0.5}, **changes
    )

    def report(rung):
        said.append(rung)
        return Decision.CONTINUE

    with FakeCard(limit):
        return backend.train(config, folder, report, lambda: False), config


def test_baselines_trials_and_test_scores_need_no_more_than_the_base_in_four_bits(
    four_bits, make_config, tmp_path
):
    with FakeCard(ONLY_FOUR_BITS):
        names = [one.name for one in four_bits.baselines()]
    assert names == ["majority", "tfidf", "probe"]
    parameters = make_config().parameters | {"head_init": "probe"}
    folder = tmp_path / "attempt"
    result, config = train(four_bits, make_config, folder, ONLY_FOUR_BITS, parameters=parameters)
    assert (result.state, result.failure) == ("COMPLETE", None)
    assert result.micro_batch == config.setup.micro_batch
    with FakeCard(ONLY_FOUR_BITS):
        assert four_bits.score_test("probe", None, None).test_loss > 0
        assert four_bits.score_test("trial-3", config, folder).test_loss > 0
    base = four_bits.shared(config.model).context.base()
    assert sum(isinstance(module, Linear4bit) for module in base.modules()) == 2 * 7


# Where weights are quantised, transformers raises another error that does not say why.
@pytest.mark.parametrize("limit", [20_000, 100_000, 200_000])
def test_memory_that_runs_out_while_loading_is_no_reason_for_smaller_batches(
    four_bits, make_config, tmp_path, limit
):
    result, config = train(four_bits, make_config, tmp_path / "attempt", limit)
    assert result.failure.kind == "out-of-memory"
    assert result.failure.loading
    assert result.micro_batch == config.setup.micro_batch
    with FakeCard(limit), pytest.raises(TooLarge) as raised:
        list(four_bits.baselines())
    assert raised.value.loading


def test_memory_that_runs_out_in_a_step_halves_the_batch(four_bits, make_config, tmp_path):
    result, config = train(four_bits, make_config, tmp_path / "attempt", 1_600_000)
    assert (result.state, result.failure) == ("COMPLETE", None)
    assert (config.setup.micro_batch, result.micro_batch) == (8, 4)


def test_an_error_that_stays_ends_the_attempt_as_what_it_is(four_bits, make_config, tmp_path):
    folder, model = tmp_path / "attempt", four_bits._plan.candidates[0].model
    folder.mkdir()
    config = make_config(model=model, **FOUR_BITS)
    with BrokenCard(5000), pytest.raises(RuntimeError, match=BrokenCard.TEXT):
        four_bits.train(config, folder, lambda _: Decision.CONTINUE, lambda: False)
    assert not (folder / "result.json").exists()
