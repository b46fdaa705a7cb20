"""An interrupted trial continues from its checkpoint and ends as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sweeper.backend import Decision, Interrupted
from sweeper.data.examples import SPLITS, Dataset
from sweeper.spec import ModelSpec, Spec
from sweeper.tasks.classification import Classification
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.checkpoints import MANIFEST, UNFINISHED, Checkpoint, newest_checkpoint
from sweeper.training.loop import checkpointing
from sweeper.training.loop.checkpointing import BEST, set_weights
from sweeper.training.loop.training_progress import TrainingProgress
from sweeper.training.trial import rungs
from sweeper.training.trial.rungs import RungWatch
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import RungReport, TrialResult

FULL = {"learning_rate": 1e-3, "head_learning_rate": 1e-2, "weight_decay": 0.01}
LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": "qkvo"}
LORA = {**LORA, "learning_rate": 5e-3, "head_learning_rate": 1e-2}
PTUNING = {"num_virtual_tokens": 4, "encoder_hidden_size": 16, "learning_rate": 1e-2}
PTUNING = {**PTUNING, "head_learning_rate": 1e-2}
BOTTLENECK = {"reduction_factor": 4, "learning_rate": 5e-3, "head_learning_rate": 1e-2}
STRATEGIES = {"full": FULL, "lora": LORA, "ptuning": PTUNING, "adapter": BOTTLENECK}
CAP = 48


@pytest.fixture
def written(byte_llama: Path, tmp_path_factory: Any, tiny_facts: Any, turns: Any) -> SharedModel:
    """A shared model for a task whose answers are written, with general text beside it."""
    file = tmp_path_factory.mktemp("general") / "general.jsonl"
    texts = [f"{word} and {other}" for word in ("cat", "dog", "cow") for other in "abcdefgh"]
    file.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    splits = {"train": turns(52, 1), "validation": turns(12, 2), "test": turns(6, 3)}
    dataset = Dataset(
        "x.jsonl", "messages", (), {}, splits, dict.fromkeys(SPLITS, "official"), (), "f"
    )
    named = ModelSpec(id=str(byte_llama))
    facts = tiny_facts(str(byte_llama), context_length=256)
    features = {"forgetting": {"general": str(file), "max_points": 500.0}}
    spec = Spec.model_validate({"task": "instruction", "models": (named,), "features": features})
    cpu = torch.device("cpu")
    return SharedModel(ModelContext(named, facts, byte_llama, dataset, spec, CAP, 16, cpu))


class Attempts:
    """Attempts at one configuration, each in a folder of its own."""

    def __init__(
        self, shared: SharedModel, config: Any, answering: type[Any], folder: Path
    ) -> None:
        self.shared, self.config = shared, config
        self.answering, self.folder = answering, folder

    def run(
        self,
        checkpoint: Path | None = None,
        stop: Callable[[], bool] = lambda: False,
        **answers: Any,
    ) -> tuple[TrialResult | None, list[RungReport], Path]:
        """One attempt; its result is None where it was interrupted."""
        place = self.folder / f"attempt-{len(list(self.folder.iterdir()))}"
        place.mkdir()
        reports = self.answering(**answers)
        self.shared.context.on_progress.should_stop = stop
        job = TrialJob(self.shared, self.config, place, reports, checkpoint=checkpoint)
        try:
            return train_trial(job), list(reports), place
        except Interrupted:
            return None, list(reports), place


@pytest.fixture
def attempts(make_config: Any, answering: type[Any], tmp_path: Path) -> Callable[..., Attempts]:
    def make(shared: SharedModel, **changes: Any) -> Attempts:
        config = make_config(checkpoints=True, keep_weights=True, **changes)
        return Attempts(shared, config, answering, tmp_path)

    return make


class Steps:
    """Says stop at an optimizer step of the trial, between two rungs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.done, self._at = 0, at
        step = TrainingProgress.step

        def counted(progress: TrainingProgress) -> None:
            step(progress)
            self.done = progress.steps

        monkeypatch.setattr(TrainingProgress, "step", counted)

    def __call__(self) -> bool:
        return self.done == self._at


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted((folder / "weights").rglob("*.safetensors")):
        found |= {f"{file.name} {name}": tensor for name, tensor in load_file(file).items()}
    assert found
    return found


