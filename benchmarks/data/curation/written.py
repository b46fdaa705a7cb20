"""Whether a chosen tenth of noisy prompts and answers trains better than a random tenth.

    python -m benchmarks.data.curation.written --data FOLDER [--pool 100] [--seeds 3]

Some answers of a pool of rows are exchanged with each other. A tenth of the pool is chosen in
several ways, and the same short LoRA training is done on each; figures are validation losses on
rows without noise.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy

from benchmarks.data.curation.labels import interval
from sweeper.backend import Decision
from sweeper.data.load import load
from sweeper.facts.models.model import model_facts
from sweeper.spec import DataSpec, ModelSpec, Spec
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.keeper import load_base
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.base_model.weights import weights_folder
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import TrialBudget, TrialConfig

MODEL, TOKENS, BATCH, RATE = "packaged:smollm2", 128, 4, 1e-3
NOISE = 0.2
Row = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.data.curation.written")
    parser.add_argument("--data", required=True, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--prompt", default="mr", help="column")
    parser.add_argument("--answer", default="ref", help="column")
    parser.add_argument("--pool", type=int, default=100)
    parser.add_argument("--held-out", type=int, default=24, help="rows that losses are measured on")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    chosen = parser.parse_args()
    folder = Path(chosen.data)
    losses: dict[str, list[float]] = {}
    for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
        rng = random.Random(seed)
        pool = rng.sample(_rows(folder / "train.jsonl", chosen), chosen.pool)
        held = rng.sample(_rows(folder / "test.jsonl", chosen), chosen.held_out)
        wrong = _exchanged(pool, rng)
        ways = _ways(pool, rng)
        for way, places in ways.items():
            share = sum(place in wrong for place in places) / len(places)
            loss = _loss([pool[place] for place in places], held, seed, chosen.epochs)
            losses.setdefault(way, []).append(loss)
            print(
                f"seed {seed}, {way}: {len(places)} rows, {share:.0%} wrong, loss {loss:.4f}",
                flush=True,
            )
    for way, found in losses.items():
        apart = [one - other for one, other in zip(found, losses["random"], strict=True)]
        print(f"{way:24} {statistics.mean(found):.4f}  {interval(apart)} against random")


def _rows(path: Path, chosen: argparse.Namespace) -> list[Row]:
    """Rows of a file; the first answer where a column in the plural holds several."""
    prompt, answer = chosen.prompt, chosen.answer
    rows = list(map(json.loads, path.read_text(encoding="utf-8").splitlines()))
    return [
        {"prompt": row[prompt], "completion": row.get(answer) or row[f"{answer}s"][0]}
        for row in rows
    ]


def _exchanged(pool: list[Row], rng: random.Random) -> set[int]:
    """Give each of some rows the answer of the next one of them."""
    wrong = rng.sample(range(len(pool)), round(NOISE * len(pool)))
    answers = [pool[place]["completion"] for place in wrong]
    for place, answer in zip(wrong, answers[1:] + answers[:1], strict=True):
        pool[place]["completion"] = answer
    return set(wrong)


def _ways(pool: list[Row], rng: random.Random) -> dict[str, list[int]]:
    """Places of a tenth of the rows, by how they are chosen."""
    scores = _difficulties([(row["prompt"], row["completion"]) for row in pool])
    order = sorted(range(len(pool)), key=scores.__getitem__)
    tenth = len(pool) // 10
    return {
        "random": rng.sample(range(len(pool)), tenth),
        "difficulty, lowest": order[:tenth],
        "random of the lower 3/4": rng.sample(order[: len(pool) * 3 // 4], tenth),
    }


def _difficulties(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Loss of each answer after its prompt, divided by its loss without one.

    At 1 or more, the prompt tells the model nothing of the answer. 1 where the answer is empty.

    Source: Instruction-Following Difficulty, Li et al. 2024, arXiv:2308.12032, equation 4.
    """
    folder = Path(str(model_facts(ModelSpec(id=MODEL)).folder))
    model = load_base(folder, "CAUSAL_LM", torch.float32, torch.device("cpu"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    answers = [_ids(tokenizer, answer)[:TOKENS] for _, answer in pairs]
    prompts = [_ids(tokenizer, f"{prompt}\n")[-TOKENS:] for prompt, _ in pairs]
    after = _losses(model, prompts, answers)
    alone = _losses(model, [[] for _ in pairs], answers)
    return [one / other if other else 1.0 for one, other in zip(after, alone, strict=True)]


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def _losses(model: Any, before: list[list[int]], answers: list[list[int]]) -> list[float]:
    """Mean nats of each answer's tokens. The first one follows the start token, if there is one."""
    start = getattr(model.config, "bos_token_id", None)
    begin = [start if isinstance(start, int) else 0]
    rows = [begin + first + answer for first, answer in zip(before, answers, strict=True)]
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    losses = [0.0] * len(rows)
    device = next(model.parameters()).device
    for at in range(0, len(order), BATCH):
        part = order[at : at + BATCH]
        width = max(len(rows[n]) for n in part)
        ids = torch.tensor([rows[n] + [0] * (width - len(rows[n])) for n in part], device=device)
        mask = torch.tensor([[1] * len(rows[n]) + [0] * (width - len(rows[n])) for n in part])
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask.to(device), use_cache=False).logits
        for place, n in enumerate(part):
            if count := len(answers[n]):
                said = logits[place, len(rows[n]) - count - 1 : len(rows[n]) - 1].float()
                true = ids[place, len(rows[n]) - count : len(rows[n])]
                losses[n] = float(cross_entropy(said, true))
    return losses


def _loss(train: Sequence[Row], held: Sequence[Row], seed: int, epochs: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        parts = {"train": train, "validation": held, "test": held[:2]}
        for split, rows in parts.items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (Path(folder) / f"{split}.jsonl").write_text(text, encoding="utf-8")
        named = ModelSpec(id=MODEL)
        facts = model_facts(named)
        spec = Spec(task="instruction", models=(named,), data=DataSpec(path=folder))
        dataset = load(spec.data, spec.task)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        weights = weights_folder(named, facts)
        context = ModelContext(named, facts, weights, dataset, spec, TOKENS, BATCH, device)
        config = TrialConfig(
            number=0,
            seed=seed,
            origin="user",
            task="instruction",
            strategy="lora",
            model=MODEL,
            parameters={
                "learning_rate": RATE,
                "r": 16,
                "lora_alpha": 32,
                "target_modules": "all-linear",
            },
            budget=TrialBudget(
                epochs=epochs, full_tokens=len(train) * TOKENS, rungs=1, rung_items=BATCH
            ),
            micro_batch=BATCH,
            gradient_accumulation_steps=1,
            evaluation_batch=BATCH,
            precision="bf16-mixed",
            sequence_length=TOKENS,
        )
        job = TrialJob(
            SharedModel(context),
            config,
            Path(folder) / "trial",
            lambda _: Decision.CONTINUE,
        )
        (Path(folder) / "trial").mkdir()
        result = train_trial(job)
    if result.validation_loss is None:
        raise SystemExit(f"a training did not end well: {result.failure}")
    return result.validation_loss


if __name__ == "__main__":
    main()
