from __future__ import annotations

import json

import pytest

from sweeper.errors import UsageError
from sweeper.features.rent import facts, plan_output
from sweeper.specfile import resolve

FLAGS = {
    ("task",): "instruction",
    ("data", "examples"): 2_000,
    ("models",): [{"id": "7B"}],
}


def test_offers_are_printed_in_place_of_a_plan_only_if_asked_for(capsys) -> None:
    assert not plan_output.show(resolve(dict(FLAGS)), as_json=True)
    asked = resolve({**FLAGS, ("features", "rent", "prices"): ["H100=0.5"]})
    assert plan_output.show(asked, as_json=True)
    offers = json.loads(capsys.readouterr().out)["offers"]
    assert {"H100": 0.5}.items() <= {one["gpu"]: one["usd_per_gpu_hour"] for one in offers}.items()
    assert next(facts.check(asked, True)).where == "--rent"
    assert not list(facts.check(asked, False))


def test_cards_are_compared_for_a_model() -> None:
    flags = {key: value for key, value in FLAGS.items() if key != ("models",)}
    asked = resolve({**flags, ("features", "rent", "enabled"): True}, needs_model=False)
    with pytest.raises(UsageError):
        plan_output.show(asked, as_json=True)
