"""The KL penalty: its gradients, adapters really off, and a full model's frozen copy."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import LlamaConfig, LlamaForCausalLM

from sweeper.errors import UsageError
from sweeper.facts.record import TrainingSetup
from sweeper.features.forgetting._general_set import General
from sweeper.features.forgetting._remedies import KLToBase, Remedies, Replay, frozen_copy, text_task
from sweeper.strategies.strategy import Setting
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.training.base_model.base_lender import set_gradient_checkpointing
from sweeper.training.loop.trainer import TrialTrainer, arguments
from sweeper.training.loop.training_progress import TrainingProgress

WORDS = 40
PARAMETERS: dict[str, dict[str, Any]] = {
    "lora": {"r": 2, "lora_alpha": 4, "lora_dropout": 0.5, "target_modules": "qv"},
    "adapter": {"reduction_factor": 4},
    "prefix": {"num_virtual_tokens": 3},
    "ptuning": {"num_virtual_tokens": 3, "encoder_hidden_size": 8},
}
SETTING = Setting("CAUSAL_LM")
TOKENIZER = SimpleNamespace(pad_token_id=0, eos_token_id=1, bos_token_id=None)


def tiny() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        attention_dropout=0.5,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(20 if weight.ndim > 1 else 1)
    model.config.use_cache = False
    return model.requires_grad_(False).eval()


def task() -> General:
    nothing: Any = SimpleNamespace(path="", splits={})
    return General(nothing, TOKENIZER, nothing, nothing, 32)


def features(count: int = 4, prompt: int = 2) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(3)
    rows = []
    for length in range(5, 5 + count):
        ids = torch.randint(2, WORDS, (length,), generator=generator).tolist()
        labels = [-100] * prompt + ids[prompt:]
        rows.append({"input_ids": ids, "labels": labels, "answer_bytes": 1})
    return rows


def moved(model: nn.Module) -> nn.Module:
    """Trained weights away from their start, where many adapters do nothing."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.3 * torch.randn_like(weight))
    return model.train()


@pytest.fixture(params=sorted(PARAMETERS))
def adapted(request: Any) -> tuple[Any, nn.Module, torch.Tensor]:
    """A strategy, its adapted model away from the base, and the base's own logits."""
    base, strategy = tiny(), strategy_named(request.param)
    batch = task().collate(features())
    with torch.no_grad():
        own = task().answer_logits(base, batch)
    return strategy, moved(strategy.apply(base, PARAMETERS[request.param], SETTING)), own


def test_the_adapter_is_really_off_and_dropout_too(adapted: Any) -> None:
    strategy, model, own = adapted
    batch, near = task().collate(features()), KLToBase(task(), strategy, 1.0)
    trains = {name for name, weight in model.named_parameters() if weight.requires_grad}
    modes = [module.training for module in model.modules()]
    torch.testing.assert_close(near.logits(model, batch), own)
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == trains
    assert [module.training for module in model.modules()] == modes
    model.eval()
    assert not torch.allclose(task().answer_logits(model, batch), own, atol=1e-2)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_are_those_of_a_divergence_computed_by_hand(checkpointed: bool) -> None:
    strategy, parameters = strategy_named("lora"), {**PARAMETERS["lora"], "lora_dropout": 0.0}
    base = tiny()
    base.config.attention_dropout = 0.0
    for layer in base.model.layers:
        layer.self_attn.attention_dropout = 0.0
    batch = task().collate(features())
    with torch.no_grad():
        old = task().answer_logits(base, batch).double().softmax(-1)
    model = moved(strategy.apply(base, parameters, SETTING))
    set_gradient_checkpointing(base, checkpointed)
    loss, divergence = task().loss_and_divergence(
        model, batch, KLToBase(task(), strategy, 1).logits(model, batch)
    )
    (loss.total + 0.7 * divergence).backward()
    found = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad()
    set_gradient_checkpointing(base, False)
    new = task().answer_logits(model, batch).double().log_softmax(-1)
    said = batch["labels"][:, 1:][batch["labels"][:, 1:] != -100]
    by_hand = (old * (old.log() - new)).sum()
    (-new[torch.arange(len(said)), said].sum() + 0.7 * by_hand).backward()
    assert divergence.item() == pytest.approx(by_hand.item(), rel=1e-4)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-4)


