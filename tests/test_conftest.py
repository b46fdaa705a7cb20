"""What the tests state holds for everything that detects the machine, and for processes."""

from __future__ import annotations

import os

from sweeper.execution.pools import placement
from sweeper.facts.machine.hardware import hardware_facts
from sweeper.features.doctor import commands as doctor
from sweeper.spec import HardwareSpec


def test_tests_plan_for_a_stated_machine() -> None:
    facts = hardware_facts(HardwareSpec())
    assert (facts.device, facts.name, facts.gpus, facts.bf16) == ("cpu", "a processor", 0, False)
    assert (facts.cpu_cores, facts.memory_gib, facts.ram_gib) == (2, 64.0, 64.0)
    assert (facts.fp32_tflops, facts.calibrated) == (0.1, "2026-01-31")
    assert doctor.processor().cores == placement.processor().cores == 2
    assert placement.detected_gpus() == ()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
