"""The answer on a terminal and in a notebook: the sentence, bars, costs, the next step."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from sweeper.findings import words
from sweeper.findings.findings import Findings, NextStep
from sweeper.findings.verdict.headline import cost_line
from sweeper.findings.verdict.next_step import next_step_lines
from sweeper.findings.verdict.scoreboard import Scoreboard, scoreboard
from sweeper.views.console import draws

_MODELS = 8
_TITLE, _BAR = 32, 36


def verdict_lines(
    findings: Findings, step: NextStep | None, because: Iterable[str] = ()
) -> list[str]:
    """What a reader sees of a study that has ended, or of one so far.

    Args:
        because: Sentences of sections that decide.
    """
    lines = [findings.verdict.sentence, *because, *bars(scoreboard(findings)), cost_line(findings)]
    return [*filter(None, lines), *next_step_lines(step)]


def bars(board: Scoreboard) -> Iterator[str]:
    """The forest plot in characters, one line a model; nothing for fewer than two models."""
    models = board.models[:_MODELS]
    if len(models) < 2:
        return
    ends = [end for model in models for end in model.score.ends]
    low, span = min(ends), max(ends) - min(ends) or 1.0
    line, points = ("─", "◆●○") if draws(sys.stdout.encoding) else ("-", "*oo")

    def column(value: float) -> int:
        return round((value - low) / span * (_BAR - 1))

    yield f"{board.caption}:"
    for model in models:
        first, last = map(column, model.score.ends)
        signs = [" "] * first + [line] * (last - first + 1) + [" "] * (_BAR - 1 - last)
        point = points[{"recommended": 0, "baseline": 2}.get(model.role, 1)]
        signs[column(model.score.value)] = point
        score = words.score_with_interval(model.score, board.metric).replace("95% CI ", "")
        tied = "=" if model.tied else " "
        yield f"  {words.fitted(model.title, _TITLE):{_TITLE}} {''.join(signs)} {tied} {score}"
    if any(model.tied for model in models):
        yield "  = cannot be told apart from the chosen trial"
