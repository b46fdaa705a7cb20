"""Writes a conversation as the model's chat template does, to measure how long it gets.

Only for lengths: what is trained on is written by the tokenizer itself. Imported only where there
is a conversation to measure, since jinja2 costs start-up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sweeper.data.examples import Message

Writer = Callable[[Sequence[Message]], str]

FALLBACK = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %}"
    " {{ message.content }}{{ eos_token }}{% else %}[INST] {{ message.content }} [/INST]"
    "{% endif %}{% endfor %}"
)
"""For a tokenizer without a template: the form of Llama 2 and Mistral."""


def writer(folder: Path) -> tuple[Writer, bool]:
    """How the model in this folder writes conversations, and whether that is its own template.

    A conversation that the template refuses is measured as its turns, one after the other.
    """
    settings = _read(folder / "tokenizer_config.json")
    source = _source(folder, settings)
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = json.dumps
    environment.globals.update(
        raise_exception=_refuse,
        strftime_now=lambda form: datetime.now(tz=UTC).strftime(form),
        bos_token=_token(settings.get("bos_token")),
        eos_token=_token(settings.get("eos_token")),
    )
    try:
        template = environment.from_string(source or FALLBACK)
    except TemplateError:
        return _plain, False

    def write(messages: Sequence[Message]) -> str:
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            return template.render(messages=turns, add_generation_prompt=False)
        except (TemplateError, TypeError, ValueError):
            return _plain(messages)

    return write, source is not None


def _plain(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)


def _source(folder: Path, settings: dict[str, object]) -> str | None:
    """The template's text: a file of its own, or the default one in the tokenizer's settings."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        stated = settings.get("chat_template")
    if isinstance(stated, list):
        named = {entry.get("name"): entry.get("template") for entry in stated}
        stated = named.get("default")
    return stated if isinstance(stated, str) else None


def _token(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _read(path: Path) -> dict[str, object]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}
