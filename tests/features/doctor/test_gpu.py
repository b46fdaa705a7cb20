"""Checks of training on a device, here on the CPU, and what they say where something is wrong."""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from sweeper.cli.main import app
from sweeper.errors import ChildFailed, UsageError
from sweeper.facts.machine import hardware
from sweeper.facts.machine.hardware import Device
from sweeper.features.doctor import _checks, _results
from sweeper.features.doctor import commands as doctor
from sweeper.features.doctor._checks import CHECKS, CheckContext, answer, loss_and_gradient, result
from sweeper.features.doctor._results import CheckRequest, Result, Results, markdown, results
from sweeper.memory.setup import Probed
from sweeper.tasks.sequences.joined import pack_texts

pytestmark = pytest.mark.usefixtures("preloaded")
ABSENT = {"flash_attention_2", "flash_attention_3", "fused kernels"}
LONG = {"two ranks", "killed worker"}
TORCHAO = {"optimizer adamw_torch_8bit", "optimizer adamw_torch_4bit"}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> CheckContext:
    return CheckContext(torch.device("cpu"), tmp_path_factory.mktemp("context"))


@pytest.mark.parametrize("name", sorted(CHECKS.keys() - ABSENT - LONG - TORCHAO))
def test_each_check_works_on_a_cpu(
    name: str, context: CheckContext, monkeypatch: pytest.MonkeyPatch, real_machine: None
) -> None:
    monkeypatch.setattr(_checks, "stay_within_memory", lambda: None)  # it would hold for all tests
    found = result(name, context)
    assert (found.state, found.detail) == ("ok", "")
    assert found.figures


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A made-up GPU of 40 GiB, 30 of them free, which torch and the plan see."""
    capability, bytes_free = 8.0, (30 * 2**30, 40 * 2**30)
    seen = Device(
        kind="cuda", name="A card", torch="2.13", free_gib=30, total_gib=40, capability=capability
    )
    monkeypatch.setattr(_checks, "training_device", lambda: seen)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: bytes_free)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 4 * 2**30)
    gpu = Device(name="NVIDIA A100-SXM4-40GB", free_gib=40.0, capability=capability)
    plan_for(monkeypatch, gpu)
    return gpu


def plan_for(monkeypatch: pytest.MonkeyPatch, *gpus: Device) -> None:
    """Let plans see these GPUs."""
    for module in (hardware, _checks):
        monkeypatch.setattr(module, "detected_gpus", lambda: gpus)


def test_a_plan_for_another_device_than_torch_has_is_found(
    context: CheckContext, card: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = result("device", context)
    assert (checked.state, checked.figures) == (
        "ok", {"name": "A card", "gib": 40.0, "gpus": 1, "capability": 8.0}
    )  # fmt: skip
    for gpus in ((), (card, card), (card.model_copy(update={"free_gib": 80.0}),)):
        plan_for(monkeypatch, *gpus)
        checked = result("device", context)
        assert (checked.state, checked.figures["capability"]) == ("failed", 8.0)


def test_a_step_on_a_gpu_tells_memory_within_and_outside_torch(
    tmp_path: Path, card: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Probed(peak_gib=1.5, reserved_gib=3.0, seconds_per_step=0.5)
    monkeypatch.setattr(_checks, "probe", lambda *_: measured)
    checked = result("step lora", CheckContext(torch.device("cuda"), tmp_path))
    assert (checked.state, checked.detail) == ("ok", "")
    shown = ("allocated_gib", "reserved_gib", "outside_torch_gib")
    assert [checked.figures[name] for name in shown] == [1.5, 3.0, 6.0]


@pytest.mark.parametrize("name", sorted(ABSENT | TORCHAO))
def test_what_lacks_a_package_is_not_run(name: str, context: CheckContext) -> None:
    found = result(name, context)
    assert found.state == "not run"
    assert found.detail


def test_a_text_that_sees_the_one_before_it_is_found(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaking(rows: Any) -> Any:
        return {name: pack_texts(rows)[name] for name in ("input_ids", "labels", "attention_mask")}

    monkeypatch.setattr(_checks, "pack_texts", leaking)
    found = result("joined rows", context)
    assert found.state == "failed"
    assert found.figures["gradient_difference"] > 0.5


def test_a_precision_that_computes_something_else_is_found(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(model: Any, batch: Any, precision: Any) -> Any:
        loss, gradient = loss_and_gradient(model, batch, precision)
        return loss, gradient * (1.2 if precision == "bf16-mixed" else 1)

    monkeypatch.setattr(_checks, "loss_and_gradient", off)
    assert result("bf16-mixed", context).state == "failed"
    assert result("fp16-mixed", context).state == "ok"
    monkeypatch.setattr(_checks, "loss_and_gradient", lambda *_: (float("nan"), torch.ones(3)))
    assert result("fp16-mixed", context).state == "failed"


def test_an_optimizer_that_does_nothing_or_forgets_its_state_is_found(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: None)
    assert result("optimizer sgd", context).state == "failed"
    monkeypatch.setattr(torch.optim.AdamW, "load_state_dict", lambda self, _state: None)
    assert result("optimizer adamw_torch", context).state == "failed"


def test_wrong_four_bits_and_a_wrong_merge_are_found(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checks, "dequantize_4bit", lambda packed, state: torch.zeros(256, 256))
    assert result("4-bit", context).state == "failed"
    from sweeper.strategies.lora import LoRA

    monkeypatch.setattr(LoRA, "merge", lambda self, adapted: adapted.unload())
    found = result("merge and reload", context)
    assert found.state == "failed"
    assert found.figures["merged_difference"] > 0.01
    assert found.figures["reloaded_difference"] == 0


def test_a_step_that_takes_more_memory_than_predicted_is_found(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checks, "trial_gib", lambda _estimate: 1e-6)
    assert result("step lora", context).state == "failed"


def test_memory_that_runs_out_with_an_unknown_text_is_found(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checks, "stay_within_memory", lambda: None)
    monkeypatch.setattr("sweeper.training.loop.device_memory._OOM_TEXTS", ("another text",))
    assert result("out of memory", context).state == "failed"


def test_an_error_is_named_without_paths_and_the_next_check_is_run(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(context: CheckContext) -> Any:
        raise RuntimeError(f"no kernel in {context.folder}/x, {sys.prefix} or {Path.home()}\nmore")

    told: list[dict[str, Any]] = []
    monkeypatch.setattr(_checks, "CHECKS", {"breaks": breaks, "4-bit": CHECKS["4-bit"]})
    monkeypatch.setattr(_checks, "tell_event", lambda **event: told.append(event))
    assert answer(CheckRequest(folder=str(context.folder))).complete
    assert [event.get("state", event.get("begun")) for event in told] == [
        "breaks", "failed", "4-bit", "ok",
    ]  # fmt: skip
    for secret in (socket.gethostname(), str(context.folder), str(Path.home()), sys.prefix, "more"):
        assert secret not in told[1]["detail"]
    # An error of a GPU may hold for all that its process does afterwards.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    told.clear()
    assert not answer(CheckRequest(folder=str(context.folder))).complete
    assert [event.get("state", event.get("begun")) for event in told] == ["breaks", "failed"]


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of which two end their process."""
    monkeypatch.setattr(_results, "FUNCTION", "dying_checks:answer")
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))


