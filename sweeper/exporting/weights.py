"""The kept weights of a trial as a folder of their own: as they are, or as an adapter for PEFT."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from sweeper.artifact import write_text
from sweeper.errors import UsageError
from sweeper.exporting.configuration import nearest, new_folder, public_name
from sweeper.facts.record import ModelFacts
from sweeper.findings.record import Findings
from sweeper.jsontext import object_of
from sweeper.redaction import clean

RECORD = "sweeper.json"
_ADAPTER, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# PEFT's own classes give the trial's answers for these alone.
_FOR_PEFT = ("lora", "qlora")
_TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "vocab*",
    "merges.txt",
    "chat_template.jinja",
)


def copy_model(weights: Path, folder: Path) -> None:
    """Copy a trained model: a whole one as transformers reads it, or an adapter.

    Raises:
        UsageError: Its base lies in the run, so that the copy would not load.
    """
    _must_have_a_published_base(weights)
    part = new_folder(folder)
    shutil.copytree(weights, part)
    part.rename(folder)


def copy_adapter(weights: Path, folder: Path, findings: Findings, facts: ModelFacts) -> None:
    """Copy an adapter so that PEFT alone loads it on the published base.

    Raises:
        UsageError: PEFT would not give the trial's answers, or the base lies in the run.
    """
    record = object_of((weights / RECORD).read_text(encoding="utf-8"))
    strategy = str(record["strategy"])
    if record.get("pooling") is not None:
        raise UsageError(
            "PEFT does not load this classification head",
            why="The head has its own pooling and scaling.",
            fix="'sweeper export RUN --to model' gives a folder for sweeper.load.",
            where=str(weights),
        )
    if strategy not in _FOR_PEFT:
        raise UsageError(
            f"PEFT alone does not give the answers of this trial ({strategy})",
            fix=f"{nearest(findings, _FOR_PEFT)} Or export to 'model', for sweeper.load.",
            where=str(weights),
        )
    _must_have_a_published_base(weights)
    adapter = weights if (weights / _ADAPTER).is_file() else weights / "adapter"
    base, part = public_name(facts), new_folder(folder)
    part.mkdir(parents=True)
    shutil.copyfile(adapter / _WEIGHTS, part / _WEIGHTS)
    for path in sorted({path for pattern in _TOKENIZER for path in weights.glob(pattern)}):
        shutil.copyfile(path, part / path.name)
    config = object_of((adapter / _ADAPTER).read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base, "revision": facts.revision}
    write_text(part / _ADAPTER, json.dumps(config, indent=2, sort_keys=True) + "\n")
    card = _card(strategy, base, str(record["base_dtype"]), facts)
    write_text(part / "README.md", clean(card))
    part.rename(folder)


def _must_have_a_published_base(weights: Path) -> None:
    if object_of((weights / RECORD).read_text(encoding="utf-8")).get("first_stage"):
        raise UsageError(
            "these weights need a base that was trained on a corpus, which is in the run's folder",
            fix="'sweeper export RUN --to merged' writes a model that needs no base.",
            where=str(weights),
        )


def _card(strategy: str, base: str, dtype: str, facts: ModelFacts) -> str:
    quantised = [
        "from transformers import BitsAndBytesConfig",
        "",
        "four_bits = BitsAndBytesConfig(",
        '    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,',
        "    bnb_4bit_compute_dtype=torch.bfloat16,",
        ")",
    ]
    option = ", quantization_config=four_bits" if strategy == "qlora" else ""
    lines = [
        "---",
        *([f"license: {facts.license}"] if facts.license else []),
        "library_name: peft",
        f"base_model: {base}",
        "---",
        "",
        f"# An adapter for {base}, trained by sweeper",
        "",
        "```python",
        "import torch",
        "from peft import AutoPeftModelForCausalLM",
        *(quantised if strategy == "qlora" else []),
        "",
        "model = AutoPeftModelForCausalLM.from_pretrained(",
        f'    "PATH/TO/THIS/FOLDER", dtype=torch.{dtype}{option}',
        ")",
        "```",
        *(["", facts.weights_note] if facts.weights_note else []),
        "",
    ]
    return "\n".join(lines)
