from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.advice.cleaning import cleaned
from benchmarks.advice.expectation import FITTED, PLAIN
from benchmarks.advice.held_out import constants_without, without
from benchmarks.advice.pairs import predicted, score_pairs
from benchmarks.advice.rates import planned, score_rates
from sweeper.planning.rulebook.book import rule_book

BOOK = rule_book()
ROOT = Path(__file__).resolve().parents[2]


def sweep(rate: float, loss: float | None, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"q-{rate}",
        "source": "test",
        "comparison_group": "one",
        "method": "lora",
        "model": "A-30B",
        "n_train": 100_000,
        "metric": "loss",
        "metric_direction": "lower is better",
        "value": loss,
        "diverged": loss is None,
        "hyperparameters": {"lr": rate, "lora_r": 16},
    } | fields


def run(tmp_path: Path, *flags: str) -> str:
    quality = [sweep(1e-4, 0.60), sweep(3e-4, 0.58), sweep(1e-3, 0.61), sweep(1e-2, None)]
    rates = [
        {"id": "r-1", "method": "lora", "model": "A-30B", "best_lr": 3e-4, "n_train": 50_000},
        {"id": "r-2", "method": "full", "model": "A-30B", "best_lr": 9e-4},
    ]
    (tmp_path / "quality.json").write_text(json.dumps(quality), encoding="utf-8")
    (tmp_path / "lr.json").write_text(json.dumps({"records": rates}), encoding="utf-8")
    files = ["--quality", str(tmp_path / "quality.json"), "--lr", str(tmp_path / "lr.json")]
    command = [sys.executable, "-m", "benchmarks.advice", *files, *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_table_scores_rates_and_pairs(tmp_path: Path) -> None:
    text = run(tmp_path)
    assert "for 50.0% of 2 models and methods" in text
    assert "outside: r-2: 0.0009 not in " in text
    assert "constant rate" in text
    assert "pairs ordered rightly: 100.0% pooled" in text


def test_a_source_is_scored_without_the_rules_that_cite_it(tmp_path: Path) -> None:
    text = run(tmp_path, "--held-out")
    assert "test (without 0 rules)" in text
    assert "regret of LoRA's default: 0.000% of the loss, constant 3e-4 0.000%, over 1 s" in text
    tinker = "thinking-machines-lab/tinker-cookbook"
    left = without(BOOK, tinker)
    assert not any("tinker" in rule.source.lower() for rule in left.rules)
    assert len(left.rules) < len(BOOK.rules)
    assert constants_without(tinker).too_high == PLAIN.too_high
    assert constants_without(tinker).targets == FITTED.targets
    assert constants_without("another") == FITTED


@pytest.mark.parametrize("source", ["thinking-machines-lab/tinker-cookbook", "microsoft/LoRA"])
def test_without_a_source_loras_default_is_the_constant_that_is_hard_to_beat(source: str) -> None:
    rows, _ = cleaned([{"method": "lora", "model": "A-7B", "n_train": 100_000}])
    assert planned(without(BOOK, source), rows[0]).default == 3e-4


def test_json_has_one_line_a_record(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in run(tmp_path, "--json").splitlines()]
    scores = {line["id"]: line["score"] for line in lines if "score" in line}
    assert scores["q-0.0003"] > scores["q-0.0001"] > scores["q-0.01"]
    rate = next(line for line in lines if line["id"] == "r-1")
    assert rate["low"] <= rate["default"] <= rate["high"]


WRONG: tuple[Any, ...] = (None, "x", [1], {"a": 1}, -3, True, float("nan"), "1e-4", "7B", 0.5)


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_fields_that_cannot_be_read_take_their_defaults(wrong: Any) -> None:
    record = sweep(3e-4, 0.58) | {"best_lr": 3e-4, "n_params": 7e9, "std": 0.1, "hidden": 4096}
    for key in (*record, "hyperparameters.lr"):
        spoilt = {**record, "hyperparameters": {"lr": 3e-4, "lora_r": 16}}
        if key == "hyperparameters.lr":
            spoilt["hyperparameters"]["lr"] = wrong
        else:
            spoilt[key] = wrong
        rows, refused = cleaned([spoilt, record])
        assert refused == 0
        assert predicted(BOOK, rows[0]) <= 0
        assert planned(BOOK, rows[0]).decades > 0
        score_pairs(BOOK, rows)
        score_rates(BOOK, rows, rows, "A")


def test_what_is_left_out_has_a_stated_default() -> None:
    (bare, none), refused = cleaned([{}, 3, {"metric": "accuracy", "id": "b"}])
    assert refused == 1
    assert (bare["id"], bare["method"], bare["score_tier"]) == ("1", "lora", "A")
    assert none["metric_direction"] == "higher"
    assert cleaned([{"metric": "Validation loss"}])[0][0]["metric_direction"] == "lower is better"


def test_a_head_alone_has_the_rate_of_new_heads() -> None:
    plan = planned(BOOK, cleaned([{"method": "head", "id": "h"}])[0][0])
    assert plan.low <= 1e-2 <= plan.high
