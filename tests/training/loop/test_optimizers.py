"""Training steps with the optimizer and the precision that the plan says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import SequentialSampler
from transformers import LlamaConfig, LlamaForCausalLM

from sweeper.facts.record import USUAL_OPTIMIZER, TrainingSetup
from sweeper.features.forgetting._general_set import General
from sweeper.planning.rulebook.book import rule_book
from sweeper.plans import Half
from sweeper.strategies.strategy import Setting
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.training.loop.trainer import TrialTrainer, arguments
from sweeper.training.loop.training_progress import TrainingProgress

PARAMETERS: dict[str, Any] = {"learning_rate": 1e-3}
# bitsandbytes keeps states of fewer than 4096 numbers in 32 bits.
CONFIG = LlamaConfig(
    vocab_size=100, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
    num_attention_heads=2, tie_word_embeddings=False, use_cache=False,
)  # fmt: skip


def _trained(
    folder: Path,
    optimizer: str,
    mixed_dtype: Half | None = None,
    steps: int = 2,
    weight: float = 1.0,
) -> tuple[Any, TrialTrainer]:
    nothing: Any = SimpleNamespace(path="", splits={})
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=1, bos_token_id=None)
    task, strategy = General(nothing, tokenizer, nothing, nothing, 32), strategy_named("full")
    torch.manual_seed(0)
    model: Any = strategy.apply(LlamaForCausalLM(CONFIG), PARAMETERS, Setting("CAUSAL_LM"))
    with torch.no_grad():
        model.lm_head.weight.mul_(weight)
    rows = [{"input_ids": [5, 6, 7, 8], "labels": [5, 6, 7, 8], "answer_bytes": 1}] * 2
    setup, cpu = TrainingSetup(micro_batch=2, optimizer=optimizer), torch.device("cpu")
    settings = arguments(folder, setup, PARAMETERS, steps, seed=0, device=cpu)
    trainer = TrialTrainer(
        model=model,
        task=task,
        features=rows,
        order=SequentialSampler(rows),
        strategy=strategy,
        parameters=PARAMETERS,
        progress=TrainingProgress(),
        mixed_dtype=mixed_dtype,
        settings=settings,
        callbacks=[],
    )
    trainer.train()
    return model, trainer


def _state(trainer: TrialTrainer, weight: torch.Tensor) -> dict[str, Any]:
    return dict(trainer.optimizer.optimizer.state[weight])


def test_the_usual_one_is_fused(tmp_path: Path) -> None:
    _, trainer = _trained(tmp_path, USUAL_OPTIMIZER)
    assert all(group["fused"] for group in trainer.optimizer.param_groups)


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("name", ["adamw_bnb_8bit", "paged_adamw_8bit"])
def test_eight_bit_states_leave_embeddings_in_32(tmp_path: Path, name: str) -> None:
    model, trainer = _trained(tmp_path, name)
    before = LlamaForCausalLM(CONFIG).model.layers[0].mlp.up_proj.weight
    assert not torch.equal(model.model.layers[0].mlp.up_proj.weight, before)
    assert _state(trainer, model.lm_head.weight)["state1"].dtype == torch.uint8
    assert _state(trainer, model.model.embed_tokens.weight)["state1"].dtype == torch.float32


def test_adafactor_keeps_rows_and_columns(tmp_path: Path) -> None:
    model, trainer = _trained(tmp_path, "adafactor")
    state = _state(trainer, model.lm_head.weight)
    assert state["exp_avg_sq_row"].shape == (100,)
    assert state["exp_avg_sq_col"].shape == (64,)
    assert "exp_avg" not in state


def test_these_are_all_that_a_plan_may_choose() -> None:
    strategies = rule_book().strategies.values()
    declared = {one.use for strategy in strategies for one in strategy.smaller_optimizers}
    assert declared == {"adamw_bnb_8bit", "paged_adamw_8bit", "adafactor"}


def _moved(model: Any) -> bool:
    torch.manual_seed(0)
    return not torch.equal(LlamaForCausalLM(CONFIG).lm_head.weight, model.lm_head.weight)


def test_float16_scales_the_loss_and_trains_fp32_weights(tmp_path: Path) -> None:
    model, trainer = _trained(tmp_path, USUAL_OPTIMIZER, mixed_dtype="float16", steps=4)
    scaler = trainer.accelerator.scaler
    assert isinstance(scaler, torch.amp.GradScaler)
    assert model.lm_head.weight.dtype == torch.float32
    assert _moved(model)
    assert trainer.progress.check() is None  # no overflow passed for a divergence
    assert trainer.progress._norm is None or float(trainer.progress._norm) < 100


def test_an_overflow_is_skipped_and_halves_the_scale(tmp_path: Path) -> None:
    model, trainer = _trained(
        tmp_path, USUAL_OPTIMIZER, mixed_dtype="float16", steps=1, weight=300.0
    )
    assert trainer.accelerator.scaler.get_scale() == 2.0**15
    assert torch.isfinite(model.lm_head.weight).all()
    torch.manual_seed(0)
    assert torch.equal(model.lm_head.weight, LlamaForCausalLM(CONFIG).lm_head.weight * 300)


def test_bfloat16_scales_nothing(tmp_path: Path) -> None:
    _, trainer = _trained(tmp_path, USUAL_OPTIMIZER, mixed_dtype="bfloat16")
    assert trainer.accelerator.scaler is None
