import pickle

import pytest

from sweeper.artifact import Record
from sweeper.traits import traits
from sweeper.traits.traits import StrategyOnModel, changes_base, known_strategies, traits_of


def test_only_a_head_on_frozen_features_leaves_the_base_as_it_is(monkeypatch):
    assert [name for name in known_strategies() if not changes_base(StrategyOnModel(name))] == [
        "head"
    ]
    assert not changes_base(StrategyOnModel("head", "packaged:minilm"))
    assert changes_base(StrategyOnModel("lora", "packaged:minilm"))
    frozen = traits_of("lora").model_copy(update={"gradients_through_base": False})
    monkeypatch.setattr(traits, "find", lambda name: frozen if name == "mine" else None)
    assert not changes_base(StrategyOnModel("mine"))


@pytest.mark.parametrize("model", ["", "packaged:minilm"])
def test_a_strategy_that_is_not_installed_is_taken_to_change_the_base(model):
    assert changes_base(StrategyOnModel("not-installed", model))


class Row(Record):
    strategy: StrategyOnModel


@pytest.mark.parametrize(
    "pair", [StrategyOnModel("lora"), StrategyOnModel("lora", "user@host:models/a@b")]
)
def test_a_strategy_on_a_model_is_text_in_files_and_two_fields_in_memory(pair):
    row = Row(strategy=pair)
    assert row.strategy is pair
    assert row.cleaned() is row
    assert row.model_dump(mode="json") == {"strategy": str(pair)}
    for copy in (Row.model_validate_json(row.model_dump_json()), pickle.loads(pickle.dumps(row))):
        assert (copy.strategy.strategy, copy.strategy.model) == (pair.strategy, pair.model)
        assert copy == row


def test_only_files_are_parsed():
    assert StrategyOnModel("lora@b").strategy == "lora@b"