def test_a_check_that_ends_its_process_costs_no_other_check(dying: None) -> None:
    heard: list[Result] = []
    found = results(tell=heard.append)
    assert [(one.name, one.state) for one in found.results] == [
        ("exits", "failed"),
        ("works", "ok"),
        ("is killed", "failed"),
        ("last", "ok"),
    ]
    assert list(found.results) == heard
    assert "ended with status 1" in found.results[0].detail
    assert "SIGKILL" in found.results[2].detail
    assert not found.timed_out


def test_a_process_that_cannot_start_ends_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results, "FUNCTION", "no_such_module:answer")
    (failed,) = results().results
    assert (failed.name, failed.state) == ("process", "failed")


def in_steps(monkeypatch: pytest.MonkeyPatch, step: float) -> list[float]:
    """Let each process run one check for so long and end; the limits that processes are given."""
    clock, limits = [100.0], list[float]()

    def in_child(
        function: str,
        request: CheckRequest,
        answer: Any,
        *,
        seconds: float,
        on_event: Any,
        **_: Any,
    ) -> Any:
        limits.append(seconds)
        on_event({_results.BEGUN: f"check {len(limits)}"})
        clock[0] += min(step, seconds)
        error = ChildFailed("the process ended")
        error.status = 1 if step < seconds else None
        raise error

    monkeypatch.setattr(_results, "monotonic", lambda: clock[0])
    monkeypatch.setattr(_results, "in_child", in_child)
    return limits


