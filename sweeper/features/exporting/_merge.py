"""Merges an adapter into its base model, in a process of its own.

``sweeper.load`` loads the resulting whole model. So does transformers, if the model writes text.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sweeper.errors import UsageError
from sweeper.evaluation.evaluator import autocast
from sweeper.facts.dataset.domain_distance import general_text
from sweeper.features.exporting._weights import MERGE_RECORD, MergeRequest, card
from sweeper.plans import autocast_dtype
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.classification import Classifier
from sweeper.textfiles import replacing, write_text
from sweeper.training.trial.artifacts import CARD, save_trained
from sweeper.training.trial.reload import reload
from sweeper.use.trained_model import Model, load

_FULL = "full"
# The models before and after the merge are compared on this many first tokens of each passage.
_MAX_TOKENS = 128


def merge(request: MergeRequest) -> MergeRequest:
    """Merge an adapter, write the model, and return the request with its results.

    The results compare the logits of the merged model with those of the trial's.

    Raises:
        UsageError: There is no adapter, or it cannot be merged.
    """
    weights = Path(request.weights)
    trained = load(weights)
    record, strategy = trained.record, strategy_named(trained.record.strategy)
    if strategy.saves_whole_model:
        raise UsageError(
            "these weights are a whole model already",
            fix="'sweeper export RUN --to model' copies it.",
            where=request.weights,
        )
    trial_logits = _logits(trained)
    del trained
    # On the CPU, since float32 takes twice the memory of a trial with a base in 16 bits.
    reloaded = reload(weights, torch.device("cpu"), to_merge=True)
    dtype = getattr(torch, record.base_dtype)
    model = reloaded.model
    if isinstance(model, Classifier):
        model.base = strategy.merge(model.base).to(dtype)
    else:
        model = strategy.merge(model).to(dtype)
    with replacing(Path(request.folder)) as temporary:
        without_base = {"strategy": _FULL, "base": None, "base_state": None}
        merged_record = record.model_copy(update=without_base)
        save_trained(temporary, model, strategy_named(_FULL), merged_record, reloaded.task)
        merged_logits = _logits(load(temporary))
        agreement = _agreement(torch.cat(trial_logits), torch.cat(merged_logits))
        compared_unit = "class" if record.labels else "token"
        compared = request.model_copy(update={"chosen": compared_unit, **agreement})
        readme = (temporary / CARD).read_text(encoding="utf-8")
        readme = readme.replace(
            f"- Strategy: {_FULL}\n", f"- Strategy: {record.strategy}, merged into the base\n"
        )
        merge_card = card(
            "merged",
            record=record,
            agreement=compared.agreement_text,
            passages=len(trial_logits),
            quantised=strategy.quantization_config(record.parameters) is not None,
        )
        write_text(temporary / CARD, readme + merge_card)
        compared.write(temporary / MERGE_RECORD)
    return compared


def _agreement(trial_logits: Tensor, merged_logits: Tensor) -> dict[str, float]:
    """The largest difference of logits, and the share of places with the same likeliest choice."""
    is_same_choice = trial_logits.argmax(-1) == merged_logits.argmax(-1)
    return {
        "difference": float((trial_logits - merged_logits).abs().max()),
        "agreement": float(is_same_choice.float().mean()),
    }


def _logits(model: Model) -> list[Tensor]:
    """Logits in float32 for each passage of the general text.

    The shape is ``(1, classes)``, or ``(tokens, vocabulary)`` if the model has no classes.
    """
    passages = [line for line in general_text().splitlines() if line]
    if model.classes:
        return [model.logits([passage]).float().cpu() for passage in passages]
    device = next(model.model.parameters()).device
    logits = []
    for passage in passages:
        ids = model.tokenizer(passage, add_special_tokens=False)["input_ids"][:_MAX_TOKENS]
        batch = torch.tensor([ids], device=device)
        with torch.inference_mode(), autocast(device, autocast_dtype(model.record.precision)):
            logits.append(model.model(input_ids=batch).logits[0].float().cpu())
    return logits
