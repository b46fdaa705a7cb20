from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.memory.file import predictions, read_records

FIELDS = (
    "id", "model", "model_family", "n_params", "hidden", "layers", "heads", "kv_heads",
    "head_dim", "intermediate", "vocab", "tied_embeddings", "method", "lora_rank", "targets",
    "trainable_params", "method_hyperparameters", "base_dtype", "quantization", "optimizer",
    "trainable_dtype", "micro_batch", "grad_accum", "sequence_length", "sequence_length_kind",
    "gradient_checkpointing", "attention_impl", "loss_impl", "gpu", "n_gpus", "parallelism",
    "measured", "notes", "unheard_of",
)  # fmt: skip
WORDS = st.sampled_from(
    ["lora", "qlora", "full", "bnb nf4", "none", "float32", "bfloat16", "AdamW", "sgd", "T4",
     "prefix", "bert", "t5", "mixtral", "mean", "max", "NVIDIA A100 80GB", "eager", "ia3", ""]
)  # fmt: skip
NUMBERS = st.one_of(st.integers(-5, 10**6), st.floats(allow_nan=True), st.booleans(), st.just(7e9))
VALUES = st.one_of(
    st.none(), NUMBERS, WORDS, st.text(max_size=8), st.lists(WORDS, max_size=3),
    st.dictionaries(WORDS, NUMBERS, max_size=2),
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=20))
def test_any_record_gets_a_prediction(record: dict[str, Any]) -> None:
    (found,) = predictions([record])
    low, peak, high = (found[name] for name in ("low_gib", "peak_gib", "high_gib"))
    assert 0 <= low <= peak <= high
    assert math.isfinite(high)
    assert sum(found["parts"].values()) == pytest.approx(peak, abs=0.02, rel=1e-3)
    assert json.loads(json.dumps(found)) == found


def test_a_list_in_an_object_is_found_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"about": "rows", "rows": [{"n_params": 1e9}, {"id": "b"}]}))
    assert [found["id"] for found in predictions(read_records(path))] == ["1", "b"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('{"model": "7B", "targets": ["q_proj"]}', ["1"]),
        ('{"names": ["a"], "rows": [{"id": "b"}]}', ["b"]),
        ('{"id": "a"}\n\n{"id": "b"}\n', ["a", "b"]),
        ('[{"id": 7}, {}]', ["7", "2"]),
    ],
    ids=["one record", "the list of objects", "lines", "ids that are numbers or missing"],
)
def test_other_forms_of_a_file_are_read(tmp_path: Path, text: str, ids: list[str]) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    assert [found["id"] for found in predictions(read_records(path))] == ids


def test_what_is_no_object_is_named_and_the_others_are_predicted() -> None:
    first, second, third = predictions([3, {"id": "b", "n_params": 1e9}, None])
    assert "record 1 is not an object" in first["error"]
    assert second["peak_gib"] > 0
    assert third["id"] == "3"


def test_unreadable_fields_are_named_and_widen_the_interval() -> None:
    row = {"model": "Llama-2-7B", "micro_batch": 2, "sequence_length": 512}
    wrong = row | {"micro_batch": "four", "lora_rank": [8], "gradient_checkpointing": {}}
    good, bad = predictions([row, wrong])
    assert "problems" not in good
    assert [text.split(" is ")[0] for text in bad["problems"]] == [
        "lora_rank", "micro_batch", "gradient_checkpointing",
    ]  # fmt: skip
    assert bad["high_gib"] / bad["peak_gib"] > good["high_gib"] / good["peak_gib"]


def test_fits_is_said_where_the_card_is_known() -> None:
    row = {"n_params": 7e9, "method": "full", "trainable_dtype": "bfloat16"}
    small, large, none = predictions([row | {"gpu": "T4"}, row | {"gpu": "H200"}, row])
    assert (small["fits"], large["fits"]) == (False, True)
    assert "fits" not in none


def test_counters_differ_by_reserve_and_context() -> None:
    row = {"n_params": 7e9, "sequence_length": 128}
    allocated, reserved, device = predictions(
        [row | {"measured": name} for name in ("allocated", "reserved", "nvidia-smi")]
    )
    assert allocated["peak_gib"] < reserved["peak_gib"] < device["peak_gib"]
    assert "allocator reserve" in reserved["parts"]
    assert device["parts"]["device context"] == 0.5
