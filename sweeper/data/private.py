"""Finds and replaces secrets and personal data in texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from sweeper.packages import is_installed

# A repetition inside a pattern is bounded: otherwise the time would be quadratic in the length of a
# text. Those of the password need no bound, as they start only after ``://``.
_PATTERNS = {
    "private key": re.compile(
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:.{0,9999}?-----END [A-Z ]{0,30}KEY-----)?", re.S
    ),
    "access key": re.compile(
        r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[oprsu]_[A-Za-z0-9]{36}|github_pat_\w{22,}"
        r"|(?:hf|api_org)_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}|xox[abp]-[A-Za-z0-9-]{10,}"
        r"|AIza[A-Za-z0-9_-]{35})"
    ),
    "password": re.compile(r"(?<=://)[^/\s:@]+:[^/\s:@]+(?=@[\w.-]+)"),
    "e-mail address": re.compile(
        r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,9}[A-Za-z]{2,63}\b"
    ),
    "card number": re.compile(r"\b\d(?:[ -]?\d){12,18}\b"),
    "IBAN": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "social security number": re.compile(r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b"),
    "telephone number": re.compile(
        r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){2,3}"
        r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?![\w-])"
    ),
}
"""Patterns that issuers document; card numbers and IBANs must also have valid check digits."""

_EXAMPLE_HOST = re.compile(r"@(?:[\w-]+\.)*example\.(?:com|org|net)$", re.I)
"""Hosts that are reserved for examples (RFC 2606): their addresses belong to nobody."""

PERSONAL = _PATTERNS.keys() - {"private key", "access key", "password"}
"""The kinds of personal data; the other kinds are secrets."""

_SEARCHED_PIECE = re.compile(r".{1,2000}(?!\S)|.{1,2000}")
"""At most 2,000 characters of a line, cut between words if possible."""

_LONG_WORD = re.compile(r"[\w+/=.:-]{20}")
"""A run of characters that every access token has. Text without one is not searched for tokens,
which saves 90% of the time."""


def private_in(text: str) -> list[str]:
    """The kinds of secrets and personal data in a text."""
    return _redact(text)[1]


def redacted(text: str) -> str:
    """The text, in which the kind replaces each secret and each piece of personal data.

    >>> redacted("Write to ann@mail.org, card 4111 1111 1111 1111, order 1234 5678 9012 3456")
    'Write to [E-MAIL ADDRESS], card [CARD NUMBER], order 1234 5678 9012 3456'
    """
    return _redact(text)[0]


def _redact(text: str) -> tuple[str, list[str]]:
    """The redacted text, and the kinds of the data that were replaced."""
    kinds = []
    for kind, pattern in _PATTERNS.items():
        is_real, mark = _CHECKS.get(kind, bool), f"[{kind.upper()}]"
        text_before = text
        text = pattern.sub(lambda match: mark if is_real(match[0]) else match[0], text)  # noqa: B023
        if text != text_before:
            kinds.append(kind)
    for kind, token in dict.fromkeys(_tokens(text)):
        text = text.replace(token, f"[{kind.upper()}]")
        kinds.append(kind)
    return text, list(dict.fromkeys(kinds))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each access token that a detector of detect-secrets finds."""
    pieces = _SEARCHED_PIECE.findall(text) if _LONG_WORD.search(text) else ()
    for piece in filter(_LONG_WORD.search, pieces):
        for detector in _detectors():
            for token in detector.analyze_string(piece):
                yield detector.secret_type, token


@cache
def _detectors() -> tuple[Any, ...]:
    """The detectors of detect-secrets for tokens of a known form; none without the package.

    Its detectors of entropy and of IP addresses are left out: in 51,267 rows of twelve public data
    sets, all of their 7 reports were harmless hashes, alphabets and numbers. The detectors returned
    here raised no false alarm in these rows. The keyword detector is left out, as it takes longer
    than all others together.
    """
    if not is_installed("detect_secrets"):
        return ()
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector

    kinds = get_mapping_from_secret_type_to_class().items()
    return tuple(
        kind()
        for name, kind in kinds
        if issubclass(kind, RegexBasedDetector) and name != "Public IP (ipv4)"
    )


_CARD = re.compile(r"4\d{12}(?:\d{3})?|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}")
"""Card numbers of Visa, Mastercard, American Express and Discover."""


def _is_card_number(card: str) -> bool:
    """Whether the digits are a card number with a valid check digit (Luhn)."""
    number = re.sub(r"\D", "", card)
    digits = [int(digit) for digit in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return bool(_CARD.fullmatch(number)) and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_iban(iban: str) -> bool:
    """Whether the check digits are valid (ISO 7064, modulo 97)."""
    text = iban.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


_CHECKS: dict[str, Callable[[str], bool]] = {
    "e-mail address": lambda text: not _EXAMPLE_HOST.search(text),
    "card number": _is_card_number,
    "IBAN": _is_iban,
}
"""Further conditions of a match, by kind; other kinds have none."""
