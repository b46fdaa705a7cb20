"""Every strategy with every kind of task and model, from its own defaults, as one small trial."""

from typing import Any

import pytest
import torch

from sweeper.data.examples import Dataset, Example, Message, digest
from sweeper.planning.rulebook.book import rule_book
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.spec import ModelSpec, Spec
from sweeper.strategies.strategy import strategies
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.trial.assembly import trained
from sweeper.training.trial.train import train_trial

# What a tiny model needs to move within a few steps, where a default suits real ones.
QUICK = {"learning_rate": 5e-3, "num_virtual_tokens": 4, "r": 4, "reduction_factor": 4}


def defaults(name: str) -> dict[str, Any]:
    declared = rule_book().strategies[name].parameters
    known = dict.fromkeys(FACTS) | {"new_head": True}
    chosen = {key: one.parameter.default for key, one in declared.items() if one.when.holds(known)}
    return chosen | {key: value for key, value in QUICK.items() if key in chosen}


@pytest.fixture
def conversations(topics) -> Dataset:
    """The same sentences as instructions: name the topic."""
    splits = {
        split: tuple(
            Example(
                key=digest(row.text),
                line=row.line,
                messages=(Message("user", row.text), Message("assistant", row.label)),
            )
            for row in rows
        )
        for split, rows in topics.splits.items()
    }
    return Dataset(
        path="topics.jsonl",
        format="prompt-completion",
        evidence=(),
        columns={},
        splits=splits,
        origins=topics.origins,
        labels=(),
        fingerprint="e" * 64,
    )


@pytest.fixture
def writing(model_folders, make_shared, conversations) -> SharedModel:
    folder = model_folders["llama"]
    named = ModelSpec(id=str(folder))
    facts = make_shared("llama").context.facts
    spec = Spec(task="instruction", models=(named,))
    return SharedModel(
        ModelContext(named, facts, folder, conversations, spec, 32, 16, torch.device("cpu"))
    )


def refused(name: str, kind: str) -> bool:
    return (name, kind) in {("prefix", "bert"), ("head", "writing")}


@pytest.mark.parametrize("kind", ["bert", "llama", "writing"])
@pytest.mark.parametrize("name", sorted(strategies()))
def test_it_trains_saves_and_scores_or_says_why_not(
    make_job, make_shared, writing, answering, name, kind
):
    told = answering()
    job = make_job(
        writing if kind == "writing" else make_shared(kind),
        told,
        strategy=name,
        parameters=defaults(name),
        sequence_length=32,
        keep_weights=True,
        budget={"rungs": 2, "epochs": 0.5},
    )
    result = train_trial(job)
    if refused(name, kind):
        assert result.state == "FAIL"
        assert result.failure.kind == "refused"
        return
    assert result.state == "COMPLETE", result.failure
    assert [report.rung for report in told] == ([2] if name == "head" else [1, 2])
    assert 0 < result.validation_loss < 8
    with trained(job.shared, job.folder / "weights") as model:
        assert job.evaluator().evaluate(model).loss == result.validation_loss
