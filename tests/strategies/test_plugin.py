"""``tests/plugin`` adds two strategies by entry points alone: nothing in the project names them.

The package is installed as a wheel would be: its folder and a ``.dist-info`` on the path.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from sweeper.strategies.strategy import Setting

pytestmark = pytest.mark.usefixtures("preloaded")
ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "plugin"
NAMES = ("vera", "ia3")


def installed(site: Path, entry_points: dict[str, dict[str, str]]) -> dict[str, str]:
    """The environment in which a distribution with these entry points is installed."""
    info = site / "sweeper_vectors-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sweeper-vectors\nVersion: 1.0\n")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    path = os.pathsep.join(str(part) for part in (ROOT, PLUGIN, site))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    return installed(tmp_path_factory.mktemp("site"), project["entry-points"])


def python(environment: dict[str, str], *words: str, cwd: Path = ROOT, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


SWEEPER = ("-m", "sweeper")


def test_a_plan_knows_what_they_train_and_need(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = LlamaConfig(
        vocab_size=97, hidden_size=64, intermediate_size=160, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    request = ("--task", "instruction", "--examples", "500", "--gpu-memory", "8")
    wanted = ("--model", "model", "--strategies", "vera,ia3,lora", "--json")
    answer = python(environment, *SWEEPER, "plan", *request, *wanted, cwd=tmp_path)
    plan = json.loads(answer[answer.index("{") :])
    found = {candidate["strategy"]: candidate for candidate in plan["candidates"]}
    assert set(found) == {"vera", "ia3", "lora"}

    monkeypatch.syspath_prepend(PLUGIN)
    from sweeper_vectors.ia3 import IA3
    from sweeper_vectors.vera import VeRA

    for kind in (VeRA, IA3):
        candidate = found[kind.name]
        parameters = {name: one["default"] for name, one in candidate["parameters"].items()}
        base = AutoModelForCausalLM.from_config(config).requires_grad_(False)
        adapted = kind().apply(base, parameters, Setting("CAUSAL_LM"))
        trained = sum(one.numel() for one in adapted.parameters() if one.requires_grad)
        assert candidate["trainable_parameters"] == trained
        assert 0.5 < candidate["memory"]["peak_gib"] < found["lora"]["memory"]["peak_gib"] + 0.05


def test_the_generated_pages_hold_them(environment: dict[str, str], tmp_path: Path) -> None:
    python(environment, "docs/generate.py", "--to", str(tmp_path))
    page = (tmp_path / "strategies.md").read_text()
    assert "\n## ia3\n\n**(IA)³.** " in page
    assert re.search(r"\n## vera\n\n\*\*VeRA\.\*\* [\s\S]*\n\| `d_initial` \|", page)


@pytest.mark.slow
@pytest.mark.usefixtures("new_processes")
def test_they_hold_to_the_contract_of_every_strategy(environment: dict[str, str]) -> None:
    files = ("tests/strategies/test_contract.py", "tests/plugin/check_dry_run.py")
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *files)
    told = python(environment, *tests, "-k", "vera or ia3 or class")
    assert re.search(r"\n[23]\d passed", told), told


ROWS = {
    "weather": ["rain in the north today", "a sunny morning with wind", "snow and ice tonight"],
    "cooking": ["fry the onions in butter", "bake the bread for an hour", "salt the soup well"],
}


def save_model(folder: Path, words: list[str]) -> None:
    """A small BERT with random weights, and its tokenizer."""
    known = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(known), intermediate_size=128, **shape)
    AutoModel.from_config(config).save_pretrained(folder)


@pytest.mark.slow
def test_a_sweep_trains_them_and_the_report_shows_them(
    environment: dict[str, str], tmp_path: Path
) -> None:
    rows = [
        {"text": f"{text}, number {number}", "label": label}
        for label, texts in ROWS.items()
        for number in range(14)
        for text in texts
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines + "\n", encoding="utf-8")
    save_model(tmp_path / "tiny", sorted({word for row in rows for word in row["text"].split()}))
    request = ("--task", "classification", "--data", "rows.jsonl", "--model", "tiny")
    small = ("--strategies", "vera,ia3", "--trials", "2", "--epochs", "1", "--finalists", "1")
    python(
        environment, *SWEEPER, "run", *request, *small, "--confirmation-seeds", "1",
        "--name", "vectors", cwd=tmp_path,
    )  # fmt: skip
    run = tmp_path / "runs" / "vectors"
    plan = json.loads((run / "plan.json").read_text())
    planned = {one["strategy"]: one["trainable_parameters"] for one in plan["candidates"]}
    trained: dict[str, Any] = {}
    for folder in sorted((run / "trials").iterdir(), key=lambda path: int(path.name)):
        strategy = json.loads((folder / "config.json").read_text())["strategy"]
        result = json.loads((folder / "result.json").read_text())
        trained.setdefault(strategy, result["trainable_parameters"])  # its defaults come first
    assert trained == planned
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'class="s-triangle-left c-2"' in page
    assert 'class="s-stroke c-5"' in page
    assert "VeRA" in page
    assert "IA3" in page


def test_a_class_without_its_yaml_is_refused_and_planned_as_nothing_else(tmp_path: Path) -> None:
    points = {"sweeper.strategies": {"boft": "sweeper_vectors.vera:VeRA"}}
    lacking = installed(tmp_path, points)
    request = ("--task", "instruction", "--examples", "500", "--model", "7B", "--gpu-memory", "24")
    told = python(lacking, *SWEEPER, "plan", *request, code=2)
    assert "the strategy 'boft' has no boft.yaml" in told
    assert "next to the module sweeper_vectors.vera" in told
    told = python(lacking, *SWEEPER, "plan", *request, "--strategies", "boft", code=2)
    assert "there is no strategy 'boft'" in told