def assert_same(whole: tuple[Any, ...], continued: tuple[Any, ...], rung: int) -> None:
    """The end of an interrupted trial is that of one which was not."""
    (one, all_reports, folder), (other, reports, other_folder) = whole, continued
    assert one.state == other.state == "COMPLETE", other.failure
    assert other.validation_loss == one.validation_loss
    assert (other.best_rung, other.metrics) == (one.best_rung, one.metrics)
    assert (other.measures, other.tokens) == (one.measures, one.tokens)
    assert (other.optimizer_steps, other.seen) == (one.optimizer_steps, one.seen)
    later = [report for report in all_reports if report.rung > rung]
    assert [report.rung for report in reports] == [report.rung for report in later]
    clock = {"training_seconds": 0.0, "evaluation_seconds": 0.0}
    for report, expected in zip(reports, later, strict=True):
        assert report.model_copy(update=clock) == expected.model_copy(update=clock)
    mine, others = weights_of(folder), weights_of(other_folder)
    assert mine.keys() == others.keys()
    assert all(torch.equal(mine[name], others[name]) for name in mine)


# 96 examples in batches of 8: 12 steps an epoch, 24 in all, rungs at 6, 12, 18 and 24. Step 15 is
# in the middle of a rung, behind a checkpoint at the end of an epoch; step 20 behind one inside.
@pytest.mark.parametrize(
    ("strategy", "stop_at"),
    [("full", 15), ("lora", 20), ("ptuning", 20)],
)
def test_a_classifier_continues_as_if_it_had_not_been_interrupted(
    attempts: Any, make_shared: Any, monkeypatch: Any, strategy: str, stop_at: int
) -> None:
    trial = attempts(make_shared(), strategy=strategy, parameters=STRATEGIES[strategy])
    whole = trial.run()
    cut, reports, folder = trial.run(stop=Steps(monkeypatch, stop_at))
    assert cut is None
    found = newest_checkpoint(folder)
    assert found == (folder / f"checkpoint-{stop_at // 6}", reports[-1].rung)
    trial.shared = make_shared()  # as in a new process
    continued = trial.run(found[0])
    assert_same(whole, continued, found[1])
    log = (continued[2] / "trainer.log").read_text()
    assert f"continues from checkpoint-{stop_at // 6}, step {stop_at // 6 * 6}" in log


@pytest.mark.parametrize(("strategy", "accumulation"), [("full", 4), ("adapter", 1)])
def test_a_written_task_continues_with_its_replay_and_its_guards(
    attempts: Any, written: Any, monkeypatch: Any, strategy: str, accumulation: int
) -> None:
    guards = {"replay_share": 0.3, "kl_weight": 0.1}
    parameters = {**STRATEGIES[strategy], **guards, "early_stopping_patience": 3}
    trial = attempts(
        written,
        task="instruction",
        strategy=strategy,
        parameters=parameters,
        sequence_length=CAP,
        micro_batch=8 // accumulation,
        gradient_accumulation_steps=accumulation,
        budget={"rung_items": 6, "epochs": 3},
    )
    whole = trial.run()
    assert whole[0].seen["general text, replayed"].tokens > 0
    _, reports, folder = trial.run(stop=Steps(monkeypatch, 13))  # rungs at 5, 10, 16 and 21
    path, rung = newest_checkpoint(folder)
    assert rung == 2 == reports[-1].rung
    assert_same(whole, trial.run(path), rung)


