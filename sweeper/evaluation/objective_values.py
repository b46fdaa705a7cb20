"""Generated answers, their metrics (such as pass@k), and the value of a study's objective."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.generation import StoppingCriteria

from sweeper.backend import ProgressReporter, Steps, no_progress
from sweeper.data.examples import Example
from sweeper.errors import UsageError
from sweeper.memory.estimate import MIN_PROMPTS, cache_bytes, prompts_at_once
from sweeper.metrics import user_function
from sweeper.metrics.metric import compute_metrics, item_values, metrics
from sweeper.metrics.programs import run_program
from sweeper.objective import Objective
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.task import Evaluation, Floats, Task, padded


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; greedily if ``temperature`` is 0.

    Args:
        temperature: Divides the logits.
        top_p: Keeps the most likely tokens up to this probability mass (arXiv:1904.09751).
        samples: Number of answers to each prompt.
        seed: Seed of the first batch; later batches have ``seed`` plus their first item's number.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    samples: int = 1
    seed: int = 0


def generate(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    stop_tokens: Iterable[int],
    *,
    max_new_tokens: int,
    batch_size: int | None = None,
    sampling: Sampling | None = None,
    on_progress: Steps = no_progress,
) -> list[list[str]]:
    """The model's answers to each prompt.

    Args:
        model: A causal language model, adapted or not. Left in evaluation mode.
        prompts: Token ids, up to where the answer begins.
        stop_tokens: An answer ends before the first of these.
        batch_size: Prompts in a batch, longest first; as many as fit the device's memory if None.
        sampling: One greedy answer to each prompt if None.
        on_progress: Callback after each token, with the number of answered prompts; an unfinished
            answer counts as its share of ``max_new_tokens``.

    Returns:
        ``samples`` texts for each prompt, in the order of ``prompts``.
    """
    settings = sampling or Sampling()
    stop_ids = sorted(set(stop_tokens))
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stop_ids[0]
    sampling_options = {"temperature": settings.temperature, "top_p": settings.top_p}
    config = GenerationConfig(
        do_sample=settings.temperature > 0,
        num_return_sequences=settings.samples,
        max_new_tokens=max_new_tokens,
        eos_token_id=stop_ids,
        pad_token_id=padding,
        use_cache=True,
        **(sampling_options if settings.temperature > 0 else {}),
    )
    device = next(model.parameters()).device
    generator: Any = model.eval()
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    answers: dict[int, list[str]] = {}
    if batch_size is None:
        max_tokens = max(map(len, prompts), default=0) + max_new_tokens
        batch_size = prompt_batch_size(generator, settings.samples * max_tokens, device)
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        ids = padded([prompts[i] for i in indices], padding, "left")
        mask = padded([[1] * len(prompts[i]) for i in indices], 0, "left")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(settings.seed + start)
            outputs = generator.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=config,
                stopping_criteria=[
                    _TokenReporter(on_progress, start, len(indices), len(order), max_new_tokens)
                ],
            )
        texts = [
            _decoded_answer(tokenizer, row[ids.shape[1] :].tolist(), stop_ids) for row in outputs
        ]
        for number, index in enumerate(indices):
            answers[index] = texts[number * settings.samples : (number + 1) * settings.samples]
    return [answers[number] for number in range(len(prompts))]


def prompt_batch_size(model: Any, tokens: int, device: torch.device) -> int:
    """Number of prompts in a batch: on a GPU, as many as fit its free memory.

    Args:
        tokens: Tokens of the longest prompt with its answers.
    """
    if device.type != "cuda":
        return MIN_PROMPTS
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    heads = getattr(config, "num_key_value_heads", None) or heads
    bytes_per_prompt = cache_bytes(config.num_hidden_layers, heads * width, tokens)
    return prompts_at_once(bytes_per_prompt, torch.cuda.mem_get_info()[0])


class _TokenReporter(StoppingCriteria):
    """A criterion that never stops generation but reports progress after each token.

    Args:
        answered: Number of prompts answered before this batch.
        batch: Number of prompts in this batch.
        total: Number of all prompts.
    """

    def __init__(
        self, on_progress: Steps, answered: int, batch: int, total: int, max_tokens: int
    ) -> None:
        self._on_progress, self._total = on_progress, total
        self._answered, self._batch = answered, batch
        self._written_tokens, self._max_tokens = 0, max_tokens

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Any:
        self._written_tokens += 1
        batch_share = self._batch * self._written_tokens // self._max_tokens
        self._on_progress(self._answered + batch_share, self._total)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _decoded_answer(tokenizer: Any, ids: list[int], stop_ids: Sequence[int]) -> str:
    end = next((position for position, token in enumerate(ids) if token in stop_ids), len(ids))
    text: str = tokenizer.decode(
        ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text.strip()


# Limit on the tokens of an answer: a model that does not stop would take minutes.
_MAX_ANSWER_TOKENS = 512
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class ItemAnswers:
    """Generated answers to the items of a split.

    Args:
        answers: All sampled texts of each item; the first is compared with the references.
        metrics: BLEU, chrF, ROUGE and exact match; ``pass@k`` if code was run.
        max_tokens: Number of tokens at which answers were cut.
    """

    answers: tuple[tuple[str, ...], ...]
    metrics: dict[str, float]
    max_tokens: int


def answer(
    task: Instruction,
    model: nn.Module,
    examples: Sequence[Example],
    *,
    prompt: Callable[[Example], list[int]] | None = None,
    batch_size: int | None = None,
    sampling: Sampling | None = None,
    run_code: bool = False,
    on_progress: ProgressReporter | None = None,
) -> ItemAnswers:
    """Let a model answer the items, and compare the answers with the references.

    Args:
        examples: The items; each has an answer.
        prompt: Function from an item to the prompt's tokens; None for ``task.prompt``.
        sampling: Greedy if None. With several samples, pass@k is computed for every k that is a
            power of ten or the number of samples.
        run_code: Whether to run answers against the items' tests, which needs the user's
            permission.

    Raises:
        RunError: Code is to be run, but this machine cannot isolate it from network and files.
    """
    on_progress = on_progress or ProgressReporter()
    # Lengths of the reference answers in tokens.
    lengths = [end - start for e in examples for start, end in task.encode_one(e).answers[-1:]]
    max_tokens = min(_MAX_ANSWER_TOKENS, max(lengths))
    generated = generate(
        model,
        task.tokenizer,
        [(prompt or task.prompt)(example) for example in examples],
        task.chat.stop_tokens,
        max_new_tokens=max_tokens,
        batch_size=batch_size,
        sampling=sampling,
        on_progress=on_progress.steps("writing answers"),
    )
    references = [example.accepted for example in examples]
    figures = compute_metrics("answers", [texts[0] for texts in generated], references)
    if run_code:
        runs = passed(generated, examples, on_progress.steps("running programs"))
        samples = len(runs[0]) if runs else 0
        ks = sorted({samples, *(10**n for n in range(4) if 10**n <= samples)})
        figures |= {f"pass@{k}": pass_at_k(runs, k) for k in ks if runs}
    return ItemAnswers(tuple(map(tuple, generated)), figures, max_tokens)


def item_metrics(
    answered: ItemAnswers, examples: Sequence[Example]
) -> dict[str, tuple[float, ...]]:
    """One number for each item (see ``item_values``), by the name of each metric of answers that
    tables show."""
    texts = [samples[0] for samples in answered.answers]
    references = [example.accepted for example in examples]
    return {
        name: tuple(item_values(metric.compute, texts, references, per_item=metric.per_item))
        for name, metric in metrics().items()
        if metric.computed_from == "answers" and metric.shown
    }


def passed(
    answers: Sequence[Sequence[str]], examples: Sequence[Example], on_progress: Steps
) -> list[list[bool]]:
    """Whether each answer passes its item's tests, for the items with tests.

    Runs the answers as code: call it only with the user's permission.
    """
    pairs_with_tests = [pair for pair in zip(answers, examples, strict=True) if pair[1].tests]
    runs: list[list[bool]] = []
    for samples, example in pairs_with_tests:
        on_progress(len(runs), len(pairs_with_tests))
        runs.append([run_program(code_of(text), example.tests) for text in samples])
    return runs


def code_of(answer: str) -> str:
    """The code in an answer: its first fenced block, or all of it.

    >>> code_of("Sure:\\n```python\\nx = 1\\n```\\nDone.")
    'x = 1\\n'
    >>> code_of("x = 1")
    'x = 1'
    """
    block = _FENCE.search(answer)
    return block.group(1) if block else answer


def pass_at_k(passed: Sequence[Sequence[bool]], k: int) -> float:
    """The unbiased estimate of pass@k from n answers to each item (arXiv:2107.03374, section 2.1).

    Args:
        passed: Whether each answer to each item passed; at least ``k`` answers to each.
        k: Number of answers that may be tried.

    >>> pass_at_k([[True, False], [False, False]], 1)
    0.25
    """
    for answers in passed:
        if not 1 <= k <= len(answers):
            raise ValueError(f"1 <= k <= answers must hold, but got ({k=}, answers={len(answers)})")
    rates = [1.0 - math.comb(len(a) - sum(a), k) / math.comb(len(a), k) for a in passed]
    return float(np.mean(rates))


@dataclass(frozen=True)
class ObjectiveScore:
    """The objective's value, and one number for each scored item whose mean is the value (see
    ``item_values``)."""

    value: float
    items: Floats

    def costs(self, objective: Objective) -> Floats:
        """``(items,)`` the cost of each item, which a study minimises."""
        return np.asarray([objective.cost(value) for value in self.items.tolist()])


def from_decisions(
    objective: Objective, task: Task, evaluation: Evaluation, examples: Sequence[Example]
) -> ObjectiveScore | None:
    """The objective from class decisions; None if it is not computed from them."""
    decisions = evaluation.decisions
    if objective.computed_from != "classes" or decisions is None:
        return None
    decisions = decisions.select(evaluation.scored)
    if objective.function:
        predicted = [task.dataset.labels[number] for number in decisions.predicted.tolist()]
        scored = evaluation.scored_examples(examples)
        return _objective_score(*user_function.measure(objective, predicted, scored))
    return _metric_score(objective, decisions.predicted.tolist(), decisions.true.tolist())


def first(evaluation: Evaluation, count: int | None) -> Evaluation:
    """The evaluation with weights and class decisions of the first ``count`` items only; of all
    items if None."""
    decisions = evaluation.decisions
    if decisions is None or count is None or count >= len(decisions.true):
        return evaluation
    is_kept = np.arange(len(decisions.true)) < count
    return replace(
        evaluation, weights=evaluation.weights[is_kept], decisions=decisions.select(is_kept)
    )


def from_answers(
    objective: Objective,
    answered: ItemAnswers,
    examples: Sequence[Example],
    on_progress: ProgressReporter,
) -> ObjectiveScore:
    """The objective from generated answers.

    Raises:
        UsageError: The objective needs tests, and no item has any.
    """
    texts = [samples[0] for samples in answered.answers]
    if objective.function:
        return _objective_score(*user_function.measure(objective, texts, examples))
    if objective.computed_from == "programs":
        runs = passed(answered.answers, examples, on_progress.steps("running programs"))
        if not runs:
            raise UsageError(f"{objective.name} needs items with tests", why="No item has any.")
        passes = [float(samples[0]) for samples in runs]
        return _metric_score(objective, passes, passes)
    return _metric_score(objective, texts, [example.accepted for example in examples])


def from_generation(
    objective: Objective,
    task: Task,
    model: nn.Module,
    examples: Sequence[Example],
    on_progress: ProgressReporter,
    prompt: Callable[[Example], list[int]] | None = None,
) -> ObjectiveScore | None:
    """The objective from answers that the model generates; None if it needs no answers.

    Args:
        prompt: Function from an item to the prompt's tokens; None for ``task.prompt``.

    Raises:
        UsageError: An item has no question.
    """
    if not objective.of_answers:
        return None
    if not isinstance(task, Instruction) or not all(example.messages for example in examples):
        raise UsageError(
            f"{objective.name} compares answers, and items without a question have none",
            fix="Give data with questions and answers, or choose another objective.",
        )
    answered = answer(task, model, examples, prompt=prompt, on_progress=on_progress)
    return from_answers(objective, answered, examples, on_progress)


def _metric_score(
    objective: Objective, outputs: Sequence[Any], references: Sequence[Any]
) -> ObjectiveScore:
    metric = metrics()[objective.metric]
    items = item_values(metric.compute, outputs, references, per_item=metric.per_item)
    return _objective_score(float(metric.compute(outputs, references)), items)


def _objective_score(value: float, items: Sequence[float]) -> ObjectiveScore:
    return ObjectiveScore(value, np.asarray(items, dtype=np.float64))
