"""Removes secrets, and names of host and user, from files that people share.

A host or login name may be a word of the report: a strategy is called ``head``, a split ``test``.
So it is replaced only where it has a digit, a dot, a hyphen or an underscore besides letters, and
never where it is all of a text: labels, states and parameters stay. In paths and before ``@`` every
login name is replaced.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel

# Linux, macOS and Windows homes; a report is read by people who never saw this machine.
_HOME = re.compile(r"(/home/[^/\s:'\"]+|/Users/[^/\s:'\"]+|/root|[A-Za-z]:\\Users\\[^\\\s:'\"]+)\b")
# Tokens of the Hugging Face hub and of GitHub, and keys of the common "sk-" form.
_TOKEN = re.compile(r"\b(hf_|api_org_|sk-|gh[oprsu]_|github_pat_)[A-Za-z0-9_-]{8,}")
# Up to the last "@" of a word. A number and a slash are a port and a path, which may have an "@".
_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):(?!\d{1,5}/)(?:[^\s\"'<>]+|[^/\s]+)@")
_QUERY = re.compile(
    r"([?&][\w.-]*(?:password|passwd|token|secret|api_?key)=)[^&\s'\"]+", re.IGNORECASE
)
# Not TOKENIZERS_PARALLELISM or MAX_TOKENS, whose values are words of every log.
_SECRET_VARIABLE = re.compile(
    r"(?<!MAX_)(?<!MAX_NEW_)(?<!NUM_)TOKEN(?!IZ)|PASSWORD|PASSWD|SECRET|API_?KEY", re.IGNORECASE
)
_LEAST_SECRET = 6
"""Characters of a value that is replaced wherever it stands: a shorter one is part of words."""

_SYSTEM_PREFIXES = {Path("/"), Path("/usr"), Path("/usr/local")}
_ABSOLUTE_PATH = re.compile(r"(?<![\w.~/-])/(?!/)[^\s:'\"]+")

# What is replaced, and by what.
_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]
_Record = TypeVar("_Record", bound=BaseModel)


def clean(text: str) -> str:
    """The text without secrets, home folders, install path, and names of host and user.

    >>> clean("postgresql://ann:secret@db/x in /home/ann/runs")
    'postgresql://ann:***@db/x in ~/runs'
    >>> clean("HF_TOKEN=hf_abcdefghijklmnop")
    'HF_TOKEN=hf_***'
    """
    return _applied(text, (*_secrets(), *_places_and_names()))


def without_secrets(text: str) -> str:
    """The text without tokens and passwords; paths and names stay."""
    return _applied(text, tuple(_secrets()))


def without_password(url: str) -> str:
    """A URL that can still be used, by whoever has the password elsewhere.

    >>> without_password("postgresql://ann:secret@db/x")
    'postgresql://ann@db/x'
    """
    return _PASSWORD.sub(lambda match: f"{match[1]}@", url)


def cleaned(record: _Record) -> _Record:
    """A record whose texts are clean, however deep they lie. Names of fields and keys stay."""
    rules = (*_secrets(), *_places_and_names())
    result: _Record = _cleaned(record, rules)
    return result


def _cleaned(value: Any, rules: tuple[_Rule, ...]) -> Any:
    if isinstance(value, str):
        return _applied(value, rules)
    if isinstance(value, BaseModel):
        values = {name: getattr(value, name) for name in type(value).model_fields}
        changes = {
            name: new for name, old in values.items() if (new := _cleaned(old, rules)) is not old
        }
        return value.model_copy(update=changes) if changes else value
    if isinstance(value, tuple | list):
        items = type(value)(_cleaned(item, rules) for item in value)
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, dict):
        fields = {key: _cleaned(item, rules) for key, item in value.items()}
        return value if all(fields[key] is value[key] for key in value) else fields
    return value


def _applied(text: str, rules: tuple[_Rule, ...]) -> str:
    for pattern, instead in rules:
        text = pattern.sub(instead, text)
    return text


def _secrets() -> Iterator[_Rule]:
    yield _PASSWORD, r"\1:***@"
    yield _QUERY, r"\1***"
    yield _TOKEN, r"\1***"
    # The longest first: one value may begin with another.
    if values := sorted(set(_secret_values()), key=len, reverse=True):
        yield re.compile("|".join(map(re.escape, values))), "***"


def _secret_values() -> Iterator[str]:
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name):
            secrets = [value.strip()]
            if "TOKENS" in name.upper():
                secrets += [part.strip() for part in value.split(",")]
        elif name.lower().endswith("_proxy"):
            secret = _proxy_password(value)
            secrets = [secret, unquote(secret)]
        else:
            continue
        yield from (candidate for candidate in secrets if len(candidate) >= _LEAST_SECRET)


def _proxy_password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _places_and_names() -> Iterator[_Rule]:
    """Install paths first: they may lie in the home folder."""
    prefix = Path(sys.prefix)
    for folder in dict.fromkeys((prefix, prefix.resolve(), Path(__file__).parents[1])):
        if folder not in _SYSTEM_PREFIXES:
            yield _path(folder), "PREFIX"
    with contextlib.suppress(RuntimeError):  # nobody's home is known
        if Path.home() != Path("/"):
            yield _path(Path.home()), "~"
    yield _HOME, "~"
    host = socket.gethostname()
    hosts = [name for name in dict.fromkeys([host, host.partition(".")[0]]) if name]
    with contextlib.suppress(OSError, KeyError, ImportError):  # the account has no name
        yield from _login(getpass.getuser(), hosts)
    for name in filter(_is_no_word, hosts):
        yield from _word(name, "HOST")


def _path(folder: Path) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.~-]){re.escape(str(folder))}(?![\w-]|\.\w)")


def _login(name: str, hosts: Sequence[str]) -> Iterator[_Rule]:
    yield _in_paths(name, "USER")
    places = "|".join(map(re.escape, hosts))
    yield re.compile(rf"(?<![\w.:/-]){re.escape(name)}@(?:{places})(?![\w-])"), "USER@HOST"
    if _is_no_word(name):
        yield from _word(name, "USER")


def _is_no_word(name: str) -> bool:
    return bool(re.search(r"[A-Za-z]", name) and re.search(r"[\d._-]", name))


def _word(name: str, instead: str) -> Iterator[_Rule]:
    """Whole words only, neither a text that is nothing else nor a part of ``owner/model``."""
    yield _in_paths(name, instead)
    word = re.escape(name)
    yield re.compile(rf"(?!\A{word}\Z)(?<![\w./-]){word}(?![\w/-]|\.\w)"), instead


def _in_paths(name: str, instead: str) -> _Rule:
    """Folders of that name in absolute paths are renamed."""
    folder = re.compile(rf"(?<=/){re.escape(name)}(?=/|$)")
    return _ABSOLUTE_PATH, lambda match: folder.sub(instead, match[0])
