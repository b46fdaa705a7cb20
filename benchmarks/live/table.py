"""The tables of one mode. Knows outcomes and places them; measures nothing."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks.live.record import Outcome, Winner

# A loss counts as reached within this share of it.
WITHIN = 0.01
_TITLES = {"like": "like for like", "whole": "whole product"}


def show(console: Console, mode: str, outcomes: list[Outcome]) -> None:
    """Print what the contenders of a mode cost and what they left behind."""
    console.print(_reached(mode, outcomes))
    console.print(_ended(mode, outcomes))
    for outcome in outcomes:
        winner = outcome.winner
        console.print(f"{outcome.name}: trial {winner.trial}, {winner.what}", highlight=False)
    for outcome in outcomes:
        if outcome.others:
            console.print(_beside(outcome.name, outcome.others))


def levels(outcomes: list[Outcome]) -> list[tuple[str, float]]:
    """Losses to reach, by name: those of simple models, and each contender's best within 1%."""
    simple = [
        (other.what.split(",")[0], other.validation_loss)
        for outcome in outcomes
        for other in outcome.others
        if other.trial in ("tfidf", "probe")
    ]
    best = [(f"{one.name}'s best within 1%", one.best * (1 + WITHIN)) for one in outcomes]
    return sorted([*simple, *best], key=lambda level: -level[1])


def _reached(mode: str, outcomes: list[Outcome]) -> Table:
    table = Table(title=f"{_TITLES[mode]}: CPU seconds (seconds on the clock) until a loss")
    table.add_column("validation loss")
    for outcome in outcomes:
        table.add_column(outcome.name, justify="right")
        if any(not point.trained for point in outcome.points):
            table.add_column(f"{outcome.name}, head apart", justify="right")
    for name, level in levels(outcomes):
        cells = [f"{level:.4f}  {name}"]
        for outcome in outcomes:
            cells.append(_spent(outcome, level, trained_only=False))
            if any(not point.trained for point in outcome.points):
                cells.append(_spent(outcome, level, trained_only=True))
        table.add_row(*cells)
    return table


def _spent(outcome: Outcome, level: float, *, trained_only: bool) -> str:
    point = outcome.first(level, trained_only)
    return "never" if point is None else f"{point.cpu:.0f} ({point.wall:.0f})"


def _ended(mode: str, outcomes: list[Outcome]) -> Table:
    table = Table(title=f"{_TITLES[mode]}: the end")
    columns = ("", "trials", "search CPU s (clock)", "in all CPU s (clock)", "best loss of a trial")
    for column in (*columns, "winner's loss", "test loss", "test accuracy", "load"):
        table.add_column(column)
    for one in outcomes:
        states = ", ".join(f"{count} {state.lower()}" for state, count in one.states.items())
        table.add_row(
            one.name,
            states,
            f"{one.search_cpu:.0f} ({one.search_wall:.0f})",
            f"{one.total_cpu:.0f} ({one.total_wall:.0f})",
            f"{one.best:.4f}",
            *_scores(one.winner),
            f"{one.load[0]:.1f}, {one.load[1]:.1f}",
        )
    return table


def _scores(winner: Winner) -> tuple[str, str, str]:
    loss, accuracy = winner.test_loss, winner.test_accuracy
    return (
        f"{winner.validation_loss:.4f}",
        "" if loss is None else f"{loss:.4f}",
        "" if accuracy is None else f"{accuracy:.1%}",
    )


def _beside(name: str, others: tuple[Winner, ...]) -> Table:
    table = Table(title=f"on the same splits, in {name}'s run")
    for column in ("", "what", "validation loss", "test loss", "test accuracy"):
        table.add_column(column)
    for other in others:
        table.add_row(other.trial, other.what, *_scores(other))
    return table
