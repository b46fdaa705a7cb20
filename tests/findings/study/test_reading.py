"""What a run's files say is read as the findings need it."""

from dataclasses import replace

from sweeper.findings.study.reading import read_run
from sweeper.objective import Limit
from sweeper.trials import Measure


def test_trials_within_a_limit_come_first(make):
    files = read_run(make(trials=4, prune=False))
    best, *others = files.ranked
    lost = Measure(title="lost", unit="nats/token", value=2.5, base=2.0)
    beyond = best.result.model_copy(update={"measures": {"general.text": lost}})
    worse = best.model_copy(update={"result": beyond})
    trials = [worse if one is best else one for one in files.trials]
    limited = replace(files, trials=tuple(trials), limits=(Limit("general", 0.1, "x", 2, ""),))
    numbers = [one.config.number for one in limited.ranked]
    assert numbers == [*(one.config.number for one in others), best.config.number]
    assert limited.best.config.number == others[0].config.number
