"""P-tuning: trained vectors before the first token's embedding of a frozen base.

Source: Liu et al. 2021, "GPT understands, too" (arXiv:2103.10385). Token states and logits have
``num_virtual_tokens`` more positions than the input, at the front.
"""

from __future__ import annotations

from typing import ClassVar

from peft import PromptEncoderConfig
from torch import nn

from sweeper.strategies.prompts import PromptStrategy
from sweeper.strategies.strategy import Parameters, Setting

# Hidden layers of PEFT's MLP, which warns about any other number.
_MLP_LAYERS = 2


class PTuning(PromptStrategy):
    """Trains ``num_virtual_tokens`` embeddings through a small encoder.

    The encoder is only used in training and not saved. With ``v`` virtual tokens, embeddings of
    width ``h`` and ``e`` = ``encoder_hidden_size``, it trains
    ``vh + (h + 1)e + (e + 1)e + (e + 1)h`` weights.
    """

    name: ClassVar[str] = "ptuning"

    def peft_config(
        self, model: nn.Module, parameters: Parameters, setting: Setting
    ) -> PromptEncoderConfig:
        width = int(model.get_input_embeddings().embedding_dim)
        config = model.config.get_text_config()
        return PromptEncoderConfig(
            task_type=setting.task_type,
            num_virtual_tokens=int(parameters["num_virtual_tokens"]),
            encoder_reparameterization_type="MLP",
            encoder_hidden_size=int(parameters.get("encoder_hidden_size") or width),
            encoder_num_layers=_MLP_LAYERS,
            # PEFT does not find these numbers in every model. Embeddings may be narrower than the
            # hidden size, as in ALBERT.
            num_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            token_dim=width,
        )
