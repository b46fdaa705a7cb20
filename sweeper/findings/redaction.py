"""What must not leave the machine with a report: home folders, tokens, passwords in addresses."""

from __future__ import annotations

import re

# Linux, macOS and Windows homes; a report is read by people who never saw this machine.
_HOME = re.compile(r"(/home/[^/\s:'\"]+|/Users/[^/\s:'\"]+|/root|[A-Za-z]:\\Users\\[^\\\s:'\"]+)\b")
# Tokens of the Hugging Face hub and keys of the common "sk-"/"ghp_" form.
_TOKEN = re.compile(r"\b(hf_|sk-|ghp_|gho_|github_pat_)[A-Za-z0-9_-]{8,}")
_PASSWORD = re.compile(r"(?<=://)([^/\s:@]+):[^/\s@]+@")


def clean(text: str) -> str:
    """The text without home folders, tokens and passwords.

    >>> clean("postgresql://ann:secret@db/x in /home/ann/runs")
    'postgresql://ann:***@db/x in ~/runs'
    >>> clean("HF_TOKEN=hf_abcdefghijklmnop")
    'HF_TOKEN=hf_***'
    """
    text = _HOME.sub("~", text)
    text = _TOKEN.sub(lambda match: f"{match[1]}***", text)
    return _PASSWORD.sub(lambda match: f"{match[1]}:***@", text)
