"""The kept weights of a trial as a folder of their own: as they are, or as an adapter for PEFT."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sweeper.artifact import replacing, write_text
from sweeper.errors import UsageError
from sweeper.facts.record import ModelFacts
from sweeper.features.exporting._configuration import must_be_new, nearest, public_name
from sweeper.features.exporting._kept_files import kept_files
from sweeper.findings.record import Findings
from sweeper.jsontext import object_of
from sweeper.redaction import clean
from sweeper.textfile import read_text

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


def copy_model(weights: Path, folder: Path) -> tuple[str, ...]:
    """Copy a trained model: a whole one as transformers reads it, or an adapter.

    An adapter that PEFT loads by the path of its base on this machine gets the base's name.

    Returns:
        The files that were left out, since sweeper did not write them.

    Raises:
        UsageError: Its base lies in the run, so that the copy would not load, or the folder holds
            links.
    """
    kept = kept_files(weights)
    _must_have_a_published_base(weights, kept.record)
    must_be_new(folder)
    with replacing(folder) as part:
        _copy(weights, kept.names, part)
        if _ADAPTER in kept.names:
            config = object_of(read_text(part / _ADAPTER))
            if Path(str(config["base_model_name_or_path"])).is_absolute():
                config["base_model_name_or_path"] = kept.record["base_model"]
            write_text(part / _ADAPTER, json.dumps(config, indent=2, sort_keys=True) + "\n")
    return kept.others


def copy_adapter(weights: Path, folder: Path, findings: Findings, facts: ModelFacts) -> None:
    """Copy an adapter so that PEFT alone loads it on the published base.

    Raises:
        UsageError: PEFT would not give the trial's answers, the base lies in the run, or the folder
            holds links.
    """
    kept = kept_files(weights)
    record = kept.record
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
    _must_have_a_published_base(weights, record)
    adapter = weights if _ADAPTER in kept.names else weights / "adapter"
    base = public_name(facts)
    must_be_new(folder)
    with replacing(folder) as part:
        _copy(adapter, [_WEIGHTS], part)
        tokenizer = [
            n for n in kept.names if any(fnmatchcase(n, pattern) for pattern in _TOKENIZER)
        ]
        _copy(weights, tokenizer, part)
        config = object_of(read_text(adapter / _ADAPTER))
        config |= {"base_model_name_or_path": base, "revision": facts.revision}
        write_text(part / _ADAPTER, json.dumps(config, indent=2, sort_keys=True) + "\n")
        card = _card(strategy, base, str(record["base_dtype"]), facts)
        write_text(part / "README.md", clean(card))


def _copy(source: Path, names: Sequence[str], to: Path) -> None:
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, to / name)


def _must_have_a_published_base(weights: Path, record: Mapping[str, Any]) -> None:
    if record.get("base"):
        raise UsageError(
            "these weights need a base that was made for them, which is in the run's folder",
            fix="'sweeper export RUN --to merged' writes a model that needs no base.",
            where=str(weights),
            code="base-in-run",
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
