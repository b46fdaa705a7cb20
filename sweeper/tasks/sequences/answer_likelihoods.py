"""Log-likelihoods of several answers to the same prompts.

The model reads the prompt once for all answers, and equal beginnings of answers once: 77 class
names do not cost 77 passes.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.tasks.sequences.answer_logits import (
    CachedPrefix,
    answer_losses,
    cacheable,
    logits_at,
    row_means,
)
from sweeper.tasks.sequences.joined import ATTENTION_BY_TEXT

# Positions with logits in memory at a time: 100 MB in float32 for 50,000 tokens of vocabulary.
_MAX_POSITIONS = 512


class AnswerTree:
    """Several token sequences as a tree in which equal beginnings are one path.

    Args:
        answers: Token ids of each answer, with an end-of-turn token, so that no answer is the
            beginning of another.
    """

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self.answers = [tuple(answer) for answer in answers]
        inner_paths = {
            answer[:length] for answer in self.answers for length in range(1, len(answer))
        }
        # Node 0 is the prompt. Parents come before their children.
        paths = sorted({(), *inner_paths}, key=lambda path: (len(path), path))
        self._node_numbers = {path: number for number, path in enumerate(paths)}
        edges = {
            (self._node_numbers[answer[:length]], answer[length])
            for answer in self.answers
            for length in range(len(answer))
        }
        self._edges = sorted(edges)

    @cached_property
    def tokens(self) -> Tensor:
        """``(nodes,)`` tokens that the model reads after the prompt: all but each answer's last."""
        return torch.tensor([path[-1] for path in self._node_numbers if path], dtype=torch.long)

    @cached_property
    def depths(self) -> Tensor:
        """``(nodes,)`` number of answer tokens before each node."""
        return torch.tensor(
            [len(path) - 1 for path in self._node_numbers if path], dtype=torch.long
        )

    @cached_property
    def visible(self) -> Tensor:
        """``(nodes, nodes)``: row n is True for node n and its ancestors but the prompt."""
        paths = [path for path in self._node_numbers if path]
        rows = [[path[: len(other)] == other for other in paths] for path in paths]
        return torch.tensor(rows, dtype=torch.bool).reshape(len(paths), len(paths))

    @cached_property
    def edges(self) -> tuple[Tensor, Tensor]:
        """Each edge's start node (0 is the prompt) and its token, both ``(edges,)``."""
        starts, tokens = zip(*self._edges, strict=True)
        return torch.tensor(starts), torch.tensor(tokens)

    @cached_property
    def uses(self) -> Tensor:
        """``(edges, answers)``, 1.0 if the answer's path has the edge."""
        rows = {edge: row for row, edge in enumerate(self._edges)}
        uses = torch.zeros(len(self._edges), len(self.answers))
        for column, answer in enumerate(self.answers):
            for length in range(len(answer)):
                uses[rows[self._node_numbers[answer[:length]], answer[length]], column] = 1.0
        return uses


