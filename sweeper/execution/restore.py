"""Restores trials of earlier calls from the run's files.

A result or configuration that is damaged is taken from its attempt's copy. A trial without any
configuration is asked for again, which gives the same one, and trained from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable

from sweeper.execution.next_attempt import configure
from sweeper.execution.state import attempts, work_items
from sweeper.execution.state.attempts import attempt_folder, attempts_of
from sweeper.execution.state.run_state import RunState
from sweeper.runfolder import CONFIG, RESULT, RunFolder
from sweeper.search.search import Search
from sweeper.trials import TrialConfig, TrialResult

Say = Callable[[str], None]


def restore(state: RunState, search: Search, say: Say) -> list[int]:
    """Restore all trials of earlier calls.

    Returns:
        The trials that were begun and have not ended, by number.
    """
    run, plan = state.run, state.plan
    unfinished: list[int] = []
    numbers = (int(path.name) for path in run.trials.glob("*") if path.name.isdecimal())
    for number in range(1 + max(numbers, default=-1)):
        config = _config(run, number)
        if config is None:
            if (run.trial(number) / CONFIG).exists():
                say(f"trial {number}: {CONFIG} was damaged, and the trial is trained again")
            for path in run.trial(number).glob(f"**/{RESULT}"):
                path.unlink()  # of an unknown configuration
            state.configs[number] = configure(plan, search.ask())
            unfinished.append(number)
            continue
        state.configs[number] = config
        result = _result(run, number, say)
        if result is None:
            search.restore(config)
            unfinished.append(number)
            continue
        search.restore(config, attempts.read_rungs(run.trial(number)), result)
        state.results[number] = result
    state.count()
    return unfinished


def _config(run: RunFolder, number: int) -> TrialConfig | None:
    home = run.trial(number)
    known = TrialConfig.read_or_none(home / CONFIG)
    for attempt in reversed(attempts_of(home)):
        known = known or TrialConfig.read_or_none(attempt_folder(home, attempt) / CONFIG)
    if known is not None and TrialConfig.read_or_none(home / CONFIG) is None:
        known.write(home / CONFIG)
    return known


def _result(run: RunFolder, number: int, say: Say) -> TrialResult | None:
    path = run.trial(number) / RESULT
    damaged = path.exists() and TrialResult.read_or_none(path) is None
    work_items.take_over(run, work_items.trial(number))
    known = TrialResult.read_or_none(path)
    if known is not None and damaged:
        say(f"trial {number}: {RESULT} was damaged and has been restored from its attempt's copy")
    return known
