"""What the rules of a plan say about parameters, as something that trials can show to be wrong.

Read from the effects that a plan keeps of its rules, so that trials of older plans test them too.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sweeper.plans import Candidate, Reason
from sweeper.spec import Scalar
from sweeper.units import setting

_NUMBER = r"[0-9][0-9.eE+-]*"
_RANGE = re.compile(rf"^(\w+) ({_NUMBER}) to ({_NUMBER}) \(")
_CHOICES = re.compile(r"^(\w+) \{(.+)\} \((.*)\)$")
_FIXED = re.compile(r"^(\w+) (\S+)$")


@dataclass(frozen=True)
class Claim:
    """A rule's values of one parameter are better than others.

    Args:
        parameter: By plain name.
        choices: The rule's values, as text; empty where it has a range.
        low: Of its range.
        high: Of its range.
    """

    parameter: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def inside(self, value: Scalar) -> bool:
        """Whether a value is one that the rule asks for."""
        if self.choices:
            return any(_same(value, choice) for choice in self.choices)
        if isinstance(value, bool | str):
            return False
        # Ranges are told with three digits.
        return self.low * (1 - 1e-3) <= value <= self.high * (1 + 1e-3)

    @property
    def told(self) -> str:
        """Its values: ``1e-4 to 5e-4``, ``qv or qkvo``.

        >>> Claim("r", choices=("4", "8", "16")).told
        '4, 8 or 16'
        """
        if not self.choices:
            return f"{setting(self.low)} to {setting(self.high)}"
        return " or ".join(filter(None, [", ".join(self.choices[:-1]), self.choices[-1]]))


def claims(reason: Reason, candidate: Candidate) -> Iterator[Claim]:
    """What a rule says about the parameters of one candidate.

    Where it names every choice that there is, its default is held against the others.
    """
    for part in reason.effect.split("; "):
        if match := _RANGE.match(part):
            yield Claim(match[1], low=float(match[2]), high=float(match[3]))
        elif match := _CHOICES.match(part):
            named = tuple(match[2].split("|"))
            known = candidate.parameters.get(match[1])
            everything = known is not None and {*map(str, known.allowed)} <= {*named}
            yield Claim(match[1], choices=(match[3],) if everything else named)
        elif (match := _FIXED.match(part)) and match[1] in candidate.parameters:
            yield Claim(match[1], choices=(match[2],))


def _same(value: Scalar, text: str) -> bool:
    if isinstance(value, bool | str):
        return str(value) == text
    try:
        return abs(value - float(text)) <= 1e-3 * abs(value)
    except ValueError:
        return False
