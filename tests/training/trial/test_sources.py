"""What a trial saw, row by row and token by token: sources with weights, and further rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeper.training.trial.train import train_trial
from sweeper.trials import Seen


def counted(result):
    assert sum(one.tokens for one in result.seen.values()) == result.tokens
    return {name: one.rows for name, one in result.seen.items()}


@pytest.fixture(scope="module")
def mixed(topics):
    """The first 24 rows of every split are of one source, the others of another."""
    splits = {
        split: tuple(replace(e, source="a" if n < 24 else "b") for n, e in enumerate(rows))
        for split, rows in topics.splits.items()
    }
    return replace(topics, splits=splits, weights={"a": 1.0, "b": 1.0})


def test_sources_are_seen_by_their_weights_and_scored_apart(make_shared, make_job, mixed):
    shared = make_shared(dataset=mixed)
    result = train_trial(make_job(shared))
    assert counted(result) == {"a": 96, "b": 96}
    parts = result.validation_by_source
    assert (24 * parts["a"] + 16 * parts["b"]) / 40 == pytest.approx(result.validation_loss)

    plain = make_shared(dataset=replace(mixed, weights={}))
    assert counted(train_trial(make_job(plain))) == {"a": 48, "b": 144}
    head = train_trial(make_job(shared, strategy="head", parameters={}))
    assert counted(head) == {"a": 24, "b": 72}


def test_augmented_rows_come_beside_the_originals_at_the_same_number_of_steps(
    make_shared, make_job, make_config, topics
):
    new = tuple(
        replace(example, key=f"new {n}", source="augmented (paraphrase)", made_from=(example.key,))
        for n, example in enumerate(topics.splits["train"][:32])
    )
    shared = make_shared(dataset=replace(topics, further_rows=new))
    parameters = make_config().parameters
    ways = ("all", "none")
    jobs = [make_job(shared, parameters={**parameters, "augmented_rows": way}) for way in ways]
    results = [train_trial(job) for job in jobs]
    assert counted(results[0]) == {"augmented (paraphrase)": 48, "original rows": 144}
    assert results[1].seen == {}
    assert results[0].optimizer_steps == results[1].optimizer_steps
    assert isinstance(results[0].seen["original rows"], Seen)
