from __future__ import annotations

import json
from pathlib import Path

import pytest
from curve_backend import make_plan

from sweeper.errors import OtherVersion, RunError
from sweeper.execution.state.continuation import changes, plan_to_run
from sweeper.runfolder import RunFolder


def test_a_new_run_obeys_the_plan_just_made_and_an_old_one_its_own(tmp_path: Path) -> None:
    run, first = RunFolder(tmp_path), make_plan()
    assert plan_to_run(run, first) is first
    first.write(run.plan)
    later = make_plan().model_copy(update={"recommended": "full"})
    assert plan_to_run(run, later) == first


def test_each_changed_part_of_the_identity_is_named(tmp_path: Path) -> None:
    run, first = RunFolder(tmp_path), make_plan()
    first.write(run.plan)
    other = make_plan(seed=3, strategies="lora")
    assert first.identity is not None
    assert other.identity is not None
    assert changes(first.identity, other.identity) == ["space", "seed"]
    with pytest.raises(RunError) as caught:
        plan_to_run(run, other)
    assert len(caught.value.problems) == 2
    assert "the seed changed since this run began" in str(caught.value)
    assert "--new" in str(caught.value)


def test_a_plan_without_identity_cannot_be_run(tmp_path: Path) -> None:
    plan = make_plan().model_copy(update={"identity": None})
    with pytest.raises(RunError):
        plan_to_run(RunFolder(tmp_path), plan)


def test_a_plan_of_another_version_is_not_called_damaged(tmp_path: Path) -> None:
    run, plan = RunFolder(tmp_path), make_plan()
    older = json.loads(plan.to_json()) | {"schema_version": 0}
    run.plan.write_text(json.dumps(older))
    with pytest.raises(OtherVersion) as caught:
        plan_to_run(run, plan)
    assert caught.value.problems[0].where == str(run.plan)


def test_what_a_feature_adds_to_the_identity_is_named(tmp_path: Path) -> None:
    run, first = RunFolder(tmp_path), make_plan()
    first.write(run.plan)
    assert first.identity is not None
    other = first.identity.model_copy(update={"features": {"diary": "a"}})
    assert changes(first.identity, other) == changes(other, first.identity) == ["features.diary"]
    with pytest.raises(RunError, match=r"features\.diary"):
        plan_to_run(run, first.model_copy(update={"identity": other}))
