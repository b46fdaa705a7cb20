"""A tokenizer trained on the spot, and language models too small to know anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from sweeper.backend import ProgressReporter
from sweeper.data.examples import SPLITS, Dataset, Example
from sweeper.facts.record import ModelFacts
from sweeper.spec import ModelSpec, Spec
from sweeper.tasks.task import Evaluation, in_item_order

SPECIAL = [
    "<unk>",
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
]
CORPUS = [
    "You are a careful assistant. Answer the question in one short sentence.",
    "What is the capital of France? The capital of France is Paris.",
    "user assistant system model [INST] [/INST] <<SYS>> <</SYS>>",
    "Write a function that adds two numbers.\n\ndef add(a, b):\n    return a + b\n",
    "The quick brown fox jumps over the lazy dog, 1234567890 times.",
] * 3

MakeTokenizer = Callable[..., Any]


def _train(pre_tokenizer: Any, decoder: Any, alphabet: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def make_tokenizer() -> MakeTokenizer:
    """Makes a tokenizer with this chat template and these special tokens."""
    byte_level = _train(
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
        pre_tokenizers.ByteLevel.alphabet(),
    )
    spaced = _train(pre_tokenizers.Metaspace(), decoders.Metaspace(), [chr(c) for c in range(128)])

    def make(
        template: str | None = None,
        bos: str | None = None,
        eos: str | None = "</s>",
        puts_space_in_front: bool = False,
        **options: Any,
    ) -> Any:
        return PreTrainedTokenizerFast(
            tokenizer_object=spaced if puts_space_in_front else byte_level,
            bos_token=bos,
            eos_token=eos,
            unk_token="<unk>",
            chat_template=template,
            **options,
        )

    return make


def tiny_llama(**changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        **{
            "vocab_size": 512,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            # Large enough that predictions depend visibly on what was read.
            "initializer_range": 0.3,
            **changes,
        }
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def tiny_gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=512, n_positions=256, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3
    )
    return GPT2LMHeadModel(config).eval().requires_grad_(False)


@pytest.fixture(params=[tiny_llama, tiny_gpt2], ids=["llama", "gpt2"])
def language_model(request: pytest.FixtureRequest) -> Any:
    """A random causal language model of each of two kinds of positions."""
    return request.param()


@pytest.fixture
def llama() -> LlamaForCausalLM:
    return tiny_llama()


@pytest.fixture
def make_task(make_tokenizer: MakeTokenizer) -> Callable[..., Any]:
    """Makes a text task over these splits, with a tiny tokenizer and no chat template."""

    def make(kind: Any, splits: dict[str, list[Example]], cap: int = 128, **options: Any) -> Any:
        tokenizer = options.pop("tokenizer", None) or make_tokenizer(bos="<s>")
        rows = {name: tuple(splits.get(name, splits["train"])) for name in SPLITS}
        dataset = Dataset(
            path="talk.jsonl",
            format="messages",
            evidence=(),
            columns={},
            splits=rows,
            origins=dict.fromkeys(SPLITS, "official"),
            labels=tuple(options.pop("labels", ())),
            fingerprint="0" * 64,
        )
        spec = Spec(
            task=options.pop("task", "instruction"), models=(ModelSpec(id="tiny"),), **options
        )
        return kind(dataset, tokenizer, TINY_FACTS, spec, cap)

    return make


TINY_FACTS = ModelFacts(
    id="tiny",
    source="local",
    model_type="llama",
    kind="decoder",
    parameters=1,
    parameters_exact=False,
    layers=2,
    hidden_size=32,
    attention_heads=4,
    key_value_heads=2,
    head_dim=8,
    intermediate_size=64,
    vocabulary_size=512,
    context_length=256,
    tied_embeddings=False,
    gated_mlp=True,
)


@dataclass
class TinyContext:
    """Lends one tiny model and scores one item at a time, unpadded."""

    task: Any
    model: Any
    on_progress: ProgressReporter = field(default_factory=ProgressReporter)

    @property
    def dataset(self) -> Dataset:
        return self.task.dataset

    def base(self) -> Any:
        return self.model

    def computing(self) -> Any:
        return contextlib.nullcontext()

    def measure(self, model: Any, split: Any) -> Evaluation:
        examples = self.dataset.splits[split]
        batches = [self.task.collate([f]) for f in self.task.encode(examples)]
        with torch.no_grad():
            parts = [self.task.score(model, batch) for batch in batches]
        return self.task.evaluation(in_item_order(parts, range(len(parts))), examples)


@pytest.fixture
def make_context() -> type[TinyContext]:
    return TinyContext
