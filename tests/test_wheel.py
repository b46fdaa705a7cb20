"""What is shipped: the wheel holds knowledge and templates, and works away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The wheel, built from this checkout and unpacked as an installer would."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: pip install hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import sweeper; from sweeper.cli.main import main\n"
        f"assert sweeper.__file__.startswith({str(site)!r}), sweeper.__file__\n"
        "main()"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=site.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_nothing_lands_beside_the_package(unpacked):
    names = {path.name for path in unpacked.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"sweeper"}
    assert (unpacked / "sweeper/_data/search_spaces/strategies/lora.yaml").is_file()
    assert (unpacked / "sweeper/_data/reports/templates").is_dir()
    assert (unpacked / "sweeper/py.typed").is_file()


def test_the_wheel_plans(unpacked):
    done = run(
        unpacked, "plan", "--task", "classification", "--examples", "2000", "--gpu-memory", "24",
        "--model", "7B",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "start-with-lora" in done.stdout


def test_the_wheel_writes_a_report_with_its_own_assets(unpacked):
    done = run(
        unpacked, "plan", "--task", "classification", "--examples", "2000", "--gpu-memory", "24",
        "--model", "7B", "--name", "planned",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run(unpacked, "report", "planned")
    assert done.returncode == 0, done.stderr
    html = (unpacked.parent / "runs/planned/report.html").read_text()
    assert "<style" in html
    assert "data-verdict" in html
