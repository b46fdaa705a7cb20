"""What a language model answers to the items of a task, and how good these answers are.

Joins prompts, generation and figures, pass@k among them; knows nothing of trials.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from sweeper.backend import Steps, Underway
from sweeper.data.examples import Example
from sweeper.evaluation.generation import Sampling, generate
from sweeper.metrics.base import computed, item_values, metrics
from sweeper.metrics.programs import run_program
from sweeper.tasks.instruction import Instruction

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
    batch_size: int = 8,
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
        told = underway.steps("running programs")
        figures |= _pass_rates(passed(written, examples, told))
    return Answered(tuple(map(tuple, written)), figures, most)


def item_metrics(said: Answered, examples: Sequence[Example]) -> dict[str, tuple[float, ...]]:
    """One number an item for each metric of answers that tables show (see ``item_values``)."""
    texts = [each[0] for each in said.answers]
    references = [example.accepted for example in examples]
    return {
        name: tuple(item_values(one.compute, texts, references, per_item=one.per_item))
        for name, one in metrics().items()
        if one.of == "answers" and one.shown
    }


def _longest_reference(task: Instruction, examples: Sequence[Example]) -> int:
    lengths = [end - start for e in examples for start, end in task.encode_one(e).answers[-1:]]
    return min(_MOST_TOKENS, max(lengths))


def passed(
    written: Sequence[Sequence[str]],
    examples: Sequence[Example],
    underway: Steps,
) -> list[list[bool]]:
    """Whether each answer passes its item's tests, of the items that have tests.

    The user has permitted to run code.
    """
    tested = [pair for pair in zip(written, examples, strict=True) if pair[1].tests]
    found: list[list[bool]] = []
    for texts, example in tested:
        underway(len(found), len(tested))
        found.append([run_program(code_of(text), example.tests) for text in texts])
    return found


def _pass_rates(found: Sequence[Sequence[bool]]) -> dict[str, float]:
    if not found:
        return {}
    samples = len(found[0])
    ks = sorted({samples, *(10**n for n in range(4) if 10**n <= samples)})
    return {f"pass@{k}": pass_at_k(found, k) for k in ks}


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
