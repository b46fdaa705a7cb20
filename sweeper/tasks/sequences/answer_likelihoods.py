"""Log-likelihoods of several answers to the same prompts.

Answers that begin alike are read once, and so is the prompt before them: 77 class names do not cost
77 passes.
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
    by_row,
    cacheable,
    logits_at,
)
from sweeper.tasks.sequences.joined import BY_TEXT

# Positions whose logits are held at once: at 50,000 tokens of vocabulary, 100 MB in float32.
_POSITIONS = 512


class AnswerTree:
    """Several token sequences as a tree in which equal beginnings are one path.

    Args:
        answers: Token ids of each answer; no answer is the beginning of another, which an
            end-of-turn token at the end of each sees to.
    """

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self.answers = [tuple(answer) for answer in answers]
        inner = {answer[:length] for answer in self.answers for length in range(1, len(answer))}
        # The prompt is node 0; a node comes after those that it continues.
        paths = sorted({(), *inner}, key=lambda path: (len(path), path))
        self._number = {path: number for number, path in enumerate(paths)}
        edges = {
            (self._number[answer[:length]], answer[length])
            for answer in self.answers
            for length in range(len(answer))
        }
        self._edges = sorted(edges)

    @cached_property
    def tokens(self) -> Tensor:
        """``(nodes,)`` what the model reads after the prompt; answers' last tokens are not read."""
        return torch.tensor([path[-1] for path in self._number if path], dtype=torch.long)

    @cached_property
    def depths(self) -> Tensor:
        """``(nodes,)`` how many tokens after the prompt each stands; the first have 0."""
        return torch.tensor([len(path) - 1 for path in self._number if path], dtype=torch.long)

    @cached_property
    def sees(self) -> Tensor:
        """``(nodes, nodes)``, True where a node continues another or is it."""
        paths = [path for path in self._number if path]
        rows = [[path[: len(other)] == other for other in paths] for path in paths]
        return torch.tensor(rows, dtype=torch.bool).reshape(len(paths), len(paths))

    @cached_property
    def edges(self) -> tuple[Tensor, Tensor]:
        """``(edges,)`` twice: from which node (0 is the prompt), and which token comes next."""
        starts, tokens = zip(*self._edges, strict=True)
        return torch.tensor(starts), torch.tensor(tokens)

    @cached_property
    def uses(self) -> Tensor:
        """``(edges, answers)``, 1.0 where an answer takes an edge."""
        number = {edge: row for row, edge in enumerate(self._edges)}
        uses = torch.zeros(len(self._edges), len(self.answers))
        for column, answer in enumerate(self.answers):
            for length in range(len(answer)):
                uses[number[self._number[answer[:length]], answer[length]], column] = 1.0
        return uses