def test_seconds_go_on_from_those_of_the_checkpoint(
    attempts: Any, make_shared: Any, monkeypatch: Any
) -> None:
    trial = attempts(make_shared())
    _, before, folder = trial.run(stop=Steps(monkeypatch, 15))
    path, _ = newest_checkpoint(folder)
    assert Checkpoint.read(path / MANIFEST).reports == tuple(before)
    result, after, _ = trial.run(path)
    told = [(report.training_seconds, report.evaluation_seconds) for report in [*before, *after]]
    assert told == sorted(told)
    assert all(one[1] < other[1] for one, other in pairwise(told))
    assert result.training_seconds > before[-1].training_seconds
    assert result.peak_memory_gib > 0


def test_the_weights_of_an_earlier_best_rung_come_with_the_checkpoint(
    attempts: Any, make_shared: Any, monkeypatch: Any
) -> None:
    evaluate = RungWatch._evaluate

    def first_is_best(self: Any, whole: bool) -> Any:
        evaluation = evaluate(self, whole)
        evaluation.losses[:] += self.job.progress.steps > 6 and not self._best_is_back
        return evaluation

    def put_back(model: Any, weights: Any) -> None:
        monkeypatch.setattr(RungWatch, "_best_is_back", True)
        set_weights(model, weights)

    monkeypatch.setattr(RungWatch, "_best_is_back", False, raising=False)
    monkeypatch.setattr(RungWatch, "_evaluate", first_is_best)
    monkeypatch.setattr(rungs, "set_weights", put_back)
    trial = attempts(make_shared())
    whole = trial.run()
    assert whole[0].best_rung == 1
    monkeypatch.setattr(RungWatch, "_best_is_back", False)
    _, _, folder = trial.run(stop=Steps(monkeypatch, 15))
    path, rung = newest_checkpoint(folder)
    assert (path / BEST).is_file()
    assert_same(whole, trial.run(path), rung)


def test_a_trial_that_stands_still_stops_where_it_would_have_stopped(
    attempts: Any, make_shared: Any, monkeypatch: Any
) -> None:
    still = {**LORA, "learning_rate": 0.0, "head_learning_rate": 0.0, "early_stopping_patience": 2}
    trial = attempts(make_shared(), parameters=still)
    whole = trial.run()
    _, _, folder = trial.run(stop=Steps(monkeypatch, 15))
    path, rung = newest_checkpoint(folder)
    continued = trial.run(path)
    assert whole[0].stopped_at_rung == continued[0].stopped_at_rung == 3
    assert_same(whole, continued, rung)


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


DAMAGES: tuple[tuple[str, Callable[[Path], object], str], ...] = (
    ("weights.safetensors", cut_in_half, "weights.safetensors is damaged"),
    ("sweeper_state_0.pt", flip, "sweeper_state_0.pt is damaged"),
    ("rng_state.pth", Path.unlink, "rng_state.pth is damaged"),
    (MANIFEST, cut_in_half, "this is not a Checkpoint in JSON"),
)


def test_a_damaged_checkpoint_is_not_used(
    attempts: Any, make_shared: Any, monkeypatch: Any, tmp_path_factory: Any
) -> None:
    trial = attempts(make_shared())
    whole = trial.run()
    _, _, left = trial.run(stop=Steps(monkeypatch, 15))
    for name, damage, reason in DAMAGES:
        folder = shutil.copytree(left, tmp_path_factory.mktemp("damaged") / "attempt")
        path, _ = newest_checkpoint(folder)
        damage(path / name)
        assert (newest_checkpoint(folder) is None) == (damage is not flip)

        begun_again = trial.run(path)

        assert_same(whole, begun_again, 0)
        log = (begun_again[2] / "trainer.log").read_text()
        assert "checkpoint-2 is not used (" + reason in log
        assert "training starts from clean weights" in log


