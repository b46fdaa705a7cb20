"""Answers that a language model writes: in batches, the same in every run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig
from transformers.generation import StoppingCriteria

from sweeper.backend import Steps, nothing


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
    batch_size: int = 8,
    sampling: Sampling | None = None,
    underway: Steps = nothing,
) -> list[list[str]]:
    """What the model answers to each prompt.

    Args:
        model: A causal language model, adapted or not. Left in evaluation mode.
        prompts: Token ids, up to where the answer begins.
        stop_tokens: An answer ends before the first of these.
        batch_size: Prompts at a time, longest first.
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
    end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    text: str = tokenizer.decode(
        ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text.strip()
