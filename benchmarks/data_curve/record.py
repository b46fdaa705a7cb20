"""Records trainings on nested shares of real rows: ``python -m benchmarks.data_curve.record``.

Trained are a new head on the frozen packaged encoder (``head``), or the head and the encoder's last
layer (``layer``). What the layers below compute is the same in every training and is made once, so
that hundreds of trainings take an hour on one core. Of each seed one line of JSON is appended for
each size; lines that are there are not made again.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModel, AutoTokenizer

from benchmarks import json_lines
from benchmarks.json_lines import Row
from benchmarks.live.rows import cut
from sweeper.data.examples import digest
from sweeper.facts.models.packaged import ready_folder

SETS = ("banking77", "snips7", "query_wellformed")
ROWS, SHARES = 800, (8, 4, 2, 1)
KINDS = {"head": 20, "layer": 4}
"""What is trained, and for how many epochs."""
BATCH, RATE, HEAD_RATE = 16, 5e-4, 1e-2
VALIDATION = 400
_TOKENS = 32


@dataclass
class Texts:
    """A split as the last layer sees it."""

    states: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor


class Head(nn.Module):
    """The encoder's last layer, the mean over tokens, and a linear head."""

    def __init__(self, layer: nn.Module, classes: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(384, classes)

    def pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Features ``(rows, width)``."""
        length = int(mask.sum(1).max())
        states, mask = states[:, :length], mask[:, :length]
        hidden: Any = self.layer(states, (1.0 - mask[:, None, None, :]) * -1e9)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return torch.Tensor((hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True))

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits ``(rows, classes)``; states without tokens are features already."""
        features = self.pooled(states, mask) if states.dim() == 3 else states
        return torch.Tensor(self.head(features))


def order(rows: list[Row], seed: int) -> list[int]:
    """Places of the rows so that every prefix has the shares of the classes."""
    keyed = sorted(range(len(rows)), key=lambda at: digest(f"{seed}:{rows[at]['text']}"))
    count: dict[str, int] = {}
    size: dict[str, int] = {}
    for row in rows:
        size[row["label"]] = size.get(row["label"], 0) + 1
    ranked: list[tuple[float, int, int]] = []
    for at in keyed:
        label = rows[at]["label"]
        ranked.append((count.get(label, 0) / size[label], len(ranked), at))
        count[label] = count.get(label, 0) + 1
    return [at for _, _, at in sorted(ranked)]


class Subject:
    """One data set, ready for trainings."""

    def __init__(self, data: Path, scratch: Path) -> None:
        cut(data, scratch, {"train": ROWS, "validation": VALIDATION, "test": 10})
        self.rows = json_lines.read(scratch / "train.jsonl")
        folder = ready_folder("packaged:minilm")
        if folder is None:
            raise SystemExit("packaged:minilm is not installed")
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._base = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        self._labels = sorted({row["label"] for row in self.rows})
        self._layer = self._base.encoder.layer[-1]
        found = self._texts(self.rows), self._texts(json_lines.read(scratch / "validation.jsonl"))
        self._texts_of = {"layer": found, "head": (self._frozen(found[0]), self._frozen(found[1]))}

    def _texts(self, rows: list[Row]) -> Texts:
        parts, masks = [], []
        with torch.no_grad():
            for start in range(0, len(rows), 64):
                texts = [row["text"] for row in rows[start : start + 64]]
                batch = self._tokenizer(
                    texts,
                    truncation=True,
                    max_length=_TOKENS,
                    padding=True,
                    return_tensors="pt",
                )
                hidden = self._base(**batch, output_hidden_states=True).hidden_states[-2]
                room = _TOKENS - hidden.shape[1]
                parts.append(nn.functional.pad(hidden, (0, 0, 0, room)))
                masks.append(nn.functional.pad(batch["attention_mask"].float(), (0, room)))
        labels = torch.tensor([self._labels.index(row["label"]) for row in rows])
        return Texts(torch.cat(parts), torch.cat(masks), labels)

    def _frozen(self, texts: Texts) -> Texts:
        model = Head(self._layer, 1).eval()
        with torch.no_grad():
            parts = [
                model.pooled(texts.states[at : at + 64], texts.mask[at : at + 64])
                for at in range(0, len(texts.labels), 64)
            ]
        return Texts(torch.cat(parts), texts.mask, texts.labels)

    def training(self, kind: str, rows: int, seed: int) -> dict[str, float]:
        """Train on the first rows of a seed's order; the validation loss and accuracy."""
        train, validation = self._texts_of[kind]
        torch.manual_seed(seed)
        draw = np.random.default_rng((seed, rows))
        layer = copy.deepcopy(self._layer) if kind == "layer" else nn.Identity()
        model = Head(layer, len(self._labels))
        groups: list[dict[str, Any]] = [{"params": model.head.parameters(), "lr": HEAD_RATE}]
        if kind == "layer":
            groups.append({"params": layer.parameters(), "lr": RATE})
        optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        taken = np.array(order(self.rows, seed)[:rows])
        steps = KINDS[kind] * -(-rows // BATCH)
        warm = max(1, steps // 20)
        shape = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda at: min((at + 1) / warm, (steps - at) / max(1, steps - warm))
        )
        model.train()
        for _ in range(KINDS[kind]):
            for places in _batches(train, taken[draw.permutation(rows)]):
                at = torch.from_numpy(places)
                with torch.autocast("cpu", torch.bfloat16):
                    logits = model(train.states[at], train.mask[at])
                loss = cross_entropy(logits.float(), train.labels[at])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                shape.step()
        return _scored(model.eval(), validation)


def _batches(texts: Texts, shuffled: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Batches of rows of about one length, as sweeper makes them."""
    lengths = texts.mask.sum(1).numpy()
    for start in range(0, len(shuffled), 8 * BATCH):
        chunk = shuffled[start : start + 8 * BATCH]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        yield from (chunk[at : at + BATCH] for at in range(0, len(chunk), BATCH))


def _scored(model: Head, texts: Texts) -> dict[str, float]:
    logits = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(texts.labels), 64):
            at = slice(start, start + 64)
            logits.append(model(texts.states[at], texts.mask[at]))
    found = torch.cat(logits).float()
    right = (found.argmax(1) == texts.labels).float().mean()
    loss = cross_entropy(found, texts.labels)
    return {"loss": round(float(loss), 5), "accuracy": round(float(right), 5)}


def missing(path: Path, seeds: dict[str, int]) -> Iterator[tuple[str, str, int, int]]:
    """Kind, set, seed and rows of the trainings that the file lacks, all sets in turn."""
    lines = json_lines.read(path) if path.is_file() else []
    known = {(one["kind"], one["set"], one["seed"], one["rows"]) for one in lines}
    for kind, count in seeds.items():
        for seed, name, share in itertools.product(range(count), SETS, SHARES):
            if (kind, name, seed, ROWS // share) not in known:
                yield kind, name, seed, ROWS // share


def main() -> None:
    """Read the flags; append what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--scratch", type=Path, required=True, help="where parts of them go")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "losses.jsonl")
    parser.add_argument("--seeds", type=int, default=60, help="of the head")
    parser.add_argument("--layer-seeds", type=int, default=30, help="of head and layer")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    subjects: dict[str, Subject] = {}
    wanted = {"head": asked.seeds, "layer": asked.layer_seeds}
    for kind, name, seed, rows in missing(asked.out, wanted):
        if name not in subjects:
            subjects[name] = Subject(asked.data / name, asked.scratch / name)
        began = time.perf_counter()
        found = subjects[name].training(kind, rows, seed)
        line = {"kind": kind, "set": name, "seed": seed, "rows": rows, **found}
        json_lines.append(asked.out, line)
        print(json.dumps(line), f"{time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
