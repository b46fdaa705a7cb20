"""Trained models of every task and strategy in folders, with their logits for one batch."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sweeper.facts.models.model import model_facts
from sweeper.spec import ModelSpec, Spec, TrainingSpec
from sweeper.strategies.strategy import Setting, strategies
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.trial.artifacts import save_trained
from sweeper.training.trial.trial_job import TrialJob

LOW_RANK = {"r": 4, "lora_alpha": 8, "target_modules": "qkvo"}
PARAMETERS = {
    "full": {},
    "head": {},
    "lora": LOW_RANK,
    "qlora": LOW_RANK,
    "adapter": {"reduction_factor": 4},
    "prefix": {"num_virtual_tokens": 2},
    "ptuning": {"num_virtual_tokens": 2},
}
INPUTS = {"input_ids": torch.tensor([[70, 71, 72, 73], [75, 76, 77, 78]])}
INPUTS["attention_mask"] = torch.ones_like(INPUTS["input_ids"])


@pytest.fixture
def saved(byte_llama, topics, turns, make_config, tmp_path):
    """Saves a trained model of a task and strategy; gives its folder and its logits."""
    talks = {name: turns(4, place) for place, name in enumerate(topics.splits)}
    conversations = replace(topics, format="messages", splits=talks, labels=())
    contexts = {}

    def shared(task: str) -> SharedModel:
        if task not in contexts:
            by = "generate" if task == "by name" else "head"
            name = "classification" if task == "by name" else task
            classifies = name == "classification"
            named = ModelSpec(id=str(byte_llama))
            spec = Spec(task=name, models=(named,), training=TrainingSpec(classes_by=by))
            facts = model_facts(named)
            data = topics if classifies else conversations
            contexts[task] = SharedModel(
                ModelContext(named, facts, byte_llama, data, spec, 256, 8, torch.device("cpu"))
            )
        return contexts[task]

    def save(task: str, name: str) -> tuple[Path, torch.Tensor]:
        strategy, own = strategies()[name], PARAMETERS[name]
        context = shared(task).context
        kind = context.spec.task
        config = make_config(task=kind, strategy=name, parameters=own, sequence_length=256)
        folder = tmp_path / "run" / f"{task}-{name}".replace(" ", "-")
        job = TrialJob(shared(task), config, folder, lambda _: None)
        quantized = strategy.quantization_config(own)
        base = context.base_lender.lend(
            strategy.base_dtype("fp32"), quantized, will_change=strategy.changes_base(own)
        )
        torch.manual_seed(1)
        setting = Setting(context.task.task_type, tokenizer=context.tokenizer)
        adapted = strategy.apply(base, own, setting)
        model = context.task.assemble(adapted, own)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight += 0.05 * torch.randn_like(weight)
        save_trained(folder, model.eval(), strategy, job._record(strategy), context.task)
        with torch.no_grad():
            found = model(**INPUTS)
        strategy.remove(adapted)
        context.base_lender.give_back(base, strategy.changes_base(own))
        return folder, found if isinstance(found, torch.Tensor) else found.logits

    return save
