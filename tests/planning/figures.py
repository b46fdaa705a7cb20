"""The figures that texts name, such as those of a rule's source."""

from __future__ import annotations

import re

_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# Numbers that identify a text or a part of it.
_NO_FIGURES = re.compile(
    r"arXiv:\S+|doi:\S+|https?://\S+|\S+\.(?:md|yaml|py)|\b(?:19|20)\d\d\b"
    r"|\b(?:sections?|tables?|figures?|appendix|chapter) [A-Z\d.]+(?: and [A-Z\d.]+)?"
)
_FIGURE = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)(%?)")


def figures(text: str) -> list[float]:
    """The numbers of a text: ``2e-4``, ``16``, ``two``; ``5-10%`` is 0.05 and 0.1."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", _NO_FIGURES.sub(" ", text))
    text = re.sub(r"(\d)-(\d+(?:\.\d+)?)%", r"\1% \2%", text)
    values = [float(number) / (100 if sign else 1) for number, sign in _FIGURE.findall(text)]
    words = re.findall(r"[a-z]+", text.lower())
    return values + [float(_WORDS.index(word) + 1) for word in words if word in _WORDS]


def named(value: float, text: str) -> bool:
    """Whether a value lies between figures of a text."""
    found = figures(text)
    return bool(found) and min(found) <= value <= max(found)