def test_a_checkpoint_of_another_configuration_is_not_used(
    attempts: Any, make_shared: Any, monkeypatch: Any
) -> None:
    trial = attempts(make_shared())
    _, _, folder = trial.run(stop=Steps(monkeypatch, 15))
    path, _ = newest_checkpoint(folder)
    # As after the system killed the worker because memory ran out.
    smaller = trial.config.with_setup(micro_batch=4, gradient_accumulation_steps=2)
    trial.config = smaller.model_copy(update={"attempt": 2})
    clean, begun_again = trial.run(), trial.run(path)
    assert_same(clean, begun_again, 0)
    assert "another configuration" in (begun_again[2] / "trainer.log").read_text()


def test_only_the_newest_checkpoint_stays_and_the_last_rung_has_none(
    attempts: Any, make_shared: Any
) -> None:
    trial = attempts(make_shared())
    there: list[list[str]] = []

    class Looking(list[RungReport]):
        def __call__(self, report: RungReport) -> Decision:
            place = max(trial.folder.iterdir(), key=lambda path: path.name)
            there.append(sorted(path.name for path in place.glob("checkpoint-*")))
            return Decision.CONTINUE

    trial.answering = Looking
    trial.run()
    assert there == [["checkpoint-1"], ["checkpoint-2"], ["checkpoint-3"], ["checkpoint-3"]]


def test_a_checkpoint_that_cannot_be_written_costs_nothing_else(
    attempts: Any, make_shared: Any, monkeypatch: Any
) -> None:
    trial = attempts(make_shared())
    whole = trial.run()

    def full(*_: Any) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")

    monkeypatch.setattr(checkpointing.torch, "save", full)
    without = trial.run()
    assert_same(whole, without, 0)
    assert newest_checkpoint(without[2]) is None
    assert not (without[2] / UNFINISHED).exists()
    log = (without[2] / "trainer.log").read_text()
    assert "the checkpoint of rung 3 could not be written: PytorchStreamWriter" in log


class Memory:
    """Memory that holds so many examples, from a micro-batch of the trial on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.examples, self.left = 8, 0
        loss = Classification.loss

        def limited(task: Any, model: Any, batch: Any) -> Any:
            self.left -= 1
            if self.left < 0 and len(batch["labels"]) > self.examples:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return loss(task, model, batch)

        monkeypatch.setattr(Classification, "loss", limited)


def test_memory_that_runs_out_behind_a_checkpoint_starts_the_trial_from_clean_weights(
    attempts: Any, make_shared: Any, monkeypatch: Any
) -> None:
    memory = Memory(monkeypatch)
    trial = attempts(make_shared())
    _, before, folder = trial.run(stop=Steps(monkeypatch, 15))
    path, _ = newest_checkpoint(folder)
    trial.config = trial.config.with_setup(micro_batch=4, gradient_accumulation_steps=2)
    smaller = trial.run()
    trial.config = trial.config.with_setup(micro_batch=8, gradient_accumulation_steps=1)
    memory.examples, memory.left = 4, 8  # behind rung 3, at the larger micro-batch

    retried = trial.run(path)

    assert retried[0].micro_batch == 4
    assert_same(smaller, (retried[0], [], retried[2]), 4)
    assert [report.rung for report in [*before, *retried[1]]] == [1, 2, 3, 4]


def test_a_trial_that_had_to_halve_its_micro_batch_continues_with_the_smaller_one(
    attempts: Any, make_shared: Any, monkeypatch: Any
) -> None:
    memory = Memory(monkeypatch)
    memory.examples = 4
    trial = attempts(make_shared())
    whole = trial.run()
    cut, _, folder = trial.run(stop=Steps(monkeypatch, 15))
    path, rung = newest_checkpoint(folder)
    assert cut is None
    assert Checkpoint.read(path / MANIFEST).setup.micro_batch == 4
    continued = trial.run(path)
    assert_same(whole, continued, rung)
    assert continued[0].micro_batch == 4
