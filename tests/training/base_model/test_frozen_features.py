"""The frozen features of a base, and what a head on them is measured to need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sweeper.training.base_model import frozen_features
from sweeper.training.base_model.context import ModelContext


def test_the_base_is_loaded_before_its_heads_memory_is_counted(
    make_shared: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    base, counter = ModelContext.base, frozen_features.PeakMemory

    def loading(context: ModelContext) -> Any:
        order.append("base")
        return base(context)

    def counting(*arguments: Any) -> Any:
        order.append("count")
        return counter(*arguments)

    monkeypatch.setattr(ModelContext, "base", loading)
    monkeypatch.setattr(frozen_features, "PeakMemory", counting)
    fitted = make_shared().frozen_features.probe_for({})
    assert order[:2] == ["base", "count"]
    assert fitted.peak_gib > 0
