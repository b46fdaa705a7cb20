"""GPUs by name, by memory and by asking the driver; processors with a container's limits."""

import subprocess
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from sweeper.errors import UsageError
from sweeper.facts.machine import gpus, hardware
from sweeper.facts.machine.hardware import Device, hardware_facts
from sweeper.spec import HardwareSpec

pytestmark = pytest.mark.usefixtures("real_machine")
MEANT = {
    "4090": "RTX 4090",
    "rtx4090": "RTX 4090",
    "NVIDIA GeForce RTX 4090": "RTX 4090",
    "4070": "RTX 4070",
    "RTX4070Ti": "RTX 4070 Ti",
    "2080ti": "RTX 2080 Ti",
    "A100-80GB": "A100 80GB",
    "a100 80 GiB": "A100 80GB",
    "NVIDIA A100-SXM4-80GB": "A100 80GB",
    "NVIDIA A100 80GB PCIe": "A100 PCIe 80GB",
    "NVIDIA A100-PCIE-40GB": "A100 40GB",
    "H100": "H100",
    "NVIDIA H100 80GB HBM3": "H100",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "Tesla T4": "T4",
    "Tesla V100-SXM2-16GB": "V100 16GB",
    "Tesla P100-PCIE-16GB": "P100",
    "NVIDIA RTX A6000": "RTX A6000",
    "A6000": "RTX A6000",
    "NVIDIA RTX 6000 Ada Generation": "RTX 6000 Ada",
    "Quadro RTX 8000": "Quadro RTX 8000",
    "L40S": "L40S",
    "NVIDIA L4": "L4",
    "AMD Instinct MI300X": "MI300X",
    "AMD Instinct MI250X / MI250": "MI250X",
    "AMD Instinct MI325X": "MI325X",
    "NVIDIA H800": "H800",
    "NVIDIA H20": "H20",
    "NVIDIA H200 NVL": "H200 NVL",
    "NVIDIA GH200 480GB": "GH200",
    "NVIDIA GB200": "GB200",
    "NVIDIA GB10": "GB10",
    "DGX Spark": "GB10",
}


@pytest.mark.parametrize("written", MEANT)
def test_a_name_means_one_gpu(written):
    assert gpus.by_name(written).name == MEANT[written]


@pytest.mark.parametrize("name", gpus.table())
def test_every_gpu_is_found_by_its_own_names(name):
    gpu = gpus.table()[name]
    for known in (name, *gpu.aliases):
        assert gpus.by_name(known) == gpu


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("A100", "may be any of A100 40GB, A100 80GB"),
        ("4060 Ti", "may be any of RTX 4060 Ti 8GB, RTX 4060 Ti 16GB"),
        ("RTX 6000", "may be any of Quadro RTX 6000, RTX 6000 Ada"),
        ("Apple M3 Max", "which training does not support"),
        ("M4", "which training does not support"),
        ("RTX 4909", "Did you mean 'RTX 4090'"),
        ("abacus", "Known are RTX 4090, L4"),
        ("nvidia", "--gpu-memory"),
        ("RTX 4090 Laptop GPU", "is not in the table"),
    ],
)
def test_an_ambiguous_or_unknown_name_is_refused(written, said):
    with pytest.raises(UsageError) as error:
        hardware_facts(HardwareSpec(gpu=written))
    assert said in str(error.value)


def test_a_named_gpu_is_as_the_table_says_times_their_number():
    facts = hardware_facts(HardwareSpec(gpu="A100-80GB", gpus=4, nodes=2, price_per_gpu_hour=1.5))
    assert (facts.device, facts.name, facts.gpus, facts.nodes) == ("cuda", "A100 80GB", 8, 2)
    assert (facts.memory_gib, facts.bf16, facts.bf16_tflops) == (80, True, 312)
    assert (facts.detected, facts.price_per_gpu_hour) == (False, 1.5)


def test_memory_alone_is_a_gpu_of_median_speed():
    facts = hardware_facts(HardwareSpec(gpu_memory_gib=24))
    assert (facts.memory_gib, facts.bf16, facts.gpus) == (24, True, 1)
    assert 70 < facts.bf16_tflops < 170
    named = hardware_facts(HardwareSpec(gpu="A100-80GB", gpu_memory_gib=20))
    assert (named.name, named.memory_gib) == ("A100 80GB", 20)


@pytest.mark.parametrize("gib", [0, -8])
def test_no_memory_is_refused_by_the_spec(gib):
    with pytest.raises(ValidationError):
        HardwareSpec(gpu_memory_gib=gib)


