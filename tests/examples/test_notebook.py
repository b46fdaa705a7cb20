"""The notebook runs from its first cell to its last, and really trains: a tiny model instead."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("preloaded")
ROOT = Path(__file__).parents[2]
ENCODER = """
import json, random

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast

topics = {"fruit": ["apple", "pear"], "metal": ["iron", "zinc"]}
known = ["[PAD]", "[UNK]", "the", "old", "new", *topics["fruit"], *topics["metal"]]
words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(known)}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]").save_pretrained("tiny")
shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
config = BertConfig(vocab_size=len(known), intermediate_size=16, **shape)
AutoModel.from_config(config).save_pretrained("tiny")
chance = random.Random(0)
with open("rows.jsonl", "w") as file:
    for number in range(90):
        topic = chance.choice(list(topics))
        chosen = [chance.choice(["the", "old", "new"]) for _ in range(6)]
        text = " ".join([*chosen, chance.choice(topics[topic])])
        print(json.dumps({"text": text, "label": topic}), file=file)
"""
# Cells as a kernel runs them: in one namespace, the last expression of each is shown.
CELLS = """
import ast, json, sys
from pathlib import Path

cells = [c for c in json.loads(Path(sys.argv[1]).read_text())["cells"] if c["cell_type"] == "code"]
sources = ["".join(cell["source"]) for cell in cells]
settings = {t.id for s in ast.parse(sources[0]).body for t in s.targets}
space = json.loads(sys.argv[2])
assert settings == space.keys()
shown = []
for source in sources[1:]:
    *first, last = ast.parse(source).body
    whole = [*first, last] if not isinstance(last, ast.Expr) else first
    exec(compile(ast.Module(whole, []), "cell", "exec"), space)
    if whole[-1:] != [last]:
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), space)
        page = getattr(value, "_repr_html_", lambda: None)()
        shown.append(page or repr(value))
"""
SWEEP = """
run = space["run"]
states = list(run.trials["state"])
said = space["winner"].predict(["the old apple"])[0]
print(json.dumps({"shown": shown, "states": states, "sums": sum(said.probabilities.values())}))
"""


DECODER = """
import json, torch
from pathlib import Path
from sweeper.facts.machine import hardware
from sweeper.features.doctor._checks import CheckContext

hardware._cores = lambda: 1  # one worker: two would load torch twice
CheckContext(torch.device("cpu"), Path.cwd()).model
with open("rows.jsonl", "w") as file:
    for number in range(60):
        row = {"instruction": f"say {number % 5}", "output": f"{number % 5} " * 4}
        print(json.dumps(row), file=file)
"""
GPU = """
runs = [space["one"], space["every"]]
print(json.dumps({"checks": space["checks"], "states": [list(r.trials["state"]) for r in runs]}))
"""


def run_cells(folder: Path, notebook: str, program: str, settings: dict[str, Any]) -> Any:
    """What a program that runs a notebook's cells prints last."""
    quick = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(ROOT / "examples" / notebook)]
    done = subprocess.run(
        [*command, json.dumps(settings)],
        cwd=folder, env={**os.environ, **quick}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_notebook_runs_to_its_end_and_trains(tmp_path):
    settings = {"MODEL": "tiny", "DATA": "rows.jsonl", "TRIALS": 2}
    found = run_cells(tmp_path, "sweep.ipynb", ENCODER + CELLS + SWEEP, settings)
    assert len(found["states"]) == 2
    assert "COMPLETE" in found["states"]
    assert found["sums"] == pytest.approx(1.0)
    plan, run, trials, curves = [one for one in found["shown"] if "<table" in one or "<pre" in one]
    assert "lora" in plan
    assert "(LoRA)" in run
    assert "parameter.learning_rate" in trials
    assert "validation_loss" not in curves
    assert (tmp_path / "runs" / "modules" / "report.html").is_file()


@pytest.mark.slow
def test_the_notebook_of_a_gpu_checks_the_device_and_trains(tmp_path):
    doctor = ["doctor", "--gpu", "--json", "--quick"]
    settings = {"MODEL": "model", "DATA": "rows.jsonl", "TRIALS": 2, "DOCTOR": doctor}
    settings |= {"CLONE": str(ROOT)}
    found = run_cells(tmp_path, "gpu.ipynb", DECODER + CELLS + GPU, settings)
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert states["joined rows"] == states["4-bit"] == "ok"
    assert "failed" not in states.values()
    assert [states.count("FAIL") for states in found["states"]] == [0, 0]
    assert [len(states) for states in found["states"]] == [2, 2]


def test_the_notebook_of_a_gpu_installs_the_clone(monkeypatch):
    cells = json.loads((ROOT / "examples" / "gpu.ipynb").read_text())["cells"]
    install = [cell["source"] for cell in cells if cell["cell_type"] == "code"][1]
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.chdir(ROOT.parent)
    exec("".join(install), {"CLONE": ROOT.name})
    assert [command[-1] for command in commands] == [f"{ROOT}[train]"]
