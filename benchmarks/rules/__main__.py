"""How many rules twenty trials decide, by the size of their effect, and how often wrongly.

    python -m benchmarks.rules [--tasks a,b] [--searches a/b] [--studies 60] [--test-rules 2]
        [--holm]

One line for each task and search. A task is a formula (``form``), a model of recorded trials
(``wellformed``), or recorded trials themselves, where only rules about nothing are known to be
neither right nor wrong (``intents:recorded``).
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence

import optuna

from benchmarks.rules.studies import Judged, judged, study, surfaces
from benchmarks.verdict.__main__ import Rate

TASKS = ("form", "misled", "wellformed", "intents:recorded")
SEARCHES = {
    "sweeper": ("sweeper", "sweeper"),
    "random": ("optuna:RandomSampler", "optuna:NopPruner"),
    "random, median": ("optuna:RandomSampler", "optuna:MedianPruner"),
    "TPE": ("optuna:TPESampler", "optuna:NopPruner"),
}
# Effects as a difference of log losses.
SIZES = (0.0, 0.01, 0.03, 0.1, 0.3)


def line(studies: Sequence[Sequence[Judged]]) -> str:
    """What the studies of one task and search say."""
    everything = [one for found in studies for one in found]
    counts = Counter((one.preference, one.verdict) for one in everything if one.truth != 0)
    wrong = Rate(sum(any(one.false for one in found) for found in studies), len(studies))
    given = [one for one in everything if one.verdict != "untested" and one.truth is not None]
    false = sum(one.false for one in given)
    n = len(studies)
    told = ", ".join(
        f"{name} held {counts[which, 'held'] / n:.1f} contradicted "
        f"{counts[which, 'contradicted'] / n:.1f}"
        for which, name in ((False, "parameters"), (True, "preferences"))
    )
    return (
        f"{told} a study; false {false} of {len(given)} verdicts, "
        f"in {wrong.claimed} of {wrong.of} studies (at most {wrong.upper:.1%})"
    )


def by_size(everything: Sequence[Judged]) -> str:
    """The share of compared rules about parameters that were decided, by the true effect."""
    decided: dict[float, list[bool]] = defaultdict(list)
    for one in everything:
        if one.truth and not one.preference:
            size = max(low for low in SIZES if abs(one.truth) >= low)
            decided[size].append(one.verdict != "untested")
    return "; ".join(
        f"from {size:g}: {sum(found) / len(found):.0%} of {len(found)}"
        for size, found in sorted(decided.items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.rules")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--searches", default="/".join(SEARCHES), help="separated by /")
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--test-rules", type=int, default=0, help="trials spent on rules")
    parser.add_argument("--holm", action="store_true", help="correct the verdicts on parameters")
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    all_of: dict[str, list[Judged]] = defaultdict(list)
    for task in chosen.tasks.split(","):
        make = surfaces(task)
        for search in chosen.searches.split("/"):
            studies = []
            for seed in range(chosen.studies):
                surface = make(seed)
                run = study(surface, seed, *SEARCHES[search], chosen.test_rules)
                studies.append(judged(surface, run, corrected=chosen.holm))
            all_of[search] += [one for found in studies for one in found]
            print(f"{task:18} {search:15} {line(studies)}", flush=True)
    for search, everything in all_of.items():
        print(f"decided, {search}: {by_size(everything)}")
        own = [one for one in everything if one.own_trial]
        if own:
            print(f"decided with a trial of their own, {search}: {by_size(own)}")


if __name__ == "__main__":
    main()
