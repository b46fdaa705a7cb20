"""The record of the corpus, and the parameters of continued pretraining on it."""

from __future__ import annotations

from sweeper.artifact import Record
from sweeper.traits.traits import StrategyOnModel

NAME = "pretraining"
# The parameter with the strategy of the first stage, and its value for no first stage.
FIRST_STAGE, NO_FIRST_STAGE = "first_stage", "none"
# LoRA's rank in a first stage.
FIRST_STAGE_RANK = 256
# The parameter with the learning rate of each strategy; full needs lower rates than LoRA.
FIRST_STAGE_RATES = {"lora": "first_stage_learning_rate", "full": "first_stage_full_learning_rate"}


class CorpusFacts(Record):
    """The documents that the base may be trained on.

    ``leaked`` and ``repeated`` count documents that were left out: they share text with validation
    or test rows, or equal an earlier one. ``sha256`` is over the other documents.
    """

    path: str
    documents: int
    tokens: int
    leaked: int = 0
    repeated: int = 0
    sha256: str


class StageRecord(Record):
    """The continued pretraining of a trial's base, before the task.

    Losses are nats per token of held-out documents; None if the corpus is too small to spare any.
    """

    strategy: StrategyOnModel
    documents: int
    optimizer_steps: int
    tokens: int
    seconds: float
    held_out_loss_before: float | None = None
    held_out_loss_after: float | None = None