def test_full_fine_tuning_compares_with_a_frozen_copy() -> None:
    base, strategy, batch = tiny(), strategy_named("full"), task().collate(features())
    copied = frozen_copy(base, "fp32")
    with torch.no_grad():
        own = task().answer_logits(base, batch)
    model = moved(strategy.apply(base, {}, SETTING))
    torch.testing.assert_close(KLToBase(task(), strategy, 1.0, copied).logits(model, batch), own)
    assert not any(weight.requires_grad for weight in copied.parameters())
    assert frozen_copy(base, "bf16-mixed").lm_head.weight.dtype == torch.bfloat16
    with pytest.raises(UsageError):
        KLToBase(task(), strategy, 1.0).logits(model, batch)


def test_a_new_head_has_no_base_to_stay_near_to() -> None:
    head: Any = SimpleNamespace(name="classification")
    with pytest.raises(UsageError):
        text_task(head)


def _step(
    tmp_path: Any, remedies: Remedies | None, micro: int
) -> tuple[dict[str, torch.Tensor], TrainingProgress]:
    """Gradients of one optimizer step over all features, as the trainer leaves them."""
    base, strategy = tiny(), strategy_named("lora")
    for layer in base.model.layers:
        layer.self_attn.attention_dropout = 0.0
    parameters = {**PARAMETERS["lora"], "lora_dropout": 0.0, "learning_rate": 0.0}
    model = moved(strategy.apply(base, parameters, SETTING))
    if remedies is not None and remedies.kl_to_base is not None:
        remedies.use(kl_to_base=KLToBase(task(), strategy, remedies.kl_to_base.weight))
    rows, progress, grads = features(), TrainingProgress(), {}

    class Watched(TrialTrainer):
        def _clip_grad_norm(self, model: nn.Module) -> Any:
            grads.update(
                {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
            )
            return super()._clip_grad_norm(model)

    batches = {"micro_batch": micro, "gradient_accumulation_steps": len(rows) // micro}
    setup, cpu = TrainingSetup(optimizer="adamw_torch", **batches), torch.device("cpu")
    settings = arguments(tmp_path, setup, parameters, steps=1, seed=0, device=cpu)
    Watched(
        model=model,
        task=task(),
        features=rows,
        order=SequentialSampler(rows),
        strategy=strategy,
        parameters=parameters,
        progress=progress,
        mixed_dtype=None,
        settings=settings,
        callbacks=[],
        extensions=[remedies] if remedies else [],
    ).train()
    return grads, progress


def using(*remedies: Any) -> Remedies:
    made = Remedies()
    made.use(*remedies)
    return made


GENERAL = features(6, prompt=0)


def _mean_loss(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    base, strategy = tiny(), strategy_named("lora")
    for layer in base.model.layers:
        layer.self_attn.attention_dropout = 0.0
    model = moved(strategy.apply(base, {**PARAMETERS["lora"], "lora_dropout": 0.0}, SETTING))
    terms = sum(len(row["labels"]) - 1 for row in rows)
    (task().loss(model, task().collate(rows)).total / terms).backward()
    return {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("micro", [1, 4])
def test_the_step_is_the_stated_mixture_of_task_divergence_and_general(
    tmp_path: Any, micro: int
) -> None:
    share = 0.4
    plain, _ = _step(tmp_path, None, micro)
    mixed, progress = _step(tmp_path, using(Replay(task(), GENERAL, share, 0)), micro)
    twin = Replay(task(), GENERAL, share, 0)
    tokens = sum(len(f["input_ids"]) for f in features())
    due = twin.due(tokens, micro)
    assert due.features
    general = _mean_loss(list(due.features))
    terms = sum(len(f["labels"]) - 1 for f in due.features)
    for name, gradient in mixed.items():
        by_hand = (1 - share) * plain[name] + due.weight * terms * general[name]
        torch.testing.assert_close(gradient, by_hand, rtol=1e-3, atol=1e-4)
    replayed = len(due.features), sum(len(f["input_ids"]) for f in due.features)
    assert tuple(progress.seen["general text, replayed"]) == replayed
    assert progress.tokens == tokens


def test_the_training_loss_that_is_reported_is_the_tasks_alone(tmp_path: Any) -> None:
    _, plain = _step(tmp_path, None, 4)
    near: Any = SimpleNamespace(weight=3.0)
    held, guarded = _step(tmp_path, using(Replay(task(), GENERAL, 0.4, 0), near), 4)
    assert plain.take_train_loss() == pytest.approx(guarded.take_train_loss())
    assert all(math.isfinite(float(gradient.sum())) for gradient in held.values())