def log_likelihoods(
    model: nn.Module,
    tree: AnswerTree,
    ids: Tensor,
    mask: Tensor,
    prefix: CachedPrefix | None = None,
) -> Tensor:
    """Log-likelihood of every answer to every prompt.

    Args:
        model: A causal language model, adapted or not, in evaluation mode.
        ids: ``(prompts, tokens)``, padded on the right.
        mask: ``(prompts, tokens)``, 1 on real tokens.
        prefix: Cached tokens before every prompt, for a model without an adapter.

    Returns:
        ``(prompts, answers)`` nats in float32, summed over the tokens of an answer.
    """
    prefix_length = prefix.length if prefix is not None else 0
    shares_prompt = shareable(model, prefix_length + ids.shape[1] + len(tree.tokens))
    batch_size = max(1, _MAX_POSITIONS // (1 + len(tree.tokens))) if shares_prompt else 1
    score = _scores_with_shared_prompt if shares_prompt else _scores_one_by_one
    parts = []
    for start in range(0, len(ids), batch_size):
        part_mask = mask[start : start + batch_size]
        longest = int(part_mask.sum(1).max())
        prompts = ids[start : start + batch_size, :longest]
        parts.append(score(model, tree, prompts, part_mask[:, :longest], prefix))
    return torch.cat(parts)


def shareable(model: Any, length: int) -> bool:
    """Whether the model can score answers together, after one pass over the prompt.

    It needs a cache, ``position_ids`` as an input, and an attention that takes any mask.

    Args:
        model: A causal language model, adapted or not.
        length: Number of tokens in the prefix, a prompt and all answers.
    """
    base = _base(model)
    config = getattr(base, "config", None)
    window = getattr(config, "sliding_window", None)
    return (
        cacheable(base)
        and "position_ids" in inspect.signature(base.forward).parameters
        and getattr(config, "_attn_implementation", "") in ("sdpa", ATTENTION_BY_TEXT, "eager")
        and not getattr(config, "alibi", False)
        and (window is None or window > length)
    )


def _base(model: Any) -> Any:
    """The base model, which can continue a cached prompt.

    Adapter layers are inside it. Virtual tokens of a prompt method are in the cache already; the
    ``forward`` of PEFT's wrapper would add them again.
    """
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _inputs(ids: Tensor, mask: Tensor, prefix: CachedPrefix | None) -> dict[str, Any]:
    batch = {"input_ids": ids, "attention_mask": mask}
    return batch if prefix is None else prefix.continued_by(batch)


def _scores_with_shared_prompt(
    model: nn.Module, tree: AnswerTree, ids: Tensor, mask: Tensor, prefix: CachedPrefix | None
) -> Tensor:
    rows = torch.arange(len(mask), device=mask.device)
    last_positions = rows * mask.shape[1] + mask.sum(1) - 1
    prompt = logits_at(model, {**_inputs(ids, mask, prefix), "use_cache": True}, last_positions)
    logits = prompt.logits.float().unsqueeze(1)
    if len(tree.tokens):
        logits = torch.cat([logits, _node_logits(_base(model), tree, mask, prompt["cache"])], 1)
    starts, tokens = (part.to(ids.device) for part in tree.edges)
    edges = logits[:, starts, tokens] - logits.logsumexp(-1)[:, starts]
    return edges @ tree.uses.to(edges)


def _node_logits(base: Any, tree: AnswerTree, mask: Tensor, cache: Any) -> Tensor:
    """Logits ``(prompts, nodes, vocabulary)`` after each node of the tree.

    Args:
        cache: Keys and values of virtual tokens, prefix and prompts.
    """
    rows, nodes = len(mask), len(tree.tokens)
    cached_tokens = cache.get_seq_length() - mask.shape[1]
    context_mask = torch.cat(
        [torch.ones(rows, cached_tokens, dtype=torch.bool, device=mask.device), mask > 0], 1
    )
    node_mask = torch.cat(
        [
            context_mask[:, None, :].expand(rows, nodes, context_mask.shape[1]),
            tree.visible.to(mask.device).expand(rows, nodes, nodes),
        ],
        2,
    ).unsqueeze(1)
    if base.config._attn_implementation == "eager":  # its mask is added to the attention scores
        lowest = torch.finfo(torch.float32).min
        node_mask = torch.zeros_like(node_mask, dtype=torch.float32).masked_fill(~node_mask, lowest)
    positions = cached_tokens + mask.sum(1, keepdim=True) + tree.depths.to(mask.device)
    output = base(
        input_ids=tree.tokens.to(mask.device).expand(rows, nodes),
        attention_mask=node_mask,
        position_ids=positions,
        use_cache=True,
        cache=cache,
    )
    logits: Tensor = output.logits.float()
    return logits


def _scores_one_by_one(
    model: nn.Module,
    tree: AnswerTree,
    ids: Tensor,
    mask: Tensor,
    prefix: CachedPrefix | None = None,
) -> Tensor:
    """Log-likelihoods with one pass over prompt and answer for each answer."""
    columns = []
    for answer in tree.answers:
        width = ids.shape[1] + len(answer)
        input_ids = torch.zeros(len(ids), width, dtype=ids.dtype, device=ids.device)
        attention, labels = torch.zeros_like(input_ids), torch.full_like(input_ids, -100)
        for row, length in enumerate(mask.sum(1).tolist()):
            end = length + len(answer)
            tokens = torch.tensor(answer, device=ids.device)
            input_ids[row, :length], input_ids[row, length:end] = ids[row, :length], tokens
            labels[row, length:end] = tokens
            attention[row, :end] = 1
        losses = answer_losses(model, _inputs(input_ids, attention, prefix), labels)
        means, counts = row_means(losses, labels)
        columns.append(-(means * counts))
    return torch.stack(columns, 1).float()
