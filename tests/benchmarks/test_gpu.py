"""The benchmark of a GPU keeps what it measured where something fails."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from benchmarks import gpu, json_lines
from benchmarks.memory import trials
from benchmarks.throughput import __main__ as throughput
from benchmarks.throughput import contenders
from benchmarks.throughput.contenders import NAMES
from sweeper.tasks.sequences import joined

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
    page = gpu.page({"doctor": "", "strategies": [], "throughput": {}, "switches": found})
    assert page.count("did not train") == 1
    assert "`sharing`" in page


def test_laps_are_kept_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def lap(name: str, data: Path, strategy: str, *_: Any) -> dict[str, Any]:
        if len(measured) == 3:
            raise subprocess.TimeoutExpired("lap", 1.0)
        measured.append(strategy)
        return LAP | {"attention": "sdpa"}

    def trial(work: Any, strategy: str, *_: Any) -> dict[str, Any]:
        if len(measured) == 5:
            raise OSError
        measured.append(strategy)
        return {"strategy": strategy}

    asked = gpu.Asked(tmp_path, **ASKED)
    rows = [{"instruction": f"say {number}", "output": str(number)} for number in range(8)]
    monkeypatch.setattr(gpu.texts, "real", lambda *_: rows)
    monkeypatch.setattr(gpu, "lap", lap)
    with pytest.raises(subprocess.TimeoutExpired):
        gpu.switches(asked)
    assert len(json_lines.read(tmp_path / "switches.jsonl")) == 3
    monkeypatch.setattr(gpu, "measured", trial)
    with pytest.raises(OSError):  # noqa: PT011 - it has no text
        gpu.strategies(asked)
    measured += [""]
    expected = list(gpu.known_strategies())
    assert [row["strategy"] for row in gpu.strategies(asked)] == expected
    gpu.switches(asked)
    rest = len(gpu.SWITCHES) * asked.rounds
    assert len(json_lines.read(tmp_path / "switches.jsonl")) == rest
    assert len(measured) == len(expected) + rest + 1


def test_a_question_that_fails_does_not_end_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(asked: gpu.Asked) -> Any:
        raise subprocess.TimeoutExpired("sweeper", 1.0)

    for name in ("strategies", "switches"):
        monkeypatch.setattr(gpu, name, named(name, lambda asked: []))
    monkeypatch.setattr(gpu, "doctor", named("doctor", failing))
    monkeypatch.setattr(gpu, "throughput", named("throughput", lambda asked: {}))
    monkeypatch.setattr(gpu, "sharing", named("sharing", lambda asked: 1 / 0))
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == "without an answer: doctor, sharing"
    answered = {path.stem for path in tmp_path.glob("*.json")} - {"measured_with"}
    assert answered == {"strategies", "throughput", "switches"}
    assert "`doctor`" in (tmp_path / "gpu.md").read_text()
    assert "TimeoutExpired" in capsys.readouterr().err


def named(name: str, question: gpu.Question) -> gpu.Question:
    """The question under the name of the function that it replaces."""
    question.__name__ = name
    return question


def test_a_folder_with_answers_for_another_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "answered", lambda *_: dict.fromkeys(gpu.SECTIONS))
    monkeypatch.setattr(gpu, "page", lambda _: "")
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path)])
    gpu.main()
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path), "--model", "8B"])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2
    assert {"packaged:smollm2", "8B"} <= {*capsys.readouterr().err.split("'")}


def test_a_lap_text_by_text_has_no_kernel_of_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    lap = contenders.Lap("sweeper", 1.0, 1.0, 1, 1.0, 1.0)

    def planned(data: Path, strategy: str, model: str, switched: dict[str, Any]) -> Any:
        seen.append(switched)
        return None, None, None

    def by_sweeper(*_: Any) -> contenders.Lap:
        seen.append(joined._KERNEL)
        return lap

    monkeypatch.setattr(contenders, "planned", planned)
    monkeypatch.setattr(contenders, "by_sweeper", by_sweeper)
    for title in ("joined, kernel of torch", "joined, SDPA text by text"):
        monkeypatch.setattr(joined, "_KERNEL", print)
        switched = next(values for _, name, values in gpu.SWITCHES if name == title)
        words = ["contenders", "sweeper", "data", "lora", "1B", json.dumps(switched)]
        monkeypatch.setattr(sys, "argv", words)
        contenders.main()
    assert seen == [gpu.JOINED_BY_TORCH, print, gpu.JOINED_BY_TORCH, None]


def test_a_contender_that_fails_leaves_the_rates_of_the_others() -> None:
    laps = {name: [LAP, LAP] for name in NAMES} | {"trl": [{"error": "no package"}] * 2}
    _, *rates = throughput.row("lora", laps, "seconds")
    assert rates[: len(NAMES)] == ["50", "nan", "50"]
    assert math.isnan(float(rates[len(NAMES)]))


@pytest.mark.parametrize("joined_rate", [0, 40, 80])
def test_trl_has_the_faster_of_its_set_ups(
    monkeypatch: pytest.MonkeyPatch, joined_rate: int
) -> None:
    def lap(name: str, data: Path, strategy: str, model: str, switched: Any) -> dict[str, Any]:
        if not switched.get("padding_free"):
            return LAP
        return LAP | {"tokens": 2 * joined_rate} if joined_rate else {"error": "no memory"}

    monkeypatch.setattr(throughput, "lap", lap)
    laps = throughput.race(Path(), "lora", "1B", 2, "seconds")
    assert [each["tokens"] for each in laps["trl"]] == [max(100, 2 * joined_rate)] * 2
    assert laps["sweeper"] == laps["trainer"] == [LAP] * 2


def test_a_contender_that_hangs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = tmp_path / "python"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hangs))
    for module in (throughput, trials):
        monkeypatch.setattr(module, "LONGEST", 0.2)
    assert [*throughput.lap("trl", Path(), "lora", "1B")] == ["error"]
    assert "error" in trials.measured(trials.WORK[0], "lora", Path(), tmp_path, tmp_path)


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
