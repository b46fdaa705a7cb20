"""Chat templates for tokenizers that have none.

Llama 2 and Mistral have their own format, ``[INST]``. Other families get ChatML. Its markers are
special tokens only if the tokenizer has them; otherwise they are plain text, since added or unused
tokens have untrained embeddings, which adapters do not train.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class FallbackTemplate:
    """A chat template: its name with an article, and its Jinja source."""

    name: str
    template: str


INST = FallbackTemplate(
    "an [INST] template",
    "{% set ns = namespace(system='') %}{% if bos_token is defined and bos_token %}{{ bos_token }}"
    "{% endif %}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{% set ns.system = '<<SYS>>\n' + message['content'] + '\n<</SYS>>\n\n' %}"
    "{% elif message['role'] == 'user' %}"
    "{{ '[INST] ' + ns.system + message['content'] + ' [/INST]' }}"
    "{% set ns.system = '' %}{% else %}{{ ' ' + message['content'] }}"
    "{% if eos_token is defined and eos_token %}{{ eos_token }}{% endif %}{% endif %}{% endfor %}",
)
_CHATML = (
    "{% if bos_token is defined and bos_token and bos_token != '<|im_start|>' %}"
    "{{ bos_token }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}ANSWER_END"
    "{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML = FallbackTemplate("a ChatML template", _CHATML.replace("ANSWER_END", "{{ '<|im_end|>' }}"))
CHATML_AS_TEXT = FallbackTemplate(
    "a ChatML template",
    # The model must learn to end answers with its own end token.
    _CHATML.replace(
        "ANSWER_END",
        "{% if message['role'] == 'assistant' and eos_token is defined and eos_token %}"
        "{{ eos_token }}{% else %}{{ '<|im_end|>' }}{% endif %}",
    ),
)


def fallback(tokens: Collection[str], bos: str | None, eos: str | None) -> FallbackTemplate:
    """The template for a tokenizer with these special tokens.

    Source: torchtune documentation, ChatMLTemplate ("the default chat template used by Hugging Face
    models").
    """
    if eos == "</s>" and (not bos or bos == "<s>"):
        return INST
    return CHATML if {"<|im_start|>", "<|im_end|>"} <= set(tokens) else CHATML_AS_TEXT
