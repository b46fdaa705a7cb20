"""Examples for the race: real lengths from Python's own functions, or all of one length.

Knows files and texts; knows nothing of training.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from benchmarks import json_lines

# Common words that byte-pair tokenizers write as one token after a space.
_WORDS = ("the", "of", "and", "to", "in", "is", "for", "on", "that", "with", "as", "by", "at")
_PROMPT_WORDS, _ANSWER_WORDS = 48, 96
_STDLIB = Path(__file__).resolve().parents[2] / "examples" / "stdlib.py"


def fixed(rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows of equally many words that are one token each: equal lengths, different texts."""
    rng = random.Random(seed)
    return [
        {
            "instruction": " ".join(rng.choices(_WORDS, k=_PROMPT_WORDS)),
            "output": " ".join(rng.choices(_WORDS, k=_ANSWER_WORDS)),
        }
        for _ in range(rows)
    ]


def real(rows: int, scratch: Path) -> list[dict[str, str]]:
    """Docstrings and the functions that they describe, from the standard library."""
    path = scratch / "functions.jsonl"
    command = [sys.executable, str(_STDLIB), "functions", "-o", str(path), "--rows", str(rows)]
    subprocess.run(command, check=True, capture_output=True)
    found = json_lines.read(path)[:rows]
    return [{name: str(row[name]) for name in ("instruction", "output")} for row in found]


def given(path: Path, rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Some rows of a file of JSON lines with instruction, perhaps input, and output."""
    found = json_lines.read(path)
    chosen = random.Random(seed).sample(found, min(rows, len(found)))
    return [
        {
            "instruction": "\n".join(filter(None, (row["instruction"], row.get("input")))),
            "output": row["output"],
        }
        for row in chosen
    ]


def write(rows: list[dict[str, str]], folder: Path) -> Path:
    """A folder with official splits; validation and test are two rows, which nobody is timed on."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = {"train": rows[:-4], "validation": rows[-4:-2], "test": rows[-2:]}
    for name, part in splits.items():
        json_lines.write(folder / f"{name}.jsonl", part)
    return folder
