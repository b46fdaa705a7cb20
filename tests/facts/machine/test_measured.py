from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from sweeper.facts.machine import measured
from sweeper.facts.machine.hardware import Device, _detected_hardware
from sweeper.facts.machine.measured import (
    Calibration,
    append,
    calibration_path,
    path_of,
    read,
    read_calibration,
    shape_of,
    store_calibration,
    versions,
    with_measured,
)
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import HardwareFacts, Measured, TrainingSetup
from sweeper.spec import HardwareSpec, ModelSpec

MINILM = model_facts(ModelSpec(id="sentence-transformers/all-MiniLM-L6-v2"))
SMOLLM = model_facts(ModelSpec(id="HuggingFaceTB/SmolLM2-135M"))
CPU = HardwareFacts(
    device="cpu", name="cpu", detected=True, gpus=0, memory_gib=16, bf16=False, cpu_cores=2
)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))


def one(**changes: Any) -> Measured:
    """A training of MiniLM with LoRA."""
    fields: dict[str, Any] = {
        "shape": shape_of(MINILM),
        "strategy": "lora",
        "precision": "fp32",
        "micro_batch": 8,
        "gradient_accumulation_steps": 1,
        "mean_length": 16,
        "sequence_length": 32,
        "evaluation_batch": 32,
        "r": 8,
        "target_modules": "qv",
        "seconds_per_step": 0.1,
        "peak_gib": 0.2,
        "when": "2026-01-01",
        "versions": versions(),
    }
    fields |= changes
    setup = {name: fields.pop(name) for name in TrainingSetup.model_fields if name in fields}
    return Measured(setup=TrainingSetup(**setup), **fields)


def test_trainings_of_one_setup_become_one_record_with_their_medians() -> None:
    for seconds, when in ((0.1, "2026-01-01"), (0.3, "2026-01-03"), (0.2, "2026-01-02")):
        append(one(seconds_per_step=seconds, when=when), "cpu", 2)
    append(one(micro_batch=4), "cpu", 2)
    found = read("cpu", 2)
    assert [(m.setup.micro_batch, m.trainings) for m in found] == [(8, 3), (4, 1)]
    assert (found[0].seconds_per_step, found[0].when) == (0.2, "2026-01-03")


def test_trainings_before_a_kernel_was_installed_teach_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(one(), "cpu", 4)
    assert read("cpu", 4)
    metadata = tmp_path / "flash_attn-2.8.3.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: flash-attn\nVersion: 2.8.3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert read("cpu", 4) == ()


def test_other_machines_and_other_versions_teach_nothing() -> None:
    append(one(), "cpu", 2)
    append(one(versions="torch 0.1"), "cpu", 4)
    assert read("cpu", 1) == read("other", 2) == read("cpu", 4) == ()


def test_damaged_lines_are_skipped_and_do_not_damage_the_next() -> None:
    path = append(one(), "cpu", 2)
    with path.open("ab") as file:
        file.write(b'\xff{"half a li')
    append(one(micro_batch=2), "cpu", 2)
    assert {m.setup.micro_batch for m in read("cpu", 2)} == {8, 2}


def test_writers_at_once_lose_nothing() -> None:
    def write(batch: int) -> None:
        for _ in range(20):
            append(one(micro_batch=batch), "cpu", 2)

    threads = [threading.Thread(target=write, args=(batch,)) for batch in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {m.setup.micro_batch: m.trainings for m in read("cpu", 2)} == dict.fromkeys(
        range(1, 6), 20
    )


def test_only_the_newest_part_of_a_long_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for batch in range(1, 9):
        append(one(micro_batch=batch), "cpu", 2)
    monkeypatch.setattr(measured, "_TAIL_BYTES", path_of("cpu", 2).stat().st_size // 2)
    assert {m.setup.micro_batch for m in read("cpu", 2)} <= {5, 6, 7, 8}


def test_facts_hold_what_was_measured_of_their_models_on_a_detected_machine() -> None:
    append(one(), "cpu", 2)
    append(one(shape=shape_of(SMOLLM)), "cpu", 2)
    assert [m.shape for m in with_measured(CPU, [MINILM]).measured] == [shape_of(MINILM)]
    stated = CPU.model_copy(update={"detected": False})
    assert with_measured(stated, [MINILM]).measured == ()


def test_a_shape_is_of_the_architecture_and_not_of_a_name() -> None:
    renamed = MINILM.model_copy(update={"id": "mine", "folder": "/models/mine"})
    assert shape_of(renamed) == shape_of(MINILM) != shape_of(SMOLLM)


def test_a_card_that_no_table_holds_is_found_by_the_name_that_torch_knows() -> None:
    gpu = Device(name="Some Card", free_gib=24.0, capability=8.0)
    name = _detected_hardware(HardwareSpec(), (gpu,)).name
    assert name != "Some Card"
    assert path_of(name, 0) == path_of("Some Card", 0)
    assert path_of("Some Processor (Icelake)", 2) != path_of("Some Processor", 2)


FOUND = Calibration(
    processor="cpu",
    cores=2,
    versions=versions(),
    fp32_gflops=100.0,
    bandwidth_gb_per_second=20.0,
    when="2026-01-31",
)


def test_a_calibration_is_kept_for_its_machine_alone() -> None:
    assert store_calibration(FOUND) == calibration_path("cpu", 2)
    assert read_calibration("cpu", 2) == FOUND
    assert read_calibration("cpu", 1) is None
    assert read_calibration("other", 2) is None


def test_another_torch_needs_another_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    store_calibration(FOUND)
    monkeypatch.setattr(measured, "versions", lambda: "torch 99")
    assert read_calibration("cpu", 2) is None


def test_a_damaged_file_counts_as_none() -> None:
    path = store_calibration(FOUND.model_copy(update={"cores": 3}))
    path.write_text("{")
    assert read_calibration("cpu", 3) is None
