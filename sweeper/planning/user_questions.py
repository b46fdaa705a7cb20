"""Answers to the questions that every plan answers, with the plan's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeper import units
from sweeper.planning.rulebook.book import Note
from sweeper.planning.rulebook.effects import QUESTIONS, fill
from sweeper.planning.rulebook.fact import Values
from sweeper.plans import Answer, Candidate, Parameter, Rejected
from sweeper.traits.traits import find, known_strategies


def answers(
    rules: Sequence[Note],
    values: Values,
    candidates: Sequence[Candidate],
    rejected: Sequence[Rejected],
) -> tuple[Answer, ...]:
    """One answer per question: numbers of the candidates, then the sentences of the rules."""
    numbers: Mapping[str, str] = {
        "full-or-lora": _full_or_lora(candidates, rejected),
        "learning-rate": _learning_rate(candidates),
    }
    given = []
    for name, question in QUESTIONS.items():
        answering = [rule for rule in rules if name in rule.answer]
        sentences = [fill(rule.answer[name], values) for rule in answering]
        answer = " ".join(filter(None, [numbers.get(name), *sentences]))
        ids = tuple(rule.id for rule in answering)
        given.append(Answer(question=question, answer=answer, rules=ids))
    return tuple(given)


def _cost(candidate: Candidate) -> str:
    return (
        f"{candidate.memory.peak_gib:.1f} GiB, {units.count(candidate.trainable_parameters)} "
        f"trained parameters, {units.duration(candidate.duration.seconds)} a trial"
    )


def _full_or_lora(candidates: Sequence[Candidate], rejected: Sequence[Rejected]) -> str:
    """The costs of low-rank strategies, then of strategies that train the base."""
    traits_of = filter(None, map(find, known_strategies()))
    compared = [item for item in traits_of if item.adds == "low-rank" or item.trains_base]
    compared.sort(key=lambda traits: traits.trains_base)
    by_name: dict[str, Candidate] = {c.strategy: c for c in reversed(candidates)}
    parts = [
        f"{traits.name}: {_cost(by_name[traits.name])}, quality {by_name[traits.name].quality}."
        for traits in compared
        if traits.name in by_name
    ]
    unquantized = [traits.name for traits in compared if traits.quantization is None]
    parts += [
        f"{item.strategy}: left out, {item.reason.rstrip('.')}."
        for item in rejected
        if item.strategy in unquantized and item.strategy not in by_name
    ]
    return " ".join([f"Begin with {candidates[0].strategy}.", *parts])


def _learning_rate(candidates: Sequence[Candidate]) -> str:
    rates = [(str(c.strategy), c.parameters.get("learning_rate")) for c in candidates]
    rates += [("New head", c.parameters.get("head_learning_rate")) for c in candidates[:1]]
    return " ".join(_rate(name, rate) for name, rate in rates if rate is not None)


def _rate(name: str, rate: Parameter) -> str:
    default = rate.default if isinstance(rate.default, float) else None
    range_text = f"{units.rate(rate.low)} to {units.rate(rate.high)}"
    return f"{name}: begin at {units.rate(default)}, search {range_text}."