def log_likelihoods(
    model: nn.Module, tree: AnswerTree, ids: Tensor, mask: Tensor, shown: CachedPrefix | None = None
) -> Tensor:
    """Log-likelihood of every answer to every prompt.

    Args:
        model: A causal language model as a strategy gives it, in evaluation mode.
        ids: ``(prompts, tokens)``, padded on the right.
        mask: ``(prompts, tokens)``, 1 on real tokens.
        shown: What the model, an unadapted one, has read before every prompt.

    Returns:
        ``(prompts, answers)`` nats in float32: sums over the tokens of an answer.
    """
    before = shown.length if shown is not None else 0
    share = shareable(model, before + ids.shape[1] + len(tree.tokens))
    at_once = max(1, _POSITIONS // (1 + len(tree.tokens))) if share else 1
    read = _shared if share else _one_by_one
    parts = []
    for start in range(0, len(ids), at_once):
        part = mask[start : start + at_once]
        longest = int(part.sum(1).max())
        prompts = ids[start : start + at_once, :longest]
        parts.append(read(model, tree, prompts, part[:, :longest], shown))
    return torch.cat(parts)


def shareable(model: Any, length: int) -> bool:
    """Whether answers can be scored together after one pass over the prompt.

    It takes a cache, positions that can be given, and an attention that takes any mask.

    Args:
        model: Adapted or not.
        length: Tokens of a prompt and of all answers.
    """
    base = _base(model)
    config = getattr(base, "config", None)
    window = getattr(config, "sliding_window", None)
    return (
        cacheable(base)
        and "position_ids" in inspect.signature(base.forward).parameters
        and getattr(config, "_attn_implementation", "") in ("sdpa", BY_TEXT, "eager")
        and not getattr(config, "alibi", False)
        and (window is None or window > length)
    )


def _base(model: Any) -> Any:
    """The network in which a cached prompt can be continued.

    Adapter layers lie inside it. A prompt method's virtual tokens lie in the cache already, and
    its own ``forward`` would put them there once more.
    """
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _inputs(ids: Tensor, mask: Tensor, shown: CachedPrefix | None) -> dict[str, Any]:
    batch = {"input_ids": ids, "attention_mask": mask}
    return batch if shown is None else shown.before(batch)


def _shared(
    model: nn.Module, tree: AnswerTree, ids: Tensor, mask: Tensor, shown: CachedPrefix | None
) -> Tensor:
    rows = torch.arange(len(mask), device=mask.device)
    last = rows * mask.shape[1] + mask.sum(1) - 1
    prompt = logits_at(model, {**_inputs(ids, mask, shown), "use_cache": True}, last)
    logits = prompt.logits.float().unsqueeze(1)
    if len(tree.tokens):
        logits = torch.cat([logits, _continued(_base(model), tree, mask, prompt["cache"])], 1)
    starts, tokens = (part.to(ids.device) for part in tree.edges)
    edges = logits[:, starts, tokens] - logits.logsumexp(-1)[:, starts]
    return edges @ tree.uses.to(edges)


def _continued(base: Any, tree: AnswerTree, mask: Tensor, cache: Any) -> Tensor:
    """Logits ``(prompts, nodes, vocabulary)`` after each node of the tree.

    Args:
        cache: Their states; those of virtual tokens and of what was shown lie in front of them.
    """
    rows, nodes = len(mask), len(tree.tokens)
    virtual = cache.get_seq_length() - mask.shape[1]
    before = torch.cat(
        [torch.ones(rows, virtual, dtype=torch.bool, device=mask.device), mask > 0], 1
    )
    sees = torch.cat(
        [
            before[:, None, :].expand(rows, nodes, before.shape[1]),
            tree.sees.to(mask.device).expand(rows, nodes, nodes),
        ],
        2,
    ).unsqueeze(1)
    positions = virtual + mask.sum(1, keepdim=True) + tree.depths.to(mask.device)
    output = base(
        input_ids=tree.tokens.to(mask.device).expand(rows, nodes),
        attention_mask=_as_taken(base, sees),
        position_ids=positions,
        use_cache=True,
        cache=cache,
    )
    logits: Tensor = output.logits.float()
    return logits


def _as_taken(base: Any, sees: Tensor) -> Tensor:
    """A mask of four dimensions in the form that this attention takes: yes or no, or added."""
    if base.config._attn_implementation != "eager":
        return sees
    return torch.zeros(sees.shape, device=sees.device).masked_fill(
        ~sees, torch.finfo(torch.float32).min
    )


def _one_by_one(
    model: nn.Module, tree: AnswerTree, ids: Tensor, mask: Tensor, shown: CachedPrefix | None = None
) -> Tensor:
    """The same with one pass over prompt and answer for each answer."""
    columns = []
    for answer in tree.answers:
        width = ids.shape[1] + len(answer)
        whole = torch.zeros(len(ids), width, dtype=ids.dtype, device=ids.device)
        seen, labels = torch.zeros_like(whole), torch.full_like(whole, -100)
        for row, length in enumerate(mask.sum(1).tolist()):
            end = length + len(answer)
            tokens = torch.tensor(answer, device=ids.device)
            whole[row, :length], whole[row, length:end] = ids[row, :length], tokens
            labels[row, length:end] = tokens
            seen[row, :end] = 1
        losses = answer_losses(model, _inputs(whole, seen, shown), labels)
        means, counts = by_row(losses, labels)
        columns.append(-(means * counts))
    return torch.stack(columns, 1).float()
