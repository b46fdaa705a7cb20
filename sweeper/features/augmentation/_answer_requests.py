"""The process in which a base model answers requests, one per line of standard input.

A request is ``{"messages": [...], "expected_characters": ...}``. Its reply is
``{"text": ..., "tokens_in": ..., "tokens_out": ...}``.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from sweeper.backend import ProgressReporter
from sweeper.child_process import tell
from sweeper.data.examples import Message
from sweeper.errors import ModelError
from sweeper.evaluation.objective_values import Sampling, generate
from sweeper.facts.models.model import model_facts
from sweeper.spec import ModelSpec
from sweeper.tasks.sequences.chat import Chat
from sweeper.textfiles import json_object
from sweeper.training.base_model.weights import weights_folder

_TEMPERATURE = 0.7
"""The temperature of Self-Instruct (Wang et al. 2022, arXiv:2212.10560, appendix A.1)."""

_SLACK_TOKENS = 32
"""Tokens that a reply may have beyond twice its expected length, with four characters a token."""


def answer(model: ModelSpec) -> None:
    """Load the model, and answer until there are no more requests.

    Raises:
        SweeperError: The model cannot be loaded, or writes no text.
    """
    facts = model_facts(model)
    if facts.kind != "decoder":
        raise ModelError(
            f"{model.id} does not write text", fix="Name a language model, or an --endpoint."
        )
    logging.disable_progress_bar()
    folder = weights_folder(model, facts, ProgressReporter())
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    base: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    base = base.to("cuda" if torch.cuda.is_available() else "cpu")
    chat = Chat(tokenizer)
    stops = chat.stop_tokens or (tokenizer.eos_token_id,)
    for number, line in enumerate(sys.stdin):
        request = json_object(line)
        messages = [Message(m["role"], m["content"]) for m in request["messages"]]
        prompt = chat.prompt(messages)
        ((text,),) = generate(
            base,
            tokenizer,
            [prompt],
            stops,
            max_new_tokens=2 * int(request["expected_characters"]) // 4 + _SLACK_TOKENS,
            sampling=Sampling(_TEMPERATURE, seed=number),
        )
        reply_tokens = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        tell(text=text, tokens_in=len(prompt), tokens_out=reply_tokens)
