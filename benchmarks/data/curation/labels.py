"""Whether curated rows of noisy labels train better: a chosen tenth, or all rows after a remedy.

    python -m benchmarks.data.curation.labels --data FOLDER [--noise 0.2] [--seeds 4] [--all]

Some labels of train are replaced by others. A tenth of the rows is chosen in several ways, or, with
--all, all rows are taken after several remedies. Then a linear head is fitted on the frozen
features of the packaged encoder; figures are accuracies on the test split, which has no noise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from sweeper.facts.models.model import model_facts
from sweeper.features.quality._spread_rows import embedded, spread
from sweeper.features.quality._trust import LabelTrust, trust_of
from sweeper.spec import ModelSpec
from sweeper.training.base_model.keeper import load_base

MODEL = "packaged:minilm"
Numbers = Any
Ways = dict[str, Callable[[], tuple[Numbers, Numbers]]]
"""By how they are chosen, places of rows and the labels of all rows."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.data.curation.labels")
    parser.add_argument("--data", required=True, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--noise", type=float, default=0.2, help="share of wrong labels")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--all", action="store_true", help="compare remedies on all rows")
    parser.add_argument("--features", type=Path, help="keep features in this file (.npz)")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = {split: _rows(Path(chosen.data) / f"{split}.jsonl") for split in ("train", "test")}
    features = _features(rows, chosen.features)
    labels = sorted({label for _, label in rows["train"]})
    true = {split: np.array([labels.index(label) for _, label in rows[split]]) for split in rows}
    found: dict[str, list[float]] = {}
    for seed in range(chosen.seeds):
        rng = np.random.default_rng(seed)
        given = true["train"].copy()
        wrong = rng.choice(len(given), round(chosen.noise * len(given)), replace=False)
        given[wrong] = (given[wrong] + rng.integers(1, len(labels), len(wrong))) % len(labels)
        texts = tuple(text for text, _ in rows["train"])
        places = tuple(range(len(texts)))
        trust = trust_of(places, texts, tuple(labels[number] for number in given))
        if chosen.all:
            ways = _remedies(trust, given, labels)
        else:
            ways = _tenths(trust, given, features["train"], rng)
        for way, rows_of in ways.items():
            taken, written = rows_of()
            model = LogisticRegression(C=10, max_iter=100, tol=1e-3)
            model.fit(features["train"][taken], written[taken])
            right = float((model.predict(features["test"]) == true["test"]).mean())
            found.setdefault(way, []).append(right)
            share = float((written[taken] != true["train"][taken]).mean())
            said = f"{len(taken)} rows, {share:.1%} wrong, accuracy {right:.4f}"
            print(f"seed {seed}, {way}: {said}", flush=True)
    base = next(iter(found))
    for way, scores in found.items():
        apart = [one - other for one, other in zip(scores, found[base], strict=True)]
        print(f"{way:28} {statistics.mean(scores):.4f}  {interval(apart)} against {base}")


def _rows(path: Path) -> list[tuple[str, str]]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [(row["text"], row["label"]) for row in rows]


def _remedies(trust: LabelTrust, given: Numbers, labels: list[str]) -> Ways:
    """All rows, as they are and after remedies."""
    suspected = np.array(trust.suspected)
    sure = np.array(trust.sure)
    predicted = np.array([labels.index(label) for label in trust.predicted])
    written = np.where(sure, predicted, given)
    return {
        "all rows": lambda: (np.arange(len(given)), given),
        "label-noise": lambda: (np.flatnonzero(~suspected), given),
        "relabel": lambda: (np.arange(len(given)), written),
        "relabel and label-noise": lambda: (np.flatnonzero(~suspected | sure), written),
    }


def _tenths(trust: LabelTrust, given: Numbers, features: Numbers, rng: Any) -> Ways:
    """A tenth of the rows."""
    seed = int(rng.integers(2**31))
    every, tenth = np.arange(len(given)), len(given) // 10
    clean = np.flatnonzero(~np.array(trust.suspected))
    places: dict[str, Callable[[], Numbers]] = {
        "random": lambda: rng.choice(every, tenth, replace=False),
        "random, suspects left out": lambda: rng.choice(clean, tenth, replace=False),
        "most trusted": lambda: np.lexsort((rng.random(len(every)), -np.array(trust.trust)))[
            :tenth
        ],
        "spread": lambda: np.array(spread(features, tenth, seed)),
        "spread, suspects left out": lambda: clean[spread(features[clean], tenth, seed)],
    }

    def chosen(way: str) -> Callable[[], tuple[Numbers, Numbers]]:
        return lambda: (places[way](), given)

    return {way: chosen(way) for way in places}


def _features(rows: dict[str, list[tuple[str, str]]], kept: Path | None) -> dict[str, Numbers]:
    if kept is not None and kept.is_file():
        with np.load(kept) as arrays:
            return {split: arrays[split] for split in rows}
    folder = Path(str(model_facts(ModelSpec(id=MODEL)).folder))
    model: Any = load_base(folder, "FEATURE_EXTRACTION", torch.float32, torch.device("cpu"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made = {
        split: embedded(model, tokenizer, [text for text, _ in some])
        for split, some in rows.items()
    }
    if kept is not None:
        np.savez(kept, train=made["train"], test=made["test"])
    return made


def interval(apart: Sequence[float]) -> str:
    """Mean and 95% interval (Student's t) of paired differences."""
    if len(apart) < 2:
        return f"{apart[0]:+.4f}"
    half = float(student.ppf(0.975, len(apart) - 1)) * statistics.stdev(apart) / len(apart) ** 0.5
    return f"{statistics.mean(apart):+.4f} (plus or minus {half:.4f})"


if __name__ == "__main__":
    main()
