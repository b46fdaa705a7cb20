"""One pair of trials, one comparison: what the search, rules and parameters say of it."""

import json
import re

import numpy as np
import pytest
from section_figures import figures_of

from sweeper.findings import words
from sweeper.findings.findings import Gain, Interval, Metric
from sweeper.findings.study.paired_trials import compare_pairs
from sweeper.findings.study.reading import read_run
from sweeper.reporting.compose import report_of
from sweeper.reporting.sections import cost, parameters
from sweeper.trials import TrialConfig, TrialResult

# A default against a better trial on 20 items: t over them holds 0, their bootstrap does not.
APART = (0.5, 0.3, 0.1, 0.02, 0.01, 0.01, 0.01, *([0.0] * 13))
# A default whose difference leaves out 0 by so little that one more comparison takes it back.
HARDLY = (0.155, -0.055) * 10
_ENDS = re.compile(r"CI (−?[0-9.]+) to (−?[0-9.]+)\)(?:: |, | is )within noise(?! after| \()")


def is_bare(text):
    """Whether an interval without 0 is followed by "within noise" and nothing more."""
    ends = [[float(end.replace("−", "-")) for end in found] for found in _ENDS.findall(text)]
    return any(low * high > 0 for low, high in ends)


def set_losses(run, number, *rows):
    """The validation losses of a trial's trainings, one row a seed."""
    for seed, row in enumerate(rows):
        folder = run.seed(number, seed) if seed else run.trial(number)
        path = folder / "item_losses.json"
        ones = [1.0] * len(row)
        path.write_text(json.dumps({"losses": list(row), "scores": ones, "weights": ones}))
        result = TrialResult.read(folder / "result.json")
        mean = float(np.mean(row))
        result.model_copy(update={"validation_loss": mean}).write(folder / "result.json")


def set_rate(run, number, rate):
    path = run.trial(number) / "config.json"
    config = TrialConfig.read(path)
    parameters = {**config.parameters, "learning_rate": rate}
    config.model_copy(update={"parameters": parameters}).write(path)


@pytest.fixture
def run(make):
    """LoRA's default (0) inside what its rule says of the rate, a better trial (2) outside."""
    shape = {"strategies": ("lora", "full"), "prune": False, "seeds": 2, "finalists": 4}
    run = make(trials=4, validation_items=20, **shape)
    best = [0.05 + 0.01 * item for item in range(20)]
    set_losses(run, 0, *2 * [[loss + more for loss, more in zip(best, APART, strict=True)]])
    set_losses(run, 2, best, best)
    set_rate(run, 2, 0.02)
    return run


def rate_of_lora(run):
    return next(
        found
        for found in figures_of(run, parameters).parameters
        if (found.strategy, found.parameter) == ("lora", "learning_rate")
    )


def test_search_and_parameters_say_the_same_of_the_same_two_trials(run):
    gain = next(one for one in figures_of(run, cost).gains if one.strategy == "lora")
    rate = rate_of_lora(run)
    assert gain.outcome == "better"
    assert (rate.best, rate.within_noise_low, rate.within_noise_trials) == (0.02, None, 1)


def test_what_the_correction_takes_back_is_tied_everywhere_and_says_so(run):
    set_losses(run, 0, *2 * [[0.05 + 0.01 * item + more for item, more in enumerate(HARDLY)]])
    set_losses(run, 1, *2 * [[0.5] * 20])  # full's default and its best: the study's other gain
    set_losses(run, 3, *2 * [[0.4 if item % 2 else 0.57 for item in range(20)]])
    zero, _, two, _ = read_run(run).trials
    gain = next(one for one in figures_of(run, cost).gains if one.strategy == "lora")
    rate = rate_of_lora(run)
    assert compare_pairs([(zero, two)]).of(zero, two).clear
    assert gain.gain.low > 0
    assert (gain.outcome, gain.comparisons) == ("within noise", 2)
    assert rate.within_noise_trials == 2
    assert rate.within_noise_high == 0.02


def test_a_pair_has_one_interval_whichever_way_it_is_asked_for(run):
    one, _, other, _ = read_run(run).trials
    pairs = compare_pairs([(one, other)], [(other, one)])
    assert list(pairs.by_numbers) == [(0, 2)]
    there, back = pairs.of(one, other), pairs.of(other, one)
    assert (there.estimate.low, there.estimate.high) == (-back.estimate.high, -back.estimate.low)
    assert (there.outcome(0.01), back.outcome(0.01)) == ("worse", "better")


@pytest.mark.parametrize("higher", [True, False])
def test_a_model_is_not_worse_if_the_worse_end_is_within_the_margin(run, higher):
    zero, _, two, _ = read_run(run).trials
    pair = compare_pairs([(zero, two)]).of(zero, two)
    metric = Metric(name="loss", title="loss", higher_is_better=higher)
    worse_end = -pair.estimate.low if higher else pair.estimate.high
    for beyond in (-0.001, 0.001):
        compared = pair.comparison(("trial-0", "trial-2"), metric, worse_end + beyond)
        assert compared.not_worse == (beyond > 0)


def test_a_pair_of_two_questions_counts_for_the_first_only(run):
    zero, one, two, three = read_run(run).trials
    pairs = compare_pairs([(zero, two)], [(two, zero), (zero, one), (three, one), (zero, one)])
    assert pairs.of(zero, two).comparisons == 1
    assert pairs.of(zero, two).adjusted_p is None
    assert pairs.of(three, one).comparisons == 2


def test_an_interval_without_0_is_never_followed_by_a_bare_within_noise(make):
    told = []
    for seed in range(4):
        run = make(
            name=f"run{seed}", trials=12, prune=False, seed=seed, validation_items=22, test_items=22
        )
        report = report_of(run)
        figures = report.figures("cost", cost.Figures)
        told += [report.findings.verdict.sentence, cost.search_sentence(figures, report.findings)]
    assert any("within noise" in text for text in told)
    assert [text for text in told if is_bare(text)] == []
    for mark in (":", ","):
        assert is_bare(f"A − B = −0.078 (CI −0.157 to −0.009){mark} within noise.")


@pytest.mark.parametrize(
    ("interval", "comparisons", "text"),
    [
        (Interval(value=0.1, low=-0.1, high=0.3), 7, "within noise"),
        (Interval(value=-0.1, low=-0.2, high=-0.01), 7,
         "within noise after correcting for 7 comparisons"),
        (Interval(value=0.008, low=0.001, high=0.015), 7, "within noise (smaller than the margin)"),
        (Interval(value=0.1), 7, "within noise"),
    ],
)  # fmt: skip
def test_noise_says_why_where_its_interval_does_not(interval, comparisons, text):
    gain = Gain(gain=interval, outcome="within noise", comparisons=comparisons)
    assert words.outcome(gain, 0.01) == text
    assert words.outcome(gain.model_copy(update={"outcome": "equivalent"}), 0.01) == "equivalent"
