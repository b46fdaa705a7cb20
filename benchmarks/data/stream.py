"""A large made JSONL through check, split and tokenising: sweeper beside `datasets`.

    python -m benchmarks.data.stream [--gib 5] [--folder DIR]

Each stage runs in a process of its own, in turn with the other's. The rows are instructions with
answers, some of them empty, repeated or answered twice. Both look for those faults, split by the
hash of the input, and tokenise with the chat template of the packaged SmolLM2. `all kinds` is
`sweeper data check` as users run it; `datasets` has nothing like it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

MODEL = "packaged:smollm2"
SHARED_KINDS = ("unreadable", "form", "empty", "conflicts", "duplicates")
STAGES = ("check", "split", "tokenise")
TOKENS = 1024


def made(path: Path, gib: float, seed: int = 0) -> int:
    """Write rows of about 600 bytes until the file has its size; gives their number."""
    chance = random.Random(seed)
    pages = sorted(Path(__file__).parents[2].glob("docs/*.md"))
    words = [word for page in pages for word in re.findall(r"[a-z]{2,}", page.read_text("utf-8"))]
    said = [" ".join(chance.choices(words, k=chance.randint(6, 18))) + "." for _ in range(20_000)]
    rows = 0
    last = ("Say something.", "Something.")
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < gib * 2**30:
            for _ in range(1000):
                kind = chance.random()
                asked, answer = (
                    " ".join(chance.choices(said, k=2)),
                    " ".join(chance.choices(said, k=chance.randint(1, 9))),
                )
                if kind < 0.01:
                    asked, answer = last
                elif kind < 0.015:
                    asked = last[0]
                elif kind < 0.02:
                    answer = ""
                last = asked, answer
                file.write(json.dumps({"instruction": asked, "output": answer}) + "\n")
            rows += 1000
    return rows


def ours(stage: str, path: Path, model: str) -> str:
    """One stage of sweeper; gives what it found."""
    from sweeper.data.load_large import load_any
    from sweeper.data.reading.read import read
    from sweeper.data.rows import read_rows
    from sweeper.features.quality._check import check
    from sweeper.features.quality._kinds.base import kinds
    from sweeper.spec import DataSpec

    spec = DataSpec(path=str(path))
    if stage in ("check", "all kinds"):
        wanted = [kinds()[name] for name in SHARED_KINDS] if stage == "check" else None
        found = check(read_rows(spec, "instruction", partial(read, stored=True)), wanted)
        return ", ".join(f"{one.kind} {one.count}" for one in found.findings)
    dataset = load_any(spec, "instruction")
    if stage == "split":
        return ", ".join(f"{split} {len(rows)}" for split, rows in dataset.splits.items())
    from transformers import AutoTokenizer

    from sweeper.evaluation.tokenized_items import TokenizedSplit
    from sweeper.facts.models.model import model_facts
    from sweeper.spec import ModelSpec, Spec
    from sweeper.tasks.instruction import Instruction

    facts = model_facts(ModelSpec(id=model))
    request = Spec(task="instruction", models=(ModelSpec(id=model),), data=spec)
    tokenizer = AutoTokenizer.from_pretrained(model)
    task = Instruction(dataset, tokenizer, facts, request, TOKENS)
    return str(sum(sum(TokenizedSplit(task, part).lengths) for part in dataset.splits.values()))


def theirs(stage: str, path: Path, model: str) -> str:
    """The same stage with `datasets`, batched as its documentation advises."""
    import datasets

    from sweeper.data.examples import digest, input_key

    datasets.disable_progress_bars()
    rows = datasets.load_dataset("json", data_files=str(path), split="train")

    def hashed(batch: dict[str, list[str]]) -> dict[str, list[str]]:
        keys = [input_key(text) for text in batch["instruction"]]
        return {
            "key": keys,
            "content": [input_key(text) for text in batch["output"]],
            "place": [digest(f"0:{key}") for key in keys],
        }

    rows = rows.map(hashed, batched=True)
    if stage == "check":
        empty = repeated = conflicting = 0
        seen: set[tuple[int, int]] = set()
        answers: dict[int, int] = {}
        for batch in rows.select_columns(["output", "key", "content"]).iter(1000):
            for output, key, content in zip(*batch.values(), strict=True):
                if not output.strip():
                    empty += 1
                    continue
                number, answer = int(key[:16], 16), int(content[:16], 16)
                repeated += (number, answer) in seen
                seen.add((number, answer))
                conflicting += answers.setdefault(number, answer) != answer
        return f"empty {empty}, duplicates {repeated}, conflicts {conflicting}"
    kept = rows.filter(
        lambda texts: [bool(text.strip()) for text in texts], input_columns="output", batched=True
    )
    held = 2500 / len(kept)
    limits = {"validation": (0.0, held), "test": (held, 2 * held), "train": (2 * held, 1.01)}
    parts = {
        split: kept.filter(
            lambda places, low=low, high=high: [
                low <= int(place[:12], 16) / 16**12 < high for place in places
            ],
            input_columns="place",
            batched=True,
        )
        for split, (low, high) in limits.items()
    }
    if stage == "split":
        for split, part in parts.items():
            part.save_to_disk(path.parent / "parts" / split)
        return ", ".join(f"{split} {len(part)}" for split, part in parts.items())
    return str(sum(_tokens(part, model) for part in parts.values()))


def _tokens(rows: Any, model: str) -> int:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def encoded(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        asked = [[{"role": "user", "content": text}] for text in batch["instruction"]]
        prompts = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        ends = [f"{answer}<|im_end|>" for answer in batch["output"]]
        heads = tokenizer(prompts, add_special_tokens=False)["input_ids"]
        whole = tokenizer(
            [prompt + end for prompt, end in zip(prompts, ends, strict=True)],
            add_special_tokens=False,
        )["input_ids"]
        labels = [
            [-100] * len(head) + ids[len(head) :] for head, ids in zip(heads, whole, strict=True)
        ]
        cut = [max(0, len(ids) - TOKENS) for ids in whole]
        return {
            "input_ids": [ids[n:] for ids, n in zip(whole, cut, strict=True)],
            "labels": [ids[n:] for ids, n in zip(labels, cut, strict=True)],
        }

    done = rows.map(encoded, batched=True, remove_columns=rows.column_names)
    return sum(len(ids) for batch in done.iter(1000) for ids in batch["input_ids"])


def measured(who: str, stage: str, path: Path, model: str) -> tuple[float, float, str]:
    """CPU seconds, peak GiB of anonymous memory with children, and what was found."""
    home = path.parent
    told = {
        "SWEEPER_HOME": str(home / "sweeper"),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [
        sys.executable,
        "-m",
        "benchmarks.data.stream",
        "--one",
        who,
        stage,
        str(path),
        model,
    ]
    process = psutil.Popen(
        command, env={**os.environ, **told}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(_anonymous(one) for one in _family(process)))
        time.sleep(0.1)
    printed = process.stdout.read().decode() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{who} failed at {stage}:\n{printed}")
    seconds, found = printed.strip().splitlines()[-1].split(" ", 1)
    return float(seconds), peak / 2**30, found


def _family(process: psutil.Popen) -> Iterator[psutil.Process]:
    yield process
    try:
        yield from process.children(recursive=True)
    except psutil.NoSuchProcess:
        return


def _anonymous(process: psutil.Process) -> int:
    """Resident memory without pages of mapped files, which the system takes back at need."""
    try:
        found = process.memory_info()
    except psutil.Error:
        return 0
    return int(found.rss - found.shared)


def _tokenizer_folder() -> str:
    from sweeper.facts.models.model import model_facts
    from sweeper.spec import ModelSpec
    from sweeper.training.base_model.weights import weights_folder

    named = ModelSpec(id=MODEL)
    return str(weights_folder(named, model_facts(named)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data.stream", description=__doc__)
    parser.add_argument("--gib", type=float, default=5.0)
    parser.add_argument("--folder", type=Path, help="for the file and all caches")
    parser.add_argument("--stages", default=",".join((*STAGES, "all kinds")))
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        who, stage, named, model = args.one
        found = {"sweeper": ours, "datasets": theirs}[who](stage, Path(named), model)
        print(time.process_time(), found)
        return
    table = Table(title=f"CPU seconds and peak GiB, {args.gib} GiB of JSONL")
    for column in ("stage", "sweeper s", "datasets s", "ratio", "sweeper GiB", "datasets GiB"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    model = _tokenizer_folder()
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        path = Path(scratch) / "rows.jsonl"
        print(f"{made(path, args.gib):,} rows, {path.stat().st_size / 2**30:.2f} GiB", flush=True)
        totals = [0.0, 0.0]
        for stage in args.stages.split(","):
            own = measured("sweeper", stage, path, model)
            print(f"{stage}, sweeper: {own[0]:.1f} s, {own[1]:.2f} GiB: {own[2]}", flush=True)
            if stage not in STAGES:
                table.add_row(stage, f"{own[0]:.1f}", "", "", f"{own[1]:.2f}", "")
                continue
            other = measured("datasets", stage, path, model)
            print(
                f"{stage}, datasets: {other[0]:.1f} s, {other[1]:.2f} GiB: {other[2]}", flush=True
            )
            ratio = f"{own[0] / other[0]:.2f}"
            seconds = f"{own[0]:.1f}", f"{other[0]:.1f}"
            table.add_row(stage, *seconds, ratio, f"{own[1]:.2f}", f"{other[1]:.2f}")
            totals = [totals[0] + own[0], totals[1] + other[0]]
    if totals[1]:
        table.add_row("together", *(f"{one:.1f}" for one in totals), f"{totals[0] / totals[1]:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
