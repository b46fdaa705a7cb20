"""Makes text safe to show and to share: escapes, shortens, and removes secrets and names.

Escaped text cannot move the cursor or reorder the text around it. From files that people share,
secrets, host names and user names are removed.

A host or login name may be a word of the report, such as the strategy ``head`` or the split
``test``. It is replaced only if it has a digit, a dot, a hyphen or an underscore besides letters,
and never if it is a whole text, so that labels, states and parameters stay. In paths and before
``@``, every login name is replaced.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Control characters except tab and line feed, the bidirectional formatting characters of Unicode
# (UAX #9, section 2), invisible characters, lone surrogates, and characters that XML forbids.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2028\u2029"
    "\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)

MAX_CHARACTERS = 2_000
"""Largest length of a shown text: about 25 lines of a terminal."""

LABEL_CHARACTERS = 100
"""Largest length of a class name or a label in a chart."""

TEXT_CHARACTERS = 1_200
"""Largest length of a row's text or of an answer in a table."""


def visible(text: str) -> str:
    """The text with invisible characters escaped as code points.

    >>> visible("a\\x1b[31mb\\u202ec\\0")
    'a\\\\x1b[31mb\\\\u202ec\\\\x00'
    """
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub(_escape_sequence, text.replace("\r\n", "\n"))


def shortened(text: str, most: int = MAX_CHARACTERS) -> str:
    """The first ``most`` characters of a text, and the number of omitted ones.

    >>> shortened("a" * 50, 10)
    'aaaaaaaaaa… (40 more characters)'
    """
    omitted = len(text) - most
    return text if omitted <= 0 else f"{text[:most]}… ({omitted:,} more characters)"


def _escape_sequence(match: re.Match[str]) -> str:
    code = ord(match[0])
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


# Home folders of Linux, macOS and Windows.
_HOME = re.compile(r"(/home/[^/\s:'\"]+|/Users/[^/\s:'\"]+|/root|[A-Za-z]:\\Users\\[^\\\s:'\"]+)\b")
# Tokens of the Hugging Face hub and of GitHub, and API keys with the common prefix "sk-".
_TOKEN = re.compile(r"\b(hf_|api_org_|sk-|gh[oprsu]_|github_pat_)[A-Za-z0-9_-]{8,}")
# The user and the password of a URL. The password ends at the last "@" of a word. ":80/" is a port
# and the beginning of a path, which may contain an "@".
_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):(?!\d{1,5}/)(?:[^\s\"'<>]+|[^/\s]+)@")
# A secret in the query of a URL, such as "?token=...".
_QUERY = re.compile(
    r"([?&][\w.-]*(?:password|passwd|token|secret|api_?key)=)[^&\s'\"]+", re.IGNORECASE
)
# Names of environment variables with secrets. TOKENIZERS_PARALLELISM and MAX_TOKENS are excluded:
# their values are common words.
_SECRET_VARIABLE = re.compile(
    r"(?<!MAX_)(?<!MAX_NEW_)(?<!NUM_)TOKEN(?!IZ)|PASSWORD|PASSWD|SECRET|API_?KEY", re.IGNORECASE
)
_MIN_SECRET_CHARACTERS = 6
"""Minimum length of a secret value that is replaced everywhere. Words may contain shorter ones."""

# Install paths that are the same on many machines, so that they stay.
_SYSTEM_PREFIXES = {Path("/"), Path("/usr"), Path("/usr/local")}
_ABSOLUTE_PATH = re.compile(r"(?<![\w.~/-])/(?!/)[^\s:'\"]+")

# A pattern, and what replaces its matches.
_Replacement = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def clean(text: str) -> str:
    """The text without secrets, home folders, install path, host name and user name.

    >>> clean("postgresql://ann:secret@db/x in /home/ann/runs")
    'postgresql://ann:***@db/x in ~/runs'
    >>> clean("HF_TOKEN=hf_abcdefghijklmnop")
    'HF_TOKEN=hf_***'
    """
    return cleaner()(text)


def cleaner() -> Callable[[str], str]:
    """``clean`` for many texts: this process's secrets and names are looked up once."""
    return partial(_replaced, replacements=(*_secrets(), *_paths_and_names()))


def without_secrets(text: str) -> str:
    """The text without tokens and passwords; paths and names stay."""
    return _replaced(text, tuple(_secrets()))


def without_password(url: str) -> str:
    """The URL without its password.

    >>> without_password("postgresql://ann:secret@db/x")
    'postgresql://ann@db/x'
    """
    return _PASSWORD.sub(lambda match: f"{match[1]}@", url)


def _replaced(text: str, replacements: tuple[_Replacement, ...]) -> str:
    for pattern, replacement in replacements:
        text = pattern.sub(replacement, text)
    return text


def _secrets() -> Iterator[_Replacement]:
    yield _PASSWORD, r"\1:***@"
    yield _QUERY, r"\1***"
    yield _TOKEN, r"\1***"
    # The longest first, as a secret may begin with another secret.
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
        yield from (candidate for candidate in secrets if len(candidate) >= _MIN_SECRET_CHARACTERS)


def _proxy_password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _paths_and_names() -> Iterator[_Replacement]:
    """Replacements of paths and names. Install paths, often in the home folder, come first."""
    import getpass  # not at the top: a plan starts faster without this and socket
    import socket

    prefix = Path(sys.prefix)
    for folder in dict.fromkeys((prefix, prefix.resolve(), Path(__file__).parents[1])):
        if folder not in _SYSTEM_PREFIXES:
            yield _path_pattern(folder), "PREFIX"
    with contextlib.suppress(RuntimeError):  # the home folder is unknown
        if Path.home() != Path("/"):
            yield _path_pattern(Path.home()), "~"
    yield _HOME, "~"
    host = socket.gethostname()
    hosts = [name for name in dict.fromkeys([host, host.partition(".")[0]]) if name]
    with contextlib.suppress(OSError, KeyError, ImportError):  # the account has no name
        yield from _login(getpass.getuser(), hosts)
    for name in filter(_is_distinctive, hosts):
        yield from _name(name, "HOST")


def _path_pattern(folder: Path) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.~-]){re.escape(str(folder))}(?![\w-]|\.\w)")


def _login(name: str, hosts: Sequence[str]) -> Iterator[_Replacement]:
    yield _folder_in_path(name, "USER")
    host_pattern = "|".join(map(re.escape, hosts))
    yield re.compile(rf"(?<![\w.:/-]){re.escape(name)}@(?:{host_pattern})(?![\w-])"), "USER@HOST"
    if _is_distinctive(name):
        yield from _name(name, "USER")


def _is_distinctive(name: str) -> bool:
    """Whether a name cannot be an ordinary word."""
    return bool(re.search(r"[A-Za-z]", name) and re.search(r"[\d._-]", name))


def _name(name: str, replacement: str) -> Iterator[_Replacement]:
    """Replaces a name as a word, unless it is the whole text or in ``owner/model``."""
    yield _folder_in_path(name, replacement)
    word = re.escape(name)
    yield re.compile(rf"(?!\A{word}\Z)(?<![\w./-]){word}(?![\w/-]|\.\w)"), replacement


def _folder_in_path(name: str, replacement: str) -> _Replacement:
    """Replaces a folder of this name in absolute paths."""
    folder = re.compile(rf"(?<=/){re.escape(name)}(?=/|$)")
    return _ABSOLUTE_PATH, lambda match: folder.sub(replacement, match[0])
