"""The tables of all contenders' outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.live.record import Outcome, Winner
from benchmarks.tables import head, line

# A loss counts as reached within this share of it.
WITHIN = 0.01
_SCORES = ("validation loss", "test loss", "test accuracy")


def tables(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What the contenders cost and what they left behind, line by line."""
    yield "CPU seconds (seconds on the clock) until a loss\n"
    # With a head on frozen features, and apart from it where there is one.
    columns = [(outcome, False) for outcome in outcomes] + [
        (outcome, True) for outcome in outcomes if not all(one.trained for one in outcome.points)
    ]
    names = [f"{outcome.name}{', head apart' * apart}" for outcome, apart in columns]
    yield head("validation loss", *names)
    for name, level in levels(outcomes):
        spent = [outcome.first(level, trained_only=apart) for outcome, apart in columns]
        cells = [f"{one.cpu:.0f} ({one.wall:.0f})" if one else "never" for one in spent]
        yield line(f"{level:.4f}  {name}", *cells)
    yield "\nThe end\n"
    yield head(
        "", "trials", "search CPU s (clock)", "in all CPU s (clock)", "best loss of a trial",
        "load", "winner", *_SCORES,
    )  # fmt: skip
    for one in outcomes:
        yield line(
            one.name,
            ", ".join(f"{count} {state.lower()}" for state, count in one.states.items()),
            f"{one.search_cpu:.0f} ({one.search_wall:.0f})",
            f"{one.total_cpu:.0f} ({one.total_wall:.0f})",
            f"{one.best:.4f}",
            f"{one.load[0]:.1f}, {one.load[1]:.1f}",
            *_winner(one.winner),
        )
    yield "\nOther models on the same splits\n"
    yield head("", *("model", *_SCORES))
    for one in outcomes:
        yield from (line(one.name, *_winner(other)) for other in one.others)


def levels(outcomes: Sequence[Outcome]) -> list[tuple[str, float]]:
    """Losses to reach, by name: those of simple models, and each contender's best within 1%."""
    simple = [
        (other.what.split(",")[0], other.validation_loss)
        for outcome in outcomes
        for other in outcome.others
        if other.trial in ("tfidf", "probe")
    ]
    best = [(f"{one.name}'s best within 1%", one.best * (1 + WITHIN)) for one in outcomes]
    return sorted([*simple, *best], key=lambda level: -level[1])


def _winner(winner: Winner) -> tuple[str, ...]:
    loss, accuracy = winner.test_loss, winner.test_accuracy
    return (
        f"{winner.trial}: {winner.what}",
        f"{winner.validation_loss:.4f}",
        "" if loss is None else f"{loss:.4f}",
        "" if accuracy is None else f"{accuracy:.1%}",
    )
