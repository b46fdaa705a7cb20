"""A plan that is made on another machine, with processes of this one in its stead."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from sweeper.errors import UsageError
from sweeper.facts.gather import gather
from sweeper.processes.plan_where import plan_elsewhere, plan_here, trains_elsewhere
from sweeper.spec import DataSpec, HardwareSpec, ModelSpec, SearchSpec, Spec

SPEC = Spec(
    task="classification",
    models=(ModelSpec(id="sentence-transformers/all-MiniLM-L6-v2"),),
    data=DataSpec(examples=2000),
    search=SearchSpec(executor="ray", ray_address="head:6379", storage="postgresql://u:secret@h/d"),
)
HOW: dict[str, Any] = {"measure": False, "probe": None, "tell": print}


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a node without GPUs is asked, which is this machine."""
    ray_node = pytest.importorskip("sweeper.execution.pools.ray_node", reason="Ray is missing")
    asked = []

    def on_node(module: str, text: str, *, address: str, gpu: bool, **_options: object) -> object:
        asked.append(text)
        assert (address, gpu) == ("head:6379", False)
        done = subprocess.run(
            [sys.executable, "-m", module, "0"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        return ray_node.NodeAnswer("elsewhere", 0, done.stdout, done.stderr)

    monkeypatch.setattr(ray_node, "on_node", on_node)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return asked


def test_a_plan_made_elsewhere_is_the_one_that_would_be_made_there(node: list[str]) -> None:
    facts = gather(SPEC)
    assert plan_elsewhere(SPEC, facts, **HOW) == plan_here(SPEC, facts, **HOW)
    assert "secret" not in node[0]


def test_what_is_wrong_elsewhere_is_wrong_here(node: list[str]) -> None:
    spec = SPEC.model_copy(update={"hardware": HardwareSpec(nodes=2)})
    with pytest.raises(UsageError, match="GPUs are requested, but this machine has none"):
        plan_elsewhere(spec, gather(SPEC), **HOW)


def test_only_a_cluster_that_is_named_is_asked_and_only_if_its_hardware_is_not_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray", reason="Ray is missing")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert trains_elsewhere(SPEC)
    search = SPEC.search.model_copy(update={"ray_address": None})
    here = SPEC.model_copy(update={"search": search})
    assert not trains_elsewhere(here)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert trains_elsewhere(here)
    for stated in (HardwareSpec(gpu="A100 80GB"), HardwareSpec(gpu_memory_gib=24)):
        assert not trains_elsewhere(SPEC.model_copy(update={"hardware": stated}))
    local = SPEC.search.model_copy(update={"executor": "local"})
    assert not trains_elsewhere(SPEC.model_copy(update={"search": local}))
