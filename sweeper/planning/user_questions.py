"""Answers to the user's questions, with the plan's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeper import units
from sweeper.declared.traits import find
from sweeper.declared.yaml_files import known_strategies
from sweeper.facts.record import Facts
from sweeper.planning.rulebook.effects import QUESTIONS, fill
from sweeper.planning.rulebook.fact import Values, show
from sweeper.planning.rulebook.rules import Rule
from sweeper.plans import Answer, Candidate, Parameter, Rejected


def answers(
    rules: Sequence[Rule],
    values: Values,
    facts: Facts,
    candidates: Sequence[Candidate],
    rejected: Sequence[Rejected],
) -> tuple[Answer, ...]:
    """One answer a question: first the plan's figures, then what the rules that fired add."""
    figures: Mapping[str, str] = {
        "full-or-lora": _full_or_lora(candidates, rejected),
        "learning-rate": _learning_rate(candidates),
        "how-much-data": _how_much_data(facts),
        "fine-tune-at-all": _at_all(facts, values),
    }
    found = []
    for name, question in QUESTIONS.items():
        spoken = [rule for rule in rules if name in rule.effects.answers]
        added = [fill(rule.effects.answers[name], values) for rule in spoken]
        answer = " ".join(filter(None, [figures[name], *added]))
        ids = tuple(rule.id for rule in spoken)
        found.append(Answer(question=question, answer=answer, rules=ids))
    return tuple(found)


def _cost(candidate: Candidate) -> str:
    return (
        f"{candidate.memory.peak_gib:.1f} GiB, {units.count(candidate.trainable_parameters)} "
        f"trained parameters, {units.duration(candidate.duration.seconds)} a trial"
    )


def _full_or_lora(candidates: Sequence[Candidate], rejected: Sequence[Rejected]) -> str:
    """Strategies with low-rank updates first, then those that train the base."""
    known = [find(name) for name in known_strategies()]
    asked = [one for one in known if one and (one.adds == "low-rank" or one.trains_base)]
    asked.sort(key=lambda one: one.trains_base)
    found = {c.strategy: c for c in reversed(candidates)}
    parts = [
        f"{one.name}: {_cost(found[one.name])}, score {found[one.name].score:+.3g}."
        for one in asked
        if one.name in found
    ]
    plain = [one.name for one in asked if one.quantization is None]
    parts += [
        f"{item.strategy}: left out, {item.reason.rstrip('.')}."
        for item in rejected
        if item.strategy in plain and item.strategy not in found
    ]
    return " ".join([f"Begin with {candidates[0].strategy}.", *parts])


def _learning_rate(candidates: Sequence[Candidate]) -> str:
    rates = [(c.strategy, c.parameters.get("learning_rate")) for c in candidates]
    rates += [("New head", c.parameters.get("head_learning_rate")) for c in candidates[:1]]
    return " ".join(_rate(of, rate) for of, rate in rates if rate is not None)


def _rate(of: str, rate: Parameter) -> str:
    default = rate.default if isinstance(rate.default, float) else None
    ends = f"{units.rate(rate.low)} to {units.rate(rate.high)}"
    return f"{of}: begin at {units.rate(default)}, search {ends}."


def _how_much_data(facts: Facts) -> str:
    data = facts.data
    text = f"You have {data.examples:,} examples, {data.train_rows:,} of them to train on"
    if data.labels:
        each = show(data.train_rows / len(data.labels))
        text += f": {each} for each of {len(data.labels)} classes"
    return f"{text}."


def _at_all(facts: Facts, values: Values) -> str:
    cheap = "the untrained model without and with examples in its prompt"
    if facts.task == "classification":
        untrained = "the untrained model, " if values["classes_by"] == "generate" else ""
        cheap = (
            f"{untrained}the majority class, TF-IDF with logistic regression and a linear probe "
            "on frozen features"
        )
    answer = (
        f"The sweep first scores {cheap}. If no trial is better beyond noise, it is not needed."
    )
    if facts.task != "classification":
        return answer
    rows, points = values["test_rows"], values["detectable_points"]
    assert isinstance(rows, int)
    assert isinstance(points, float)
    return f"{answer} On {rows:,} test rows noise is about {units.number(points, 2)} points."
