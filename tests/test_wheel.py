"""What is shipped: the wheel holds knowledge and templates, and works away from the checkout.

Nothing is downloaded: the base install is made of links to what is installed here.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BASE_MEGABYTES = 150
PLAN = [
    "plan", "--task", "classification", "--examples", "2000", "--gpu-memory", "24", "--model", "7B",
    "--name", "planned",
]  # fmt: skip
COMMANDS = [
    PLAN, ["explain", "planned"], ["rules"], ["memory", "--model", "7B"], ["schema", "sweep"],
    ["list"], ["show", "planned"],
]  # fmt: skip
EACH = (
    "import ast, sys; from sweeper.cli.main import main\n"
    "for code, arguments in ast.literal_eval(sys.argv[1]):\n"
    "    sys.argv = ['sweeper', *arguments]\n"
    "    try: main()\n"
    "    except SystemExit as ended: assert (ended.code or 0) == code, (arguments, ended.code)\n"
)


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


@pytest.fixture(scope="module")
def shipped(unpacked) -> Distribution:
    """What the wheel says of itself."""
    (folder,) = unpacked.glob("*.dist-info")
    return PathDistribution(folder)


@pytest.fixture(scope="module")
def base(unpacked, shipped) -> list[Distribution]:
    """All that pip installs for the wheel without extras; linked beside it in ``unpacked``."""
    found: dict[str, Distribution] = {}
    wanted = [(text, "") for text in shipped.requires or ()]
    while wanted:
        text, extra = wanted.pop()
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.name not in found:
            found[requirement.name] = distribution(requirement.name)
            for name in ("", *requirement.extras):
                wanted += [(text, name) for text in found[requirement.name].requires or ()]
    for installed in found.values():
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            if not (unpacked / top).exists():
                (unpacked / top).symlink_to(installed.locate_file(top))
    return list(found.values())


def run(site: Path, *arguments: str, alone: bool = False) -> subprocess.CompletedProcess[str]:
    """Python with the wheel; ``alone`` without what is installed in this environment."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *(["-S"] if alone else []), *arguments],
        cwd=site.parent, env={**environment, "PYTHONPATH": str(site)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_nothing_lands_beside_the_package(unpacked, shipped):
    with zipfile.ZipFile(next(unpacked.parent.glob("*.whl"))) as archive:
        names = {Path(name).parts[0] for name in archive.namelist()}
    assert names == {"sweeper", "finetune_sweeper-0.1.0.dist-info"}
    assert (unpacked / "sweeper/_data/search_spaces/strategies/lora.yaml").is_file()
    assert (unpacked / "sweeper/_data/reports/templates").is_dir()
    assert (unpacked / "sweeper/py.typed").is_file()


def test_the_wheel_holds_every_file_of_every_feature(unpacked):
    folder = ROOT / "sweeper" / "features"
    files = [
        path.relative_to(ROOT)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {".py", ".yaml", ".jinja"} <= {path.suffix for path in files}
    assert [path for path in files if not (unpacked / path).is_file()] == []


def test_the_base_install_is_small(base):
    files = {one.locate_file(file) for one in base for file in one.files or ()}
    size = sum(path.stat().st_size for path in map(Path, files) if path.is_file())
    assert 10e6 < size < BASE_MEGABYTES * 1e6


def test_the_base_install_plans_and_says_what_more_is_needed(unpacked, base):
    refused = [["run", "--task", "classification"], ["report", "planned"]]
    asked = [(0, command) for command in COMMANDS] + [(2, command) for command in refused]
    done = run(unpacked, "-c", EACH, repr(asked), alone=True)
    assert done.returncode == 0, done.stderr
    assert "start-with-lora" in done.stdout
    told = done.stderr.splitlines()
    assert [line.split()[:3] for line in told[::2]] == [
        ["error[not-installed]:", "sweeper", "run"], ["error[not-installed]:", "sweeper", "report"],
    ]  # fmt: skip
    assert all("needs numpy, scipy, optuna, altair, vl_convert" in line for line in told[::2])
    assert told[1::2] == ["  pip install 'finetune-sweeper[train]'"] * 2


def test_the_wheel_writes_a_report_with_its_own_assets(unpacked, base):
    where = "import sweeper; print(sweeper.__file__)\n"
    done = run(unpacked, "-c", where + EACH, repr([(0, PLAN), (0, ["report", "planned"])]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(unpacked))
    html = (unpacked.parent / "runs/planned/report.html").read_text()
    assert "<style" in html
    assert "data-verdict" in html


FEATURE = {
    "pyproject.toml": """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "greeting"
version = "1.0"
[project.entry-points."sweeper.features"]
greeting = "greeting_feature"
[tool.hatch.build.targets.wheel]
packages = ["greeting_feature"]
""",
    "greeting_feature/__init__.py": "",
    "greeting_feature/options.py": """\
from typing import Annotated
from pydantic import Field
from sweeper.features import parts


class Options(parts.Options):
    \"\"\"a greeting\"\"\"

    whom: Annotated[str, parts.Flag("--greet", plan=True)] = Field("", description="whom to greet")
""",
    "greeting_feature/facts.py": """\
from greeting_feature.options import Options


def warnings(spec, facts):
    if whom := spec.features.of(Options).whom:
        yield f"greetings to {whom}"
""",
    "greeting_feature/commands.py": """\
import typer

commands = typer.Typer()


@commands.command("greet")
def greet() -> None:
    \"\"\"Greet everybody.\"\"\"
    print("hello from another package")
""",
}


def test_a_feature_of_another_package_is_installed_beside_the_wheel(unpacked, base, tmp_path):
    for name, text in FEATURE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extractall(unpacked)
        added = {unpacked / Path(name).parts[0] for name in archive.namelist()}
    try:
        asked = [(0, [*PLAN[:-2], "--greet", "Ada"]), (0, ["greet"]), (0, ["--help"])]
        done = run(unpacked, "-c", EACH, repr(asked), alone=True)
        assert done.returncode == 0, done.stderr
        assert "greetings to Ada" in done.stdout
        assert "hello from another package" in done.stdout
        assert "Greet everybody." in done.stdout
        assert '"whom"' in run(unpacked, "-m", "sweeper", "schema", "sweep", alone=True).stdout
    finally:
        for folder in added:
            shutil.rmtree(folder)
