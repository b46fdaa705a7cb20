"""Answers that a model writes, how good they are, and the objective of a study on the items.

Joins prompts, generation and figures, pass@k among them; knows nothing of trials.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig
from transformers.generation import StoppingCriteria

from sweeper.backend import Steps, Underway, nothing
from sweeper.data.examples import Example
from sweeper.errors import UsageError
from sweeper.memory.overheads import FEWEST_TEXTS, cache_bytes, texts_at_once
from sweeper.metrics import user_function
from sweeper.metrics.metric import computed, item_values, metrics
from sweeper.metrics.programs import run_program
from sweeper.objective import Objective
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.task import Evaluation, Floats, Task


@dataclass(frozen=True)
class Sampling:
    """How to choose the next token. Greedy where ``temperature`` is 0.

    Args:
        temperature: Divides the logits.
        top_p: Keeps the most likely tokens up to this mass (arXiv:1904.09751).
        samples: Answers to each prompt.
        seed: Seed of the sampling; batches are numbered from it.
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
    underway: Steps = nothing,
) -> list[list[str]]:
    """What the model answers to each prompt.

    Args:
        model: A causal language model, adapted or not. Left in evaluation mode.
        prompts: Token ids, up to where the answer begins.
        stop_tokens: An answer ends before the first of these.
        batch_size: Prompts at a time, longest first; what fits the device's memory if None.
        sampling: Greedy, one answer each, if None.
        underway: Told after each token how many prompts are answered; one that is under way counts
            as the share of ``max_new_tokens`` that is written.

    Returns:
        For each prompt, in its order, ``samples`` texts.
    """
    chosen = sampling or Sampling()
    stops = sorted(set(stop_tokens))
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stops[0]
    settings = _settings(chosen, stops, padding, max_new_tokens)
    device = next(model.parameters()).device
    writer: Any = model.eval()
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    answers: dict[int, list[str]] = {}
    if batch_size is None:
        longest = max(map(len, prompts), default=0) + max_new_tokens
        batch_size = prompts_at_once(writer, chosen.samples * longest, device)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids = _left_padded([prompts[i] for i in rows], padding)
        mask = _left_padded([[1] * len(prompts[i]) for i in rows], 0)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(chosen.seed + start)
            written = writer.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=settings,
                stopping_criteria=[
                    _Watched(underway, start, len(rows), len(order), max_new_tokens)
                ],
            )
        texts = [_text(tokenizer, row[ids.shape[1] :].tolist(), stops) for row in written]
        for number, row in enumerate(rows):
            answers[row] = texts[number * chosen.samples : (number + 1) * chosen.samples]
    return [answers[number] for number in range(len(prompts))]


def prompts_at_once(model: Any, tokens: int, device: torch.device) -> int:
    """Prompts in a batch: on a GPU, as many as its free memory has room for.

    Args:
        tokens: Tokens of a prompt and its answers.
    """
    if device.type != "cuda":
        return FEWEST_TEXTS
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    heads = getattr(config, "num_key_value_heads", None) or heads
    cached = cache_bytes(config.num_hidden_layers, heads * width, tokens)
    return texts_at_once(cached, torch.cuda.mem_get_info()[0])


class _Watched(StoppingCriteria):
    """Tells of each token of a batch; ends nothing."""

    def __init__(self, underway: Steps, before: int, rows: int, of: int, most: int) -> None:
        self._underway, self._before, self._rows, self._of = underway, before, rows, of
        self._written, self._most = 0, most

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Any:
        self._written += 1
        self._underway(self._before + self._rows * self._written // self._most, self._of)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _settings(
    sampling: Sampling, stops: list[int], padding: int, max_new_tokens: int
) -> GenerationConfig:
    sampled = sampling.temperature > 0
    options = {"temperature": sampling.temperature, "top_p": sampling.top_p} if sampled else {}
    return GenerationConfig(
        do_sample=sampled,
        num_return_sequences=sampling.samples,
        max_new_tokens=max_new_tokens,
        eos_token_id=stops,
        pad_token_id=padding,
        use_cache=True,
        **options,
    )


