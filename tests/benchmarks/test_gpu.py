"""The benchmark of a GPU keeps what it measured where something fails."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from benchmarks import gpu
from benchmarks.memory import trials
from benchmarks.throughput import __main__ as throughput
from benchmarks.throughput.contenders import NAMES

LAP = {"tokens": 100, "seconds": 2.0, "cpu_seconds": 4.0, "peak_gib": 1.5, "train_loss": 2.0}
ASKED: dict[str, Any] = {"model": "packaged:smollm2", "rows": 24, "rounds": 2, "cpu": False}


def test_a_lap_that_fails_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lap(name: str, data: Path, strategy: str, model: str, switched: Any) -> dict[str, Any]:
        failed = switched.get("attn_implementation") == "flash_attention_2"
        return {"error": "no kernel"} if failed else LAP | {"attention": "sdpa"}

    monkeypatch.setattr(gpu, "lap", lap)
    found = gpu.switches(gpu.Asked(tmp_path, **ASKED))
    failed = [one["title"] for one in found if "error" in one]
    assert failed == ["joined, FlashAttention 2"]
    assert {one["rate"] for one in found if "error" not in one} == {50.0}
    answers = {
        "doctor": "", "strategies": [], "throughput": {}, "switches": found,
        "sharing": {"trials": 4, "error": "no sweep"},
    }  # fmt: skip
    page = gpu.page(answers)
    assert page.count("did not train") == 1
    assert "no sweep" in page


def test_a_contender_that_fails_leaves_the_rates_of_the_others() -> None:
    laps = {name: [LAP, LAP] for name in NAMES} | {"trl": [{"error": "no package"}] * 2}
    _, *rates = throughput.row("lora", laps, "seconds")
    assert rates[: len(NAMES)] == ["50", "nan", "50"]
    assert math.isnan(float(rates[len(NAMES)]))


@pytest.mark.parametrize(("visible", "pinned"), [(None, "0"), ("3,1", "3"), ("", "")])
def test_every_contender_sees_one_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, pinned: str
) -> None:
    seen: list[str] = []

    def run(*_: Any, env: dict[str, str], **__: Any) -> Any:
        seen.append(env["CUDA_VISIBLE_DEVICES"])
        return subprocess.CompletedProcess([], 1, "", "broken")

    monkeypatch.setattr(subprocess, "run", run)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert "broken" in throughput.lap("trl", Path(), "lora", "1B")["error"]
    gpu.sweeper("doctor", folder=Path(), home=Path())
    trials.measured(trials.WORK[0], "lora", Path(), tmp_path, tmp_path)
    assert seen == [pinned] * 3


def test_a_size_is_a_model_with_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    small = LlamaConfig(vocab_size=512, num_attention_heads=4, **shape)
    monkeypatch.setattr(gpu, "config_of", lambda facts: small if facts.id == "1B" else None)
    folder = gpu.random_weights("1B", tmp_path / "model")
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("two words")["input_ids"]) == "two words"
