"""Small facts to plan with: no files, no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sweeper.facts.dataset.stated import planned_splits
from sweeper.facts.record import (
    DataFacts,
    DomainFacts,
    Facts,
    HardwareFacts,
    LabelCount,
    LengthFacts,
    ModelFacts,
)
from sweeper.spec import AimSpec, DataSpec, HardwareSpec, ModelSpec, SearchSpec, Spec, TrainingSpec

_SHAPES: dict[str, dict[str, Any]] = {
    "minilm": {
        "model_type": "bert",
        "kind": "encoder",
        "parameters": 22_713_216,
        "layers": 6,
        "hidden_size": 384,
        "attention_heads": 12,
        "key_value_heads": 12,
        "head_dim": 32,
        "intermediate_size": 1536,
        "vocabulary_size": 30522,
        "context_length": 512,
        "tied_embeddings": True,
        "gated_mlp": False,
        "pooling": "mean",
    },
    "smollm2": {
        "parameters": 134_515_008,
        "layers": 30,
        "hidden_size": 576,
        "attention_heads": 9,
        "key_value_heads": 3,
        "head_dim": 64,
        "intermediate_size": 1536,
        "vocabulary_size": 49152,
        "context_length": 8192,
        "tied_embeddings": True,
    },
    "7B": {
        "parameters": 6_738_415_616,
        "layers": 32,
        "hidden_size": 4096,
        "attention_heads": 32,
        "key_value_heads": 32,
        "head_dim": 128,
        "intermediate_size": 11008,
        "vocabulary_size": 32000,
        "context_length": 4096,
    },
    "13B": {
        "parameters": 13_015_864_320,
        "layers": 40,
        "hidden_size": 5120,
        "attention_heads": 40,
        "key_value_heads": 40,
        "head_dim": 128,
        "intermediate_size": 13824,
        "vocabulary_size": 32000,
        "context_length": 4096,
    },
    "70B": {
        "parameters": 68_976_648_192,
        "layers": 80,
        "hidden_size": 8192,
        "attention_heads": 64,
        "key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 28672,
        "vocabulary_size": 32000,
        "context_length": 4096,
    },
}


def model_facts(name: str = "7B", **changes: Any) -> ModelFacts:
    """A well-known shape: a llama unless it says otherwise."""
    fields: dict[str, Any] = {
        "id": name,
        "source": "catalogue",
        "model_type": "llama",
        "kind": "decoder",
        "parameters_exact": True,
        "tied_embeddings": False,
        "gated_mlp": True,
        "dtype": "bfloat16",
        "chat_template": True,
    }
    return ModelFacts(**(fields | _SHAPES[name] | changes))


def make_scene(
    task: str = "instruction",
    model: str | list[ModelFacts] = "7B",
    rows: int = 4000,
    *,
    gpu_gib: float | None = 80.0,
    gpus: int = 1,
    price: float | None = None,
    labels: int = 0,
    spec: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    lengths: dict[str, Any] | None = None,
    domain: str | None = None,
    aim: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    search: dict[str, Any] | None = None,
    hardware: dict[str, Any] | None = None,
    request: dict[str, Any] | None = None,
    model_changes: dict[str, Any] | None = None,
    features: dict[str, Any] | None = None,
) -> tuple[Spec, Facts]:
    """A request with its facts. ``rows`` are all examples; ``gpu_gib`` None means a CPU."""
    models = model if isinstance(model, list) else [model_facts(model, **(model_changes or {}))]
    aim_spec = AimSpec(**(aim or {}))
    data_spec = DataSpec(**({"path": "data.jsonl"} | (spec or {})))
    splits = tuple(
        one.model_copy(update={"sha256": one.name}) for one in planned_splits(rows, data_spec)
    )
    fields: dict[str, Any] = {
        "path": "data.jsonl",
        "format": "text-label" if task == "classification" else "instruction",
        "rows": rows,
        "train_rows": splits[0].rows,
        "splits": splits,
        "fingerprint": "f" * 64,
        "lengths": LengthFacts(
            **(
                {
                    "mean": 200.0,
                    "p50": 180,
                    "p90": 350,
                    "p99": 500,
                    "longest": 500,
                    "measured_with": "test",
                }
                | (lengths or {})
            )
        ),
        "labels": tuple(LabelCount(label=f"c{i}", rows=rows // labels) for i in range(labels)),
        "domain": DomainFacts(distance=domain, decided_by="user" if domain else "unknown"),
    }
    machine: dict[str, Any] = {
        "device": "cpu" if gpu_gib is None else "cuda",
        "name": "CPU" if gpu_gib is None else "GPU",
        "detected": False,
        "gpus": 0 if gpu_gib is None else gpus,
        "memory_gib": 16.0 if gpu_gib is None else gpu_gib,
        "bf16": gpu_gib is not None,
        "bf16_tflops": None if gpu_gib is None else 300.0,
        "cpu_cores": 2,
        "price_per_gpu_hour": price,
    }
    whole_spec = Spec(
        task=task,
        models=tuple(ModelSpec(id=m.id) for m in models),
        data=data_spec,
        hardware=HardwareSpec(),
        aim=aim_spec,
        training=TrainingSpec(**(training or {})),
        search=SearchSpec(**(search or {})),
        **(request or {}),
    )
    facts = Facts(
        task=task,
        models=tuple(models),
        data=DataFacts(**(fields | (data or {}))),
        hardware=HardwareFacts(**(machine | (hardware or {}))),
        aim=aim_spec,
        features=features or {},
    )
    return whole_spec, facts


@pytest.fixture
def scene() -> Callable[..., tuple[Spec, Facts]]:
    return make_scene
