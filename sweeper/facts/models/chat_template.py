"""Renders conversations with the model's chat template, or a fallback, to measure lengths."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sweeper.artifact import Record
from sweeper.child_process import in_child
from sweeper.data.examples import Message
from sweeper.data.tools import as_text, for_template, text_with_calls
from sweeper.errors import ChildFailed, ModelError
from sweeper.textfiles import read_json_object, read_text


@dataclass(frozen=True)
class FallbackTemplate:
    """A chat template for models without one: its name with an article, and its Jinja source."""

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
    # Without ChatML's special tokens, its markers are ordinary text, so an answer must end
    # with the tokenizer's own end token.
    _CHATML.replace(
        "ANSWER_END",
        "{% if message['role'] == 'assistant' and eos_token is defined and eos_token %}"
        "{{ eos_token }}{% else %}{{ '<|im_end|>' }}{% endif %}",
    ),
)


def fallback(tokens: Collection[str], bos: str | None, eos: str | None) -> FallbackTemplate:
    """The fallback for a tokenizer with these special tokens.

    Source: torchtune documentation, ChatMLTemplate ("the default chat template used by Hugging Face
    models").
    """
    if eos == "</s>" and (not bos or bos == "<s>"):
        return INST
    return CHATML if {"<|im_start|>", "<|im_end|>"} <= set(tokens) else CHATML_AS_TEXT


Writer = Callable[[Sequence[Sequence[Message]]], list[str]]
"""Renders conversations as texts."""

_RENDER = "sweeper.facts.models.chat_template:render"

TIMEOUT_SECONDS = 30
"""Time limit of the child process that renders."""

MAX_RAM_BYTES = 2 * 2**30
"""Memory limit of this process."""

MAX_CHARACTERS = 100_000_000
"""Largest number of rendered characters: fifty times ``lengths.SAMPLE_CHARACTERS``."""


class TemplateRequest(Record):
    """A request to this process: a model's folder and conversations."""

    folder: str
    conversations: tuple[tuple[Message, ...], ...]


class TemplateTexts(Record):
    """The rendered conversations."""

    texts: tuple[str, ...]


def writer(folder: Path) -> tuple[Writer, str | None]:
    """A function that renders conversations for the model in a folder, and the name of the
    fallback that it uses; None if the model has a template.

    If the template refuses a conversation, its turns are joined by line breaks. Templates are
    untrusted programs, so a child process with limits renders them.
    """
    settings = _read(folder / "tokenizer_config.json")
    fallback_name = None if _source(folder, settings) is not None else _fallback(settings).name

    rendered: dict[tuple[Message, ...], str] = {}  # cached, as starting a process is slow

    def write(conversations: Sequence[Sequence[Message]]) -> list[str]:
        keys = [tuple(conversation) for conversation in conversations]
        if missing := [key for key in keys if key not in rendered]:
            rendered.update(zip(missing, render_in_child(missing), strict=True))
        return [rendered[key] for key in keys]

    def render_in_child(conversations: Sequence[tuple[Message, ...]]) -> tuple[str, ...]:
        request = TemplateRequest(folder=str(folder), conversations=tuple(conversations))
        what = "the model's chat template"
        try:
            return in_child(
                _RENDER, request, TemplateTexts, what=what, seconds=TIMEOUT_SECONDS, threads=1
            ).texts
        except ChildFailed as error:
            raise ModelError(
                error.problems[0].what,
                why=f"Templates have {TIMEOUT_SECONDS} s and {MAX_RAM_BYTES >> 30} GiB of memory.",
                fix="Repair or remove chat_template in the folder, or take another model.",
                where=str(folder),
            ) from error

    return write, fallback_name


def writes_tools(folder: Path) -> bool:
    """Whether a folder's own template renders tool calls; otherwise they become text."""
    return "tool_calls" in (_source(folder, _read(folder / "tokenizer_config.json")) or "")


def _template(folder: Path) -> Template | None:
    """The template of a folder, or the fallback; None if it is invalid."""
    settings = _read(folder / "tokenizer_config.json")
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
        return environment.from_string(_source(folder, settings) or _fallback(settings).template)
    except TemplateError:
        return None


def render(request: TemplateRequest) -> TemplateTexts:
    """Render conversations; runs in the child process of ``writer``."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_RAM_BYTES, MAX_RAM_BYTES))
    template, tools = _template(Path(request.folder)), writes_tools(Path(request.folder))
    texts: list[str] = []
    characters = 0
    for conversation in request.conversations:
        messages = conversation if tools else as_text(conversation)
        texts.append(_render_or_join(template, messages) if template else _plain(messages))
        characters += len(texts[-1])
        if characters > MAX_CHARACTERS:
            raise MemoryError(f"it writes more than {MAX_CHARACTERS:,} characters")
    return TemplateTexts(texts=tuple(texts))


def _render_or_join(template: Template, messages: Sequence[Message]) -> str:
    turns, tools = for_template(messages)
    try:
        return template.render(messages=turns, tools=tools or None, add_generation_prompt=False)
    except (TemplateError, TypeError, ValueError):
        return _plain(messages)


def _plain(messages: Sequence[Message]) -> str:
    return "\n".join(text_with_calls(message) for message in messages)


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)


def _source(folder: Path, settings: dict[str, object]) -> str | None:
    """The template's source: from its own file, or the default one in the tokenizer's settings."""
    try:
        return read_text(folder / "chat_template.jinja")
    except (OSError, UnicodeDecodeError):
        stated = settings.get("chat_template")
    if isinstance(stated, list):
        by_name = {entry.get("name"): entry.get("template") for entry in stated}
        stated = by_name.get("default")
    return stated if isinstance(stated, str) else None


def _fallback(settings: dict[str, object]) -> FallbackTemplate:
    added_tokens = settings.get("added_tokens_decoder")
    tokens = (
        {_token(token) for token in added_tokens.values()}
        if isinstance(added_tokens, dict)
        else set()
    )
    bos, eos = (_token(settings.get(name)) for name in ("bos_token", "eos_token"))
    return fallback(tokens, bos, eos)


def _token(value: object) -> str:
    """The text of a special token, which settings hold as text or as an object."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _read(path: Path) -> dict[str, object]:
    """The object in a JSON file; empty if it cannot be read."""
    try:
        return read_json_object(path)
    except (OSError, ValueError):
        return {}
