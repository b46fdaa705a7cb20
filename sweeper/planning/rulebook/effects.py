"""The ``then`` of a rule: what it can do to a plan. Only types; reading is ``effect_reader``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sweeper.plan import Prior
from sweeper.planning.rulebook.named_facts import Values, show
from sweeper.spec import Scalar

QUESTIONS: Mapping[str, str] = {
    "full-or-lora": "Full fine-tuning or LoRA?",
    "learning-rate": "Which learning rate?",
    "how-much-data": "How much data?",
    "fine-tune-at-all": "Is fine-tuning needed at all?",
}
THEN_KEYS = (
    "prefer",
    "avoid",
    "exclude",
    "leave_out",
    "parameters",
    "warn",
    "advise",
    "caution",
    "answer",
)
CHANGE_KEYS = (
    "range",
    "narrow",
    "widen",
    "scale",
    "default",
    "default_from",
    "choices",
    "prior",
    "searched",
)
EVERY = "*"

SLOT = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Change:
    """What one rule does to one parameter. ``strategy`` is ``*`` for all that have it.

    Args:
        span: Replaces the best-practice range.
        narrow: The range is cut to what also lies in here.
        widen: The range is grown to hold this too.
        scale: Range, default and prior are multiplied by this.
        default_from: A fact and a factor: their product becomes the default, and a range that
            does not hold it moves there at its old width.
    """

    strategy: str
    parameter: str
    span: tuple[float, float] | None = None
    narrow: tuple[float, float] | None = None
    widen: tuple[float, float] | None = None
    scale: float | None = None
    default: Scalar | None = None
    default_from: tuple[str, float] | None = None
    choices: tuple[Scalar, ...] | None = None
    prior: Prior | None = None
    searched: bool | None = None


@dataclass(frozen=True, slots=True)
class Effects:
    """Everything that a rule does where it fires.

    Args:
        weights: Added to the scores of strategies; negative for ``avoid``.
        exclude: Strategies that cannot work here.
        leave_out: Strategies that only compete if the user names them.
        warning: About the whole plan: something is wrong or risky.
        advice: About the whole plan: something to do.
        cautions: From a strategy to what to beware of when using it.
        answers: From a question's name to a sentence of its answer.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    warning: str = ""
    advice: str = ""
    cautions: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)


def fill(text: str, values: Values) -> str:
    """A rule's text with facts in place of ``{names}``; nothing but a fact's name is looked up.

    Without values the names stay as they are.
    """
    return SLOT.sub(
        lambda slot: show(values[slot[1]]) if slot[1] in values else slot[0],
        text,
    )
