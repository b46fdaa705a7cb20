import pytest

from sweeper.traits import traits
from sweeper.traits.traits import changes_base, known_strategies, traits_of


def test_only_a_head_on_frozen_features_leaves_the_base_as_it_is(monkeypatch):
    assert [name for name in known_strategies() if not changes_base(name)] == ["head"]
    assert not changes_base("head@packaged:minilm")
    assert changes_base("lora@packaged:minilm")
    frozen = traits_of("lora").model_copy(update={"gradients_through_base": False})
    monkeypatch.setattr(traits, "find", lambda name: frozen if name == "mine" else None)
    assert not changes_base("mine")


@pytest.mark.parametrize("name", ["not-installed", "not-installed@packaged:minilm"])
def test_a_strategy_that_is_not_installed_is_taken_to_change_the_base(name):
    assert changes_base(name)
