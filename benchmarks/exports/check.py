"""Holds an exported folder against the schema of the trainer that it was written for.

    python check.py axolotl FOLDER

Runs in an environment with that trainer (see README.md), where sweeper need not be installed.
Prints what was checked; an unknown key or a wrong type ends with exit code 1.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import yaml


def check_axolotl(folder: Path) -> str:
    """Unknown keys pass Axolotl's own validation, so that they are compared here."""
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.config import AxolotlInputConfig

    fields = yaml.safe_load((folder / "axolotl.yaml").read_text())
    unknown = set(fields) - set(AxolotlInputConfig.model_fields)
    if unknown:
        raise SystemExit(f"unknown keys: {sorted(unknown)}")
    seen = validate_config(DictDefault(fields))
    assert seen.learning_rate == fields["learning_rate"]
    return f"{len(fields)} keys, validate_config passed"


def check_llama_factory(folder: Path) -> str:
    audio = types.ModuleType("torchaudio")  # imported, but used for audio alone
    audio.__spec__ = ModuleSpec("torchaudio", None)
    sys.modules.setdefault("torchaudio", audio)
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import get_train_args

    os.chdir(folder)
    fields = yaml.safe_load(Path("llama-factory.yaml").read_text())
    fields["bf16"] = False  # refused without a GPU
    _, data, training, finetuning, _ = get_train_args(fields)
    rows = get_dataset_list([*data.dataset, *data.eval_dataset], data.dataset_dir)
    files = [Path(data.dataset_dir) / row.dataset_name for row in rows]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise SystemExit(f"files that are not there: {missing}")
    assert training.learning_rate == fields["learning_rate"]
    return f"{len(fields)} keys, {finetuning.finetuning_type}, {len(rows)} data sets registered"


def check_trl(folder: Path) -> str:
    from datasets import load_dataset
    from trl import ModelConfig, ScriptArguments, SFTConfig, TrlParser

    os.chdir(folder)
    ast.parse(Path("train.py").read_text())
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig))
    fields = yaml.safe_load(Path("trl.yaml").read_text())
    script, training, _ = parser.parse_args_and_config(
        ["--config", "trl.yaml", "--use_cpu", "true"], fail_with_unknown_args=True
    )
    rows = load_dataset(script.dataset_name)
    assert training.learning_rate == fields["learning_rate"]
    sizes = {split: len(rows[split]) for split in rows}
    return f"{len(fields)} keys, rows: {json.dumps(sizes)}"


def check_litgpt(folder: Path) -> str:
    from litgpt.__main__ import main

    os.chdir(folder)
    fields = yaml.safe_load(Path("litgpt.yaml").read_text())
    command = "finetune_lora" if "lora_r" in fields else "finetune_full"
    sys.argv = ["litgpt", command, "--config", "litgpt.yaml", "--print_config"]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
    return f"{len(fields)} keys, litgpt {command} --print_config passed"


CHECKS: dict[str, Any] = {
    "axolotl": check_axolotl,
    "llama-factory": check_llama_factory,
    "trl": check_trl,
    "litgpt": check_litgpt,
}

if __name__ == "__main__":
    target, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    print(f"{target}: {CHECKS[target](folder)}")
