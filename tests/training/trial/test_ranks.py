"""Two processes train one trial together on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sweeper.backend import Decision, Interrupted
from sweeper.errors import UsageError
from sweeper.strategies.qlora import QLoRA
from sweeper.training.backend import TorchBackend
from sweeper.training.loop.out_of_memory import MemoryGuard
from sweeper.training.loop.sharding import (
    as_first_rank_says,
    check_wrapped,
    fsdp_arguments,
    layer_classes,
)
from sweeper.training.trial import ranks as module
from sweeper.training.trial.ranks import Ranks, check_device, train_in_ranks
from sweeper.trials import TrialConfig, TrialResult


@pytest.fixture
def two(config: Callable[..., TrialConfig]) -> TrialConfig:
    """A trial for two processes."""
    return config(gpus=2, micro_batch=4)


def test_two_ranks_train_one_model_and_report_as_one(
    two: TrialConfig, backend: TorchBackend, tmp_path: Path, answering: type[Any]
) -> None:
    told = answering()
    alone = backend.train(
        two.model_copy(update={"gpus": 1, "micro_batch": 8}), _folder(tmp_path, "1"), told, _never
    )
    heard = answering()
    folder = _folder(tmp_path, "2")

    together = backend.train(two, folder, heard, _never)

    assert together.state == "COMPLETE", together.failure
    assert together.optimizer_steps == alone.optimizer_steps
    assert together.tokens == alone.tokens
    assert [report.rung for report in heard] == [report.rung for report in told]
    assert [report.tokens for report in heard] == [report.tokens for report in told]
    # The same batches, halved: dropout alone differs.
    assert together.validation_loss == pytest.approx(alone.validation_loss, abs=0.2)
    logs = [(folder / "ranks" / f"rank-{n}" / "trainer.log").read_text() for n in (0, 1)]
    for rank, log in enumerate(logs):
        assert f"rank {rank} of 2: DistributedDataParallel over gloo" in log
    assert (folder / "weights" / "adapter_model.safetensors").is_file()
    assert (folder / "item_losses.json").is_file()


def _folder(path: Path, name: str) -> Path:
    folder = path / name
    folder.mkdir()
    return folder


def _never() -> bool:
    return False


def test_two_ranks_stop_early_together(
    two: TrialConfig, backend: TorchBackend, tmp_path: Path, answering: type[Any]
) -> None:
    still = {**two.parameters, "learning_rate": 0.0, "head_learning_rate": 0.0}
    patient = two.model_copy(update={"parameters": still | {"early_stopping_patience": 1}})
    heard = answering()
    result = backend.train(patient, _folder(tmp_path, "2"), heard, _never)
    assert (result.state, result.stopped_at_rung, len(heard)) == ("COMPLETE", 2, 2), result.failure


def test_a_rank_does_as_the_first_one_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_first_rank_says("it overfits") == "it overfits"

    def from_first(said: list[Any], src: int) -> None:
        assert src == 0
        said[0] = "it overfits"

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.distributed.broadcast_object_list", from_first)
    assert as_first_rank_says("") == "it overfits"


class Script:
    """Stands in for the ranks' program: each rank runs the text that it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
        command = "import os, sys, time; exec(sys.argv[2 + int(os.environ['RANK'])])"
        start = module.subprocess.Popen

        def popen(arguments: list[str], **options: Any) -> Any:
            self.started.append(start([arguments[0], "-c", command, "", *texts], **options))
            return self.started[-1]

        self.started: list[Any] = []
        monkeypatch.setattr(module.subprocess, "Popen", popen)


@pytest.fixture
def make_ranks(two: TrialConfig, backend: TorchBackend, tmp_path: Path) -> Callable[..., Ranks]:
    def make(stop: Callable[[], bool] = _never) -> Ranks:
        plan, spec = backend._plan, backend._spec
        return Ranks(plan, spec, two, tmp_path, lambda _: Decision.CONTINUE, stop)

    return make


