"""Regrets of rates, and what a rule may know of the source that it is scored on."""

from __future__ import annotations

import re

import pytest

from benchmarks.advice.held_out import without
from benchmarks.advice.rates import Curve
from benchmarks.advice.records import request_of
from benchmarks.rates.__main__ import (
    TINKER,
    behind,
    best_constant,
    chart,
    formula,
    league,
    mean_regret,
    rules,
)
from benchmarks.rates.sweeps import APERTUS, RECORDINGS, Sweep, all_sweeps
from sweeper.planning.rulebook.book import rule_book

LOSSES = ((1e-4, 1.1), (3e-4, 1.0), (1e-3, 1.2))


def sweep(source: str, group: str = "Qwen3-8B lora", shift: float = 1.0) -> Sweep:
    """A sweep whose best rate is 3e-4, shifted by a factor."""
    record = {"model": group.split()[0], "method": "lora", "hidden": 4096}
    points = tuple((rate * shift, loss) for rate, loss in LOSSES)
    return Sweep(source, group, "lora", 4096, *request_of(record), Curve(record, points))


def test_a_regret_is_a_share_of_the_lowest_loss_and_stays_beyond_the_swept_rates() -> None:
    one = sweep("a")
    assert [one.regret(rate) for rate in (1e-4, 3e-4, 1e-3)] == pytest.approx([0.1, 0, 0.2])
    assert one.regret(1e-6) == one.regret(1e-4)


def test_ranks_of_a_model_count_once_by_their_median() -> None:
    ranks = [sweep("a", shift=shift) for shift in (1.0, 1.0, 10.0)]
    rates = [(one, 3e-4) for one in [*ranks, sweep("a", "other lora")]]
    assert mean_regret(rates) == 0.0


def test_one_flat_rate_is_chosen_on_the_other_sources() -> None:
    sweeps = [sweep("a"), sweep("b", shift=10.0)]
    assert best_constant(sweeps[1:]) == pytest.approx(3e-3, rel=0.1)
    scores = league(sweeps, "lora")
    assert scores["one flat rate"] == pytest.approx({"a": 0.2, "b": 0.1})
    assert best_constant([]) is None


def test_the_formula_is_not_scored_on_the_sweeps_that_it_was_made_from() -> None:
    one = sweep("a")
    assert formula(one) == pytest.approx(5e-4 * (2000 / 4096) ** 0.0775)
    assert rules("lora", TINKER, [])["Tinker's formula"](one) is None
    assert rules("lora", APERTUS, [])["Tinker's formula"](one) == formula(one)


def test_default_rates_of_small_encoders_do_not_rest_on_the_recordings() -> None:
    book = rule_book()
    small = [one for one in all_sweeps([]) if one.source == RECORDINGS]
    assert len(without(book, RECORDINGS).rules) < len(book.rules)
    for one in small:
        assert one.planned(without(book, RECORDINGS)) == one.planned(book)


def test_our_default_is_behind_by_the_mean_over_models_with_students_interval() -> None:
    sweeps = [sweep("nobody", f"m{n} lora", shift) for n, shift in enumerate((1.0, 1.0, 10.0))]
    ours = [100 * one.regret(one.planned(rule_book())) for one in sweeps]
    each = [own - 100 * one.regret(3e-4) for own, one in zip(ours, sweeps, strict=True)]
    mean = sum(each) / 3
    half = 4.303 * (sum((x - mean) ** 2 for x in each) / 2 / 3) ** 0.5
    expected = f"{mean:+.2f} points ({mean - half:.2f} to {mean + half:.2f})"
    assert behind(sweeps, "nobody", "3e-4") == expected
    assert behind(sweeps[:2], "nobody", "3e-4").endswith("no interval from 2")


def test_the_sources_of_the_repository_are_read() -> None:
    sweeps = all_sweeps([])
    counts = {s: len([x for x in sweeps if x.source == s]) for s in (APERTUS, RECORDINGS)}
    assert counts == {APERTUS: 15, RECORDINGS: 16}
    for one in sweeps:
        rates = [rate for rate, _ in one.curve.points]
        assert rates == sorted(rates)
        assert min(loss for _, loss in one.curve.points) > 0


def test_the_chart_has_a_mark_for_every_score() -> None:
    scores = {"3e-4": {APERTUS: 0.01, RECORDINGS: 0.0}, "1e-5": {APERTUS: 0.2}}
    text = chart({"lora": scores, "full": {"1e-5": {APERTUS: 0.5}}})
    marks = re.findall(r'aria-label="([^"]*%)"', text)
    assert marks == [
        "3e-4, Apertus: 1.00%", "3e-4, recordings: 0.00%", "1e-5, Apertus: 20.00%",
        "1e-5, Apertus: 50.00%",
    ]  # fmt: skip