def _left_padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    tensors = list(map(torch.tensor, rows))
    return pad_sequence(tensors, batch_first=True, padding_value=value, padding_side="left")


def _text(tokenizer: Any, ids: list[int], stops: Sequence[int]) -> str:
    end = next((position for position, token in enumerate(ids) if token in stops), len(ids))
    text: str = tokenizer.decode(
        ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text.strip()


# No answer is longer than this, whatever the references are: a model that does not stop would
# otherwise write on at the cost of minutes.
_MOST_TOKENS = 512
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Answered:
    """Answers to the items of a split.

    Args:
        answers: For each item, all texts that were sampled; the first is what is compared.
        metrics: BLEU, chrF, ROUGE and exact match; ``pass@k`` where code was run.
        most_tokens: Answers were cut there.
    """

    answers: tuple[tuple[str, ...], ...]
    metrics: dict[str, float]
    most_tokens: int


def answer(
    task: Instruction,
    model: nn.Module,
    examples: Sequence[Example],
    *,
    prompt: Callable[[Example], list[int]] | None = None,
    batch_size: int | None = None,
    sampling: Sampling | None = None,
    run_code: bool = False,
    underway: Underway | None = None,
) -> Answered:
    """Let a model answer, and compare with the references.

    Args:
        examples: The items; each has an answer.
        prompt: The tokens that ask for an item's answer; the task's prompt if None.
        sampling: Greedy if None. With several samples, pass@k is given for every k that is a
            power of ten or their number.
        run_code: The user's explicit permission to run answers against the items' tests.

    Raises:
        RunError: Code is to be run, but cannot be cut off from network and files here.
    """
    underway = underway or Underway()
    most = _longest_reference(task, examples)
    written = generate(
        model,
        task.tokenizer,
        [(prompt or task.prompt)(example) for example in examples],
        task.chat.stop_tokens,
        max_new_tokens=most,
        batch_size=batch_size,
        sampling=sampling,
        underway=underway.steps("writing answers"),
    )
    references = [example.accepted for example in examples]
    figures = computed("answers", [texts[0] for texts in written], references)
    if run_code:
        progress = underway.steps("running programs")
        figures |= _pass_rates(passed(written, examples, progress))
    return Answered(tuple(map(tuple, written)), figures, most)


def item_metrics(answered: Answered, examples: Sequence[Example]) -> dict[str, tuple[float, ...]]:
    """One number an item for each metric of answers that tables show (see ``item_values``)."""
    texts = [each[0] for each in answered.answers]
    references = [example.accepted for example in examples]
    return {
        name: tuple(item_values(metric.compute, texts, references, per_item=metric.per_item))
        for name, metric in metrics().items()
        if metric.of == "answers" and metric.shown
    }


def _longest_reference(task: Instruction, examples: Sequence[Example]) -> int:
    lengths = [end - start for e in examples for start, end in task.encode_one(e).answers[-1:]]
    return min(_MOST_TOKENS, max(lengths))


def passed(
    written: Sequence[Sequence[str]], examples: Sequence[Example], underway: Steps
) -> list[list[bool]]:
    """Whether each answer passes its item's tests, of the items that have tests.

    The user has permitted to run code.
    """
    tested = [pair for pair in zip(written, examples, strict=True) if pair[1].tests]
    runs: list[list[bool]] = []
    for texts, example in tested:
        underway(len(runs), len(tested))
        runs.append([run_program(code_of(text), example.tests) for text in texts])
    return runs


def _pass_rates(runs: Sequence[Sequence[bool]]) -> dict[str, float]:
    if not runs:
        return {}
    samples = len(runs[0])
    ks = sorted({samples, *(10**n for n in range(4) if 10**n <= samples)})
    return {f"pass@{k}": pass_at_k(runs, k) for k in ks}


def code_of(answer: str) -> str:
    """The code in an answer: its first fenced block, or all of it.

    >>> code_of("Sure:\\n```python\\nx = 1\\n```\\nDone.")
    'x = 1\\n'
    >>> code_of("x = 1")
    'x = 1'
    """
    fenced = _FENCE.search(answer)
    return fenced.group(1) if fenced else answer


def pass_at_k(passed: Sequence[Sequence[bool]], k: int) -> float:
    """The unbiased estimate from n answers to each problem (arXiv:2107.03374, section 2.1).

    Args:
        passed: For each problem, whether each of its answers passed; at least ``k`` answers.
        k: How many answers one may try.

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
    """The objective's value, and numbers whose mean it is, one for each scored item (see
    ``item_values``)."""

    value: float
    items: Floats

    def costs(self, objective: Objective) -> Floats:
        """What is minimised, item by item."""
        return np.asarray([objective.cost(value) for value in self.items.tolist()])


def from_decisions(
    objective: Objective, task: Task, evaluation: Evaluation, examples: Sequence[Example]
) -> ObjectiveScore | None:
    """The objective of class decisions; None where it is not computed from these."""
    decided = evaluation.decisions
    if objective.of != "classes" or decided is None:
        return None
    decided, examples = decided.only(evaluation.scored), evaluation.of_scored(examples)
    if objective.function:
        predicted = [task.dataset.labels[number] for number in decided.predicted.tolist()]
        return _of(*user_function.measured(objective, predicted, examples))
    return _metric(objective, decided.predicted.tolist(), decided.true.tolist())


def first(evaluation: Evaluation, count: int | None) -> Evaluation:
    """The decisions on the first ``count`` items, for ``from_decisions``; all if None."""
    decisions = evaluation.decisions
    if decisions is None or count is None or count >= len(decisions.true):
        return evaluation
    first = np.arange(len(decisions.true)) < count
    return replace(evaluation, weights=evaluation.weights[first], decisions=decisions.only(first))


def from_answers(
    objective: Objective, answered: Answered, examples: Sequence[Example], underway: Underway
) -> ObjectiveScore:
    """The objective of answers in writing.

    Raises:
        UsageError: Programs are to pass tests, and no item has any.
    """
    texts = [each[0] for each in answered.answers]
    if objective.function:
        return _of(*user_function.measured(objective, texts, examples))
    if objective.of == "programs":
        runs = passed(answered.answers, examples, underway.steps("running programs"))
        if not runs:
            raise UsageError(f"{objective.name} needs items with tests", "No item has any.")
        right = [float(passes[0]) for passes in runs]
        return _metric(objective, right, right)
    return _metric(objective, texts, [example.accepted for example in examples])


def written(
    objective: Objective,
    task: Task,
    model: nn.Module,
    examples: Sequence[Example],
    underway: Underway,
    prompt: Callable[[Example], list[int]] | None = None,
) -> ObjectiveScore | None:
    """The objective of what a model writes; None where it is not computed from answers.

    Args:
        prompt: The tokens that ask for an item's answer; the task's prompt if None.

    Raises:
        UsageError: The task or an item has no answer to write.
    """
    if not objective.of_answers:
        return None
    if not isinstance(task, Instruction) or not all(example.messages for example in examples):
        raise UsageError(
            f"{objective.name} compares answers, and items without a question have none",
            fix="Give data with questions and answers, or choose another objective.",
        )
    answered = answer(task, model, examples, prompt=prompt, underway=underway)
    return from_answers(objective, answered, examples, underway)


def _metric(objective: Objective, first: Sequence[Any], second: Sequence[Any]) -> ObjectiveScore:
    metric = metrics()[objective.metric]
    items = item_values(metric.compute, first, second, per_item=metric.per_item)
    return _of(float(metric.compute(first, second)), items)


def _of(value: float, items: Sequence[float]) -> ObjectiveScore:
    return ObjectiveScore(value, np.asarray(items, dtype=np.float64))