WAIT = "time.sleep(60)"


def test_a_rank_that_dies_ends_all_with_its_last_words(
    make_ranks: Callable[..., Ranks], monkeypatch: pytest.MonkeyPatch, two: TrialConfig
) -> None:
    script = Script(monkeypatch, WAIT, "print('the card is gone', file=sys.stderr); sys.exit(3)")

    with pytest.raises(RuntimeError, match="rank 1 of 2 ended with status 3: the card is gone"):
        make_ranks().train(two)

    assert all(process.returncode is not None for process in script.started)


def test_a_rank_that_diverges_ends_all_and_is_the_trials_result(
    make_ranks: Callable[..., Ranks],
    monkeypatch: pytest.MonkeyPatch,
    two: TrialConfig,
    tmp_path: Path,
) -> None:
    script = Script(monkeypatch, WAIT, _ends_with(tmp_path, "diverged"))

    result = make_ranks().train(two)

    assert result.failure is not None
    assert result.failure.kind == "diverged"
    assert all(process.returncode is not None for process in script.started)


def _ends_with(folder: Path, kind: str) -> str:
    failed = {"state": "FAIL", "failure": {"kind": kind, "detail": "it did"}}
    result = TrialResult.model_validate({"number": 1, "attempt": 1, "seed": 0, **failed})
    place = folder / "ranks" / "result-1.json"
    return f"open({str(place)!r}, 'w').write({result.model_dump_json()!r}); sys.exit(1)"


def test_memory_that_runs_out_on_one_rank_halves_the_micro_batch_of_all(
    make_ranks: Callable[..., Ranks],
    monkeypatch: pytest.MonkeyPatch,
    two: TrialConfig,
    tmp_path: Path,
) -> None:
    Script(monkeypatch, WAIT, _ends_with(tmp_path, "out-of-memory"))
    tried: list[TrialConfig] = []
    train = Ranks.train

    def remembered(self: Ranks, config: TrialConfig) -> TrialResult:
        tried.append(config)
        if len(tried) == 2:
            raise Interrupted
        return train(self, config)

    monkeypatch.setattr(Ranks, "train", remembered)
    with pytest.raises(Interrupted):
        train_in_ranks(make_ranks(), MemoryGuard(), "a set-up")

    assert [(c.micro_batch, c.gradient_accumulation_steps) for c in tried] == [(4, 1), (2, 2)]


def test_a_stop_ends_all_ranks(
    make_ranks: Callable[..., Ranks], monkeypatch: pytest.MonkeyPatch, two: TrialConfig
) -> None:
    script = Script(monkeypatch, WAIT, WAIT)

    with pytest.raises(Interrupted):
        make_ranks(lambda: True).train(two)

    assert all(process.returncode is not None for process in script.started)


def test_parts_on_several_devices_need_gpus(
    two: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"(?s)FSDP.*run DDP in its place"):
        check_device(two.model_copy(update={"sharding": "fsdp"}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="wants 2 GPUs, and there are 1"):
        check_device(two)


def test_a_model_that_was_not_wrapped_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for sharded in (False, True):
        with pytest.raises(RuntimeError, match="is a Linear on 2 devices, not a"):
            check_wrapped(nn.Linear(1, 1), sharded=sharded)


def test_fsdp_gathers_the_bases_own_layers(make_shared: Callable[..., Any]) -> None:
    layers = layer_classes(make_shared("llama").context.base())

    assert layers == ["LlamaDecoderLayer"]
    assert fsdp_arguments(None) == {}
    assert fsdp_arguments(layers)["fsdp_config"]["transformer_layer_cls_to_wrap"] == layers


def test_packed_weights_that_are_spread_look_like_the_others() -> None:
    assert QLoRA().quantization_config({}).bnb_4bit_quant_storage is torch.uint8
    sharded = QLoRA().quantization_config({}, sharded=True)
    assert sharded.bnb_4bit_quant_storage is torch.bfloat16
