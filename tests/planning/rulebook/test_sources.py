"""A source says what it is: a publication and its place, a library, a measurement, or practice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from figures import named

from sweeper.hyperparameters import is_number
from sweeper.planning.rulebook.book import Rule, rule_book

ROOT = Path(__file__).parents[3]
DETAIL = r"(?: \(.+\))?"
PLACE = r"(?:abstract|appendix [A-Z]|section |chapter \d|tables? \d|figure \d)"
FORMS = {
    "practice": rf"common practice{DETAIL}",
    "paper": rf".*\b(?:arXiv:\d{{4}}\.\d{{4,5}}|doi:10\.\S+), {PLACE}.*",
    "page": r".*https://\S+\.\S+/\S+.*",
    "library": r"(?:scikit-learn|transformers|PEFT|bitsandbytes)(?: \d| documentation).*",
    "repeatable": r"(?:benchmarks|search_spaces)/\S+.*",
    "not repeatable": r"own measurement, not kept: .+",
    "by itself": r"(?:arithmetic|definition|the data at hand|the machine at hand): .+",
    "here": "a limit of this version",
}


def sources() -> Iterator[tuple[str, str]]:
    book = rule_book()
    yield from ((rule.id, rule.source) for rule in book.rules)
    for name, strategy in book.strategies.items():
        yield f"{name}.quality", strategy.quality.source
        yield from ((f"{name}.requires", needed.source) for needed in strategy.requires)
        for key, declared in strategy.parameters.items():
            yield f"{name}.{key}", declared.source


def parts(source: str) -> list[str]:
    """What is separated by semicolons outside of brackets."""
    return [part.strip() for part in re.split(r";(?![^()]*\))", source)]


def form(part: str) -> str | None:
    return next((name for name, form in FORMS.items() if re.fullmatch(form, part)), None)


def test_every_source_has_one_of_the_known_forms() -> None:
    unknown = {(name, part) for name, text in sources() for part in parts(text) if not form(part)}
    assert not unknown


def defaults() -> Iterator[tuple[str, list[float], str]]:
    """The numbers that a rule or a strategy gives as a default, with its text."""
    book = rule_book()
    for rule in book.rules:
        for change in rule.effects.changes if isinstance(rule, Rule) else ():
            values = [
                change.default,
                *(change.default_from.at.values() if change.default_from else ()),
            ]
            text = f"{rule.title} {rule.why} {rule.source}"
            yield f"{rule.id}: {change.target}", [float(v) for v in values if is_number(v)], text
    for name, strategy in book.strategies.items():
        for key, declared in strategy.parameters.items():
            if is_number(declared.default) and not declared.optional:
                text = f"{declared.why} {declared.source}"
                yield f"{name}.{key}", [float(declared.default)], text


def test_no_default_lies_outside_the_figures_that_its_source_names() -> None:
    wrong = [
        (where, value)
        for where, values, text in defaults()
        for value in values
        if not named(value, text)
    ]
    assert not wrong


def test_what_is_called_repeatable_is_in_the_project() -> None:
    for name, text in sources():
        for part in parts(text):
            if form(part) == "repeatable":
                assert (ROOT / re.split(r"[ :,]", part)[0]).exists(), name


@pytest.mark.parametrize(
    "source",
    [
        "Fine-Tuning Strategies & Best Practices: LoRA",
        "best practice (0.01)",
        "Hu et al. 2021, arXiv:2106.09685",
        "LoRA Without Regret",
        "measured: MiniLM",
        "the reference tables",
    ],
)
def test_a_source_that_nobody_can_look_up_has_none(source: str) -> None:
    assert form(source) is None


@pytest.mark.parametrize(
    ("task", "key", "low", "high", "random_head", "lowest"),
    [
        ("intents", "head_learning_rate", 1e-5, 1e-4, True, 1.055),
        ("intents", "head_learning_rate", 1e-4, 1e-3, True, 0.325),
        ("intents", "head_learning_rate", 1e-3, 3e-2, True, 0.165),
        ("wellformed", "learning_rate", 1e-4, 3e-4, False, 0.542),
        ("wellformed", "learning_rate", 3e-4, 1e-3, False, 0.521),
        ("wellformed", "learning_rate", 1e-3, 4e-3, False, 0.523),
    ],
)
def test_what_is_cited_from_the_recorded_trials_is_in_them(
    task: str, key: str, low: float, high: float, random_head: bool, lowest: float
) -> None:
    table = np.load(ROOT / "benchmarks" / "search" / "tables" / f"{task}.npz")
    trials = json.loads(bytes(table["told"]))["trials"]
    losses = [
        float(np.mean(items.astype(float)))
        for trial, items in zip(trials, table["final"], strict=True)
        if trial["strategy"] == "lora"
        and low <= trial["parameters"][key] < high
        and (trial["parameters"]["head_init"] == "random" or not random_head)
    ]
    assert np.nanmin(losses) == pytest.approx(lowest, abs=0.001)
