from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Published: fms-acceleration, Mistral-7B on an A100 80GB.
FULL: dict[str, Any] = {
    "id": "full", "source": "a", "score_tier": "A", "model": "Mistral-7B-v0.1",
    "n_params": 7_241_732_096, "hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8,
    "head_dim": 128, "intermediate": 14336, "vocab": 32000, "method": "full",
    "base_dtype": "bfloat16", "trainable_dtype": "bfloat16", "quantization": "none",
    "optimizer": "AdamW (torch)", "micro_batch": 4, "sequence_length": 4096,
    "sequence_length_kind": "fixed (packed)", "gradient_checkpointing": True,
    "attention_impl": "flash", "loss_impl": "plain", "gpu": "NVIDIA A100 80GB", "n_gpus": 1,
    "measured": "allocated", "outcome": "ok", "peak_gib": 67.46,
}  # fmt: skip


def _run(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.memory", "--from", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_tables_are_printed(tmp_path: Path) -> None:
    failed = FULL | {"id": "oom", "micro_batch": 64, "outcome": "oom", "peak_gib": None}
    other = FULL | {"id": "b", "source": "b", "measured": "reserved", "peak_gib": 70.0}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([FULL, failed, other]))
    done = _run(path)
    assert done.returncode == 0, done.stderr
    for words in (
        "Tier A, one GPU",
        "each left out",
    ):
        assert words in done.stdout
    assert "Out of memory foreseen: 1 of 1; false alarms: 0 of 2." in done.stdout


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("{}")
    done = _run(path)
    assert done.returncode == 2
    assert "holds no list of records" in done.stderr
