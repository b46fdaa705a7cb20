"""Both measures of domain distance on texts whose distance is known, for their thresholds.

    python -m benchmarks.domain --model packaged:smollm2 NAME=FILE.jsonl:field,field ... docs source

``docs`` and ``source`` are documentation and code of Python's own library. Printed are bits per
byte under the model and tokens per word under its tokenizer, each over that of general text. A
text counts as far from ``FAR`` (tokens per word) or ``FAR_BITS`` (bits per byte) on.
"""

from __future__ import annotations

import argparse
import inspect
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer

from sweeper.facts.bits_per_byte import PIECES, general_pieces, pieces
from sweeper.facts.domain import FAR, FAR_BITS, general_text, tokens_per_word
from sweeper.facts.lengths import ruler
from sweeper.facts.model import model_facts
from sweeper.spec import ModelSpec
from sweeper.training.base_model.keeper import load_base
from sweeper.training.probes.bits_per_byte import bits_per_byte

ROWS = 200
_MODULES = (argparse, inspect, json)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.domain")
    parser.add_argument("--model", default="packaged:smollm2", help="a model with weights here")
    parser.add_argument("texts", nargs="+", help="NAME=FILE.jsonl:field,field, docs or source")
    parser.add_argument("--pieces", type=int, default=PIECES, help="how many pieces of each text")
    arguments = parser.parse_args()
    facts = model_facts(ModelSpec(id=arguments.model))
    if facts.folder is None:
        raise SystemExit(f"{arguments.model} is not on this machine")
    folder = Path(facts.folder)
    model = load_base(folder, "CAUSAL_LM", torch.float32, torch.device("cpu"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    measure = ruler(facts, code=False, conversations=False)
    general = tokens_per_word([general_text()], measure) or 1.0
    known: dict[tuple[str, ...], float] = {}
    print(f"{'texts':<20} {'bytes':>7} {'bits/byte':>9} {'general':>8} {'ratio':>6} {'words':>6}")
    for item in arguments.texts:
        name, rows = texts_of(item)
        cut = pieces(rows)[: arguments.pieces]
        like = tuple(general_pieces(cut))
        if like not in known:  # texts cut at the same length are held against the same pieces
            known[like] = bits_per_byte(model, tokenizer, like)
        ours, usual = bits_per_byte(model, tokenizer, cut), known[like]
        words = (tokens_per_word(rows, measure) or 0.0) / general
        size = sum(len(piece.encode()) for piece in cut)
        print(
            f"{name:<20} {size:>7} {ours:>9.3f} {usual:>8.3f} {ours / usual:>6.2f} {words:>6.2f}"
            f"{'  far by bits' if ours >= FAR_BITS * usual else ''}"
            f"{'  far by words' if words >= FAR else ''}",
            flush=True,
        )


def texts_of(item: str) -> tuple[str, list[str]]:
    """A name and its texts, from the command line's words."""
    if item in ("docs", "source"):
        found = [inspect.getsource(module) for module in _MODULES]
        if item == "docs":
            members = [inspect.getmembers(module, callable) for module in _MODULES]
            found = [inspect.getdoc(value) or "" for group in members for _, value in group]
        else:
            found = [part for source in found for part in source.split("\n\n\n")]
        return f"python {item}", found[:ROWS]
    name, _, rest = item.partition("=")
    path, _, fields = rest.rpartition(":")
    lines = Path(path).read_text(encoding="utf-8").splitlines()[:ROWS]
    rows = [json.loads(line) for line in lines]
    return name, ["\n".join(str(row[field]) for field in fields.split(",")) for row in rows]


if __name__ == "__main__":
    main()
