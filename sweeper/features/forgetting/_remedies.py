"""Replayed general text, and the KL divergence from the base model."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.errors import UsageError
from sweeper.plans import Precision, frozen_dtype
from sweeper.strategies.loading import quiet_library
from sweeper.strategies.strategy import Strategy
from sweeper.tasks.task import Batch, Feature, LossSum, Task
from sweeper.tasks.text import TextTask
from sweeper.training.loop.extension import Extension, FurtherBatch

REPLAYED = "general text, replayed"


@dataclass(frozen=True)
class ReplayStep:
    """General examples of one optimizer step.

    Args:
        chunks: Number of forward passes, the same on all ranks; some may have no example.
        weight: Weight of one answer token's loss. In expectation, the weights of a step add up to
            the replayed share.
    """

    features: tuple[Feature, ...]
    chunks: int
    weight: float


class Replay:
    """Draws general examples so that they keep their share of all tokens.

    Each task token adds ``share / (1 - share)`` general tokens to a debt, and an example is drawn
    when the debt covers it. The first example is the one that contains a random token, and the
    initial debt is its length up to that token. So the replayed tokens have the share in
    expectation at every step, and to within one example over a run. The examples of a step do not
    depend on the micro-batch.

    Args:
        features: General examples, each with answer tokens.
        share: Share of general tokens among all, 0 < share < 1.
        ranks: Number of processes that train together; each takes its part of the examples drawn.
    """

    def __init__(
        self,
        task: TextTask,
        features: Sequence[Feature],
        share: float,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.task = task
        self.share = share
        self._rank, self._ranks = rank, ranks
        self._generator = torch.Generator().manual_seed(seed)
        self._features = features
        tokens = sum(len(feature["input_ids"]) for feature in features)
        self._answer_tokens_per_token = sum(map(_answer_tokens, features)) / tokens
        first, self._debt = self._from_random_token()
        self._examples = self._shuffled_examples(first)
        self._next_example = next(self._examples)
        self._draw_count = 0

    def state(self) -> dict[str, Any]:
        """The number of examples drawn so far, and the debt."""
        return {"drawn": self._draw_count, "debt": self._debt}

    def restore(self, state: dict[str, Any]) -> None:
        """Repeat the draws up to a saved state; only for a new object."""
        while self._draw_count < state["drawn"]:
            self._draw()
        self._debt = state["debt"]

    def _draw(self) -> Feature:
        drawn, self._next_example = self._next_example, next(self._examples)
        self._draw_count += 1
        return drawn

    def _new_order(self) -> list[Feature]:
        order = torch.randperm(len(self._features), generator=self._generator).tolist()
        return [self._features[index] for index in order]

    def _from_random_token(self) -> tuple[list[Feature], float]:
        """All examples, first the one that contains a random token, and its tokens before that.

        A token and not an example is chosen at random, so long examples come first more often.
        Otherwise the first steps would replay too little.
        """
        order = self._new_order()
        ends = list(accumulate(len(feature["input_ids"]) for feature in order))
        point = float(torch.rand((), generator=self._generator)) * ends[-1]
        first = next(index for index, end in enumerate(ends) if point < end)
        tokens_before = ends[first] - len(order[first]["input_ids"])
        return order[first:] + order[:first], point - tokens_before

    def _shuffled_examples(self, order: list[Feature]) -> Iterator[Feature]:
        while True:
            yield from order
            order = self._new_order()

    def due(self, task_tokens: int, micro_batch: int) -> ReplayStep:
        """The examples to replay in one optimizer step.

        Args:
            task_tokens: Task tokens of one optimizer step, on all ranks together.
            micro_batch: Examples in one forward pass at most.
        """
        self._debt += task_tokens * self.share / (1 - self.share)
        drawn: list[Feature] = []
        while self._debt >= len(self._next_example["input_ids"]):
            self._debt -= len(self._next_example["input_ids"])
            drawn.append(self._draw())
        count_per_rank = -(-len(drawn) // self._ranks)
        # This weight times the expected number of answer tokens, which is task_tokens * share /
        # (1 - share) * answer tokens per token, is the share.
        weight = (1 - self.share) / max(1.0, task_tokens * self._answer_tokens_per_token)
        rank_features = sorted(drawn[self._rank :: self._ranks], key=lambda f: -len(f["input_ids"]))
        return ReplayStep(tuple(rank_features), -(-count_per_rank // micro_batch), weight)

    def empty_example(self) -> Feature:
        """An example without answer tokens, for a forward pass without examples on this rank."""
        feature = self._features[0]
        return {**feature, "labels": [-100] * len(feature["labels"])}


def _answer_tokens(feature: Feature) -> int:
    return sum(label != -100 for label in feature["labels"])


class KLToBase:
    """The base model, for comparison with a model in training.

    For the base's forward pass, adapters are switched off and virtual tokens are left out; full
    fine-tuning has a frozen copy. The base runs first and without gradient, so that adapters are on
    again in the model's own forward pass and in its recomputation under checkpointing.

    Args:
        weight: Weight of the divergence in the loss; both are means over answer tokens.
        frozen: A frozen copy of the base, if ``strategy`` changes the base itself.
    """

    def __init__(
        self, task: TextTask, strategy: Strategy, weight: float, frozen: nn.Module | None = None
    ) -> None:
        self.task = task
        self.weight = weight
        self._strategy = strategy
        self._frozen_base = frozen

    def use_attention(self, attention: str) -> None:
        """Set the attention of the frozen copy, if there is one, by its name in transformers."""
        if self._frozen_base is not None:
            with quiet_library():
                self._frozen_base.set_attn_implementation(attention)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """The base's logits at the answers' tokens: ``(answer tokens, vocabulary)``.

        Args:
            model: The model in training, without the Trainer's wrapper (DDP).
        """
        with torch.no_grad(), self._base(model) as base, _without_dropout(base):
            return self.task.answer_logits(base, batch)

    @contextmanager
    def _base(self, model: nn.Module) -> Iterator[nn.Module]:
        if self._frozen_base is not None:
            yield self._frozen_base
            return
        with self._strategy.base_output(model) as base:
            yield base


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """A context with the model in evaluation mode.

    Quantised layers repack their weights when ``eval`` is called, which must not happen at every
    step.
    """
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def text_task(task: Task) -> TextTask:
    """The task as a text task. The KL penalty compares with the base's own outputs.

    Raises:
        UsageError: The model ends in a new head, which the base does not have.
    """
    if isinstance(task, TextTask):
        return task
    raise UsageError(
        "kl_weight needs answers of the base model, which a new classification head does not have",
        why="The head starts from random values: there is no output of the base to stay near.",
        fix="Leave kl_weight out, or set training.classes_by to generate.",
    )


def frozen_copy(base: nn.Module, precision: Precision) -> nn.Module:
    """A frozen copy for comparison, in bf16 unless the trial is in fp32."""
    copied = copy.deepcopy(base).requires_grad_(False).eval()
    return copied if precision == "fp32" else copied.to(getattr(torch, frozen_dtype(precision)))


class Remedies(Extension):
    """Replay and a KL penalty in one training.

    The loss of an optimizer step is ``(1 - s) (task + w KL) + s general`` with ``s`` the replayed
    share and ``w`` the weight of the divergence; each of the three is a mean over its own tokens.
    """

    replay: Replay | None = None
    kl_to_base: KLToBase | None = None

    def use(self, replay: Replay | None = None, kl_to_base: KLToBase | None = None) -> None:
        """Add replay, a KL penalty, or both."""
        if replay is not None:
            self.replay, self.task_share = replay, 1.0 - replay.share
        if kl_to_base is not None:
            self.kl_to_base, self.has_penalty = kl_to_base, True

    def use_attention(self, attention: str) -> None:
        if self.kl_to_base is not None:
            self.kl_to_base.use_attention(attention)

    def further_batches(self, task_tokens: int, micro_batch: int) -> Iterator[FurtherBatch]:
        replay = self.replay
        if replay is None:
            return
        step = replay.due(task_tokens, micro_batch)
        for chunk in range(step.chunks):
            features = step.features[chunk * micro_batch : (chunk + 1) * micro_batch]
            batch = replay.task.collate(features or (replay.empty_example(),))
            rows = len(features)
            yield FurtherBatch(replay.task, batch, step.weight, REPLAYED, rows)

    def reference(self, model: nn.Module, batch: Batch) -> Tensor:
        assert self.kl_to_base is not None
        return self.kl_to_base.logits(model, batch)

    def penalised_loss(
        self, model: nn.Module, batch: Batch, reference: Tensor
    ) -> tuple[LossSum, Tensor]:
        assert self.kl_to_base is not None
        loss, divergence = self.kl_to_base.task.loss_and_divergence(model, batch, reference)
        return loss, self.kl_to_base.weight * divergence

    def state(self) -> Any:
        return self.replay.state() if self.replay else None

    def restore(self, state: Any) -> None:
        if self.replay is not None:
            self.replay.restore(state)
