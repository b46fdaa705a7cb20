"""Strategies with the same mark are named by ``sweeper rules``."""

from sweeper.features.explain import _marks
from sweeper.features.explain._marks import mark_clashes
from sweeper.traits.traits import traits_of


def test_strategies_with_the_same_mark_are_named_with_the_free_ones(monkeypatch, sweeper):
    monkeypatch.setattr(_marks, "known_strategies", lambda: ("full", "lora", "mine"))
    mine = traits_of("lora").mark.model_copy(update={"shape": "circle"})
    own = traits_of("lora").model_copy(update={"mark": mine})
    known = _marks.traits_of
    monkeypatch.setattr(_marks, "traits_of", lambda name: own if name == "mine" else known(name))
    shape, line = mark_clashes()
    assert shape.startswith("the charts of full and mine have the same shape; free shapes: diamond")
    assert "square" not in shape
    assert line == (
        "the charts of lora and mine have the same color and dash; "
        "colors that are free without a dash: 0, 3, 4, 5, 6"
    )
    assert f"warning: {shape}\nwarning: {line}\n" in sweeper("rules", "start-with-lora").err
