from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sweeper.tasks.classification import Classifier
from sweeper.tasks.sequences import joined as sequences
from sweeper.tasks.sequences.answer_logits import answer_losses
from sweeper.tasks.sequences.joined import ATTENTION_BY_TEXT, INPUTS, keeps_texts_apart, pack_texts
from sweeper.tasks.task import padded

SIZE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
GPT2 = GPT2Config(
    vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3
)


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    config.bos_token_id = config.eos_token_id = 1
    model = AutoModelForCausalLM.from_config(config).eval()
    model.set_attn_implementation(ATTENTION_BY_TEXT)
    return model


def features() -> list[dict[str, Any]]:
    """Texts of several lengths, one of which is a single token without label."""
    chance = torch.Generator().manual_seed(1)
    found = []
    for length in (9, 14, 5, 1, 12):
        ids = torch.randint(2, 64, (length,), generator=chance).tolist()
        prompt = length // 2 or 1
        found.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return found


def batches() -> list[tuple[dict[str, Any], Tensor]]:
    """The inputs and labels of the same texts, padded and joined."""
    rows = [feature["input_ids"] for feature in features()]
    mask = padded([[1] * len(row) for row in rows], 0)
    labels = padded([feature["labels"] for feature in features()], -100)
    batch = pack_texts(features())
    return [
        ({"input_ids": padded(rows, 0), "attention_mask": mask}, labels),
        ({name: batch[name] for name in INPUTS}, batch["labels"]),
    ]


# PEFT asks transformers by names that transformers deprecates.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:fan_in_fan_out")
@pytest.mark.parametrize("trained", ["full", "lora", "full, checkpointed"])
@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZE),
        Qwen2Config(**SIZE),
        MistralConfig(**SIZE, sliding_window=6),
        GPT2,
    ],
    ids=["llama", "qwen2", "a window shorter than the texts", "learned positions"],
)
def test_losses_and_gradients_are_those_of_the_padded_batch(config: Any, trained: str) -> None:
    model = model_of(config)
    if trained == "lora":
        lora = LoraConfig(
            task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False
        )
        model = get_peft_model(model, lora)
    if "checkpointed" in trained:
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.activation_checkpointing_enable({"use_reentrant": False})
    weights = [weight for weight in model.parameters() if weight.requires_grad]

    found = []
    for inputs, labels in batches():
        losses = answer_losses(model, inputs, labels)
        found.append((losses.detach(), torch.autograd.grad(losses.sum(), weights)))

    (losses, gradients), (theirs, others) = found
    assert len(losses) == sum(len(f["labels"]) - f["labels"].count(-100) for f in features())
    torch.testing.assert_close(theirs, losses, rtol=1e-5, atol=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in gradients)
    torch.testing.assert_close(others, gradients, rtol=1e-5, atol=1e-5 * largest)


@pytest.fixture
def _masked_attention() -> None:
    AttentionInterface.register("masked", sdpa_attention_forward)
    AttentionMaskInterface.register("masked", sdpa_mask)