def test_the_processes_of_quick_checks_have_one_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = in_steps(monkeypatch, 50.0)
    checked = results(total_seconds=_results.QUICK_SECONDS)
    assert limits == [120.0, 70.0, 20.0]
    assert [one.state for one in checked.results] == ["failed", "failed", "not run"]
    assert checked.timed_out
    page = (Path(__file__).parents[3] / "docs" / "platforms.md").read_text()
    assert f"at most {_results.QUICK_SECONDS:g} seconds" in " ".join(page.split())


def test_a_check_that_takes_too_long_is_not_run_and_the_next_one_is(
    monkeypatch: pytest.MonkeyPatch, dying: None
) -> None:
    monkeypatch.setattr(_results, "FUNCTION", "dying_checks:slow_answer")
    monkeypatch.setattr(_results, "MAX_SECONDS", 3.0)
    checked = results()
    assert [(one.name, one.state) for one in checked.results] == [
        ("hangs", "not run"),
        ("last", "ok"),
    ]
    assert checked.timed_out


def test_fused_kernels_change_no_other_check() -> None:
    assert list(CHECKS)[-1] == "fused kernels"
    assert set(_results.QUICK) < CHECKS.keys()


def test_the_command_prints_json_or_markdown_and_exits_by_what_failed(dying: None) -> None:
    done = CliRunner().invoke(app, ["doctor", "--gpu", "--json"])
    assert done.exit_code == 1
    found = Results.from_json(done.stdout)
    assert found.check_names("failed") == ("exits", "is killed")
    page = markdown(found)
    rows = [line.split(" | ")[:2] for line in page.splitlines() if line.startswith("| ")]
    assert rows[1:] == [[f"| {one.name}", one.state] for one in found.results]
    shown = CliRunner().invoke(app, ["doctor", "--gpu"])
    assert (shown.exit_code, shown.stdout.strip()) == (1, page)


def test_the_command_succeeds_where_nothing_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Result(name="device", state="ok", figures={"name": "A card", "gib": 8.0})
    made = Results(versions={"torch": "2"}, results=(one, Result(name="x", state="not run")))
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(doctor, "results", lambda *only, tell: asked.append(only) or made)
    done = CliRunner().invoke(app, ["doctor", "--gpu", "--quick", "--json"])
    assert asked == [(_results.QUICK, _results.QUICK_SECONDS)]
    assert done.exit_code == 0
    hung = made.model_copy(update={"timed_out": True})
    monkeypatch.setattr(doctor, "results", lambda *_, tell: hung)
    assert CliRunner().invoke(app, ["doctor", "--gpu", "--json"]).exit_code == 1
    assert json.loads(done.stdout)["results"][0]["figures"] == {"name": "A card", "gib": 8.0}


def test_quick_checks_without_the_flag_for_a_gpu_are_a_usage_error() -> None:
    assert isinstance(CliRunner().invoke(app, ["doctor", "--quick"]).exception, UsageError)


def test_checks_without_a_gpu_are_said_to_be_of_the_cpu(context: CheckContext) -> None:
    checked = result("device", context)
    assert checked.figures["gpus"] == 0
    note = "torch sees no GPU"
    assert note in markdown(Results(versions={}, results=(checked,)))
    card = checked.model_copy(update={"figures": {"name": "A card", "gpus": 1}})
    assert note not in markdown(Results(versions={}, results=(card,)))


@pytest.mark.slow
def test_two_ranks_and_a_killed_worker_in_a_process(real_machine: None) -> None:
    found = results(only=("two ranks", "killed worker"))
    assert found.check_names("ok") == ("two ranks", "killed worker")
    _, killed = found.results
    assert (killed.figures["lost_trials"], killed.figures["attempts"]) == (0, 2)


def test_the_table_of_devices_is_made_of_result_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = Path(__file__).parents[3] / "docs"
    monkeypatch.syspath_prepend(str(docs))
    generate = importlib.import_module("generate")
    assert generate.platforms_page(tmp_path) == (docs / "platforms.md").read_text()
    figures: dict[str, float | int | str] = {"name": "A card", "gib": 8.0}
    first = Result(name="device", state="ok", figures=figures)
    second = Result(name="4-bit", state="failed")
    made = Results(versions={"torch": "2.13", "driver": "580"}, results=(first, second))
    made.write(tmp_path / "a.json")
    page = generate.platforms_page(tmp_path)
    assert "| A card, 8.0 GiB | 580, 2.13 | 1 checks of 2 | 4-bit |" in page.splitlines()
