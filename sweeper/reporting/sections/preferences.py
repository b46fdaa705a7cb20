"""What do people prefer? Blind ratings of pairs of answers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from sweeper import units
from sweeper.findings import words
from sweeper.findings.record import HumanPreferences, Outputs, WinRate
from sweeper.reporting.blocks import Block, Column, Empty, Number, Table, Text, placed
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section


@section(77, "preferences", "Preferences", "What do people prefer?")
def preferences_section(report: Report) -> Iterator[Block]:
    """The winner's win rates, how far raters agree, and whether a side was liked better."""
    found, task = report.findings.human, report.findings.run.task
    if found is None:
        if task == "classification":
            return
        kept, text, command = report.findings.outputs, "Nobody has rated answers of this run.", ""
        if isinstance(kept, Outputs) and len(kept.models) > 1:
            command = f"sweeper evaluate {shlex.quote(report.findings.run.name)} --human"
            text += " Write a page for raters:"
        yield Empty("not-measured", text, command)
        return
    yield Text(preference_sentences(found))
    columns: list[Column[WinRate]] = [
        Column("against", lambda one: one.title),
        Number("win rate (95% CI)", lambda one: words.in_percent(one.win_rate), "/win_rate/value"),
        Number("won", lambda one: str(one.won), "/won"),
        Number("no difference", lambda one: str(one.tied), "/tied"),
        Number("lost", lambda one: str(one.lost), "/lost"),
        Number("same answer", lambda one: str(one.same), "/same", "items"),
        Column("", lambda one: one.outcome, "/outcome"),
    ]
    yield Table.of(
        "preference-table",
        f"How often people prefer {found.winner}",
        columns,
        placed(found.preferences, "/findings/human/preferences"),
        note="A tie is half a win, and so are two identical answers. Intervals (Wilson) "
        "are over items, however many people rated one. 'preferred' and 'not preferred' keep their "
        "level over all comparisons of this table (Bonferroni).",
    )


def preference_sentences(found: HumanPreferences) -> tuple[str, ...]:
    """How many people rated, how far they agree, and whether a side was liked better."""
    told = [
        f"{units.plural(found.raters, 'rater')} compared answers of {found.winner}, the winner, "
        f"with those of other models on {units.plural(found.items, 'test item')}, without knowing "
        "which was which."
    ]
    if found.agreement is not None:
        kappa = (
            "" if found.kappa is None else f" (Cohen's kappa {words.minus(f'{found.kappa:.2f}')})"
        )
        told.append(f"Two raters agree on {100 * found.agreement:.0f}% of pairs{kappa}.")
    if found.left_share is not None:
        told.append(
            f"The left answer was chosen in {words.in_percent(found.left_share)} of choices."
        )
        low, high = found.left_share.low or 0.0, found.left_share.high or 1.0
        if not low <= 0.5 <= high:
            told.append(
                "So the side mattered. Each model stood on the left in half of its pairs, so that "
                "this pulls win rates towards 50% and favours none."
            )
    return tuple(told)
