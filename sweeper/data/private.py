"""Secrets and personal data in texts, by their forms."""

from __future__ import annotations

import re

_PATTERNS = {
    "private key": re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*KEY-----)?", re.S
    ),
    "access key": re.compile(
        r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|(?:ghp|gho|ghs)_[A-Za-z0-9]{36}|github_pat_\w{22,}"
        r"|hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}|xox[abp]-[A-Za-z0-9-]{10,}"
        r"|AIza[A-Za-z0-9_-]{35})"
    ),
    "password": re.compile(r"(?<=://)[^/\s:@]+:[^/\s:@]+(?=@[\w.-]+)"),
    "e-mail address": re.compile(r"\b[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b"),
    "card number": re.compile(r"\b\d(?:[ -]?\d){12,18}\b"),
    "IBAN": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "social security number": re.compile(r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b"),
    "telephone number": re.compile(
        r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){2,3}"
        r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?![\w-])"
    ),
}
"""The forms that their issuers document; card numbers and IBANs also by their check digits."""

_EXAMPLE_HOST = re.compile(r"@(?:[\w-]+\.)*example\.(?:com|org|net)$", re.I)
"""Names that are reserved for examples (RFC 2606) belong to nobody."""


def private_in(text: str) -> list[str]:
    """What a text contains, by name."""
    return [name for name in _PATTERNS if _replaced(text, name) != text]


def redacted(text: str) -> str:
    """The text without secrets and personal data.

    >>> redacted("Write to ann@mail.org, card 4111 1111 1111 1111, order 1234 5678 9012 3456")
    'Write to [E-MAIL ADDRESS], card [CARD NUMBER], order 1234 5678 9012 3456'
    """
    for name in _PATTERNS:
        text = _replaced(text, name)
    return text


def _replaced(text: str, name: str) -> str:
    return _PATTERNS[name].sub(
        lambda match: f"[{name.upper()}]" if _is_real(match[0], name) else match[0], text
    )


def _is_real(found: str, name: str) -> bool:
    if name == "e-mail address":
        return not _EXAMPLE_HOST.search(found)
    if name == "card number":
        return _luhn(found)
    if name == "IBAN":
        return _mod97(found)
    return True


_CARD = re.compile(r"4\d{12}(?:\d{3})?|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}")
"""Visa, Mastercard, American Express and Discover."""


def _luhn(number: str) -> bool:
    plain = re.sub(r"\D", "", number)
    digits = [int(one) for one in reversed(plain)]
    doubled = (sum(divmod(2 * one, 10)) for one in digits[1::2])
    return bool(_CARD.fullmatch(plain)) and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _mod97(iban: str) -> bool:
    plain = iban.replace(" ", "")
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1
