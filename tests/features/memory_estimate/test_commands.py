from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from sweeper.features.memory_estimate.commands import memory

APP = typer.Typer()
APP.command()(memory)


def _run(*args: str) -> str:
    result = CliRunner().invoke(APP, args, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_a_table_of_parts_with_the_verdict() -> None:
    text = _run("--model", "7B", "--strategy", "qlora", "--gpu-memory", "24")
    assert "base weights in nf4-dq" in text
    assert "peak" in text
    assert "It fits 24.0 GiB." in text
    large = ("--model", "7B", "--strategy", "qlora", "--sequence-length", "4096")
    found = json.loads(_run(*large, "--gradient-checkpointing", "--gpu-memory", "16", "--json"))
    told = " ".join(_run(*large, "--gpu-memory", "16").split())
    less = f"With --gradient-checkpointing the peak is {found['peak_gib']:.1f} GiB."
    assert f"It does not fit 16.0 GiB. {less}" in told
    told = _run(*large, "--gradient-checkpointing", "--gpu-memory", "3")
    assert told.rstrip().endswith("It does not fit 3.0 GiB."), "it has it already"


def test_json_holds_peak_interval_parts_and_setup() -> None:
    found = json.loads(_run("--model", "7B", "--rank", "8", "--gpu", "RTX 4090", "--json"))
    assert (found["setup"]["r"], found["setup"]["device"]) == (8, "cuda")
    assert found["low_gib"] < found["peak_gib"] < found["high_gib"]
    assert sum(found["parts"].values()) == pytest.approx(found["peak_gib"])
    assert found["limit_gib"] == pytest.approx(24, abs=0.5)
    assert found["dry_run"] is None


def test_a_strategy_has_the_defaults_of_its_file() -> None:
    set_up = json.loads(_run("--model", "7B", "--strategy", "adapter", "--cpu", "--json"))["setup"]
    assert (set_up["placement"], set_up["reduction_factor"]) == ("pfeiffer", 16)
    assert set_up["device"] == "cpu"


def test_more_tokens_than_the_context_are_warned_of() -> None:
    for strategy, tokens, warns in (
        ("lora", 512, False),
        ("lora", 513, True),
        ("ptuning", 512 - 20, False),
        ("ptuning", 512, True),
    ):
        given = ("--model", "packaged:minilm", "--strategy", strategy)
        given = (*given, "--sequence-length", str(tokens))
        said = " ".join(CliRunner().invoke(APP, given).stderr.split())
        assert ("exceed the model's context of 512." in said) == warns


def test_the_default_length_is_at_most_the_context() -> None:
    for model, strategy, tokens in (
        ("7B", "lora", 1024),
        ("packaged:minilm", "lora", 512),
        ("packaged:minilm", "ptuning", 512 - 20),
        ("gpt2", "prefix", 1024 - 30),
    ):
        setup = json.loads(_run("--model", model, "--strategy", strategy, "--json"))["setup"]
        assert setup["sequence_length"] == tokens


def test_each_of_several_gpus_holds_the_model_and_buckets_of_gradients() -> None:
    one, eight = (
        json.loads(_run("--model", "7B", "--strategy", "full", "--gpus", gpus, "--json"))["parts"]
        for gpus in ("1", "8")
    )
    assert eight["weights"] == one["weights"]
    assert eight["gradient buckets"] == eight["gradients"]
    assert "gradient buckets" not in one
