"""One model on the sealed test split: its loss item by item, its classes, its written answers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from sweeper.data.examples import Example
from sweeper.evaluation.answers import answer
from sweeper.evaluation.generation import Sampling
from sweeper.evaluation.judge import autocast
from sweeper.evaluation.objective import from_answers, from_decisions
from sweeper.plans import Half
from sweeper.spec import EvaluationSpec
from sweeper.tasks.base import Evaluation
from sweeper.tasks.instruction import Instruction
from sweeper.training.base_model.shared import SharedModel
from sweeper.trials import GeneratedAnswers, ItemText, TestScore, TrialConfig
from sweeper.visible import TEXT_CHARACTERS, shortened

# Prompts at a time: keys and values of a 7B model take 0.5 MiB a token, so that 8 of them with
# 1,000 tokens each stay under 5 GiB.
_BATCH = 8
# Items that are answered unless the user says otherwise: few on a CPU, where each token of an
# answer is a pass of its own through all weights.
_ITEMS = {"cpu": 16, "cuda": 256}
# Test items whose texts are kept to be shown: the first ones, which are a random sample since items
# are ordered by hash, and those with the highest losses of each model.
_FIRST, _HARDEST = 48, 40
# Of sampled programs (arXiv:2107.03374, section 3: temperature 0.8 for many samples, nucleus 0.95).
_TEMPERATURE, _TOP_P = 0.8, 0.95


def scored(
    name: str, config: TrialConfig | None, shared: SharedModel, evaluation: Evaluation
) -> TestScore:
    """The scores of an evaluation on the test split, without written answers."""
    decided, context = evaluation.decisions, shared.context
    tests = context.dataset.splits["test"]
    known = from_decisions(context.objective, context.task, evaluation, tests)
    items, figure = (known.items, {context.objective.metric: known.value}) if known else ((), {})
    if known is None and context.objective.is_loss:
        items = evaluation.scores
    return TestScore(
        name=name,
        trial=config.number if config else None,
        seed=config.seed if config else None,
        loss=evaluation.loss,
        metrics=evaluation.metrics | figure,
        item_scores=tuple(map(float, items)),
        item_losses=tuple(evaluation.losses.tolist()),
        item_weights=tuple(evaluation.weights.tolist()),
        items_sha256=hashlib.sha256(
            "".join(example.content_hash() for example in tests).encode()
        ).hexdigest(),
        confusion=decided.confusion if decided else (),
        predicted=tuple(decided.predicted.tolist()) if decided else (),
        confidence=tuple(decided.confidence.round(4).tolist()) if decided else (),
        texts=_texts(shared, evaluation),
        notes=shared.context.notes("test"),
    )


def _texts(shared: SharedModel, evaluation: Evaluation) -> dict[int, ItemText]:
    """Items that a reader may want to see: the first ones, and those with the highest losses."""
    if shared.context.spec.evaluation.no_texts:
        return {}
    examples = shared.context.dataset.splits["test"]
    hardest = np.argsort(-evaluation.losses, kind="stable")[:_HARDEST].tolist()
    chosen = sorted({*hardest, *range(min(_FIRST, len(examples)))})
    return {item: _item_text(examples[item]) for item in chosen}


def _item_text(example: Example) -> ItemText:
    turns = example.messages[:-1]
    several = [f"{turn.role}: {turn.content}" for turn in turns]
    asked = turns[0].content if len(turns) == 1 else "\n\n".join(several) or example.text
    return ItemText(
        line=example.line,
        asked=shortened(asked, TEXT_CHARACTERS),
        reference=shortened(example.answer, TEXT_CHARACTERS),
    )


def answered(
    score: TestScore,
    shared: SharedModel,
    model: nn.Module,
    wanted: EvaluationSpec,
    mixed: Half | None,
    prompt: Callable[[Example], list[int]] | None = None,
) -> TestScore:
    """The scores with the model's greedy answers to the first test items, if it writes any.

    To all of them where the objective is computed from answers.

    Args:
        score: Without answers.
        shared: Data shared by the trials of its base model.
        model: The model that the task assembled.
        wanted: How many items; whether programs may be run.
        mixed: Dtype of autocast.
        prompt: The tokens that ask for an item's answer; the task's prompt if None.

    Raises:
        RunError: Programs are to be run, but cannot be cut off from network and files here.
    """
    task, device = shared.context.task, next(model.parameters()).device
    objective = shared.context.objective
    count = _ITEMS[device.type] if wanted.generate_items is None else wanted.generate_items
    compares = objective.of_answers
    if compares:
        count = len(shared.context.dataset.splits["test"])
    tests = enumerate(shared.context.dataset.splits["test"])
    chosen = [(place, example) for place, example in tests if example.messages][:count]
    items = [example for _, example in chosen]
    if not isinstance(task, Instruction) or not items:
        return score
    start = time.perf_counter()
    run_code, told = wanted.run_generated_code, shared.context.underway
    ask = partial(answer, task, model, items, prompt=prompt, batch_size=_BATCH, underway=told)
    with torch.no_grad(), autocast(device, mixed):
        said = ask(run_code=run_code)
        metrics, greedy = said.metrics, time.perf_counter() - start
        if run_code and wanted.code_samples > 1:
            sampling = Sampling(_TEMPERATURE, _TOP_P, wanted.code_samples)
            tried = ask(sampling=sampling, run_code=True)
            metrics |= {k: v for k, v in tried.metrics.items() if k.startswith("pass@")}
    known = from_answers(objective, said, items, told) if compares else None
    generated = GeneratedAnswers(
        items=len(items),
        metrics=metrics,
        most_tokens=said.most_tokens,
        seconds=time.perf_counter() - start,
        greedy_seconds=greedy,
        said={
            place: shortened(texts[0], TEXT_CHARACTERS)
            for (place, _), texts in zip(chosen[:_FIRST], said.answers, strict=False)
            if not wanted.no_texts
        },
    )
    if known is None:
        return score.model_copy(update={"generated": generated})
    return score.model_copy(
        update={
            "generated": generated,
            "metrics": score.metrics | {objective.metric: known.value},
            "item_scores": tuple(known.items.tolist()),
        }
    )