PROMPTS = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 3}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:fan_in_fan_out")
@pytest.mark.usefixtures("_masked_attention")
@pytest.mark.parametrize(
    ("config", "trained"),
    [
        (LlamaConfig(**SIZE), None),
        (LlamaConfig(**SIZE), PrefixTuningConfig(**PROMPTS)),
        (LlamaConfig(**SIZE), PromptTuningConfig(**PROMPTS)),
        (MistralConfig(**SIZE, sliding_window=6), None),
        (GPT2, None),
    ],
    ids=["llama", "prefix", "prompts", "a window shorter than the texts", "learned positions"],
)
def test_padding_is_not_masked_in_training_and_changes_nothing(config: Any, trained: Any) -> None:
    model = model_of(config)
    if trained is not None:
        model = get_peft_model(model, trained)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    inputs, labels = batches()[0]
    found = []
    for name in ("masked", "sdpa"):
        model.set_attn_implementation(name)
        losses = answer_losses(model, inputs, labels)
        found.append((losses.detach(), torch.autograd.grad(losses.sum(), weights)))
    (losses, gradients), (theirs, others) = found
    torch.testing.assert_close(theirs, losses, rtol=1e-5, atol=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in gradients)
    torch.testing.assert_close(others, gradients, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.usefixtures("_masked_attention")
def test_padding_changes_nothing_for_a_head_on_a_decoder(pooling: Any) -> None:
    base: Any = model_of(LlamaConfig(**SIZE)).model
    model = Classifier(base, pooling, SIZE["hidden_size"], 3)
    weights = [*model.parameters()]
    inputs, _ = batches()[0]
    found = []
    for name in ("masked", "sdpa"):
        base.set_attn_implementation(name)
        logits = model(**inputs)
        found.append((logits.detach(), torch.autograd.grad(logits.square().sum(), weights)))
    (logits, gradients), (theirs, others) = found
    torch.testing.assert_close(theirs, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(others, gradients, rtol=1e-4, atol=1e-4)


def test_padding_on_the_left_is_masked_without_gradients() -> None:
    model = model_of(LlamaConfig(**SIZE))
    model.set_attn_implementation("sdpa")
    ids = torch.randint(2, 64, (1, 7))
    with torch.no_grad():
        alone = model(input_ids=ids).logits[:, -1]
        filled = torch.cat([torch.full((1, 4), 5), ids], 1)
        mask = torch.tensor([[0] * 4 + [1] * 7])
        positions = (mask.cumsum(1) - 1).clamp_min(0)
        output = model(input_ids=filled, attention_mask=mask, position_ids=positions)
    torch.testing.assert_close(output.logits[:, -1], alone, rtol=1e-4, atol=1e-4)


def kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends: Tensor,
    key_ends: Tensor,
    longest: int,
    longest_key: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """What torch's kernel for several lengths computes, by its documentation; states are
    ``(tokens, heads, width)``."""
    assert window_size == (-1, 0)
    assert enable_gqa == (key.shape[1] < query.shape[1])
    lengths = ends.diff().tolist()
    assert (longest, longest_key, key_ends is ends) == (max(lengths), max(lengths), True)
    parts = zip(*(states.split(lengths) for states in (query, key, value)), strict=True)
    found = [
        scaled_dot_product_attention(
            *(states.transpose(0, 1) for states in part),
            is_causal=True,
            scale=scale,
            enable_gqa=enable_gqa,
        ).transpose(0, 1)
        for part in parts
    ]
    return torch.cat(found)


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZE),
        LlamaConfig(**(SIZE | {"num_key_value_heads": 4})),
        MistralConfig(**SIZE, sliding_window=6),
        GPT2,
    ],
    ids=["grouped heads", "llama", "a window shorter than the texts", "learned positions"],
)
def test_the_kernel_for_several_lengths_gives_the_losses_and_gradients_of_padded_texts(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, calls = model_of(config), []

    def counted(*arguments: Any, **options: Any) -> Tensor:
        calls.append(options)
        return kernel(*arguments, **options)

    monkeypatch.setattr(sequences, "has_kernel", lambda _query: True)
    monkeypatch.setattr(sequences, "_KERNEL", counted)
    found = []
    for inputs, labels in batches():
        losses = answer_losses(model, inputs, labels)
        found.append((losses.detach(), torch.autograd.grad(losses.sum(), [*model.parameters()])))
    # A window shorter than the texts needs a mask, which the kernel does not take.
    assert len(calls) == (0 if isinstance(config, MistralConfig) else 2)
    (losses, gradients), (theirs, others) = found
    torch.testing.assert_close(theirs, losses, rtol=1e-5, atol=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in gradients)
    torch.testing.assert_close(others, gradients, rtol=1e-5, atol=1e-5 * largest)


def test_torch_describes_the_kernel_as_it_is_called() -> None:
    assert sequences._KERNEL is not None
    with FakeTensorMode():
        states = [torch.empty(1, heads, 12, 16, dtype=torch.bfloat16) for heads in (4, 2, 2)]
        ends = torch.empty(3, dtype=torch.int32)
        found = sequences._attend_in_one_kernel(*states, ends, scaling=0.25, max_length_q=7)
    assert (found.shape, found.dtype) == ((1, 12, 4, 16), torch.bfloat16)
    assert not sequences.has_kernel(torch.empty(1, 4, 12, 16, dtype=torch.bfloat16))


def test_where_texts_end_is_read_once_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = model_of(LlamaConfig(**SIZE)), []
    original = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: read.append(self) or original(self))
    batch = pack_texts(features())
    read.clear()
    model(**{name: batch[name] for name in INPUTS})
    assert len(read) == 1


def test_a_text_that_was_cut_before_its_answer_takes_nothing_from_the_text_before_it() -> None:
    batch = pack_texts([{"input_ids": [5, 6], "labels": [5, 6]}, {"input_ids": [7], "labels": [7]}])

    assert batch["labels"].tolist() == [[-100, 6, -100]]
    assert batch["position_ids"].tolist() == [[0, 1, 0]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 2, 3]
    assert batch["max_length_q"] == 2


@pytest.mark.parametrize("config", [LlamaConfig(**SIZE), GPT2], ids=["llama", "gpt2"])
def test_a_model_that_is_told_where_texts_end_reads_them_apart(config: Any) -> None:
    model = model_of(config).train()
    assert keeps_texts_apart(model)
    assert all(module.training for module in model.modules())
    model.set_attn_implementation("sdpa")
    assert not keeps_texts_apart(model)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_models_and_prompts_that_cannot_are_found_out() -> None:
    alibi = BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3)
    convolutions = Lfm2Config(**SIZE, layer_types=["conv", "full_attention"])
    assert not keeps_texts_apart(model_of(alibi))
    assert not keeps_texts_apart(model_of(convolutions))
    for kind in (PromptTuningConfig, PrefixTuningConfig):
        prompts = kind(task_type="CAUSAL_LM", num_virtual_tokens=4)
        assert not keeps_texts_apart(get_peft_model(model_of(LlamaConfig(**SIZE)), prompts))
