from __future__ import annotations

from typing import Any

import pytest

from sweeper.execution.state.continuation import changes
from sweeper.facts.record import SourceFacts
from sweeper.features.quality.options import Keep, Options
from sweeper.planning.identity import digest, identity
from sweeper.plans import Identity


def of(scene: Any, **facts: Any) -> Identity:
    found = identity(*scene(**facts))
    assert found is not None
    return found


SOURCES = (SourceFacts(title="a", rows={"train": 9}, weight=2.0),)


def test_another_weight_is_another_run(scene: Any) -> None:
    lighter = (SOURCES[0].model_copy(update={"weight": 1.0}),)
    assert of(scene, data={"sources": SOURCES}) != of(scene, data={"sources": lighter})


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("model", {"model_changes": {"revision": "abc"}}),
        ("data", {"data": {"fingerprint": "0" * 64}}),
        ("data", {"data": {"sources": SOURCES}}),
        ("task", {"task": "code"}),
        ("split", {"spec": {"split_seed": 3}}),
        ("space", {"aim": {"strategies": ("lora",)}}),
        ("space", {"request": {"features": {"forgetting": {"replay_share": 0.1}}}}),
        ("space", {"request": {"features": {"forgetting": {"kl_weight": 0.5}}}}),
        ("objective", {"training": {"max_length": 64}}),
        ("rungs", {"training": {"epochs": 9}}),
        ("seed", {"search": {"seed": 5}}),
    ],
)
def test_each_part_has_its_own_digest(scene: Any, part: str, change: dict[str, Any]) -> None:
    before, after = of(scene), of(scene, **change)
    assert getattr(before, part) != getattr(after, part)


@pytest.mark.parametrize(
    "asked",
    [
        {"all_safe": True},
        {"remedies": ("refusals",)},
        {"keep": Keep(rows=9, by="spread")},
    ],
)
def test_changes_of_rows_are_part_of_the_identity(scene: Any, asked: dict[str, Any]) -> None:
    """Even where it changes no row of these data."""
    spec, facts = scene()
    features = spec.features.model_copy(update={"quality": Options(**asked)})
    other = spec.model_copy(update={"features": features})
    before, after = identity(spec, facts), identity(other, facts)
    assert before is not None
    assert after is not None
    assert changes(before, after) == ["space"]


@pytest.mark.parametrize(
    "change",
    [
        {"search": {"trials": 50, "workers": 4, "timeout_seconds": 60}},
        {"gpus": 8},
        {"gpu_gib": 24.0},
        {"price": 3.0},
    ],
)
def test_what_may_change_between_calls_is_no_part_of_it(scene: Any, change: Any) -> None:
    assert of(scene) == of(scene, **change)


def test_what_cannot_be_run_has_no_identity(scene: Any) -> None:
    assert identity(*scene(data={"fingerprint": None})) is None
    assert identity(*scene(model_changes={"source": "size"})) is None


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2, "ü"]}) == digest({"b": [2, "ü"], "a": 1})
    assert len(digest(None)) == 64
