"""The verdict on a terminal and in a notebook: sentence, bars, costs and next step."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from sweeper.findings import words
from sweeper.findings.findings import Findings, NextStep
from sweeper.findings.verdict.headline import Scoreboard, cost_line, scoreboard
from sweeper.findings.verdict.next_step import next_step_lines
from sweeper.views.console import can_encode_bars

# Largest number of models in the plot, and the widths of titles and bars.
_MAX_MODELS = 8
_TITLE_COLUMNS, _BAR_COLUMNS = 32, 36


def verdict_lines(
    findings: Findings, step: NextStep | None, reasons: Iterable[str] = ()
) -> list[str]:
    """The lines with the verdict of a finished study, or the interim state of a running one.

    Args:
        reasons: Sentences from the report sections that led to the verdict.
    """
    lines = [findings.verdict.sentence, *reasons, *bars(scoreboard(findings)), cost_line(findings)]
    return [*filter(None, lines), *next_step_lines(step)]


def bars(board: Scoreboard) -> Iterator[str]:
    """A forest plot in characters, one line per model; empty for fewer than two models."""
    models = board.models[:_MAX_MODELS]
    if len(models) < 2:
        return
    ends = [end for model in models for end in model.score.ends]
    low, span = min(ends), max(ends) - min(ends) or 1.0
    # Points of the recommended trial, of other trials, and of baselines.
    line, points = ("─", "◆●○") if can_encode_bars(sys.stdout.encoding) else ("-", "*oo")

    def column(value: float) -> int:
        return round((value - low) / span * (_BAR_COLUMNS - 1))

    yield f"{board.caption}:"
    for model in models:
        first, last = map(column, model.score.ends)
        characters = [" "] * first + [line] * (last - first + 1) + [" "] * (_BAR_COLUMNS - 1 - last)
        point = points[{"recommended": 0, "baseline": 2}.get(model.role, 1)]
        characters[column(model.score.value)] = point
        score = words.score_with_interval(model.score, board.metric, label="")
        tie_mark = "=" if model.tied else " "
        title = words.fitted(model.title, _TITLE_COLUMNS)
        yield f"  {title:{_TITLE_COLUMNS}} {''.join(characters)} {tie_mark} {score}"
    if any(model.tied for model in models):
        yield "  = cannot be told apart from the chosen trial"
