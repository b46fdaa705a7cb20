"""Renders conversations with the model's chat template, to measure their length.

Only for lengths: what is trained on is written by the tokenizer itself. Imported only where there
is a conversation to measure, since jinja2 costs start-up.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sweeper.artifact import Record
from sweeper.child_process import in_child
from sweeper.data.examples import Message
from sweeper.data.tools import as_text, for_template, spelled
from sweeper.errors import ChildFailed, ModelError
from sweeper.facts.models.fallback_template import FallbackTemplate, fallback
from sweeper.jsontext import object_of
from sweeper.textfile import read_text

Writer = Callable[[Sequence[Sequence[Message]]], list[str]]
"""Conversations to texts."""

_RENDER = "sweeper.facts.models.chat_template:render"

MOST_SECONDS = 30
"""What a plan may wait for."""

MOST_BYTES = 2 * 2**30
MOST_CHARACTERS = 100_000_000
"""Fifty times the characters that are measured at most."""


class TemplateRequest(Record):
    """Conversations for the template in a folder."""

    folder: str
    conversations: tuple[tuple[Message, ...], ...]


class TemplateTexts(Record):
    """The conversations as the template writes them."""

    texts: tuple[str, ...]


def writer(folder: Path) -> tuple[Writer, str | None]:
    """The conversation format of the model in a folder, and its name if it is a fallback.

    A conversation that the template refuses is measured as its turns, one after the other. A
    template is a program of strangers: it is rendered in a process with limits of its own.
    """
    settings = _read(folder / "tokenizer_config.json")
    borrowed = None if _source(folder, settings) is not None else _fallback(settings).name

    written: dict[tuple[Message, ...], str] = {}  # a process takes longer than one conversation

    def write(conversations: Sequence[Sequence[Message]]) -> list[str]:
        keys = [tuple(conversation) for conversation in conversations]
        if new := [key for key in keys if key not in written]:
            written.update(zip(new, ask_for(new), strict=True))
        return [written[key] for key in keys]

    def ask_for(conversations: Sequence[tuple[Message, ...]]) -> tuple[str, ...]:
        request = TemplateRequest(folder=str(folder), conversations=tuple(conversations))
        what = "the model's chat template"
        try:
            return in_child(
                _RENDER, request, TemplateTexts, what=what, seconds=MOST_SECONDS, threads=1
            ).texts
        except ChildFailed as error:
            raise ModelError(
                error.problems[0].what,
                why=f"Templates have {MOST_SECONDS} s and {MOST_BYTES // 2**30} GiB of memory.",
                fix="Repair or remove chat_template in the folder, or take another model.",
                where=str(folder),
            ) from error

    return write, borrowed


def writes_tools(folder: Path) -> bool:
    """Whether the template in a folder knows tool calls; else they are written as text."""
    return "tool_calls" in (_source(folder, _read(folder / "tokenizer_config.json")) or "")


def _template(folder: Path) -> Template | None:
    """None where the template is not one."""
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
    """The request of ``writer`` to its process."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    template, tools = _template(Path(request.folder)), writes_tools(Path(request.folder))
    texts: list[str] = []
    characters = 0
    for conversation in request.conversations:
        messages = conversation if tools else as_text(conversation)
        texts.append(_rendered(template, messages) if template else _plain(messages))
        characters += len(texts[-1])
        if characters > MOST_CHARACTERS:
            raise MemoryError(f"it writes more than {MOST_CHARACTERS:,} characters")
    return TemplateTexts(texts=tuple(texts))


def _rendered(template: Template, messages: Sequence[Message]) -> str:
    turns, tools = for_template(messages)
    try:
        return template.render(messages=turns, tools=tools or None, add_generation_prompt=False)
    except (TemplateError, TypeError, ValueError):
        return _plain(messages)


def _plain(messages: Sequence[Message]) -> str:
    return "\n".join(spelled(message) for message in messages)


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)


def _source(folder: Path, settings: dict[str, object]) -> str | None:
    """The template's text: a file of its own, or the default one in the tokenizer's settings."""
    try:
        return read_text(folder / "chat_template.jinja")
    except (OSError, UnicodeDecodeError):
        stated = settings.get("chat_template")
    if isinstance(stated, list):
        named = {entry.get("name"): entry.get("template") for entry in stated}
        stated = named.get("default")
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
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _read(path: Path) -> dict[str, object]:
    try:
        return object_of(read_text(path))
    except (OSError, ValueError):
        return {}