# What nvidia-smi prints, a file each; errors end in .txt.
ANSWERS = Path(__file__).parent / "nvidia_smi"
FIRST, SECOND = (
    "GPU-1f6e8f2a-4b0d-7c3e-9a55-0c1d2e3f4a5b",
    "GPU-9d2c7b1e-8a4f-3e60-b7d1-5f4e3d2c1b0a",
)
SLICE = Device(
    kind="cuda", name="NVIDIA A100-SXM4-80GB MIG 1g.10gb", torch="2.13.0+cu130",
    free_gib=9.2, total_gib=9.5, capability=8.0,
)  # fmt: skip


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """What nvidia-smi and torch answer; the latter by what is visible."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    device_file = tmp_path / "nvidiactl"
    monkeypatch.setattr(hardware, "_DRIVERS", (str(device_file),))
    hardware._from_torch.cache_clear()

    def answer(text, torch=()):
        device_file.touch()

        def run(command, **_):
            if text is None:
                raise FileNotFoundError(command[0])
            file = ANSWERS / text
            if file.suffix == ".txt":
                raise subprocess.CalledProcessError(2, command, file.read_text())
            said = file.read_text() if file.suffix == ".csv" else text
            return subprocess.CompletedProcess(command, 0, stdout=said)

        def in_child(_function, request, *_, **__):
            visible = ",".join(request.chosen) or None
            return hardware.Devices(gpus=tuple(dict(torch).get(visible, ())))

        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setattr(hardware, "in_child", in_child)

    return answer


@pytest.mark.parametrize(
    ("text", "visible", "torch", "expected"),
    [
        ("laptop.csv", None, {}, [(FIRST, 15.5)]),
        # Without a choice of the user, a card for the display and one that others use are left out.
        ("mixed.csv", None, {}, [(SECOND, 23.5)]),
        ("in_use.csv", None, {}, [(SECOND, 22.0)]),
        # Numbers are those of the PCI bus; UUIDs may be shortened.
        ("mixed.csv", "1", {}, [(SECOND, 23.5)]),
        ("mixed.csv", "GPU-9d2c", {}, [(SECOND, 23.5)]),
        ("mixed.csv", "0,1", {}, [(FIRST, 1.8), (SECOND, 23.5)]),
        ("mixed.csv", "1,GPU-none,0", {}, [(SECOND, 23.5)]),
        # What the driver does not say, torch does.
        ("mig.csv", None, {None: [SLICE]}, [("0", 9.2)]),
        ("mig.csv", "MIG-a,MIG-b", {"MIG-a": [SLICE], "MIG-b": [SLICE]},
         [("MIG-a", 9.2), ("MIG-b", 9.2)]),
        ("gb10.csv", None, {None: [SLICE]}, [("0", 9.2)]),
        ("old_driver.txt", None, {None: [SLICE, SLICE]}, [("0", 9.2), ("1", 9.2)]),
        ("old_driver.txt", "3", {"3": [SLICE]}, [("3", 9.2)]),
        (None, None, {None: [SLICE]}, [("0", 9.2)]),
        ("no_device.txt", None, {None: []}, []),
    ],
)  # fmt: skip
def test_the_gpus_are_those_that_training_will_see(
    driver, monkeypatch, text, visible, torch, expected
):
    driver(text, torch)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = hardware.detected_gpus()
    assert [(gpu.handle, round(gpu.free_gib, 1)) for gpu in found] == expected


def test_without_a_drivers_file_torch_is_not_asked(driver, monkeypatch):
    driver(None, {None: [SLICE]})
    monkeypatch.setattr(hardware, "_DRIVERS", ())
    assert hardware.detected_gpus() == ()


@pytest.mark.parametrize(("capability", "version"), [(8.9, 2), (9.0, 3), (10.0, 2), (12.0, 2)])
def test_flash_attention_3_is_for_hopper_alone(monkeypatch, capability, version):
    monkeypatch.setattr(hardware, "find_spec", lambda name: name)
    assert hardware.flash_attention(capability) == version


@pytest.mark.parametrize(
    ("capability", "installed", "expected"),
    [(8.0, True, True), (8.0, False, False), (7.5, True, False)],
)
def test_fused_kernels_need_their_package_and_ampere(monkeypatch, capability, installed, expected):
    monkeypatch.setattr(hardware, "find_spec", lambda name: installed or None)
    assert hardware.fused_kernels(capability) is expected


def line(name, mebibytes, capability):
    return f"{name}, {FIRST}, {mebibytes}, {mebibytes}, {capability}, [N/A]\n"


def test_detected_gpus_are_counted_and_the_smallest_decides(driver):
    driver(line("NVIDIA A100-SXM4-80GB", 81920, 8.0) + line("NVIDIA A100-SXM4-40GB", 40960, 8.0))
    facts = hardware_facts(HardwareSpec())
    assert (facts.name, facts.gpus, facts.memory_gib) == ("NVIDIA A100-SXM4-40GB", 2, 40)
    assert facts.detected
    assert facts.bandwidth_gb_per_second == 1555
    assert facts.cpu_cores >= 1


def test_a_detected_gpu_that_is_not_in_the_table_has_its_own_memory(driver):
    driver("laptop.csv")
    facts = hardware_facts(HardwareSpec())
    assert facts.memory_gib == pytest.approx(15.52, abs=0.01)
    assert "Laptop GPU (times of" in facts.name
    driver(line("NVIDIA GeForce GTX 1080", 8192, 6.1))
    facts = hardware_facts(HardwareSpec())
    assert (facts.bf16, facts.bf16_tflops) == (False, None)


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("1", 1), ("0,1", 2), ("0,7", 1)]
)
def test_only_visible_gpus_count(driver, monkeypatch, visible, count):
    driver(line("NVIDIA L4", 23034, 8.9) * 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert len(hardware.detected_gpus()) == count


def test_a_driver_that_answers_nonsense_means_no_gpu(driver):
    driver("A, B, [N/A]\n")
    assert hardware.detected_gpus() == ()


def test_what_is_stated_wins_over_what_is_detected(driver):
    driver(line("NVIDIA L4", 23034, 8.9))
    assert hardware_facts(HardwareSpec(gpu="H100")).name == "H100"
    size = 23034 / 1024
    assert hardware.detected_gpus() == (
        Device(name="NVIDIA L4", free_gib=size, total_gib=size, capability=8.9, handle=FIRST),
    )


def test_without_a_gpu_this_processor_is_the_machine(driver):
    driver(None)
    facts = hardware_facts(HardwareSpec(price_per_gpu_hour=0.5))
    assert (facts.device, facts.gpus, facts.detected) == ("cpu", 0, True)
    assert facts.price_per_gpu_hour == 0.5
    assert facts.memory_gib == facts.ram_gib > 0.1
    assert facts.cpu_cores >= 1
    assert facts.name


@pytest.mark.parametrize(
    ("flags", "bf16"),
    [("fpu avx512f avx512_bf16", True), ("fpu amx_bf16 amx_tile", True), ("fpu avx2", False)],
)
def test_a_processor_trains_in_bf16_where_it_has_the_instructions(driver, monkeypatch, flags, bf16):
    driver(None)
    told = {"model name": "a cpu", "flags": flags}
    monkeypatch.setattr(hardware, "_cpuinfo", lambda: told)
    assert hardware_facts(HardwareSpec()).bf16 is bf16


@pytest.mark.parametrize("spec", [{"gpus": 2}, {"nodes": 2}])
def test_gpus_where_there_are_none_are_refused(driver, spec):
    driver(None)
    with pytest.raises(UsageError):
        hardware_facts(HardwareSpec(**spec))


def test_a_containers_limits_bound_memory_and_cores(monkeypatch):
    files = {"memory.max": "2147483648\n", "cpu.max": "100000 100000\n"}
    original = Path.read_text

    def read_text(self, *args, **kwargs):
        if str(self).startswith("/sys/fs/cgroup/"):
            if self.name not in files:
                raise FileNotFoundError(self)
            return files[self.name]
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)
    found = hardware.processor()
    assert (found.memory_gib, found.cores) == (2, 1)
    files.update({"memory.max": "max\n", "cpu.max": "max 100000\n"})
    assert hardware.processor().memory_gib == pytest.approx(psutil.virtual_memory().total / 2**30)


def test_a_stated_memory_means_every_card_that_has_it():
    facts = hardware_facts(HardwareSpec(gpu_memory_gib=24))
    names = [card.name for card in facts.cards]
    assert names[0] == "L4"
    assert names[-1] == "RTX 4090"
    assert {"A10", "RTX 3090"} < set(names)
    assert facts.name == "24 GiB GPU (L4 to RTX 4090)"
    assert not hardware_facts(HardwareSpec(gpu="L4")).cards


def test_old_gpus_have_no_bfloat16():
    facts = hardware_facts(HardwareSpec(gpu="T4"))
    assert (facts.bf16, facts.bf16_tflops, facts.fp32_tflops) == (False, None, 8.1)


@pytest.mark.parametrize("gib", [1, 8, 11, 16, 48, 96, 1000])
def test_any_memory_has_a_speed(gib):
    assert hardware_facts(HardwareSpec(gpu_memory_gib=gib)).bf16_tflops > 0
