"""Classes by a head or by their names: what each plan holds, and what it refuses."""

import pytest

from sweeper.errors import NothingFits
from sweeper.planning.identity import identity
from sweeper.planning.planner import make_plan

BY_NAME = {"training": {"classes_by": "generate"}}
SNIPS = {"task": "classification", "model": "smollm2", "labels": 7, "rows": 1500}


def plan(scene, **changes):
    return make_plan(*scene(**SNIPS | changes))


def test_a_head_has_a_rate_and_a_start_of_its_own_and_a_name_has_not(scene):
    head, name = plan(scene), plan(scene, **BY_NAME)
    own = {"head_learning_rate", "head_init"}
    for candidate in head.candidates:
        assert candidate.strategy == "head" or own <= set(candidate.parameters)
    for candidate in name.candidates:
        assert not own & set(candidate.parameters)


def test_the_frozen_head_is_no_strategy_where_names_are_written(scene):
    assert "head" in {c.strategy for c in plan(scene).candidates}
    (refused,) = [r for r in plan(scene, **BY_NAME).rejected if r.strategy == "head"]
    assert "--classes-by generate" in refused.reason


def test_reading_every_name_takes_time_and_leaves_it_for_fewer_items_at_rungs(scene):
    few = plan(scene, **BY_NAME, lengths={"output_mean": 2.0}).budget
    many = plan(scene, **BY_NAME, labels=77, lengths={"output_mean": 2.0}).budget
    assert many.phases["baselines"].seconds > few.phases["baselines"].seconds
    assert many.rung_items < few.rung_items


def test_an_encoder_is_refused_with_the_reason(scene):
    with pytest.raises(NothingFits):
        plan(scene, **BY_NAME, model="minilm")


def test_the_two_ways_are_different_runs(scene):
    head, name = (identity(*scene(**SNIPS, **changes)) for changes in ({}, BY_NAME))
    assert head.task != name.task
    assert head.data == name.data
